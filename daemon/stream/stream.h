/* stream - one stream's own state: its recipe, its ledger, and how far its windows are known. Private to this
 * folder.
 *
 * The frontier is the first window that the ledger does not know. Frontier windows are made in any order and
 * entered in the ledger in their own.
 *
 * Owner:   the thread that owns the supply.
 */
#ifndef SKIPALIGN_STREAM_STREAM_H
#define SKIPALIGN_STREAM_STREAM_H

#include "stream/ledger.h"
#include "stream/supply.h"

struct stream {
    struct stream *next;
    struct recipe *recipe;
    struct order *order;
    struct ledger *ledger;
    bool ledger_replaced;
    struct order_cursor cursor;
    bool ended;                     /* the ledger holds all windows there are */
    uint64_t planned, planned_slot; /* the next window to plan past the ledger, and its first slot */
    LIST_HEAD(, step) live;         /* steps that somebody holds */
    struct corpus_use {
        uint64_t looked_at, unusable; /* records, since the stream's start */
    } * use;                          /* [recipe->n_corpora] */
    struct err failure;               /* text empty: none */
};

int stream_new(struct recipe *r, const char *state_dir, struct stream **ret, struct err *reterr);
void stream_free(struct stream *st); /* NULL is fine */

/* stream_enter - the next window of the frontier (number == ledger_windows) has been made: into the ledger
 * with it. Fails the stream where the window could not be made, or too many records of a corpus cannot be
 * used. */
void stream_enter(struct stream *st, const struct window *w);
void stream_fail(struct stream *st, const char *why);

/* stream_place - which windows hold the rows of a step, as far as the ledger knows. */
enum stream_place { PLACE_KNOWN, PLACE_BEYOND, PLACE_PAST_END };
enum stream_place stream_place(const struct stream *st, uint64_t step, uint64_t *ret_first,
                               uint64_t *ret_last);

#endif
