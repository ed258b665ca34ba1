/* inflate - a compressed file to its content, a buffer at a time.
 *
 * A file is any number of compressed pieces, one after the other (gzip: members, as bgzip makes them or `cat
 * a.gz b.gz`; zstd: frames, and skippable ones between), and its content is theirs, joined. Checksums are
 * checked where there are some. Each library stays in its corner: zlib in inflate_gzip.c, libzstd in
 * inflate_zstd.c.
 *
 * Memory:  gzip about 50 KB; zstd the window that the file was made with, at most 128 MiB.
 * Owner:   the thread that called inflate_new.
 * Source:  RFC 1952 (gzip), RFC 8878 (zstd).
 */
#ifndef SKIPALIGN_CORPUS_INFLATE_H
#define SKIPALIGN_CORPUS_INFLATE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION__COUNT };

/* inflate_recognise - by the first bytes of a file; 4 are enough. */
enum compression inflate_recognise(const char *head, size_t size);

struct inflate_buffers {
    const char *in; /* what comes next of the file; taken from the front */
    size_t in_size;
    char *out; /* room; filled from the front */
    size_t out_size;
};

struct inflate;

struct inflate *inflate_new(enum compression of); /* NULL: no memory */
void inflate_free(struct inflate *x);             /* NULL is fine */

/* inflate_step - takes of in and fills out as far as it goes.
 * last:    nothing of the file comes after in.
 * Returns: 1: the file has ended, and is whole. 0: call again, with more of the file if in is used up, and
 * with more room if out is full. Errors:  ERR_FORMAT with what is wrong, at which byte of the file, and what
 * to do; -ENOMEM. */
int inflate_step(struct inflate *x, struct inflate_buffers *b, bool last, struct err *reterr);

/* A library: what inflate_gzip.c and inflate_zstd.c bring. offset: of b->in in the file. */
struct inflate_library {
    void *(*new)(void);
    void (*free)(void *self);
    int (*step)(void *self, struct inflate_buffers *b, bool last, uint64_t offset, struct err *reterr);
};
extern const struct inflate_library inflate_gzip, inflate_zstd;

#endif
