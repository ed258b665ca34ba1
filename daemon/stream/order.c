#include "stream/order.h"

#include "base/err.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Order and positions draw from the same seed; these keep their random numbers apart. */
#define PERMUTE_KEY 0x7065726d75746521ull
#define DEAL_KEY 0x6465616c73206974ull

/* An epoch is dealt either as what is left of the first one or whole. */
enum deal { DEAL_FIRST, DEAL_WHOLE, DEAL__COUNT };

struct order {
    uint64_t seed, first_epoch, epochs;
    uint64_t slots[DEAL__COUNT]; /* of an epoch */
    struct slot *left;
    uint32_t n_left, n;
    struct {
        struct order_corpus is;
        uint64_t slots[DEAL__COUNT];
        uint64_t rest[DEAL__COUNT]; /* slots of this and all later corpora */
    } corpora[];
};

struct order *order_new(uint64_t seed, const struct order_corpus *corpora, uint32_t n, uint64_t first_epoch,
                        uint64_t epochs, const struct slot *left, uint32_t n_left)
{
    struct order *o = calloc(1, sizeof *o + n * sizeof o->corpora[0]);
    if (o == NULL)
        return NULL;
    if (n_left > 0 && (o->left = calloc(n_left, sizeof left[0])) == NULL) {
        free(o);
        return NULL;
    }
    if (n_left > 0)
        memcpy(o->left, left, n_left * sizeof left[0]);
    o->n_left = n_left;
    o->seed = seed;
    o->first_epoch = first_epoch;
    o->epochs = epochs;
    o->n = n;
    for (uint32_t c = n; c-- > 0;) {
        o->corpora[c].is = corpora[c];
        o->corpora[c].slots[DEAL_FIRST] = corpora[c].first_slots;
        o->corpora[c].slots[DEAL_WHOLE] = corpora[c].slots;
        for (int d = 0; d < DEAL__COUNT; d++) {
            o->slots[d] += o->corpora[c].slots[d];
            o->corpora[c].rest[d] = o->slots[d];
        }
    }
    return o;
}

void order_free(struct order *o)
{
    if (o == NULL)
        return;
    free(o->left);
    free(o);
}

uint64_t order_slots(const struct order *o)
{
    uint64_t whole, all;
    if (o->epochs == 0)
        return UINT64_MAX;
    if (o->first_epoch >= o->epochs)
        return o->n_left;
    if (__builtin_mul_overflow(o->epochs - o->first_epoch - 1, o->slots[DEAL_WHOLE], &whole) ||
        __builtin_add_overflow(whole, o->slots[DEAL_FIRST] + o->n_left, &all))
        return UINT64_MAX;
    return all;
}

uint64_t order_epoch_slots(const struct order *o)
{
    return o->slots[DEAL_WHOLE];
}

/* Where in which epoch a dealt slot is. */
struct place {
    enum deal deal;
    uint64_t epoch, slot, n_slots;
    uint64_t whole; /* epochs dealt whole before it */
};

static struct place place_of(const struct order *o, uint64_t slot)
{
    uint64_t i = slot - o->n_left, first = o->slots[DEAL_FIRST], n = o->slots[DEAL_WHOLE];
    if (i < first)
        return (struct place){DEAL_FIRST, o->first_epoch, i, first, 0};
    i -= first;
    return (struct place){DEAL_WHOLE, o->first_epoch + 1 + i / n, i % n, n, i / n};
}

uint64_t order_epoch(const struct order *o, uint64_t slot)
{
    return slot < o->n_left ? o->first_epoch : place_of(o, slot).epoch;
}

double order_progress(const struct order *o, uint64_t slot)
{
    struct place p = {DEAL_FIRST, o->first_epoch, 0, o->slots[DEAL_FIRST], 0};
    if (slot >= o->n_left)
        p = place_of(o, slot);
    uint64_t whole = o->slots[DEAL_WHOLE], left = p.n_slots - p.slot;
    return (double)p.epoch + (double)(left < whole ? whole - left : 0) / (double)whole;
}

uint64_t order_room(const struct order *o, uint64_t slot)
{
    if (slot < o->n_left)
        return o->n_left - slot;
    if (slot >= order_slots(o))
        return 0;
    struct place p = place_of(o, slot);
    return p.n_slots - p.slot;
}

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* One pass over a corpus of n records. */
struct bijection {
    uint64_t n;
    uint32_t bits, keys[8];
};

