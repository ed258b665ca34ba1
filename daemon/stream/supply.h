/* supply - makes the steps that consumers ask for, within the memory that the configuration allows.
 *
 * Whoever wants a step takes a reference to it (supply_step) and is told when its state changes. Behind that:
 * the step's rows lie in windows (window.h); windows that are not in memory are fetched and made by the
 * workers, a few at a time as memory allows, and kept until the memory is wanted for others. Steps are served
 * in the order in which they were asked for, and each in its turn gets its memory even where the bound is too
 * small for it, so nothing waits for ever: not behind a step that is years away, either.
 *
 * Owner:   one thread, the feed's, calls everything here. Finished work arrives through
 * workers_fd/workers_collect.
 */
#ifndef SKIPALIGN_STREAM_SUPPLY_H
#define SKIPALIGN_STREAM_SUPPLY_H

#include "base/err.h"
#include "base/workers.h"
#include "config/conf.h"
#include "corpus/corpus.h"
#include "corpus/reader.h"
#include "stream/recipe.h"
#include "stream/window.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct supply;
struct stream;

#define STREAM_UNKNOWN UINT64_MAX

enum step_state {
    STEP_PENDING, /* being made */
    STEP_READY,   /* rows[] are there */
    STEP_END,     /* there is no such step: the stream ended before it (stream_steps, stream_dropped) */
    STEP_FAILED,  /* the stream cannot go on: stream_failure says why */
};

struct step_row {
    struct window *window; /* NULL: a row of padding (last: pad) */
    uint32_t row;
};

struct step {
    struct stream *stream;
    uint64_t number;
    enum step_state state;
    struct step_row *rows; /* [global_batch], READY only; the step holds references to the windows */
    uint64_t epoch;        /* of the first row */
    uint64_t supervised;   /* labels != -100 over all rows */
    /* private to supply */
    uint32_t refs;
    uint64_t first_window, last_window;
    bool pinned; /* its windows are: they are there or being made */
    TAILQ_ENTRY(step) in_pending;
    LIST_ENTRY(step) in_live;
};

/* supply_new
 * memory:  bytes that windows may take, made and being made.
 * changed: called when a step leaves STEP_PENDING, from within workers_collect or any function of this
 * header; for the step that supply_step is about to return, too, so look at its state then. It may call those
 * functions.
 */
int supply_new(struct workers *w, struct reader *r, uint64_t memory,
               void (*changed)(void *arg, struct step *), void *arg, struct supply **ret);
/* supply_add - a stream of this recipe (one reference is taken); its ledger is opened in state_dir. */
int supply_add(struct supply *s, struct recipe *r, const char *state_dir, struct stream **ret,
               struct err *reterr);
/* supply_stop - waits for all jobs to end; every step must have been given back. NULL is fine. */
void supply_stop(struct supply *s);

/* supply_step - a reference to a step, made or about to be; NULL: no memory.   supply_step_unref - give it
 * back. */
struct step *supply_step(struct supply *s, struct stream *st, uint64_t number);
void supply_step_unref(struct supply *s, struct step *step);

struct stream *supply_find(struct supply *s, const char *name);
struct stream *supply_next(struct supply *s,
                           struct stream *after); /* NULL: the first; returns NULL after the last */

const struct recipe *stream_recipe(const struct stream *st);
uint64_t stream_steps(const struct stream *st);       /* in all, STREAM_UNKNOWN until the end has been seen */
uint64_t stream_dropped(const struct stream *st);     /* rows of the last partial step that are not sent */
uint64_t stream_slots(const struct stream *st);       /* records that it takes; UINT64_MAX: for ever */
uint64_t stream_epoch_slots(const struct stream *st); /* of them in a whole epoch */
uint64_t stream_known_steps(const struct stream *st); /* steps that the ledger reaches */
const char *stream_failure(const struct stream *st);  /* NULL while it goes on */
const char *
stream_ledger_failure(const struct stream *st); /* why the ledger is not kept on disk; NULL: it is */

/* A ledger of another configuration, corpus or model was found at the start: steps of before cannot be had
 * again. */
bool stream_ledger_replaced(const struct stream *st);

/* What was made and what was not sent, since the stream began as far as the ledger knows it. */
struct stream_counts {
    uint64_t windows, rows, documents, tokens, supervised, row_tokens; /* row_tokens: with padding */
    uint64_t slots;                                                    /* records looked at */
    uint64_t unusable[UNUSABLE__COUNT];
    uint64_t truncated, split;
    uint64_t outcome[POS_OUTCOME__COUNT];
};
void stream_get_counts(const struct stream *st, struct stream_counts *ret);

/* The first STREAM_QUARANTINE records not used, in the order of the stream. Borrowed until the next call of
 * supply. */
#define STREAM_QUARANTINE 10000
struct quarantined {
    uint64_t window;
    uint32_t corpus; /* index in the recipe */
    uint32_t pass;
    uint64_t record;
    enum unusable reason;
    char detail[RECORD_DETAIL];
    uint32_t check; /* the ledger's, of all before it */
};
void stream_get_quarantine(const struct stream *st, const struct quarantined **ret, uint32_t *ret_n);

struct supply_stats {
    uint64_t memory, memory_used; /* bytes: bound, windows held and being made */
    uint32_t windows_held, windows_making, steps_pending;
    uint64_t windows_made, windows_made_again;
};
void supply_get_stats(const struct supply *s, struct supply_stats *ret);

#endif
