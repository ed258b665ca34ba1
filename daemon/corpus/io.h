/* io - reads at any offset of a file, many at a time: io_uring, or pread where that is refused.
 *
 * io_queue fills a request, io_collect sends all that were filled with one system call, waits until at least
 * one has ended and returns those that have. Short reads, EINTR and EAGAIN are sent again for what is left; a
 * file that ends early is ENODATA. Requests stand in a fixed table; a completion names its entry and the
 * entry's generation, so that one that comes twice or late is seen at once.
 *
 * Owner:   the thread that called io_open uses and closes it (the ring is set up for a single issuer).
 * Memory:  a read's data belongs to the kernel from io_queue until io_collect returns it.
 */
#ifndef SKIPALIGN_CORPUS_IO_H
#define SKIPALIGN_CORPUS_IO_H

#include "base/err.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io;

struct io_read {
    int fd;
    uint32_t size; /* bytes, at least 1 */
    uint64_t offset;
    char *data;
    void *owner; /* owner and index are the caller's, handed back by io_collect */
    uint32_t index;
};

struct io_done {
    void *owner;
    uint32_t index;
    uint32_t error; /* 0, or a positive errno */
};

/* io_open - depth: how many reads may be in flight, at most 4096.
 * IO_AUTO takes io_uring and falls back to pread: then 0 is returned and reterr->text says why, with the
 * likely cause (it is empty otherwise). *ret_kind is what it became, never IO_AUTO. */
int io_open(enum io_kind kind, uint32_t depth, struct io **ret, enum io_kind *ret_kind, struct err *reterr);

bool io_full(const struct io *io); /* no room for another read until io_collect */
void io_queue(struct io *io, const struct io_read *read);
uint32_t io_collect(struct io *io, struct io_done *ret, uint32_t max); /* 0 only if nothing is in flight */
uint32_t io_in_flight(const struct io *io);                            /* queued and not yet returned */
uint64_t io_resubmitted(const struct io *io);
void io_close(struct io *io); /* waits for what is in flight; NULL is fine */

/* A backend: what really reads. Tests bring their own. */
struct io_result {
    uint64_t token;
    int32_t result; /* bytes, or a negative errno */
};

struct io_backend {
    void (*queue)(void *self, uint64_t token, const struct io_read *read);
    uint32_t (*collect)(void *self, struct io_result *ret, uint32_t max); /* sends, waits for one at least */
    void (*free)(void *self);
};

/* io_new - an io over a backend; NULL: no memory, and self is still the caller's. */
struct io *io_new(const struct io_backend *backend, void *self, uint32_t depth);

/* The two backends, in files of their name. */
int io_uring_backend(uint32_t depth, const struct io_backend **ret, void **ret_self, struct err *reterr);
int io_pread_backend(uint32_t depth, const struct io_backend **ret, void **ret_self, struct err *reterr);

#endif
