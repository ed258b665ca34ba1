#include "feed/frame.h"

#include "proto/message.h"

#include <errno.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* AVX2 or AVX-512 where the machine has them */
#else
#include <xxhash.h>
#endif

#define IGNORE (-100)

static void fill(int32_t *to, int32_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = value;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Where the next document goes. */
struct writer {
    struct msg_batch *b;
    uint32_t token, doc;
};

static void write_doc(struct writer *w, const struct window *win, const struct window_doc *d)
{
    struct msg_batch *b = w->b;
    const int32_t *tokens = win->tokens + d->first_token;
    int32_t *labels = b->labels + w->token;
    memcpy(b->input_ids + w->token, tokens, d->n_tokens * sizeof *tokens);
    pos_fill(win->runs + d->first_run, d->n_runs, d->n_tokens, b->position_ids + w->token);
    uint32_t at = 0;
    for (uint32_t i = 0; i < d->n_spans; i++) {
        const struct pos_span *s = &win->spans[d->first_span + i];
        fill(labels + at, IGNORE, s->start - at);
        memcpy(labels + s->start, tokens + s->start, (s->end - s->start) * sizeof *labels);
        at = s->end;
    }
    fill(labels + at, IGNORE, d->n_tokens - at);
    b->cu_seqlens[w->doc] = (int32_t)w->token;
    b->doc_corpus[w->doc] = (int32_t)d->corpus;
    b->doc_record[w->doc] = (int64_t)d->record;
    w->token += d->n_tokens;
    w->doc++;
}

static void write_padding(struct writer *w, int32_t pad, uint32_t n)
{
    struct msg_batch *b = w->b;
    fill(b->input_ids + w->token, pad, n);
    for (uint32_t i = 0; i < n; i++)
        b->position_ids[w->token + i] = (int32_t)i;
    fill(b->labels + w->token, IGNORE, n);
    b->cu_seqlens[w->doc] = (int32_t)w->token;
    b->doc_corpus[w->doc] = -1;
    b->doc_record[w->doc] = -1;
    w->token += n;
    w->doc++;
}

/* The documents of a row, its padding among them, and the longest. */
static void measure_row(const struct step_row *r, struct msg_batch *b)
{
    uint32_t used = 0;
    if (r->window != NULL) {
        const struct window_row *row = &r->window->rows[r->row];
        for (uint32_t i = 0; i < row->n_docs; i++)
            b->max_seqlen =
                max_u32(b->max_seqlen, r->window->docs[r->window->row_docs[row->first_doc + i]].n_tokens);
        b->n_docs += row->n_docs;
        b->supervised += row->n_supervised;
        used = row->n_tokens;
    }
    b->n_docs += used < b->length;
    b->max_seqlen = max_u32(b->max_seqlen, b->length - used);
}

static void write_row(struct writer *w, const struct step_row *r, int32_t pad, int32_t *ret_tokens)
{
    uint32_t used = 0;
    if (r->window != NULL) {
        const struct window_row *row = &r->window->rows[r->row];
        for (uint32_t i = 0; i < row->n_docs; i++)
            write_doc(w, r->window, &r->window->docs[r->window->row_docs[row->first_doc + i]]);
        used = row->n_tokens;
    }
    if (used < w->b->length)
        write_padding(w, pad, w->b->length - used);
    *ret_tokens = (int32_t)used;
}

static uint64_t hash_arrays(const struct msg_batch *b)
{
    size_t flat = (size_t)b->rows * b->length * sizeof(int32_t);
    const struct {
        const void *data;
        size_t size;
    } parts[] = {
        {b->input_ids, flat},
        {b->position_ids, flat},
        {b->labels, flat},
        {b->tokens, b->rows * sizeof *b->tokens},
        {b->cu_seqlens, (b->n_docs + 1ull) * sizeof *b->cu_seqlens},
        {b->doc_corpus, b->n_docs * sizeof *b->doc_corpus},
        {b->doc_record, b->n_docs * sizeof *b->doc_record},
    };
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset(&state);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        (void)XXH3_64bits_update(&state, parts[i].data, parts[i].size);
    return XXH3_64bits_digest(&state);
}

static struct frame *frame_new(struct pool *pool, size_t size)
{
    _Static_assert(sizeof(struct frame) <= MSG_ALIGN && MSG_ALIGN <= POOL_ALIGN,
                   "the header fits before the aligned data");
    struct frame *f = pool_take(pool, MSG_ALIGN + size);
    if (f == NULL)
        return NULL;
    *f = (struct frame){.data = (char *)f + MSG_ALIGN, .size = size};
    atomic_init(&f->refs, 1);
    return f;
}

struct frame *frame_ref(struct frame *f)
{
    (void)atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void frame_unref(struct frame *f)
{
    if (f != NULL && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        pool_give(f);
}

/* ---- a batch ---- */

int frame_write(struct pool *pool, const struct step *step, uint32_t world, uint32_t rank, struct frame **ret)
{
    const struct recipe *recipe = step->recipe;
    uint64_t rows = (uint64_t)recipe->conf->global_batch / world;
    const struct step_row *row = step->rows + rows * rank;
    if (rows * (uint64_t)recipe->conf->seq_len > MSG_TOKENS_MAX)
        return -EOVERFLOW;

    struct msg_batch b = {
        .generation = step->generation,
        .world = world,
        .rank = rank,
        .rows = (uint32_t)rows,
        .length = (uint32_t)recipe->conf->seq_len,
        .step = step->number,
        .epoch = step->epoch,
        .supervised_global = step->supervised,
    };
    (void)strncpy(b.stream, recipe->conf->name, sizeof b.stream - 1);
    for (uint32_t i = 0; i < b.rows; i++)
        measure_row(&row[i], &b);
    struct frame *f = frame_new(pool, msg_batch_size(&b));
    if (f == NULL)
        return -ENOMEM;
    f->step = step->number;
    f->generation = step->generation;
    msg_batch_layout(&b, f->data);

    struct writer w = {.b = &b};
    int32_t pad = tokenizer_pad(recipe->tokenizer);
    for (uint32_t i = 0; i < b.rows; i++) {
        write_row(&w, &row[i], pad, &b.tokens[i]);
        f->tokens += (uint32_t)b.tokens[i];
    }
    b.cu_seqlens[w.doc] = (int32_t)w.token;
    CHECK(w.doc == b.n_docs && w.token == b.rows * b.length);
    b.hash = hash_arrays(&b);
    msg_batch_seal(&b, f->data);
    *ret = f;
    return 0;
}
