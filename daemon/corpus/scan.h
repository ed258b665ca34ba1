/* scan - one pass over the files of a catalog that finds where each record starts.
 *
 * A file is read in stripes, by io_uring where it is allowed. Threads read stripes and look for line ends
 * side by side; one of them at a time tells what was found, in the order of the stripes. There it is, too,
 * that a JSON array is followed (elements.h). Memory is fixed: a few stripes a thread, and where records
 * start in them.
 */
#ifndef SKIPALIGN_CORPUS_SCAN_H
#define SKIPALIGN_CORPUS_SCAN_H

#include "corpus/catalog.h"

/* What a scan tells, in file order; never two calls at once, but on any thread. A return other than 0 ends
 * the scan, with *reterr filled by the callee. */
struct scan_sink {
    /* n records that start at base + starts[0], base + starts[1], ... */
    int (*records)(void *arg, uint64_t base, const uint32_t *starts, uint32_t n, struct err *reterr);
    /* after the records of a file: where its last one ends */
    int (*file_end)(void *arg, uint32_t file, uint64_t content_end, struct err *reterr);
    int (*progress)(void *arg, uint64_t done, uint64_t all); /* on the caller's thread; may be NULL */
    void *arg, *progress_arg;
};

/* How, which changes nothing of what is found. */
struct scan_shape {
    uint32_t threads;     /* 1..SCAN_THREADS_MAX */
    uint32_t stripe_size; /* bytes, at least 1 */
};
#define SCAN_THREADS_MAX 4u /* more only wait for memory */

/* scan_files - shape: NULL: what suits the processors and the files.
 * Errors: the sink's; -errno of a read, with the file and offset; ERR_FORMAT for an array that is cut short
 * or ends before the file does; ERR_CANCELLED if progress says so; ERR_CHANGED if a file shrinks meanwhile.
 */
int scan_files(const struct catalog *c, enum io_kind io, const struct scan_shape *shape,
               const struct scan_sink *sink, struct err *reterr);

#endif
