/* generation - what a stream is from one step on until the next change: its recipe, its order, its ledger,
 * all counted from there. Private to this folder.
 *
 * Its start (where in the corpora it begins) is a function of the generation before, and is looked for when
 * somebody first wants one of its steps: from the file that saved it, or from the last step before it. Until
 * then there is neither order nor ledger.
 *
 * The frontier is the first window that the ledger does not know. Frontier windows are made in any order and
 * entered in the ledger in their own.
 *
 * Owner:   the thread that owns the supply.
 */
#ifndef SKIPALIGN_STREAM_GENERATION_H
#define SKIPALIGN_STREAM_GENERATION_H

#include "stream/carry.h"
#include "stream/covered.h"
#include "stream/doubt.h"
#include "stream/ledger.h"
#include "stream/start.h"
#include "stream/supply.h"

#define GENERATION_PACE 8

struct generation {
    struct stream *stream;
    char *folder; /* of the stream; borrowed */
    uint32_t number;
    uint64_t first_step, end_step; /* end_step: the next one's first; STREAM_UNKNOWN: this is the newest */
    struct recipe *recipe;         /* NULL: cannot be had */
    struct generation *lost; /* one that cannot be had: how far it was; NULL: not known, or it can be had */
    uint64_t fingerprint;    /* of all that its steps depend on, the generations before it included */
    struct start start;
    struct order *order;   /* NULL while the start is not known; */
    struct ledger *ledger; /* the same */
    struct step *origin;   /* the last step before it, held while the start is being found */
    struct order_cursor cursor;
    struct doubt doubt; /* where our own code was found wrong: of what it had made before; else zero */
    bool doubted;       /* this is so */
    bool ended;         /* the ledger holds all windows there are */
    uint64_t planned, planned_slot; /* the next window to plan past the ledger, and its first slot */
    struct corpus_use {
        uint64_t looked_at, unusable; /* records, since the generation's start */
    } * use;                          /* [recipe->n_corpora] */
    struct {
        uint64_t time_ns, rows;
    } pace[GENERATION_PACE]; /* when the last windows were entered */
    uint32_t n_entered;
    struct covered covered;
    struct err failure; /* text empty: none */
};

/* generation_new - begins at once where it can: at step 0, or where its start was saved.
 * before:   in effect before it, NULL: none.   folder: of the stream, borrowed.
 * Errors:   -ENOMEM; the ledger cannot be opened. */
int generation_new(struct stream *st, const char *folder, const struct generation_setup *setup,
                   const struct generation *before, struct generation **ret, struct err *reterr);
void generation_free(struct generation *g); /* NULL is fine */

/* generation_begin - the start, from what was before. last: its last step; READY, or FAILED: then nothing can
 * be carried over but how far the corpora were read, and that is what the file says from now on. Where that
 * is not known either, this generation fails. */
void generation_begin(struct generation *g, const struct generation *before, const struct step *last);

/* generation_enter - the next window of the frontier (number == ledger_windows) has been made: into the
 * ledger with it. Fails the generation where the window could not be made, or too many records of a corpus
 * cannot be used. */
void generation_enter(struct generation *g, const struct window *w);
void generation_fail(struct generation *g, const char *why);

/* generation_doubt - its tokenizer's own code has been found wrong. Windows of which something was handed out
 * stay as they lie; those after them are planned anew, unless another generation goes on from where they end.
 * handed_out: 1 + the stream's highest step that was, 0: none.
 * Errors: it could not be remembered on the disk; in memory it is. */
int generation_doubt(struct generation *g, uint64_t handed_out, struct err *reterr);
bool generation_failed(const struct generation *g);

/* ---- of one that has begun ---- */
/* generation_steps - that the ledger reaches, from its first step on; all it has where it has ended. */
uint64_t generation_steps(const struct generation *g);
/* generation_first_row - of window w; beyond the ledger an estimate. */
uint64_t generation_first_row(const struct generation *g, uint64_t w);
/* generation_planned_rows - of all windows planned so far; of those past the ledger an estimate, by how many
 * rows slots have given so far. */
uint64_t generation_planned_rows(const struct generation *g);
/* generation_rows - that lie before its end; UINT64_MAX where there is none.   generation_rows_to - before a
 * step that is not below its first; UINT64_MAX where there are more. */
uint64_t generation_rows(const struct generation *g);
uint64_t generation_rows_to(const struct generation *g, uint64_t step);
/* generation_rows_a_second - at which windows were entered of late; 0: not known. */
double generation_rows_a_second(const struct generation *g);

#endif
