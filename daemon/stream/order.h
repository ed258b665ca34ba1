/* order - which record comes next: slot number -> (corpus, pass, record), in O(1), with nothing shuffled in
 * memory.
 *
 * An epoch has sum(round(repeat * records)) slots. They are dealt to the corpora exactly: of the first i
 * slots corpus c gets a share that never strays by more than the number of corpora from i * its weight, and
 * inside each block of ORDER_BLOCK slots the turns are shuffled by a seeded permutation. The k-th turn of a
 * corpus, counted from the stream's start, is position k % records of its pass k / records; a pass visits
 * every record once, in an order given by a seeded bijection (a Feistel network over the next power of four,
 * walked until it lands inside).
 *
 * Threads: an order is immutable; any. An order_cursor belongs to one thread.
 */
#ifndef SKIPALIGN_STREAM_ORDER_H
#define SKIPALIGN_STREAM_ORDER_H

#include <stdint.h>

#define ORDER_BLOCK 1024
#define ORDER_CORPORA_MAX 1024

struct order_corpus {
    uint32_t hash;    /* of its name, see rng.h */
    uint64_t records; /* 1..2^32 - 1 */
    uint64_t slots;   /* an epoch */
};

struct slot {
    uint32_t corpus; /* index */
    uint32_t pass;
    uint64_t record;
};

struct order;

/* order_new - n in 1..ORDER_CORPORA_MAX, slots >= 1 each. */
struct order *order_new(uint64_t seed, const struct order_corpus *corpora, uint32_t n); /* NULL: no memory */
void order_free(struct order *o);
uint64_t order_epoch_slots(const struct order *o);

/* order_get - the slot number `slot`; a walk through neighbouring slots is fast: the cursor keeps the block
 * at hand. Zero a cursor before its first use. */
struct order_cursor {
    uint64_t start; /* first slot of the block at hand, over all epochs */
    uint32_t n;     /* its slots; 0: none at hand */
    uint16_t corpus[ORDER_BLOCK];
    uint64_t turn[ORDER_BLOCK]; /* of that corpus, from the stream's start */
};
void order_get(const struct order *o, struct order_cursor *cur, uint64_t slot, struct slot *ret);

/* order_turns - how many turns corpus c has had before a slot; exact at an epoch's and a block's start,
 * elsewhere off by less than ORDER_BLOCK. */
uint64_t order_turns(const struct order *o, uint32_t c, uint64_t slot);

/* order_permute - the bijection itself: position i of n -> record. */
uint64_t order_permute(uint64_t seed, uint32_t corpus, uint32_t pass, uint64_t n, uint64_t i);

#endif
