#include "stream/window.h"

#include <stdlib.h>

/* A window ends after this many slots, and sooner at so many bytes of records. A packed window goes on, where
 * records are short against its rows, until it is likely to fill this many rows: its last ones are never
 * quite full, and that is all that packing loses. */
#define WINDOW_SLOTS 1024
#define WINDOW_SLOTS_MAX 65536
#define WINDOW_BYTES_MAX (8u << 20)
#define WINDOW_ROWS 64
#define BYTES_PER_TOKEN 4  /* of text, or so */
#define BYTES_PER_SLOT 512 /* what goes with each */

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

uint32_t window_plan(const struct recipe *r, const struct order *o, struct order_cursor *cur,
                     uint64_t first_slot, uint64_t *ret_bytes)
{
    uint64_t room = order_room(o, first_slot), bytes = 0, wanted = bytes_wanted(r);
    struct slot s, last = {.corpus = UINT32_MAX};
    uint32_t n = 0;
    for (; n < room && n < WINDOW_SLOTS_MAX && (n < WINDOW_SLOTS || bytes < wanted); n++, last = s) {
        struct corpus_extent e;
        order_get(o, cur, first_slot + n, &s);
        if (same_record(&s, &last))
            continue;
        corpus_get(r->corpora[s.corpus], s.record, &e);
        uint64_t size = e.size <= (uint64_t)r->record_max ? e.size : 0;
        if (n > 0 && bytes + size > WINDOW_BYTES_MAX)
            break;
        bytes += size;
    }
    /* The text, and its tokens in an array that doubles as it grows. */
    *ret_bytes = bytes * 3 + (uint64_t)n * BYTES_PER_SLOT;
    return n;
}

struct window_order *window_order_new(struct recipe *r, const struct order *order, struct order_cursor *cur,
                                      uint64_t number, uint64_t first_slot, uint32_t n_slots)
{
    struct window_order *o = calloc(1, sizeof *o);
    struct window *w = calloc(1, sizeof *w);
    struct window_slot *slots = calloc(n_slots, sizeof slots[0]);
    struct fetch_read *reads = calloc(n_slots, sizeof reads[0]);
    if (o == NULL || w == NULL || slots == NULL || reads == NULL) {
        free(o);
        free(w);
        free(slots);
        free(reads);
        return NULL;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_slots; i++) {
        struct corpus_extent e;
        order_get(order, cur, first_slot + i, &slots[i].slot);
        if (i > 0 && same_record(&slots[i].slot, &slots[i - 1].slot)) {
            slots[i].read = slots[i - 1].read;
            slots[i].plain = slots[i - 1].plain;
            continue;
        }
        corpus_get(r->corpora[slots[i].slot.corpus], slots[i].slot.record, &e);
        slots[i].plain = e.plain;
        slots[i].read = UINT32_MAX;
        if (e.size > (uint64_t)r->record_max)
            continue;
        slots[i].read = n;
        reads[n++] = (struct fetch_read){.fd = e.fd, .offset = e.offset, .size = (uint32_t)e.size};
    }
    w->recipe = recipe_ref(r);
    w->number = number;
    w->first_slot = first_slot;
    w->n_slots = n_slots;
    w->epoch = order_epoch(order, first_slot);
    atomic_init(&w->refs, 1);
    o->window = w;
    o->slots = slots;
    o->fetch.reads = reads;
    o->fetch.n_reads = n;
    return o;
}

void window_order_free(struct window_order *o)
{
    if (o == NULL)
        return;
    free(o->slots);
    free(o->fetch.reads);
    free(o);
}

struct window *window_ref(struct window *w)
{
    (void)atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void window_unref(struct window *w)
{
    if (w == NULL || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    recipe_unref(w->recipe);
    free(w->tokens);
    free(w->runs);
    free(w->spans);
    free(w->blocks);
    free(w->docs);
    free(w->rows);
    free(w->row_docs);
    free(w->unusable);
    free(w);
}

uint64_t window_bytes(const struct window *w)
{
    return sizeof *w + w->tokens_cap * sizeof w->tokens[0] + w->runs_cap * sizeof w->runs[0] +
           w->spans_cap * sizeof w->spans[0] + w->blocks_cap * sizeof w->blocks[0] +
           w->docs_cap * sizeof w->docs[0] + w->rows_cap * sizeof w->rows[0] +
           w->row_docs_cap * sizeof w->row_docs[0] + w->unusable_cap * sizeof w->unusable[0];
}
