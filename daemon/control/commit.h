/* commit - the second half of a change, when all is prepared: from which step on, into the timelines, into
 * effect, and the reply. Private to change.c.
 *
 * Owner:   the main thread, but for what the thread that prepares writes.
 */
#ifndef SKIPALIGN_CONTROL_COMMIT_H
#define SKIPALIGN_CONTROL_COMMIT_H

#include "control/change.h"

#include <pthread.h>
#include <stdatomic.h>

/* What becomes of one stream. */
enum fate {
    FATE_SAME,   /* perhaps: its corpora and its model are looked at */
    FATE_CHANGE, /* a new generation */
    FATE_ADD,
    FATE_REMOVE,
};

struct affected {
    enum fate fate;
    const char *name;
    struct roster_stream *stream; /* NULL: FATE_ADD, until it is there */
    struct recipe *recipe;        /* prepared; NULL: FATE_REMOVE */
    bool held, done;
    uint64_t first_step;
    uint32_t generation;  /* that it is now, or would be */
    uint32_t *superseded; /* generations that never took effect */
    uint32_t n_superseded;
    char notes[2048]; /* lines */
};

struct change {
    struct roster *roster;
    struct feed *feed;
    struct wish wish;
    char who[129];
    uint64_t start_ns, told_ns;
    struct conf_change *diff;
    uint32_t n_diff;
    struct affected *turns;
    uint32_t n_turns;
    /* The thread that prepares, and how far it is. */
    pthread_t thread;
    atomic_bool stop, stopped;
    int rc;
    struct err err;
    pthread_mutex_t lock; /* of: */
    struct {
        char what[128];
        uint64_t done, all, number;
    } progress;
    uint64_t progress_told; /* number */
    char cancelled_by[129];
};

/* affected_newest - what the stream was made of until now; NULL: it is new. */
struct recipe *affected_newest(const struct affected *t);

/* commit_refuse_readers - [feed] would the stream's readers be unable to take this configuration? Then the
 * request has failed. */
bool commit_refuse_readers(struct request *q, struct feed *f, struct stream *st,
                           const struct conf_stream *conf);

/* commit_change - the request is answered: it is done (or, in a dry run, would be), or why not. */
void commit_change(struct request *q, struct change *c);

#endif