static void bijection_init(struct bijection *b, uint64_t seed, uint32_t corpus, uint32_t pass, uint64_t n)
{
    uint64_t key = seed ^ PERMUTE_KEY;
    const uint32_t words[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    rng_philox((const uint32_t[4]){pass, corpus, 0, 0}, words, b->keys);
    rng_philox((const uint32_t[4]){pass, corpus, 0, 1}, words, b->keys + 4);
    b->n = n;
    b->bits = 1;
    while (b->bits < 32 && n > 1ull << 2 * b->bits)
        b->bits++;
}

/* A balanced Feistel network is a bijection on 2k bits whatever its round function.
 * Source: Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002; mix(): Wellons' lowbias32.
 */
static void permute(const struct bijection *b, uint32_t *values, uint32_t n)
{
    const uint32_t mask = (uint32_t)((1ull << b->bits) - 1);
    for (uint32_t k = 0; k < n; k++) { /* several at once, in a CPU's vectors */
        uint32_t left = values[k] >> b->bits, right = values[k] & mask;
        for (int round = 0; round < 8; round++) {
            uint32_t next = (left ^ mix(right + b->keys[round])) & mask;
            left = right;
            right = next;
        }
        values[k] = left << b->bits | right;
    }
}

/* The records at positions records[0..n), in their places. Values outside 0..b->n - 1 are sent through again
 * until they land inside (cycle walking): at most four times as many values exist, so that is soon. */
static void bijection_get(const struct bijection *b, uint32_t *records, uint32_t n)
{
    uint32_t values[ORDER_BLOCK];
    uint16_t of[ORDER_BLOCK];
    for (uint32_t k = 0; k < n; k++) {
        values[k] = records[k];
        of[k] = (uint16_t)k;
    }
    while (n > 0) {
        uint32_t outside = 0;
        permute(b, values, n);
        for (uint32_t k = 0; k < n; k++) {
            if (values[k] < b->n) {
                records[of[k]] = values[k];
                continue;
            }
            values[outside] = values[k];
            of[outside++] = of[k];
        }
        n = outside;
    }
}

uint64_t order_permute(uint64_t seed, uint32_t corpus, uint32_t pass, uint64_t n, uint64_t i)
{
    struct bijection b;
    uint32_t record = (uint32_t)i;
    bijection_init(&b, seed, corpus, pass, n);
    bijection_get(&b, &record, 1);
    return record;
}

/* Of an epoch's first i slots, how many are corpus c's, for each c in turn: *left starts as i. Each corpus
 * takes its floor of what those before it left; as a share of a growing number never shrinks, neither does
 * any count, and at the epoch's end all are exact. */
static uint64_t take_share(const struct order *o, enum deal deal, uint32_t c, uint64_t *left)
{
    uint64_t slots = o->corpora[c].slots[deal], rest = o->corpora[c].rest[deal];
    if (slots == 0)
        return 0;
    uint64_t share = (uint64_t)((unsigned __int128)*left * slots / rest);
    *left -= share;
    return share;
}

/* Turns of corpus c, from the order's start, before an epoch. */
static uint64_t turns_before(const struct order *o, const struct place *p, uint32_t c)
{
    return p->deal == DEAL_FIRST
               ? 0
               : o->corpora[c].slots[DEAL_FIRST] + p->whole * o->corpora[c].slots[DEAL_WHOLE];
}

/* Position k after a corpus's first. */
static struct order_place walk(const struct order *o, uint32_t c, uint64_t k)
{
    const struct order_corpus *is = &o->corpora[c].is;
    uint64_t at = is->at + k;
    uint32_t pass = is->pass + (uint32_t)(at / is->records);
    return (struct order_place){
        .pass = pass, .at = at % is->records, .pass_seed = pass == is->pass ? is->pass_seed : o->seed};
}

/* Which corpus each slot of the block is of, in seeded order; *ret_turn: the first turn of each. */
static void deal_block(const struct order *o, const struct place *p, uint64_t block, struct order_block *b,
                       uint64_t *ret_turn)
{
    uint64_t left_start = block * ORDER_BLOCK, left_end = left_start + b->n;
    uint32_t n = 0;
    for (uint32_t c = 0; c < o->n; c++) {
        uint64_t turn = take_share(o, p->deal, c, &left_start);
        for (uint64_t k = take_share(o, p->deal, c, &left_end); k > turn; k--)
            b->corpus[n++] = (uint16_t)c;
        ret_turn[c] = turn + turns_before(o, p, c);
    }
    CHECK(n == b->n);

    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = o->seed ^ DEAL_KEY,
                                    .pass = (uint32_t)p->epoch,
                                    .corpus = (uint32_t)block,
                                    .record = (uint32_t)(block >> 32)});
    for (uint32_t k = n; k > 1; k--) {
        uint32_t j = rng_below(&rng, k);
        uint16_t swap = b->corpus[k - 1];
        b->corpus[k - 1] = b->corpus[j];
        b->corpus[j] = swap;
    }
}

