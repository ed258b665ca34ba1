#include "stream/kitchen.h"

#include "base/array.h"
#include "stream/fit.h"
#include "stream/pack.h"

#include <stdio.h>
#include <string.h>

#define SHUFFLE_KEY 0x726f777320202020ull /* keeps the shuffle of rows apart from other draws of the seed */

struct kitchen {
    struct record_parser *parser;
    struct document doc;
    struct packer packer;
    uint32_t *block_tokens, *row_of, *lengths, *place;
    struct turn *turns;
    size_t block_tokens_cap, row_of_cap, lengths_cap, place_cap, turns_cap;
};

struct kitchen *kitchen_new(void)
{
    struct kitchen *k = calloc(1, sizeof *k);
    if (k != NULL && (k->parser = record_parser_new()) == NULL) {
        free(k);
        k = NULL;
    }
    return k;
}

void kitchen_free(struct kitchen *k)
{
    if (k == NULL)
        return;
    record_parser_free(k->parser);
    document_fini(&k->doc);
    packer_fini(&k->packer);
    free(k->block_tokens);
    free(k->row_of);
    free(k->lengths);
    free(k->place);
    free(k->turns);
    free(k);
}

static int add_unusable(struct window *w, const struct slot *s, enum unusable reason, const char *detail)
{
    if (array_grow(&w->unusable, &w->unusable_cap, w->n_unusable + 1) != 0)
        return -ENOMEM;
    struct window_unusable *u = &w->unusable[w->n_unusable++];
    *u =
        (struct window_unusable){.corpus = s->corpus, .pass = s->pass, .record = s->record, .reason = reason};
    (void)snprintf(u->detail, sizeof u->detail, "%s", detail);
    return 0;
}

/* Labels: the first token of a document is never one, whatever the template says: no token comes before it.
 */
static int add_spans(struct window *w, const struct document *d, struct window_doc *doc)
{
    if (array_grow(&w->spans, &w->spans_cap, w->n_spans + d->n_blocks) != 0 ||
        array_grow(&w->blocks, &w->blocks_cap, w->n_blocks + d->n_blocks) != 0)
        return -ENOMEM;
    doc->first_span = (uint32_t)w->n_spans;
    doc->first_block = (uint32_t)w->n_blocks;
    uint32_t at = 0;
    for (size_t b = 0; b < d->n_blocks; at += d->blocks[b++].n_tokens) {
        const struct text_block *block = &d->blocks[b];
        uint32_t start = at + block->supervised_start, end = at + block->supervised_end;
        if (start == 0)
            start = 1;
        if (end > start) {
            w->spans[w->n_spans++] = (struct window_span){start, end};
            doc->n_supervised += end - start;
        }
        w->blocks[w->n_blocks++] = (struct window_block){.n_tokens = block->n_tokens, .role = block->role};
    }
    doc->n_spans = (uint32_t)w->n_spans - doc->first_span;
    doc->n_blocks = (uint32_t)d->n_blocks;
    return 0;
}

/* The document in k->doc goes into the window; it is within seq_len. */
static int add_document(struct kitchen *k, struct window *w, const struct slot *s, uint32_t part)
{
    const struct recipe *r = w->recipe;
    const struct document *d = &k->doc;
    struct window_doc doc = {.first_token = w->n_tokens,
                             .n_tokens = (uint32_t)d->n_ids,
                             .first_run = (uint32_t)w->n_runs,
                             .corpus = s->corpus,
                             .pass = s->pass,
                             .piece.part = part,
                             .record = s->record};
    size_t n_spans = w->n_spans, n_blocks = w->n_blocks;
    if (add_spans(w, d, &doc) != 0)
        return -ENOMEM;
    if (doc.n_supervised == 0) {
        w->n_spans = n_spans;
        w->n_blocks = n_blocks;
        return add_unusable(w, s, UNUSABLE_UNSUPERVISED, "no token of a response is left to train on");
    }
    if (array_grow(&w->tokens, &w->tokens_cap, w->n_tokens + d->n_ids) != 0 ||
        array_grow(&w->runs, &w->runs_cap, w->n_runs + d->n_blocks) != 0 ||
        array_grow(&w->docs, &w->docs_cap, w->n_docs + 1) != 0 ||
        array_grow(&k->block_tokens, &k->block_tokens_cap, d->n_blocks) != 0)
        return -ENOMEM;
    memcpy(w->tokens + w->n_tokens, d->ids, d->n_ids * sizeof d->ids[0]);
    w->n_tokens += d->n_ids;
    for (size_t b = 0; b < d->n_blocks; b++)
        k->block_tokens[b] = d->blocks[b].n_tokens;
    struct rng_key key = {.seed = (uint64_t)r->conf->seed,
                          .pass = s->pass,
                          .corpus = r->corpus_hash[s->corpus],
                          .record = (uint32_t)s->record,
                          .part = part % 4096};
    doc.outcome = pos_draw(&r->conf->positions, key, k->block_tokens, (uint32_t)d->n_blocks,
                           w->runs + w->n_runs, &doc.n_runs);
    w->n_runs += doc.n_runs;
    w->docs[w->n_docs++] = doc;
    return 0;
}

