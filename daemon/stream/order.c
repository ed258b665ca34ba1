#include "stream/order.h"

#include "base/err.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

/* Order and positions draw from the same seed; these keep their random numbers apart. */
#define PERMUTE_KEY 0x7065726d75746521ull
#define DEAL_KEY 0x6465616c73206974ull

struct order {
    uint64_t seed, slots; /* slots of an epoch */
    uint32_t n;
    struct {
        struct order_corpus is;
        uint64_t rest; /* slots of this and all later corpora */
    } corpora[];
};

struct order *order_new(uint64_t seed, const struct order_corpus *corpora, uint32_t n)
{
    struct order *o = calloc(1, sizeof *o + n * sizeof o->corpora[0]);
    if (o == NULL)
        return NULL;
    o->seed = seed;
    o->n = n;
    for (uint32_t c = n; c-- > 0;) {
        o->slots += corpora[c].slots;
        o->corpora[c].is = corpora[c];
        o->corpora[c].rest = o->slots;
    }
    return o;
}

void order_free(struct order *o)
{
    free(o);
}

uint64_t order_epoch_slots(const struct order *o)
{
    return o->slots;
}

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* A balanced Feistel network is a bijection on 2k bits whatever its round function. Values outside 0..n-1 are
 * sent through again until one lands inside (cycle walking): at most four times as many values exist, so that
 * is soon. Source: Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002; mix(): Wellons'
 * lowbias32. */
uint64_t order_permute(uint64_t seed, uint32_t corpus, uint32_t pass, uint64_t n, uint64_t i)
{
    uint32_t keys[8];
    uint64_t key = seed ^ PERMUTE_KEY;
    const uint32_t words[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    rng_philox((const uint32_t[4]){pass, corpus, 0, 0}, words, keys);
    rng_philox((const uint32_t[4]){pass, corpus, 0, 1}, words, keys + 4);

    uint32_t bits = 1;
    while (bits < 32 && n > 1ull << 2 * bits)
        bits++;
    const uint64_t mask = (1ull << bits) - 1;
    do {
        uint64_t left = i >> bits, right = i & mask;
        for (int round = 0; round < 8; round++) {
            uint64_t next = (left ^ mix((uint32_t)right + keys[round])) & mask;
            left = right;
            right = next;
        }
        i = left << bits | right;
    } while (i >= n);
    return i;
}

/* Of an epoch's first i slots, how many are corpus c's, for each c in turn: *left starts as i. Each corpus
 * takes its floor of what those before it left; as a share of a growing number never shrinks, neither does
 * any count, and at the epoch's end all are exact. */
static uint64_t take_share(const struct order *o, uint32_t c, uint64_t *left)
{
    uint64_t share = (uint64_t)((unsigned __int128)*left * o->corpora[c].is.slots / o->corpora[c].rest);
    *left -= share;
    return share;
}

uint64_t order_turns(const struct order *o, uint32_t c, uint64_t slot)
{
    uint64_t left = slot % o->slots, turns = 0;
    for (uint32_t i = 0; i <= c; i++)
        turns = take_share(o, i, &left);
    return slot / o->slots * o->corpora[c].is.slots + turns;
}

static void load_block(const struct order *o, struct order_cursor *cur, uint64_t epoch, uint64_t block)
{
    uint64_t start = block * ORDER_BLOCK,
             end = start + ORDER_BLOCK < o->slots ? start + ORDER_BLOCK : o->slots;
    uint64_t left_start = start, left_end = end, turn[ORDER_CORPORA_MAX];
    uint32_t n = 0;
    for (uint32_t c = 0; c < o->n; c++) {
        turn[c] = take_share(o, c, &left_start);
        for (uint64_t k = take_share(o, c, &left_end); k > turn[c]; k--)
            cur->corpus[n++] = (uint16_t)c;
        turn[c] += epoch * o->corpora[c].is.slots;
    }
    CHECK(n == end - start);

    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = o->seed ^ DEAL_KEY,
                                    .pass = (uint32_t)epoch,
                                    .corpus = (uint32_t)block,
                                    .record = (uint32_t)(block >> 32)});
    for (uint32_t k = n; k > 1; k--) {
        uint32_t j = rng_below(&rng, k);
        uint16_t swap = cur->corpus[k - 1];
        cur->corpus[k - 1] = cur->corpus[j];
        cur->corpus[j] = swap;
    }
    for (uint32_t k = 0; k < n; k++)
        cur->turn[k] = turn[cur->corpus[k]]++;
    cur->start = epoch * o->slots + start;
    cur->n = n;
}

void order_get(const struct order *o, struct order_cursor *cur, uint64_t slot, struct slot *ret)
{
    if (slot - cur->start >= cur->n) {
        uint64_t in_epoch = slot % o->slots;
        load_block(o, cur, slot / o->slots, in_epoch / ORDER_BLOCK);
    }
    uint32_t c = cur->corpus[slot - cur->start];
    uint64_t turn = cur->turn[slot - cur->start];
    const struct order_corpus *is = &o->corpora[c].is;
    ret->corpus = c;
    ret->pass = (uint32_t)(turn / is->records);
    ret->record = order_permute(o->seed, is->hash, ret->pass, is->records, turn % is->records);
}