/* Slots of a block that are of one pass over a corpus: their records are found together. */
struct draw {
    uint32_t corpus, pass, n;
    struct bijection of;
    uint32_t record[ORDER_BLOCK];
    uint16_t slot[ORDER_BLOCK];
};

/* A pass is drawn once for a block where few corpora are mixed. */
#define DRAWS 8

static void end_draw(struct draw *d, struct order_block *b)
{
    bijection_get(&d->of, d->record, d->n);
    for (uint32_t i = 0; i < d->n; i++)
        b->record[d->slot[i]] = d->record[i];
    d->n = 0;
}

static void find_records(const struct order *o, struct order_block *b, uint64_t *turn)
{
    struct draw draws[DRAWS];
    for (uint32_t i = 0; i < DRAWS; i++)
        draws[i].n = 0;
    for (uint32_t k = 0; k < b->n; k++) {
        uint32_t c = b->corpus[k];
        struct draw *d = &draws[c % DRAWS];
        const struct order_corpus *is = &o->corpora[c].is;
        struct order_place at = walk(o, c, turn[c]++);
        if (d->n > 0 && (d->corpus != c || d->pass != at.pass))
            end_draw(d, b);
        if (d->n == 0) {
            d->corpus = c;
            d->pass = at.pass;
            bijection_init(&d->of, at.pass_seed, is->hash, at.pass, is->records);
        }
        b->pass[k] = at.pass;
        d->record[d->n] = (uint32_t)at.at;
        d->slot[d->n++] = (uint16_t)k;
    }
    for (uint32_t i = 0; i < DRAWS; i++)
        end_draw(&draws[i], b);
}

static const struct order_block *seek(const struct order *o, struct order_cursor *cur, uint64_t slot)
{
    uint64_t turn[ORDER_CORPORA_MAX];
    for (int i = 0; i < 2; i++)
        if (slot - cur->blocks[i].start < cur->blocks[i].n)
            return &cur->blocks[i];
    struct place p = place_of(o, slot);
    uint64_t block = p.slot / ORDER_BLOCK, left = p.n_slots - block * ORDER_BLOCK;
    struct order_block *b = &cur->blocks[cur->last ^= 1];
    b->n = left < ORDER_BLOCK ? (uint32_t)left : ORDER_BLOCK;
    b->start = slot - p.slot % ORDER_BLOCK;
    deal_block(o, &p, block, b, turn);
    find_records(o, b, turn);
    return b;
}

void order_get(const struct order *o, struct order_cursor *cur, uint64_t slot, struct slot *ret)
{
    if (slot < o->n_left) {
        *ret = o->left[slot];
        return;
    }
    const struct order_block *b = seek(o, cur, slot);
    uint64_t k = slot - b->start;
    *ret = (struct slot){.corpus = b->corpus[k], .pass = b->pass[k], .record = b->record[k]};
}

/* Turns that corpora have had, in the epoch at hand, before a place in it: whole blocks by their shares, and
 * what lies before it in its own block by counting. */
static void count_turns(const struct order *o, struct order_cursor *cur, uint64_t slot, const struct place *p,
                        uint64_t *ret)
{
    uint32_t into = (uint32_t)(p->slot % ORDER_BLOCK);
    uint64_t left = p->slot - into;
    for (uint32_t c = 0; c < o->n; c++)
        ret[c] = take_share(o, p->deal, c, &left);
    const struct order_block *b = into > 0 ? seek(o, cur, slot) : NULL;
    for (uint32_t k = 0; k < into; k++)
        ret[b->corpus[k]]++;
}

void order_where(const struct order *o, struct order_cursor *cur, uint64_t slot, uint64_t *ret_epoch,
                 struct order_place *ret)
{
    uint64_t turns[ORDER_CORPORA_MAX] = {0};
    struct place p = {DEAL_FIRST, o->first_epoch, 0, o->slots[DEAL_FIRST], 0};
    if (slot >= o->n_left) {
        p = place_of(o, slot);
        count_turns(o, cur, slot, &p, turns);
    }
    for (uint32_t c = 0; c < o->n; c++) {
        ret[c] = walk(o, c, turns_before(o, &p, c) + turns[c]);
        ret[c].left = o->corpora[c].slots[p.deal] - turns[c];
    }
    *ret_epoch = p.epoch;
}

void order_turns(const struct order *o, struct order_cursor *cur, uint64_t slot, uint64_t *ret)
{
    for (uint32_t c = 0; c < o->n; c++)
        ret[c] = 0;
    if (slot > o->n_left) {
        struct place p = place_of(o, slot);
        count_turns(o, cur, slot, &p, ret);
        for (uint32_t c = 0; c < o->n; c++)
            ret[c] += turns_before(o, &p, c);
    }
    for (uint32_t i = 0; i < o->n_left && i < slot; i++)
        ret[o->left[i].corpus]++;
}