/* `split`: pieces of whole turns, each a dialogue of its own with the system prompt of the whole. k->doc
 * holds the whole, rendered; its blocks tell how much is likely to fit, and rendering each piece tells for
 * sure. */
static int add_pieces(struct kitchen *k, struct window *w, const struct slot *s, const struct sample *sample)
{
    uint32_t seq_len = (uint32_t)w->recipe->conf->seq_len;
    uint32_t system = sample->turns[0].role == ROLE_SYSTEM, n_blocks = (uint32_t)k->doc.n_blocks, part = 0;
    char detail[RECORD_DETAIL];
    if (array_grow(&k->lengths, &k->lengths_cap, n_blocks) != 0 ||
        array_grow(&k->turns, &k->turns_cap, sample->n_turns) != 0)
        return -ENOMEM;
    for (uint32_t b = 0; b < n_blocks; b++)
        k->lengths[b] = k->doc.blocks[b].n_tokens;
    w->split++;
    for (uint32_t first = 0; first + 1 < n_blocks; part++) {
        /* Between least and most: the system prompt comes on top of what the whole's blocks tell. */
        uint32_t least = 1, most = fit_pairs(k->lengths, n_blocks, first, seq_len), pairs = most;
        for (;; pairs = least + (most - least + 1) / 2) {
            if (system)
                k->turns[0] = sample->turns[0];
            memcpy(k->turns + system, sample->turns + system + first, 2 * pairs * sizeof k->turns[0]);
            int why = template_render(w->recipe->template, &(struct sample){k->turns, system + 2 * pairs},
                                      &k->doc, detail);
            if (why < 0)
                return why;
            if (why != USABLE)
                return add_unusable(w, s, (enum unusable)why, detail);
            if (least == most)
                break;
            if (k->doc.n_ids > seq_len)
                most = pairs - 1;
            else if ((least = pairs) == most)
                break;
        }
        if (k->doc.n_ids > seq_len) {
            fit_truncate(&k->doc, seq_len);
            w->truncated++;
        }
        int rc = add_document(k, w, s, part);
        if (rc != 0)
            return rc;
        first += 2 * pairs;
    }
    return 0;
}

/* Where a place in the whole is in the piece of n tokens that starts at `at`, or the piece's nearer end. */
static uint32_t within(uint32_t place, size_t at, uint32_t n)
{
    return place <= at ? 0 : place - at < n ? (uint32_t)(place - at) : n;
}

/* A text without turns is split where a row ends. */
static int add_text_pieces(struct kitchen *k, struct window *w, const struct slot *s)
{
    size_t seq_len = (size_t)w->recipe->conf->seq_len, n = k->doc.n_ids;
    int32_t *ids = k->doc.ids;
    const struct text_block whole = k->doc.blocks[0];
    int rc = 0;
    w->split++;
    for (size_t at = 0; at < n && rc == 0; at += seq_len) {
        uint32_t piece = (uint32_t)(n - at < seq_len ? n - at : seq_len);
        k->doc.ids = ids + at;
        k->doc.n_ids = piece;
        k->doc.blocks[0] = (struct text_block){.role = ROLE_TEXT,
                                               .n_tokens = piece,
                                               .supervised_start = within(whole.supervised_start, at, piece),
                                               .supervised_end = within(whole.supervised_end, at, piece)};
        rc = add_document(k, w, s, (uint32_t)(at / seq_len));
    }
    k->doc.ids = ids;
    return rc;
}

static int add_overlong(struct kitchen *k, struct window *w, const struct slot *s,
                        const struct sample *sample)
{
    const struct conf_stream *conf = w->recipe->conf;
    char detail[RECORD_DETAIL];
    switch (conf->overlong) {
    case OVERLONG_DROP:
        (void)snprintf(detail, sizeof detail, "%zu tokens, seq_len is %lld", k->doc.n_ids,
                       (long long)conf->seq_len);
        return add_unusable(w, s, UNUSABLE_OVERLONG, detail);
    case OVERLONG_SPLIT:
        return sample->turns[0].role == ROLE_TEXT ? add_text_pieces(k, w, s) : add_pieces(k, w, s, sample);
    case OVERLONG_TRUNCATE:
    case OVERLONG__COUNT:
        break;
    }
    fit_truncate(&k->doc, (uint32_t)conf->seq_len);
    w->truncated++;
    return add_document(k, w, s, 0);
}

