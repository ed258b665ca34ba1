#include "text/cache.h"

#include "base/array.h"
#include "text/hash.h"
#include "text/utf8.h"

#include <assert.h>
#include <endian.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A part of up to 15 bytes with up to 4 ids is kept in one of two places, which share a cache line: the one
 * met last is in front, and the other goes when a new one comes. */
#define KEY_BYTES 15
#define SLOT_IDS 4
#define LINES_SHIFT 47 /* of a hash, to one of 2^17 lines */
#define LINES (1u << (64 - LINES_SHIFT))

/* Rows of dashes, indentation and long names are kept in a table of their own, the last that was met at each
 * place: otherwise the few of them would take most of the time, in code. */
#define LONG_BYTES 126
#define LONG_IDS 16
#define LONG_SHIFT 51 /* of a hash, to one of 2^13 */
#define LONGS (1u << (64 - LONG_SHIFT))

/* Of text at a time: its starts and keys stay in the first level of the CPU's cache. */
#define BLOCK_BYTES 4096

/* Parts looked for at a time: memory answers while the others are hashed. */
#define BATCH 32

#define HUGE_PAGE (2u << 20)

static_assert(BLOCK_BYTES <= UINT16_MAX && BLOCK_BYTES > 2 * BPE_BYTES_MAX, "");

/* Little endian: bytes 0..7 of a part; bytes 8..14, after a byte which in a slot has the number of ids. 0xff
 * stands after its end, which no valid UTF-8 has; so a part that is too long, all 0xff, is never found, and
 * neither is what an empty slot has. */
struct key {
    uint64_t low, high;
};

static const struct key no_key = {UINT64_MAX, 0};

struct slot {
    struct key key; /* no_key: an empty one */
    int32_t ids[SLOT_IDS];
};

struct line {
    alignas(64) struct slot slots[2];
};

struct long_part {
    alignas(64) uint8_t size, n; /* size 0: an empty one */
    uint8_t text[LONG_BYTES];
    int32_t ids[LONG_IDS];
};

struct table {
    struct line lines[LINES];
    struct long_part longs[LONGS];
};

#define TABLE_BYTES ((sizeof(struct table) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE)

struct cache {
    struct table *table;
    uint16_t starts[BLOCK_BYTES + CUT_SLACK];
    uint8_t text[BLOCK_BYTES + CUT_SLACK];
};

static_assert(CUT_SLACK >= 16, "the key of the last part is loaded from beyond its end");

struct cache *cache_new(void)
{
    struct cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->table = aligned_alloc(HUGE_PAGE, TABLE_BYTES);
    if (c->table == NULL) {
        free(c);
        return NULL;
    }
    /* Places are met in no order: with small pages most look-ups would wait for the page table as well. */
    (void)madvise(c->table, TABLE_BYTES, MADV_HUGEPAGE);
    const struct slot empty = {.key = no_key};
    for (struct line *l = c->table->lines; l < c->table->lines + LINES; l++)
        *l = (struct line){{empty, empty}};
    memset(c->table->longs, 0, sizeof c->table->longs);
    return c;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    free(c->table);
    free(c);
}

size_t cache_memory(void)
{
    return sizeof(struct cache) + TABLE_BYTES;
}

