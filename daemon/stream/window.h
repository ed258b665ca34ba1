/* window - some consecutive slots of a stream, made into rows: the unit of work and of memory.
 *
 * Where a window ends depends on the index alone (slots and bytes, never on what is inside), it never crosses
 * an epoch or what was left over before it, and its rows depend on nothing outside it. So windows are made in
 * any order by any worker, and a stream is simply the rows of window 0, 1, 2, ...: step s is rows [s*G,
 * (s+1)*G).
 *
 * A window holds tokens once, compactly; batches are written from it (feed/frame.h) for any world.
 * Threads: immutable once made; counted, any thread may hold it.
 */
#ifndef SKIPALIGN_STREAM_WINDOW_H
#define SKIPALIGN_STREAM_WINDOW_H

#include "base/pool.h"
#include "corpus/reader.h"
#include "corpus/record.h"
#include "position/coverage.h"
#include "stream/order.h"
#include "stream/recipe.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct window_block {
    uint32_t n_tokens;
    uint32_t role; /* enum role */
};

struct window_doc {
    uint64_t first_token; /* in tokens[] */
    uint32_t n_tokens, n_supervised;
    uint32_t first_run, n_runs;     /* position ids, in runs[] */
    uint32_t first_span, n_spans;   /* supervised tokens, in spans[] */
    uint32_t first_block, n_blocks; /* in blocks[] */
    uint32_t corpus, pass;
    uint32_t outcome;  /* enum pos_outcome */
    uint32_t strategy; /* enum pos_strategy: the one that it was given */
    uint64_t record;
    struct piece piece; /* what it is of the record, so that it can be made again; all of one that was cut */
};

struct window_row {
    uint32_t first_doc, n_docs; /* in row_docs[] */
    uint32_t n_tokens, n_supervised;
};

struct window_unusable {
    uint32_t corpus, pass;
    uint64_t record;
    enum unusable reason;
    char detail[RECORD_DETAIL];
};

/* Distances between ids in the window's documents, and what they would be without skipping. */
struct window_distances {
    struct coverage ordinary, here[POS__COUNT]; /* by strategy */
};

struct window {
    struct recipe *recipe;
    uint64_t number, first_slot, epoch;
    uint32_t n_slots;
    int32_t *tokens;
    struct pos_run *runs;
    struct pos_span *spans;
    struct window_block *blocks;
    struct window_doc *docs;
    struct window_row *rows;
    uint32_t *row_docs;
    struct window_unusable *unusable;
    size_t n_tokens, n_runs, n_spans, n_blocks, n_docs, n_rows, n_unusable;
    uint32_t truncated, split;
    uint32_t left_out;                  /* parts of records: see struct sample */
    struct window_distances *distances; /* until the supply's thread has counted them, then NULL: its own */
    bool own;                           /* ids of our own code may be in it, see tokenizer_own */
    int rc;                             /* not 0: could not be made; */
    struct err error;                   /* why */
    /* private */
    void *block; /* that all arrays lie in */
    atomic_uint refs;
};

/* window_plan - how many slots the window has that starts at first_slot; 0: the stream has ended there.
 * *ret_bytes: memory that it is likely to need while it is made. */
uint32_t window_plan(const struct recipe *r, const struct order *o, struct order_cursor *cur,
                     uint64_t first_slot, uint64_t *ret_bytes);

/* window_bytes_likely - the same for a window that has been made before. */
uint64_t window_bytes_likely(uint64_t n_tokens, uint64_t n_slots);

/* window_draft - a window that grows. What it has room for stays from one window to the next: it is not given
 * away, window_seal copies what is in it.
 * Owner: the caller; zeroed at first, window_draft_fini frees its arrays. */
struct window_draft {
    struct window w;
    size_t tokens_cap, runs_cap, spans_cap, blocks_cap, docs_cap, rows_cap, row_docs_cap, unusable_cap;
};
/* window_begin - the draft is empty, for the slots of w.   window_seal - all of it to w, in one block of the
 * pool that w is of.   Errors: -ENOMEM. */
void window_begin(struct window_draft *d, const struct window *w);
int window_seal(struct window_draft *d, struct window *w);
void window_draft_fini(struct window_draft *d);

/* window_order - an empty window and the records that it is to be made of, for kitchen_make. NULL: no memory.
 * pool: of its memory and the window's, outlives both.
 * Owner: the caller; window_order_free leaves the window alone. */
struct window_slot {
    struct slot slot;
    double progress; /* see order_progress */
    uint32_t read; /* index into reads, pieces of one record share it; UINT32_MAX: larger than record_max, not
                      read */
    bool plain;    /* see corpus_extent */
    bool duplicate; /* not read either */
};

struct window_order {
    struct window *window;
    struct window_slot *slots; /* [window->n_slots]; in the same block, as the reads are */
    struct fetch fetch;
    /* It was handed out before, or may have been, and its rows lie as our own code had them, so many of so
     * many tokens (UINT64_MAX: not known). Set by the caller. */
    bool as_before;
    uint64_t rows_before, tokens_before;
    void *arg; /* the caller's */
};
struct window_order *window_order_new(struct pool *pool, struct recipe *r, const struct order *o,
                                      struct order_cursor *cur, uint64_t number, uint64_t first_slot,
                                      uint32_t n_slots);
void window_order_free(struct window_order *o); /* NULL is fine */

struct window *window_ref(struct window *w);
void window_unref(struct window *w); /* NULL is fine; any thread */
/* window_twin - an empty one of the same slots; NULL: no memory. */
struct window *window_twin(const struct window *w);
/* window_doubted - are ids in it that our own code made, which was found wrong since? Nobody may have them.
 */
bool window_doubted(const struct window *w);
uint64_t window_bytes(const struct window *w);

#endif
