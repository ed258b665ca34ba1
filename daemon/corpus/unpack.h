/* unpack - compressed files to files of their content, several side by side.
 *
 * Each thread takes the next file: it reads, decompresses, hashes and writes a buffer at a time. The caller's
 * thread waits, tells progress, and takes a cancellation.
 *
 * Memory:  1.3 MB a thread, and what inflate.h says.
 */
#ifndef SKIPALIGN_CORPUS_UNPACK_H
#define SKIPALIGN_CORPUS_UNPACK_H

#include "base/err.h"
#include "corpus/inflate.h"

#include <stdbool.h>
#include <stdint.h>

struct unpack_job {
    const char *path; /* of the compressed file, for messages */
    int fd;           /* of it */
    uint64_t size;    /* of it, bytes */
    enum compression compression;
    char *to;    /* written anew; what stands there is written over */
    void *owner; /* the caller's */
    /* out: */
    bool done;     /* whole, and on the disk */
    uint64_t hash; /* XXH3 of the content */
};

struct unpack_limits {
    uint32_t threads;
    uint64_t bytes_max;  /* of all copies, these and others */
    uint64_t bytes_used; /* by others */
};

/* unpack_files - jobs are put into another order.
 * progress: now and then, on the caller's thread: bytes taken of the compressed files, of all. May be NULL; a
 *           return other than 0 cancels (ERR_CANCELLED).
 * Errors:   the first one; jobs that were done by then say so, and of the others there is nothing at `to`.
 *           Those of inflate_step, with the file before; ERR_LIMIT: more than bytes_max; -ENOSPC, and before
 * the disk is quite full, for others need it too; -errno of a read or a write. */
int unpack_files(struct unpack_job *jobs, uint32_t n, const struct unpack_limits *limits,
                 int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct err *reterr);

#endif