static inline struct key make_key(const uint8_t *text, size_t size)
{
    static const uint8_t pad[32] = {[16] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff,        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct key k, after;
    memcpy(&k, text, sizeof k);
    memcpy(&after, pad + 16 - (size <= KEY_BYTES ? size : 0), sizeof after);
    return (struct key){le64toh(k.low | after.low), le64toh(k.high | after.high) << 8};
}

static inline struct line *line_of(const struct cache *c, struct key k)
{
    uint64_t hash = k.low * 0x9e3779b97f4a7c15u + k.high * 0xc2b2ae3d27d4eb4fu;
    return &c->table->lines[hash >> LINES_SHIFT];
}

static inline struct line *line_beside(const struct cache *c, const struct line *l)
{
    return &c->table->lines[(size_t)(l - c->table->lines) ^ 1];
}

static inline bool is_of(const struct slot *s, struct key k)
{
    return ((s->key.low ^ k.low) | (s->key.high ^ k.high) >> 8) == 0;
}

static inline size_t take_ids(const struct slot *s, int32_t *ids)
{
    memcpy(ids, s->ids, sizeof s->ids);
    return (uint8_t)s->key.high;
}

static struct long_part *long_place(const struct cache *c, const uint8_t *text, size_t size)
{
    return &c->table->longs[text_hash(text, size) >> LONG_SHIFT];
}

/* Ids of a part that is in no line; l: its place among the long ones. */
static size_t encode_long(struct long_part *l, const struct bpe *b, const uint8_t *text, size_t size,
                          int32_t *ids)
{
    if (l->size == size && memcmp(l->text, text, size) == 0) {
        memcpy(ids, l->ids, l->n * sizeof ids[0]);
        return l->n;
    }
    size_t n = bpe_encode(b, text, size, ids);
    if (size <= LONG_BYTES && n <= LONG_IDS && (size > KEY_BYTES || n > SLOT_IDS)) {
        l->size = (uint8_t)size;
        l->n = (uint8_t)n;
        memcpy(l->text, text, size);
        memcpy(l->ids, ids, n * sizeof ids[0]);
    }
    return n;
}

/* Ids of a part that is not in front of its line; it is from now on. What was there goes behind, and what was
 * there to the back of the line beside. */
static __attribute__((noinline)) size_t encode_other(struct cache *c, const struct bpe *b, struct line *l,
                                                     struct key k, const uint8_t *text, size_t size,
                                                     int32_t *ids)
{
    struct slot behind = l->slots[1], found = behind, *beside = &line_beside(c, l)->slots[1];
    size_t n;
    if (size > KEY_BYTES)
        return encode_long(long_place(c, text, size), b, text, size, ids);
    if (is_of(&behind, k)) {
        n = take_ids(&behind, ids);
    } else {
        struct long_part *place = long_place(c, text, size);
        __builtin_prefetch(place); /* while the line beside is waited for */
        if (is_of(beside, k)) {
            found = *beside;
            n = take_ids(&found, ids);
        } else {
            n = encode_long(place, b, text, size, ids);
            if (n > SLOT_IDS)
                return n;
            found.key = (struct key){k.low, k.high | n};
            memcpy(found.ids, ids, sizeof found.ids);
        }
        *beside = behind;
    }
    l->slots[1] = l->slots[0];
    l->slots[0] = found;
    return n;
}

/* Ids of parts starts[0..n), which end where the next begins. Returns how many; room for one a byte, and
 * SLOT_IDS more. */
static size_t encode_parts(struct cache *c, const struct bpe *b, const uint16_t *starts, size_t n,
                           int32_t *ids)
{
    struct key keys[BATCH];
    struct line *lines[BATCH];
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        keys[i] = make_key(c->text + starts[i], (size_t)(starts[i + 1] - starts[i]));
        lines[i] = line_of(c, keys[i]);
        __builtin_prefetch(lines[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const struct slot *front = &lines[i]->slots[0];
        /* All ids of the slot are stored, whatever their number. */
        if (__builtin_expect(is_of(front, keys[i]), 1))
            made += take_ids(front, ids + made);
        else
            made += encode_other(c, b, lines[i], keys[i], c->text + starts[i],
                                 (size_t)(starts[i + 1] - starts[i]), ids + made);
    }
    return made;
}

static bool are_short(const uint16_t *starts, size_t n)
{
    unsigned longest = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned size = (unsigned)(starts[i + 1] - starts[i]);
        longest = size > longest ? size : longest;
    }
    return longest <= BPE_BYTES_MAX;
}

/* Ids of the text[0..size) that lies in c, but for its last part unless it is the last of all; *ret_rest is
 * where that begins. Returns as cache_encode. */
static int encode_block(struct cache *c, const struct cut *cut, const struct bpe *b, size_t size, bool last,
                        size_t *ret_rest, int32_t **ids, size_t *cap, size_t *n_ids)
{
    ssize_t found = cut_find(cut, c->text, size, c->starts);
    if (found < 0)
        return 1;
    c->starts[found] = (uint16_t)size;
    if (!are_short(c->starts, (size_t)found))
        return 1;
    size_t n = last ? (size_t)found : (size_t)found - 1;
    if (array_grow(ids, cap, *n_ids + size + SLOT_IDS) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i += BATCH)
        *n_ids += encode_parts(c, b, c->starts + i, n - i < BATCH ? n - i : BATCH, *ids + *n_ids);
    *ret_rest = c->starts[n];
    return 0;
}

/* How many bytes of text fit: a character is whole in a block; more trailing bytes than four in a row are not
 * valid anyway. */
static size_t fitting(struct slice text, size_t room)
{
    if (room >= text.size)
        return text.size;
    for (unsigned i = 0; i < 4 && utf8_is_trail((uint8_t)text.data[room]); i++)
        room--;
    return room;
}

int cache_encode(struct cache *c, const struct normal *normal, const struct cut *cut, const struct bpe *b,
                 struct slice text, int32_t **ids, size_t *cap, size_t *n)
{
    struct normal_state state = {.space = normal->prefix};
    size_t made = *n, size = 0, rest;
    while (text.size > 0) {
        /* A space more than there was in this part may come before it. */
        size_t take = fitting(text, BLOCK_BYTES - 1 - size);
        ptrdiff_t got = normal_take(normal, &state, (const uint8_t *)text.data, take, c->text + size);
        if (got < 0)
            return 1;
        size += (size_t)got;
        text.data += take;
        text.size -= take;
        if (size == 0)
            continue;
        int rc = encode_block(c, cut, b, size, text.size == 0, &rest, ids, cap, &made);
        if (rc != 0)
            return rc;
        size -= rest;
        memmove(c->text, c->text + rest, size);
    }
    *n = made;
    return 0;
}
