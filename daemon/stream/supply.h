/* supply - makes the steps that consumers ask for, within the memory that the configuration allows.
 *
 * A stream is a list of generations: what it was configured to be, each from its first step on
 * (generation.h). Whoever wants a step takes a reference to it (supply_step) and is told when its state
 * changes. Behind that: the step's rows lie in windows (window.h) of its generation; windows that are not in
 * memory are fetched and made by the workers, a few at a time as memory allows, and kept until the memory is
 * wanted for others. Steps are served in the order in which they were asked for, and each in its turn gets
 * its memory even where the bound is too small for it, so nothing waits for ever: not behind a step that is
 * years away, either.
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
struct generation;

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
    /* Of the generation that it belongs to; recipe is borrowed while the step is held. Both may change while
     * it is pending: a change can come before it. */
    uint32_t generation;
    const struct recipe *recipe;
    struct step_row *rows; /* [global_batch], READY only; the step holds references to the windows */
    uint64_t epoch;        /* of the first row */
    uint64_t supervised;   /* labels != -100 over all rows */
    bool own;              /* ids of our own code may be in it, see tokenizer_own */
    /* private to supply */
    struct generation *of;
    uint32_t refs;
    uint64_t first_window, last_window;
    bool pinned; /* its windows are: they are there or being made */
    bool inside; /* the supply itself wants it: a generation begins with it */
    bool past;   /* a change made it another step: nobody finds it any more */
    bool waited; /* it was not there when it was asked for */
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

/* One generation of a stream, as the timeline has it. */
struct generation_setup {
    uint32_t number;
    uint64_t first_step;
    struct recipe *recipe; /* a reference is taken; NULL: cannot be had any more, its steps fail: */
    const char *why;       /* copied */
    uint64_t fingerprint;  /* where recipe is NULL: what its fingerprint was (timeline.h), */
    struct recipe *lost; /* and what is still known of it (recipe_new_lost), so that the next generation finds
                            where it begins; NULL: nothing */
};
/* supply_add - a stream with its generations in effect (first steps rise; the first one's is 0; the last
 * one's recipe is there). Files: state_dir/streams/NAME/. Errors: state_dir not writable, no space; -EBUSY:
 * one of the same name was removed, and is still in use. */
int supply_add(struct supply *s, const char *name, const char *state_dir, const struct generation_setup *g,
               uint32_t n, struct stream **ret, struct err *reterr);
/* supply_remove - it is not found any more; its pending steps fail, and stream_removed is true from now on.
 * Freed when its last step has been given back. */
void supply_remove(struct supply *s, struct stream *st);
bool stream_removed(const struct stream *st);

/* A change, in three steps that the same thread makes while it serves:
 * stream_hold - no step from *ret on is made from now on (those asked for stay pending), until supply_change
 * or stream_release. *ret is the first step of the change. at:     wanted; STREAM_UNKNOWN: as soon as can be.
 * made:   1 + the highest step of which a batch exists, sent or not, 0 for none: what the caller alone knows.
 *         What was ever sent, in this process or another, the stream knows itself (stream_mark_sent).
 * busy:   somebody reads at the frontier: then windows that are on their way are still used (so the change
 * comes a little later, and the stream does not pause for it). Errors: ERR_CHANGED: at is too early, *ret is
 * the earliest; ERR_LIMIT: at is beyond the stream's end; -EBUSY: it is held already; -ENOMEM. supply_change
 * - the generation in effect from its first_step on, which is the one that stream_hold gave. It takes the
 * place of generations that begin there or later. Cannot fail. stream_release - as if nothing had been. */
int stream_hold(struct supply *s, struct stream *st, uint64_t at, uint64_t made, bool busy, uint64_t *ret,
                struct err *reterr);
void supply_change(struct supply *s, struct stream *st, const struct generation_setup *g);
void stream_release(struct supply *s, struct stream *st);

/* supply_doubt - where a tokenizer of the stream's has been found wrong since the last call: what its own
 * code made is gone, windows and steps, whoever waits for one of them, or asks again, gets it by
 * libsentencepiece, and the same counts for all streams with that model. Documents keep the rows in which
 * they were, as far as windows had been entered in the ledger: somebody may have half of them. Call it until
 * it is false. steps: that had been handed out by then: some of their ids may be wrong. error: not empty: it
 * is not on the disk, so that the next start does not know where those windows end. */
struct supply_doubt {
    struct tokenizer *tokenizer; /* borrowed */
    uint64_t first_step, end_step;
    struct err error;
};
bool supply_doubt(struct supply *s, struct stream *st, struct supply_doubt *ret);
/* stream_get_doubt - the same steps, of all generations together, also after a restart; false: none. */
bool stream_get_doubt(const struct stream *st, uint64_t *ret_first, uint64_t *ret_end);

