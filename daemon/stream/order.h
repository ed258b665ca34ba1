/* order - which record comes next: slot number -> (corpus, pass, record), in O(1), with nothing shuffled in
 * memory.
 *
 * An order begins with slots that are given to it (what was left over of the order before), goes on with the
 * rest of an epoch and then with whole epochs. A whole epoch has sum(round(repeat * records)) slots. They are
 * dealt to the corpora exactly: of the first i slots corpus c gets a share that never strays by more than the
 * number of corpora from i * its weight, and inside each block of ORDER_BLOCK slots the turns are shuffled by
 * a seeded permutation. The k-th turn of a corpus that begins at position `at` of pass `pass` is position
 * (at + k) % records of pass + (at + k) / records; a pass visits every record once, in an order given by a
 * seeded bijection (a Feistel network over the next power of four, walked until it lands inside). Slots that
 * are given take no turns.
 *
 * Threads: an order is immutable; any. An order_cursor belongs to one thread.
 */
#ifndef SKIPALIGN_STREAM_ORDER_H
#define SKIPALIGN_STREAM_ORDER_H

#include <stdint.h>

#define ORDER_BLOCK 1024
#define ORDER_CORPORA_MAX 1024

struct order_corpus {
    uint32_t hash;        /* of its name, see rng.h */
    uint64_t records;     /* 1..2^32 - 1 */
    uint64_t slots;       /* a whole epoch */
    uint64_t first_slots; /* in the epoch that the order begins in */
    uint32_t pass;        /* where its first turn is: this pass, */
    uint64_t at;          /* this position; 0..records */
    uint64_t pass_seed;   /* of the pass it begins in; later ones have the order's seed */
};

/* What of a record: of its `of` parts those from..to; to == 0: all of it. The parts of a dialogue are its
 * (instruction, response) pairs, those of a text its tokens. Where a record has another number of them now
 * (another tokenizer), the piece is taken in proportion. */
struct piece {
    uint32_t from, to, of;
    uint32_t part; /* rng_key.part of its first document */
};

struct slot {
    uint32_t corpus; /* index */
    uint32_t pass;
    uint64_t record;
    struct piece piece; /* of a dealt slot: all of it */
};

struct order;

/* order_new
 * corpora:  n in 1..ORDER_CORPORA_MAX; slots >= 1 each.   first_epoch: the epoch that it begins in.
 * epochs:   in all, counted from epoch 0; 0: for ever.   left: what comes first, n_left of them, copied. */
struct order *order_new(uint64_t seed, const struct order_corpus *corpora, uint32_t n, uint64_t first_epoch,
                        uint64_t epochs, const struct slot *left, uint32_t n_left); /* NULL: no memory */
void order_free(struct order *o);

uint64_t order_slots(const struct order *o);       /* in all; UINT64_MAX: for ever */
uint64_t order_epoch_slots(const struct order *o); /* of a whole epoch */
/* order_epoch - the one that a slot is in; those left over are in the one that the order begins in. */
uint64_t order_epoch(const struct order *o, uint64_t slot);
/* order_progress - how far the stream has come at a slot, in epochs: 1.25 is a quarter into the second. It
 * never goes back; those left over are where the order begins. */
double order_progress(const struct order *o, uint64_t slot);
/* order_room - how many slots from this one on belong together: to the end of those left over, of the epoch,
 * or of all, whichever is next. 0: the order has ended. */
uint64_t order_room(const struct order *o, uint64_t slot);

/* order_get - the slot number `slot`; a walk through neighbouring slots is fast, also one that goes back to
 * where a window begins: the cursor keeps the last two blocks. Zero a cursor before its first use with an
 * order. */
struct order_block {
    uint64_t start; /* first slot */
    uint32_t n;     /* slots; 0: none */
    uint16_t corpus[ORDER_BLOCK];
    uint32_t pass[ORDER_BLOCK];
    uint64_t record[ORDER_BLOCK];
};
struct order_cursor {
    struct order_block blocks[2];
    uint32_t last; /* of the two, the one that was made last */
};
void order_get(const struct order *o, struct order_cursor *cur, uint64_t slot, struct slot *ret);

/* order_where - where each corpus stands before slot `slot`, which is at most order_slots: ret[n of
 * order_new]. *ret_epoch: the epoch that the slot is in; at the end of one it is the next. A pass that has
 * been read to its end counts as the next one, at 0: nothing of a pass that stands at 0 has been dealt. */
struct order_place {
    uint32_t pass;
    uint64_t at; /* 0..records - 1 */
    uint64_t pass_seed;
    uint64_t left; /* turns left in that epoch */
};
void order_where(const struct order *o, struct order_cursor *cur, uint64_t slot, uint64_t *ret_epoch,
                 struct order_place *ret);

/* order_turns - of the slots before `slot`, those left over included, how many are each corpus's: ret[n]. */
void order_turns(const struct order *o, struct order_cursor *cur, uint64_t slot, uint64_t *ret);

/* order_permute - the bijection itself: position i of n -> record. */
uint64_t order_permute(uint64_t seed, uint32_t corpus, uint32_t pass, uint64_t n, uint64_t i);

#endif
