#include "stream/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A window ends after this many slots, and sooner at so many bytes of records. A packed window goes on, where
 * records are short against its rows, until it is likely to fill this many rows: its last ones are never
 * quite full, and that is all that packing loses. */
#define WINDOW_SLOTS 1024
#define WINDOW_SLOTS_MAX 65536
#define WINDOW_BYTES_MAX (8u << 20)
#define WINDOW_ROWS 64
#define BYTES_PER_TOKEN 4  /* of text, or so */
#define BYTES_PER_SLOT 512 /* what goes with each */

#define AHEAD 16 /* slots */

static uint64_t bytes_wanted(const struct recipe *r)
{
    if (!r->conf->packing)
        return 0;
    uint64_t want = (uint64_t)r->conf->seq_len * WINDOW_ROWS * BYTES_PER_TOKEN;
    return want < WINDOW_BYTES_MAX ? want : WINDOW_BYTES_MAX;
}

uint64_t window_bytes_likely(uint64_t n_tokens, uint64_t n_slots)
{
    return n_tokens * (BYTES_PER_TOKEN + sizeof(int32_t)) + n_slots * BYTES_PER_SLOT;
}

/* The one before it, of the same record: what is left over of a record that was split comes piece by piece.
 */
static bool same_record(const struct slot *a, const struct slot *b)
{
    return a->corpus == b->corpus && a->pass == b->pass && a->record == b->record;
}

/* Records are met in no order: those of the slots at hand and of the next ones are asked of memory together.
 */
static void expect(const struct recipe *r, const struct order *o, struct order_cursor *cur, uint64_t slot)
{
    struct slot s;
    order_get(o, cur, slot, &s);
    corpus_expect(r->corpora[s.corpus], s.record);
}

uint32_t window_plan(const struct recipe *r, const struct order *o, struct order_cursor *cur,
                     uint64_t first_slot, uint64_t *ret_bytes)
{
    uint64_t room = order_room(o, first_slot), bytes = 0, wanted = bytes_wanted(r);
    struct slot s, last = {.corpus = UINT32_MAX};
    uint32_t n = 0;
    for (; n < room && n < WINDOW_SLOTS_MAX && (n < WINDOW_SLOTS || bytes < wanted); n++, last = s) {
        struct corpus_extent e;
        if (n + AHEAD < room)
            expect(r, o, cur, first_slot + n + AHEAD);
        order_get(o, cur, first_slot + n, &s);
        if (same_record(&s, &last))
            continue;
        corpus_get(r->corpora[s.corpus], s.record, &e);
        const bool read =
            e.size <= (uint64_t)r->record_max && !corpus_is_duplicate(r->corpora[s.corpus], s.record);
        uint64_t size = read ? e.size : 0;
        if (n > 0 && bytes + size > WINDOW_BYTES_MAX)
            break;
        bytes += size;
    }
    /* The text, and its tokens in an array that doubles as it grows. */
    *ret_bytes = bytes * 3 + (uint64_t)n * BYTES_PER_SLOT;
    return n;
}

static size_t aligned(size_t size)
{
    return (size + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
}

static struct window *window_new(struct pool *pool, struct recipe *r, const struct order *order,
                                 uint64_t number, uint64_t first_slot, uint32_t n_slots)
{
    struct window *w = pool_take(pool, sizeof *w);
    if (w == NULL)
        return NULL;
    *w = (struct window){.recipe = recipe_ref(r),
                         .number = number,
                         .first_slot = first_slot,
                         .epoch = order_epoch(order, first_slot),
                         .n_slots = n_slots};
    atomic_init(&w->refs, 1);
    return w;
}

/* Which records, and where they are; returns how many are to be read. */
static uint32_t find_records(const struct recipe *r, const struct order *order, struct order_cursor *cur,
                             uint64_t first_slot, uint32_t n_slots, struct window_slot *slots,
                             struct fetch_read *reads)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_slots; i++) {
        struct corpus_extent e;
        order_get(order, cur, first_slot + i, &slots[i].slot);
        slots[i].progress = order_progress(order, first_slot + i);
        if (i > 0 && same_record(&slots[i].slot, &slots[i - 1].slot)) {
            slots[i].read = slots[i - 1].read;
            slots[i].plain = slots[i - 1].plain;
            slots[i].duplicate = slots[i - 1].duplicate;
            continue;
        }
        corpus_get(r->corpora[slots[i].slot.corpus], slots[i].slot.record, &e);
        slots[i].plain = e.plain;
        slots[i].duplicate = corpus_is_duplicate(r->corpora[slots[i].slot.corpus], slots[i].slot.record);
        slots[i].read = UINT32_MAX;
        if (e.size > (uint64_t)r->record_max || slots[i].duplicate)
            continue;
        slots[i].read = n;
        reads[n++] = (struct fetch_read){.fd = e.fd, .offset = e.offset, .size = (uint32_t)e.size};
    }
    return n;
}

