#include "text/cache.h"

#include "base/array.h"
#include "text/utf8.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A part of up to 15 bytes with up to 4 ids is kept; two in a cache line. */
#define KEY_BYTES 15
#define SLOT_IDS 4
#define SLOTS (1u << 17)

/* Of text at a time: its starts and keys stay in the first level of the CPU's cache. */
#define BLOCK_BYTES 4096

/* Parts looked for at a time: memory answers while the others are hashed. */
#define BATCH 32

#define HUGE_PAGE (2u << 20)

static_assert(BLOCK_BYTES <= UINT16_MAX && BLOCK_BYTES > 2 * BPE_BYTES_MAX, "");

/* Little endian: bytes 0..14 of the text, zeros after its end, and byte 15: its length, and in a slot 16
 * times how many ids.
 */
struct key {
    uint64_t low, high;
};

#define KEY_SIZE_SHIFT 56
#define KEY_IDS_SHIFT 60

struct slot {
    struct key key; /* size 0: an empty one */
    int32_t ids[SLOT_IDS];
};

struct cache {
    struct slot *slots;
    uint16_t starts[BLOCK_BYTES + 1];
    uint8_t text[BLOCK_BYTES + 16]; /* the key of the last part is loaded from beyond its end */
};

struct cache *cache_new(void)
{
    struct cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->slots = aligned_alloc(HUGE_PAGE, SLOTS * sizeof *c->slots);
    if (c->slots == NULL) {
        free(c);
        return NULL;
    }
    /* Slots are met in no order: with small pages most look-ups would wait for the page table as well. */
    (void)madvise(c->slots, SLOTS * sizeof *c->slots, MADV_HUGEPAGE);
    memset(c->slots, 0, SLOTS * sizeof *c->slots);
    return c;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    free(c->slots);
    free(c);
}

size_t cache_memory(void)
{
    return sizeof(struct cache) + SLOTS * sizeof(struct slot);
}

static struct key make_key(const uint8_t *text, size_t size)
{
    struct key k;
    memcpy(&k, text, sizeof k);
    k = (struct key){le64toh(k.low), le64toh(k.high)};
    if (size < 8) {
        k.low &= (1ull << 8 * size) - 1;
        k.high = 0;
    } else {
        k.high &= (1ull << 8 * (size - 8)) - 1;
    }
    k.high |= (uint64_t)size << KEY_SIZE_SHIFT;
    return k;
}

static struct slot *slot_of(const struct cache *c, struct key k)
{
    uint64_t hash = (k.low ^ k.high * 0x9e3779b97f4a7c15u) * 0xc2b2ae3d27d4eb4fu;
    return &c->slots[hash >> 32 & (SLOTS - 1)];
}

/* Does the slot hold this key? */
static bool is_of(const struct slot *s, struct key k)
{
    return s->key.low == k.low && (s->key.high ^ k.high) << (64 - KEY_IDS_SHIFT) == 0;
}

static void keep(struct slot *s, struct key k, const int32_t *ids, size_t n)
{
    s->key = k;
    s->key.high |= (uint64_t)n << KEY_IDS_SHIFT;
    memcpy(s->ids, ids, n * sizeof ids[0]);
}

/* Ids of parts starts[0..n), which end where the next begins. */
static int encode_parts(struct cache *c, const struct bpe *b, const uint16_t *starts, size_t n, int32_t **ids,
                        size_t *cap, size_t *n_ids)
{
    struct key keys[BATCH];
    struct slot *slots[BATCH];
    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t)(starts[i + 1] - starts[i]);
        slots[i] = NULL;
        if (size > KEY_BYTES)
            continue;
        keys[i] = make_key(c->text + starts[i], size);
        slots[i] = slot_of(c, keys[i]);
        __builtin_prefetch(slots[i]);
    }
    /* A hit stores all ids of its slot, whatever their number. */
    if (array_grow(ids, cap, *n_ids + BATCH * SLOT_IDS) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct slot *s = slots[i];
        if (s != NULL && is_of(s, keys[i])) {
            memcpy(*ids + *n_ids, s->ids, sizeof s->ids);
            *n_ids += s->key.high >> KEY_IDS_SHIFT;
            continue;
        }
        size_t size = (size_t)(starts[i + 1] - starts[i]);
        if (array_grow(ids, cap, *n_ids + size + BATCH * SLOT_IDS) != 0)
            return -ENOMEM;
        size_t made = bpe_encode(b, c->text + starts[i], size, *ids + *n_ids);
        if (s != NULL && made <= SLOT_IDS)
            keep(s, keys[i], *ids + *n_ids, made);
        *n_ids += made;
    }
    return 0;
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
    for (size_t i = 0; i < n; i += BATCH) {
        int rc = encode_parts(c, b, c->starts + i, n - i < BATCH ? n - i : BATCH, ids, cap, n_ids);
        if (rc != 0)
            return rc;
    }
    *ret_rest = c->starts[n];
    return 0;
}

int cache_encode(struct cache *c, const struct cut *cut, const struct bpe *b, bool prefix, struct slice text,
                 int32_t **ids, size_t *cap, size_t *n)
{
    size_t made = *n, size = 0, rest;
    if (text.size == 0)
        return 0;
    if (prefix)
        c->text[size++] = ' ';
    while (text.size > 0) {
        size_t take = BLOCK_BYTES - size;
        if (take >= text.size) {
            take = text.size;
        } else {
            /* A character is whole in a block; more trailing bytes than four in a row are not valid anyway.
             */
            for (unsigned i = 0; i < 4 && utf8_is_trail((uint8_t)text.data[take]); i++)
                take--;
        }
        memcpy(c->text + size, text.data, take);
        size += take;
        text.data += take;
        text.size -= take;
        int rc = encode_block(c, cut, b, size, text.size == 0, &rest, ids, cap, &made);
        if (rc != 0)
            return rc;
        size -= rest;
        memmove(c->text, c->text + rest, size);
    }
    *n = made;
    return 0;
}