static int add_slot(struct kitchen *k, struct window_order *o, uint32_t i)
{
    struct window *w = o->window;
    const struct recipe *r = w->recipe;
    const struct slot *s = &o->slots[i].slot;
    char detail[RECORD_DETAIL] = "";
    if (o->slots[i].read == UINT32_MAX) {
        (void)snprintf(detail, sizeof detail, "larger than record_max (%lld bytes)",
                       (long long)r->record_max);
        return add_unusable(w, s, UNUSABLE_TOO_LARGE, detail);
    }
    const struct fetch_read *read = &o->fetch.reads[o->slots[i].read];
    struct corpus *c = r->corpora[s->corpus];
    if (read->error != 0) {
        struct corpus_extent e;
        corpus_get(c, s->record, &e);
        return err_set(&w->error, -(int)read->error, "corpus '%s': %s: reading %u bytes at offset %llu: %s",
                       corpus_conf(c)->name, corpus_path(c, e.file), read->size, (unsigned long long)e.offset,
                       read->error == ENODATA ? "the file has become shorter since it was indexed"
                                              : err_str(-(int)read->error));
    }
    struct sample sample;
    int why = record_parse(k->parser, corpus_conf(c), corpus_format(c), o->slots[i].plain,
                           (struct slice){read->data, read->size}, &sample, detail);
    if (why == USABLE)
        why = template_render(r->template, &sample, &k->doc, detail);
    if (why < 0)
        return why;
    if (why != USABLE)
        return add_unusable(w, s, (enum unusable)why, detail);
    if (k->doc.n_ids > (size_t)r->conf->seq_len)
        return add_overlong(k, w, s, &sample);
    return add_document(k, w, s, 0);
}

/* Row numbers in the order in which they leave. Packing opens rows longest document first; left so, every
 * window would begin with long documents and end with short ones. Padded rows keep the stream's order, which
 * is shuffled already. */
static int place_rows(struct kitchen *k, struct window *w, uint32_t n_rows)
{
    if (array_grow(&k->place, &k->place_cap, n_rows) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_rows; i++)
        k->place[i] = i;
    if (!w->recipe->conf->packing)
        return 0;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = (uint64_t)w->recipe->conf->seed ^ SHUFFLE_KEY,
                                    .pass = (uint32_t)w->first_slot,
                                    .corpus = (uint32_t)(w->first_slot >> 32)});
    for (uint32_t i = n_rows; i > 1; i--) {
        uint32_t j = rng_below(&rng, i), swap = k->place[i - 1];
        k->place[i - 1] = k->place[j];
        k->place[j] = swap;
    }
    return 0;
}

static int fill_rows(struct kitchen *k, struct window *w)
{
    uint32_t n = (uint32_t)w->n_docs, n_rows = n;
    if (n == 0)
        return 0;
    if (array_grow(&k->row_of, &k->row_of_cap, n) != 0 || array_grow(&k->lengths, &k->lengths_cap, n) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        k->lengths[i] = w->docs[i].n_tokens;
        k->row_of[i] = i;
    }
    int rc = 0;
    if (w->recipe->conf->packing)
        rc = pack_rows(&k->packer, k->lengths, n, (uint32_t)w->recipe->conf->seq_len, k->row_of, &n_rows);
    if (rc != 0 || place_rows(k, w, n_rows) != 0 || array_grow(&w->rows, &w->rows_cap, n_rows) != 0 ||
        array_grow(&w->row_docs, &w->row_docs_cap, n) != 0)
        return -ENOMEM;
    memset(w->rows, 0, n_rows * sizeof w->rows[0]);
    for (uint32_t i = 0; i < n; i++) {
        struct window_row *row = &w->rows[k->place[k->row_of[i]]];
        row->n_docs++;
        row->n_tokens += w->docs[i].n_tokens;
        row->n_supervised += w->docs[i].n_supervised;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        w->rows[i].first_doc = at;
        at += w->rows[i].n_docs;
        w->rows[i].n_docs = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct window_row *row = &w->rows[k->place[k->row_of[i]]];
        w->row_docs[row->first_doc + row->n_docs++] = i;
    }
    w->n_rows = n_rows;
    return 0;
}

void kitchen_make(struct kitchen *k, struct window_order *o)
{
    struct window *w = o->window;
    for (uint32_t i = 0; i < w->n_slots && w->rc == 0; i++)
        w->rc = add_slot(k, o, i);
    if (w->rc == 0)
        w->rc = fill_rows(k, w);
    int32_t *exact = w->n_tokens > 0 ? realloc(w->tokens, w->n_tokens * sizeof w->tokens[0]) : NULL;
    if (exact != NULL) { /* windows are kept for long: give back what growing took too much */
        w->tokens = exact;
        w->tokens_cap = w->n_tokens;
    }
    if (w->rc != 0 && w->error.text[0] == '\0')
        (void)err_set(&w->error, w->rc, "making window %llu: %s", (unsigned long long)w->number,
                      err_str(w->rc));
}