struct window_order *window_order_new(struct pool *pool, struct recipe *r, const struct order *order,
                                      struct order_cursor *cur, uint64_t number, uint64_t first_slot,
                                      uint32_t n_slots)
{
    const size_t slots_at = aligned(sizeof(struct window_order)),
                 reads_at = slots_at + aligned(n_slots * sizeof(struct window_slot));
    struct window_order *o = pool_take(pool, reads_at + n_slots * sizeof(struct fetch_read));
    struct window *w = window_new(pool, r, order, number, first_slot, n_slots);
    if (o == NULL || w == NULL) {
        pool_give(o);
        window_unref(w);
        return NULL;
    }
    *o = (struct window_order){.window = w,
                               .slots = (struct window_slot *)((char *)o + slots_at),
                               .fetch = {.reads = (struct fetch_read *)((char *)o + reads_at)}};
    o->fetch.n_reads = find_records(r, order, cur, first_slot, n_slots, o->slots, o->fetch.reads);
    return o;
}

void window_order_free(struct window_order *o)
{
    pool_give(o);
}

struct window *window_ref(struct window *w)
{
    (void)atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

struct window *window_twin(const struct window *w)
{
    struct window *twin = pool_take(pool_of(w), sizeof *twin);
    if (twin == NULL)
        return NULL;
    *twin = (struct window){.recipe = recipe_ref(w->recipe),
                            .number = w->number,
                            .first_slot = w->first_slot,
                            .epoch = w->epoch,
                            .n_slots = w->n_slots};
    atomic_init(&twin->refs, 1);
    return twin;
}

bool window_doubted(const struct window *w)
{
    return w->own && tokenizer_doubted(w->recipe->tokenizer);
}

void window_unref(struct window *w)
{
    if (w == NULL || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    recipe_unref(w->recipe);
    pool_give(w->distances);
    pool_give(w->block);
    pool_give(w);
}

uint64_t window_bytes(const struct window *w)
{
    return pool_room(w) + (w->block != NULL ? pool_room(w->block) : 0);
}

void window_begin(struct window_draft *d, const struct window *w)
{
    d->w = (struct window){.recipe = w->recipe,
                           .number = w->number,
                           .first_slot = w->first_slot,
                           .epoch = w->epoch,
                           .n_slots = w->n_slots,
                           .tokens = d->w.tokens,
                           .runs = d->w.runs,
                           .spans = d->w.spans,
                           .blocks = d->w.blocks,
                           .docs = d->w.docs,
                           .rows = d->w.rows,
                           .row_docs = d->w.row_docs,
                           .unusable = d->w.unusable};
}

void window_draft_fini(struct window_draft *d)
{
    free(d->w.tokens);
    free(d->w.runs);
    free(d->w.spans);
    free(d->w.blocks);
    free(d->w.docs);
    free(d->w.rows);
    free(d->w.row_docs);
    free(d->w.unusable);
}

struct part {
    void **data;
    size_t bytes;
};
#define PARTS 8

static void list_parts(struct window *w, struct part ret[PARTS])
{
    const struct part parts[PARTS] = {
        {(void **)&w->tokens, w->n_tokens * sizeof w->tokens[0]},
        {(void **)&w->runs, w->n_runs * sizeof w->runs[0]},
        {(void **)&w->spans, w->n_spans * sizeof w->spans[0]},
        {(void **)&w->blocks, w->n_blocks * sizeof w->blocks[0]},
        {(void **)&w->docs, w->n_docs * sizeof w->docs[0]},
        {(void **)&w->rows, w->n_rows * sizeof w->rows[0]},
        {(void **)&w->row_docs, w->n_docs * sizeof w->row_docs[0]},
        {(void **)&w->unusable, w->n_unusable * sizeof w->unusable[0]},
    };
    memcpy(ret, parts, sizeof parts);
}

int window_seal(struct window_draft *d, struct window *w)
{
    struct part from[PARTS], to[PARTS];
    size_t bytes = 0;
    list_parts(&d->w, from);
    for (int i = 0; i < PARTS; i++)
        bytes += aligned(from[i].bytes);
    w->block = pool_take(pool_of(w), bytes);
    if (w->block == NULL)
        return -ENOMEM;
    w->n_tokens = d->w.n_tokens;
    w->n_runs = d->w.n_runs;
    w->n_spans = d->w.n_spans;
    w->n_blocks = d->w.n_blocks;
    w->n_docs = d->w.n_docs;
    w->n_rows = d->w.n_rows;
    w->n_unusable = d->w.n_unusable;
    w->truncated = d->w.truncated;
    w->left_out = d->w.left_out;
    w->split = d->w.split;
    list_parts(w, to);
    char *at = w->block;
    for (int i = 0; i < PARTS; i++) {
        *to[i].data = at;
        if (from[i].bytes > 0)
            memcpy(at, *from[i].data, from[i].bytes);
        at += aligned(from[i].bytes);
    }
    return 0;
}