/* stream_mark_sent - before a step's batch is handed to a socket: from here on no change can come at or
 * before it, not after a kill -9 either (a power cut may forget the last of it).   stream_sent - 1 + the
 * highest one ever; 0: none. */
void stream_mark_sent(struct stream *st, uint64_t step);
uint64_t stream_sent(const struct stream *st);

/* stream_generation_at - the generation in effect at a step. recipe: NULL where it cannot be had (failure
 * says why). */
struct generation_info {
    uint32_t number;
    const struct recipe *recipe; /* borrowed until the next change */
    uint64_t first_step;
    uint64_t end_step;    /* the first one of the next generation; STREAM_UNKNOWN: none */
    uint64_t slots;       /* in all; UINT64_MAX: for ever; 0: its start is not known yet */
    uint64_t epoch_slots; /* of a whole epoch */
    uint64_t not_carried; /* documents that the generation before had planned and not sent, of corpora that
                           left or changed */
    const char *failure;  /* NULL: none */
};
void stream_generation_at(const struct stream *st, uint64_t step, struct generation_info *ret);
/* supply_stop - waits for all jobs to end; every step must have been given back. NULL is fine. */
void supply_stop(struct supply *s);

/* supply_step - a reference to a step, made or about to be; NULL: no memory.   supply_step_unref - give it
 * back. */
struct step *supply_step(struct supply *s, struct stream *st, uint64_t number);
void supply_step_unref(struct supply *s, struct step *step);

struct stream *supply_find(struct supply *s, const char *name);
struct stream *supply_next(struct supply *s,
                           struct stream *after); /* NULL: the first; returns NULL after the last */

const char *stream_name(const struct stream *st);
const struct recipe *stream_recipe(const struct stream *st); /* of the newest generation in effect */
uint64_t stream_steps(const struct stream *st);       /* in all, STREAM_UNKNOWN until the end has been seen */
uint64_t stream_dropped(const struct stream *st);     /* rows of the last partial step that are not sent */
uint64_t stream_known_steps(const struct stream *st); /* steps that can be looked up: 0 .. this - 1 */
/* stream_step_known - can this step's rows be looked up, or have windows to be made first, to find them? */
bool stream_step_known(const struct stream *st, uint64_t step);
/* stream_epoch_of - the epoch that a step's first row is of; false: its rows cannot be looked up. */
bool stream_epoch_of(const struct stream *st, uint64_t step, uint64_t *ret);
/* stream_seconds_to - an estimate of the time until a step that is beyond the ledger can be looked up, if all
 * workers are at it; negative: not known. */
double stream_seconds_to(const struct stream *st, uint64_t step);
/* The stream cannot go on: its newest generation has failed. NULL while it goes on. An older generation may
 * fail alone, and its steps with it. */
const char *stream_failure(const struct stream *st);
const char *step_failure(const struct step *step); /* of a step that is STEP_FAILED */
/* Why the ledger is not kept on disk; NULL: it is. */
const char *stream_ledger_failure(const struct stream *st);

/* What was made and what was not sent, since the stream began as far as the ledger knows it. */
struct stream_counts {
    uint64_t windows, rows, documents, tokens, supervised, row_tokens; /* row_tokens: with padding */
    uint64_t slots;                                                    /* records looked at */
    uint64_t unusable[UNUSABLE__COUNT];
    uint64_t truncated, split;
    uint64_t left_out; /* parts of records that are not text */
    uint64_t outcome[POS_OUTCOME__COUNT];
};
void stream_get_counts(const struct stream *st, struct stream_counts *ret);

/* What training sees of distances (position/coverage.h): of windows made since the process began, each
 * counted once. Pairs are real numbers, as they may become very many. */
struct stream_coverage {
    uint32_t generation;
    uint64_t first_step;
    int64_t since_s;  /* when counting began, Unix time */
    uint64_t windows; /* counted, of those that its ledger knows: */
    uint64_t windows_known;
    const struct recipe *recipe; /* borrowed until the next change */
    struct stream_distances {
        double pairs[COVERAGE_BUCKETS];
        uint64_t documents, sampled;
        uint32_t largest;
    } ordinary, here[POS__COUNT]; /* by strategy */
};
/* stream_get_coverage - of a generation; 0: the newest of which anything was counted. Borrowed until the next
 * call of supply; NULL: there is no such generation, or nothing of it was counted. */
const struct stream_coverage *stream_get_coverage(const struct stream *st, uint32_t generation);

/* The first STREAM_QUARANTINE records not used by the generation of a step, in the order of the stream.
 * Borrowed until the next call of supply. */
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
void stream_get_quarantine(const struct stream *st, uint64_t step, const struct quarantined **ret,
                           uint32_t *ret_n);

struct supply_stats {
    uint64_t memory, memory_used; /* bytes: bound, windows held and being made */
    uint32_t windows_held, windows_making, steps_pending;
    uint64_t windows_made, windows_made_again;
};
void supply_get_stats(const struct supply *s, struct supply_stats *ret);

#endif
