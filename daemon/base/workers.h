/* workers - a pool of threads that run jobs, and the way back to the one thread that owns them.
 *
 * A job is handed over whole: submit gives it to the pool, run() works on it on a worker's thread, and done()
 * is called on the owner's thread when that one calls workers_collect. Jobs start in the order of submission,
 * urgent ones before all others, and end in any; nothing may depend on that order.
 *
 * One thread more than asked for takes urgent jobs only, so that they need not wait for the end of a long
 * one. Of those that rest, who worked last is called first, and who never did comes at the end: where there
 * is little to do few work, with what they know at hand, and the others take no memory.
 *
 * Threads: submit from any thread; collect, and fd, from the owner's only.
 */
#ifndef SKIPALIGN_BASE_WORKERS_H
#define SKIPALIGN_BASE_WORKERS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct job {
    /* On a worker; scratch is that worker's own. An urgent one gets none: NULL. */
    void (*run)(struct job *, void *scratch);
    void (*done)(struct job *); /* on the owner's thread */
    bool urgent;                /* short, and somebody waits for it: before those that are not */
    struct job *next;           /* private to workers */
};

struct workers;

/* workers_start - n >= 1 threads, and the one for urgent jobs; each of the n gets its own scratch from
 * scratch_new (may be NULL), freed by scratch_free. */
int workers_start(uint32_t n, void *(*scratch_new)(void), void (*scratch_free)(void *), struct workers **ret,
                  struct err *reterr);
void workers_submit(struct workers *, struct job *);

/* workers_fd - an eventfd, readable while workers_collect has something to do.   Owner: workers. */
int workers_fd(const struct workers *);
/* workers_collect - call done() of every finished job; returns how many. */
uint32_t workers_collect(struct workers *);
/* workers_wait - collect, waiting for the first job to finish if none has; returns how many. */
uint32_t workers_wait(struct workers *);
/* workers_signal - make workers_fd readable, e.g. from another thread that has news for the owner. */
void workers_signal(struct workers *);

uint32_t workers_count(const struct workers *); /* n */
/* workers_busy_ns - time spent in run(), the n threads together. */
uint64_t workers_busy_ns(const struct workers *);

/* workers_stop - runs what was submitted to its end, joins, calls the remaining done(), frees. NULL is fine.
 */
void workers_stop(struct workers *);

#endif
