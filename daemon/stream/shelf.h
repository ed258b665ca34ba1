/* shelf - the windows that are in memory, or on their way there, within a bound.
 *
 * A window is made for a claim: a step that waits, a step in its turn to go beyond the bound, or what is
 * likely to be wanted next. It stays until the memory is wanted for another. Private to this folder.
 *
 * Owner:   the thread that owns the supply.
 */
#ifndef SKIPALIGN_STREAM_SHELF_H
#define SKIPALIGN_STREAM_SHELF_H

#include "stream/generation.h"

#include <sys/queue.h>

#define SHELF_BUCKETS 1024u

struct shelf;

struct held {
    struct shelf *shelf;
    struct generation *of;
    uint64_t number;
    struct window *window; /* NULL while it is being made */
    uint32_t pins;         /* pending steps that need it */
    bool ahead;            /* made ahead, and no step has needed it so far */
    /* private */
    bool dropped;               /* while it was being made: nobody finds it any more */
    struct window_order *order; /* NULL once it is made */
    struct job job;
    uint64_t bytes;    /* expected, then real */
    struct held *next; /* in its bucket */
    TAILQ_ENTRY(held) in_use;
};

struct shelf {
    struct workers *workers;
    struct reader *reader;
    struct pool *pool;
    void (*made)(void *arg, struct held *); /* NULL: a dropped one, its memory has come free */
    void *arg;
    TAILQ_HEAD(, held) in_use; /* longest not used first */
    struct held *buckets[SHELF_BUCKETS];
    uint64_t memory, used; /* bytes */
    uint32_t n_held, n_making;
    uint64_t n_made, n_made_again;
    bool full; /* a step was refused memory: those behind it get none, and nothing is made ahead */
};

/* shelf_init - pool: of all memory; outlives the windows. memory: bytes. made: called when a window has been
 * made, or could not be (window->rc); with NULL when one is through that was dropped. */
void shelf_init(struct shelf *s, struct workers *w, struct reader *r, struct pool *pool, uint64_t memory,
                void (*made)(void *arg, struct held *), void *arg);
void shelf_fini(struct shelf *s); /* waits for those on their way; nothing is pinned or held any more */

struct held *shelf_find(struct shelf *s, const struct generation *g, uint64_t number);
void shelf_touch(struct shelf *s, struct held *h); /* the last one to go */

/* Who wants memory: a step that nobody has asked for yet, a pending one, or the favoured one. */
enum claim { CLAIM_AHEAD, CLAIM_STEP, CLAIM_FAVOURED };

/* shelf_may_make - may a window be made now? As many are made at a time as there are workers, and one more is
 * read: what more were begun would only take memory. */
bool shelf_may_make(const struct shelf *s, enum claim claim);
/* shelf_make_room - is there room for so many bytes more? If letting go of windows makes it so, the longest
 * not used go. The favoured step's room is made as far as it goes: it takes it in any case. */
bool shelf_make_room(struct shelf *s, uint64_t bytes, enum claim claim);
/* shelf_make - window `number` of a generation, from these slots. bytes: likely. NULL: no memory for it. */
struct held *shelf_make(struct shelf *s, struct generation *g, uint64_t number, uint64_t first_slot,
                        uint32_t n_slots, uint64_t bytes);

/* shelf_drop - let go of a generation's windows, none of which is pinned; those that are being made, too. */
void shelf_drop(struct shelf *s, const struct generation *g);

/* shelf_clear - let go of all windows of a stream that nobody pins; true: none are left. */
bool shelf_clear(struct shelf *s, const struct stream *st);

#endif
