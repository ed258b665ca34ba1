/* index - where each record of a corpus starts: 8 bytes a record in a file, mapped read-only.
 *
 * The file: a header, an entry for each file of the catalog, their paths, then the offsets in order; the
 * header last, and then it is synced. It is believed only if version, checksums and length are right, and as
 * that of a catalog only if every file's path, size, mtime, inode and sampled hash are.
 *
 * Owner:   the caller of index_open or index_build.   Threads: immutable.
 */
#ifndef SKIPALIGN_CORPUS_INDEX_H
#define SKIPALIGN_CORPUS_INDEX_H

#include "corpus/catalog.h"

#include <stddef.h>
#include <stdint.h>

struct index_file {
    uint64_t size, mtime_ns, inode, hash, start; /* size, hash, start: of the content */
    uint64_t first_record;
    uint64_t content_end; /* where the last record ends */
    uint32_t kind;        /* container and compression */
    uint32_t path_size;
};

struct index {
    const struct index_file *files;
    const char *paths;       /* one after the other, without ends */
    const uint64_t *offsets; /* n_records */
    uint64_t n_records;
    uint64_t boundaries; /* a hash of the offsets */
    uint32_t n_files;
    void *map;
    size_t map_size;
};

/* index_open - the index at path, if it is there, is whole and is that of this catalog (NULL: of any): 1;
 * else 0. */
int index_open(const char *path, const struct catalog *c, struct index *ret);

/* index_build - scan the files, write path (anew), open it.   progress: see corpus_open.
 * Errors: those of scan_files; a file without records; more than 2^32 - 1 records; path cannot be written.
 * After an error there is nothing at path. */
int index_build(const char *path, const struct catalog *c, enum io_kind io,
                int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct index *ret,
                struct err *reterr);
void index_close(struct index *x); /* a zeroed one is fine */

/* index_fingerprint - see corpus_fingerprint. */
uint64_t index_fingerprint(const struct index *x);

/* index_catalog - the files that were indexed, for catalog_reopen.   Owner: the caller.   Errors: -ENOMEM. */
int index_catalog(const struct index *x, struct catalog *ret);

/* index_get - the file that holds record i, where the record starts, and its size.   index_file - the file
 * alone: where the record is need not be fetched. */
uint32_t index_file(const struct index *x, uint64_t i);
uint32_t index_get(const struct index *x, uint64_t i, uint64_t *ret_offset, uint64_t *ret_size);
/* index_expect - record i will be asked for soon: memory answers meanwhile. */
static inline void index_expect(const struct index *x, uint64_t i)
{
    __builtin_prefetch(&x->offsets[i]);
}

#endif
