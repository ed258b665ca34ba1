/* reader - many small reads at random offsets, on one thread with one io_uring (or pread).
 *
 * A fetch is a list of reads that belong together (the records of a window). The reader gives it memory,
 * starts its reads as the ring has room, several fetches at a time, resubmits short reads, EINTR and EAGAIN,
 * and calls done() on its own thread when the last one has ended. The caller reads data[] and hands the
 * memory back with fetch_release, before reader_stop.
 *
 * Memory is slabs of a pool, or one as large as its record; the caller bounds it by how much it has in
 * flight.
 *
 * Threads: reader_submit and fetch_release from any; done() runs on the reader's.
 */
#ifndef SKIPALIGN_CORPUS_READER_H
#define SKIPALIGN_CORPUS_READER_H

#include "base/err.h"
#include "config/conf.h"

#include <stdint.h>

struct fetch_read {
    int fd;
    uint64_t offset;
    uint32_t size;
    uint32_t error; /* out: 0, or a positive errno; ENODATA: the file ended early */
    char *data;     /* out: size bytes, then RECORD_PADDING zeros */
};

struct slab;

struct fetch {
    struct fetch_read *reads; /* caller's, until fetch_release */
    uint32_t n_reads;
    void (*done)(struct fetch *);
    /* private to the reader */
    struct fetch *next;
    struct slab *slabs;
    uint32_t n_started, n_ended;
};

struct reader;

struct reader_stats {
    uint64_t reads, bytes, resubmitted; /* since the start */
    uint32_t in_flight;
};

/* reader_start - IO_AUTO takes io_uring and falls back to pread. *ret_kind is what it became; if it fell
 * back, reterr->text says why with the likely cause, though 0 is returned (else it is empty). */
int reader_start(enum io_kind io, struct reader **ret, enum io_kind *ret_kind, struct err *reterr);
void reader_submit(struct reader *r, struct fetch *f);
void fetch_release(struct fetch *f);
void reader_get_stats(const struct reader *r, struct reader_stats *ret);

/* reader_stop - finishes what was submitted, checks that nothing is in flight, joins, frees. NULL is fine. */
void reader_stop(struct reader *r);

#endif
