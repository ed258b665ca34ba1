#include "stream/kitchen.h"

#include "base/array.h"
#include "base/clock.h"
#include "base/workers.h"
#include "stream/fit.h"
#include "stream/lay.h"
#include "stream/pack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What one record may become when it is split: so many documents, as each has random numbers of its own
 * (rng_key.part), and so many times its own length, as each comes with the system prompt. */
#define PARTS_MAX 4096
#define GROWTH_MAX 8

#define CACHE_LINE 64
#define AHEAD_BYTES 4096

#define SHUFFLE_KEY 0x726f777320202020ull /* keeps the shuffle of rows apart from other draws of the seed */

struct kitchen {
    struct record_parser *parser;
    struct sample sample; /* of the read `parsed` */
    uint32_t parsed;      /* UINT32_MAX: of none */
    bool whole;           /* doc is all of that sample */
    struct document doc;
    struct window_draft draft; /* of the window at hand */
    struct packer packer;
    uint32_t *block_tokens, *row_of, *lengths, *place;
    struct turn *turns;
    struct {
        struct coverage_sum ordinary, here[POS__COUNT];
    } distances;
    size_t block_tokens_cap, row_of_cap, lengths_cap, place_cap, turns_cap;
    struct pos_scratch positions;
    double progress; /* of the slot at hand */
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
    window_draft_fini(&k->draft);
    packer_fini(&k->packer);
    free(k->block_tokens);
    free(k->row_of);
    free(k->lengths);
    free(k->place);
    free(k->turns);
    pos_scratch_fini(&k->positions);
    free(k);
}

static void *new_scratch(void)
{
    return kitchen_new();
}

static void free_scratch(void *kitchen)
{
    kitchen_free(kitchen);
}

int kitchen_workers(uint32_t n, struct workers **ret, struct err *reterr)
{
    return workers_start(n, new_scratch, free_scratch, ret, reterr);
}

static int add_unusable(struct kitchen *k, const struct slot *s, enum unusable reason, const char *detail)
{
    struct window *w = &k->draft.w;
    if (array_grow(&w->unusable, &k->draft.unusable_cap, w->n_unusable + 1) != 0)
        return -ENOMEM;
    struct window_unusable *u = &w->unusable[w->n_unusable++];
    *u =
        (struct window_unusable){.corpus = s->corpus, .pass = s->pass, .record = s->record, .reason = reason};
    (void)snprintf(u->detail, sizeof u->detail, "%s", detail);
    return 0;
}

/* Labels: the first token of a document is never one, whatever the template says: no token comes before it.
 */
static int add_spans(struct kitchen *k, const struct document *d, struct window_doc *doc)
{
    struct window *w = &k->draft.w;
    if (array_grow(&w->spans, &k->draft.spans_cap, w->n_spans + d->n_blocks) != 0 ||
        array_grow(&w->blocks, &k->draft.blocks_cap, w->n_blocks + d->n_blocks) != 0)
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
            w->spans[w->n_spans++] = (struct pos_span){start, end};
            doc->n_supervised += end - start;
        }
        w->blocks[w->n_blocks++] = (struct window_block){.n_tokens = block->n_tokens, .role = block->role};
    }
    doc->n_spans = (uint32_t)w->n_spans - doc->first_span;
    doc->n_blocks = (uint32_t)d->n_blocks;
    return 0;
}

/* Where the positions of a document jump, into w->runs. */
static int add_runs(struct kitchen *k, const struct slot *s, const struct document *d, struct window_doc *doc)
{
    struct window *w = &k->draft.w;
    const struct recipe *r = w->recipe;
    const uint32_t n_blocks = (uint32_t)d->n_blocks, n_tokens = (uint32_t)d->n_ids;
    struct rng_key key = {.seed = (uint64_t)r->conf->seed,
                          .pass = s->pass,
                          .corpus = r->corpus_hash[s->corpus],
                          .record = (uint32_t)s->record,
                          .part = doc->piece.part % PARTS_MAX};
    const struct conf_positions *p = pos_choose(r->conf->positions, r->conf->n_positions, key);
    if (array_grow(&w->runs, &k->draft.runs_cap, w->n_runs + pos_runs_max(p, n_tokens, n_blocks)) != 0 ||
        array_grow(&k->block_tokens, &k->block_tokens_cap, n_blocks) != 0)
        return -ENOMEM;
    for (uint32_t b = 0; b < n_blocks; b++)
        k->block_tokens[b] = d->blocks[b].n_tokens;
    const struct pos_doc is = {.block_tokens = k->block_tokens,
                               .n_blocks = n_blocks,
                               .n_tokens = n_tokens,
                               .tokens = d->ids,
                               .marks = r->marks,
                               .n_marks = r->n_marks};
    int outcome =
        pos_draw(p, pos_window(p, k->progress), key, &is, &k->positions, w->runs + w->n_runs, &doc->n_runs);
    if (outcome < 0)
        return outcome;
    doc->outcome = (uint32_t)outcome;
    doc->strategy = (uint32_t)p->strategy;
    w->n_runs += doc->n_runs;
    return 0;
}

/* A document within seq_len goes into the window. */
static int add_document(struct kitchen *k, const struct slot *s, const struct document *d, struct piece piece)
{
    struct window *w = &k->draft.w;
    struct window_doc doc = {.first_token = w->n_tokens,
                             .n_tokens = (uint32_t)d->n_ids,
                             .first_run = (uint32_t)w->n_runs,
                             .corpus = s->corpus,
                             .pass = s->pass,
                             .record = s->record,
                             .piece = piece};
    size_t n_spans = w->n_spans, n_blocks = w->n_blocks;
    if (add_spans(k, d, &doc) != 0)
        return -ENOMEM;
    if (doc.n_supervised == 0) {
        w->n_spans = n_spans;
        w->n_blocks = n_blocks;
        return add_unusable(k, s, UNUSABLE_UNSUPERVISED, "no token of a response is left to train on");
    }
    if (array_grow(&w->tokens, &k->draft.tokens_cap, w->n_tokens + d->n_ids) != 0 ||
        array_grow(&w->docs, &k->draft.docs_cap, w->n_docs + 1) != 0 || add_runs(k, s, d, &doc) != 0)
        return -ENOMEM;
    memcpy(w->tokens + w->n_tokens, d->ids, d->n_ids * sizeof d->ids[0]);
    w->n_tokens += d->n_ids;
    w->docs[w->n_docs++] = doc;
    return 0;
}

/* Pairs from..to of the dialogue at hand, with its system prompt: a dialogue of its own. */
static int render_pairs(struct kitchen *k, const struct recipe *r, uint32_t from, uint32_t to, char *detail)
{
    const struct turn *turns = k->sample.turns;
    uint32_t system = turns[0].role == ROLE_SYSTEM, n = 2 * (to - from);
    if (array_grow(&k->turns, &k->turns_cap, system + n) != 0)
        return -ENOMEM;
    if (system)
        k->turns[0] = turns[0];
    memcpy(k->turns + system, turns + system + 2 * from, n * sizeof turns[0]);
    return template_render(r->template, &(struct sample){.turns = k->turns, .n_turns = system + n}, &k->doc,
                           detail);
}

/* `split`, of a piece that is too long: it goes into the window as several, numbered from the piece's own
 * part on. Returns USABLE, or why all of it is to be taken back, with detail; or -errno. */
typedef int split_fn(struct kitchen *k, const struct slot *s, struct piece whole, char *detail);

/* Leaves in k->doc as many pairs of *p as seq_len has room for, and in *p which; at least one, which may be
 * too long. They are those at its end, or else at its start. most: the blocks of the whole tell that no more
 * will fit: the system prompt comes on top of that. Returns as template_render does. */
static int render_most(struct kitchen *k, const struct recipe *r, struct piece *p, bool at_end, uint32_t most,
                       char *detail)
{
    const struct piece all = *p;
    uint32_t least = 1;
    for (uint32_t pairs = most;; pairs = least + (most - least + 1) / 2) {
        if (at_end)
            p->from = all.to - pairs;
        else
            p->to = all.from + pairs;
        int why = render_pairs(k, r, p->from, p->to, detail);
        if (why != USABLE || least == most)
            return why;
        if (k->doc.n_ids > (size_t)r->conf->seq_len)
            most = pairs - 1;
        else if ((least = pairs) == most)
            return why;
    }
}

static int copy_lengths(struct kitchen *k)
{
    if (array_grow(&k->lengths, &k->lengths_cap, k->doc.n_blocks) != 0)
        return -ENOMEM;
    for (size_t b = 0; b < k->doc.n_blocks; b++)
        k->lengths[b] = k->doc.blocks[b].n_tokens;
    return 0;
}

/* Pieces of whole turns. k->doc holds all of them, rendered; its blocks tell how much is likely to fit, and
 * rendering each piece tells for sure. */
static int split_dialogue(struct kitchen *k, const struct slot *s, struct piece whole, char *detail)
{
    struct window *w = &k->draft.w;
    uint32_t seq_len = (uint32_t)w->recipe->conf->seq_len, n_blocks = (uint32_t)k->doc.n_blocks;
    uint64_t made = 0, made_max = GROWTH_MAX * (uint64_t)k->doc.n_ids;
    struct piece p = whole;
    if (copy_lengths(k) != 0)
        return -ENOMEM;
    for (; p.from < whole.to; p.from = p.to, p.part++) {
        p.to = whole.to;
        int why = render_most(k, w->recipe, &p, false,
                              fit_pairs(k->lengths, n_blocks, 2 * (p.from - whole.from), seq_len), detail);
        if (why != USABLE)
            return why;
        made += k->doc.n_ids;
        if (p.part - whole.part == PARTS_MAX || made > made_max) {
            (void)snprintf(
                detail, RECORD_DETAIL,
                "in pieces of seq_len %u with its system prompt: over %d, or over %d times as long", seq_len,
                PARTS_MAX, GROWTH_MAX);
            return UNUSABLE_OVERLONG;
        }
        if (k->doc.n_ids > seq_len) {
            fit_truncate(&k->doc, seq_len);
            w->truncated++;
        }
        int rc = add_document(k, s, &k->doc, p);
        if (rc != 0)
            return rc;
    }
    return USABLE;
}

/* A text without turns is split where a row ends. */
static int split_text(struct kitchen *k, const struct slot *s, struct piece whole, char *detail)
{
    struct window *w = &k->draft.w;
    uint32_t seq_len = (uint32_t)w->recipe->conf->seq_len;
    struct piece p = whole;
    if ((whole.to - whole.from - 1) / seq_len >= PARTS_MAX) {
        (void)snprintf(detail, RECORD_DETAIL, "%u tokens, over %d pieces of seq_len %u",
                       whole.to - whole.from, PARTS_MAX, seq_len);
        return UNUSABLE_OVERLONG;
    }
    for (; p.from < whole.to; p.from = p.to, p.part++) {
        struct text_block block;
        p.to = whole.to - p.from < seq_len ? whole.to : p.from + seq_len;
        const struct document piece = fit_tokens(&k->doc, p.from, p.to, &block);
        int rc = add_document(k, s, &piece, p);
        if (rc != 0)
            return rc;
    }
    return USABLE;
}

static int add_split(struct kitchen *k, const struct slot *s, struct piece whole, split_fn *split)
{
    struct window *w = &k->draft.w;
    char detail[RECORD_DETAIL];
    const size_t n_tokens = w->n_tokens, n_runs = w->n_runs, n_spans = w->n_spans, n_blocks = w->n_blocks,
                 n_docs = w->n_docs, n_unusable = w->n_unusable;
    const uint32_t truncated = w->truncated;
    int why = split(k, s, whole, detail);
    if (why < 0)
        return why;
    if (why == USABLE) {
        w->split++;
        return 0;
    }
    w->n_tokens = n_tokens, w->n_runs = n_runs, w->n_spans = n_spans, w->n_blocks = n_blocks;
    w->n_docs = n_docs, w->n_unusable = n_unusable, w->truncated = truncated;
    return add_unusable(k, s, (enum unusable)why, detail);
}

/* The slot's document, *d, which is `piece` of its record. */
static int add_fitted(struct kitchen *k, const struct slot *s, struct document *d, struct piece piece,
                      split_fn *split)
{
    struct window *w = &k->draft.w;
    const struct conf_stream *conf = w->recipe->conf;
    const struct piece whole = s->piece.to == 0 ? s->piece : piece;
    char detail[RECORD_DETAIL];
    if (d->n_ids <= (size_t)conf->seq_len)
        return add_document(k, s, d, whole);
    switch (conf->overlong) {
    case OVERLONG_DROP:
        (void)snprintf(detail, sizeof detail, "%zu tokens, seq_len is %lld", d->n_ids,
                       (long long)conf->seq_len);
        return add_unusable(k, s, UNUSABLE_OVERLONG, detail);
    case OVERLONG_SPLIT:
        return add_split(k, s, piece, split);
    case OVERLONG_TRUNCATE:
    case OVERLONG__COUNT:
        break;
    }
    fit_truncate(d, (uint32_t)conf->seq_len);
    w->truncated++;
    return add_document(k, s, d, whole);
}

/* Pieces of one text come one after another; it is tokenised once. */
static int add_text(struct kitchen *k, const struct slot *s)
{
    struct window *w = &k->draft.w;
    char detail[RECORD_DETAIL];
    int why = k->whole ? USABLE : template_render(w->recipe->template, &k->sample, &k->doc, detail);
    if (why < 0)
        return why;
    if (why != USABLE)
        return add_unusable(k, s, (enum unusable)why, detail);
    k->whole = true;
    struct piece piece = fit_piece(s->piece, (uint32_t)k->doc.n_ids);
    if (s->piece.to != 0 && piece.from == piece.to)
        return 0; /* its neighbours have what it had */
    struct text_block block;
    struct document d = fit_tokens(&k->doc, piece.from, piece.to, &block);
    return add_fitted(k, s, &d, piece, split_text);
}

/* Where only the last response is trained, a dialogue that is too long loses its first pairs, so that there
 * is something left to train; pieces before the last would have nothing. */
static int add_last_pairs(struct kitchen *k, const struct slot *s, struct piece piece)
{
    struct window *w = &k->draft.w;
    const struct recipe *r = w->recipe;
    const struct piece whole = s->piece.to == 0 ? s->piece : piece;
    char detail[RECORD_DETAIL];
    if (copy_lengths(k) != 0)
        return -ENOMEM;
    uint32_t most = fit_last_pairs(k->lengths, (uint32_t)k->doc.n_blocks, (uint32_t)r->conf->seq_len);
    int why = render_most(k, r, &piece, true, most, detail);
    if (why < 0)
        return why;
    if (why != USABLE)
        return add_unusable(k, s, (enum unusable)why, detail);
    fit_last(&k->doc);
    fit_truncate(&k->doc, (uint32_t)r->conf->seq_len);
    w->truncated++;
    return add_document(k, s, &k->doc, whole);
}

/* k->doc: pairs `piece` of a dialogue.   last: its last ones. */
static int add_pairs(struct kitchen *k, const struct slot *s, struct piece piece, bool last)
{
    const struct conf_stream *conf = k->draft.w.recipe->conf;
    if (conf->train_on == TRAIN_ALL)
        return add_fitted(k, s, &k->doc, piece, split_dialogue);
    if (!last)
        return add_unusable(k, s, UNUSABLE_UNSUPERVISED, "a piece without the dialogue's last response");
    fit_last(&k->doc);
    if (k->doc.n_ids <= (size_t)conf->seq_len || conf->overlong == OVERLONG_DROP)
        return add_fitted(k, s, &k->doc, piece, split_dialogue);
    return add_last_pairs(k, s, piece);
}

static int add_dialogue(struct kitchen *k, const struct slot *s)
{
    struct window *w = &k->draft.w;
    const struct sample *all = &k->sample;
    const uint32_t n = (all->n_turns - (all->turns[0].role == ROLE_SYSTEM)) / 2,
                   max = (uint32_t)w->recipe->conf->max_turns, limit = max > 0 && max < n ? max : n,
                   truncated = w->truncated;
    char detail[RECORD_DETAIL];
    struct piece piece = fit_piece(s->piece, n);
    const bool cut = piece.to > limit;
    int why = USABLE, rc = 0;
    if (cut)
        piece.to = limit;
    if (s->piece.to == 0 && !cut)
        why = template_render(w->recipe->template, all, &k->doc, detail);
    else if (piece.from < piece.to)
        why = render_pairs(k, w->recipe, piece.from, piece.to, detail);
    if (why < 0)
        return why;
    if (why != USABLE)
        return add_unusable(k, s, (enum unusable)why, detail);
    if (s->piece.to == 0 || piece.from < piece.to)
        rc = add_pairs(k, s, piece, piece.to == limit);
    if (rc == 0 && cut && w->truncated == truncated)
        w->truncated++;
    return rc;
}

static int add_slot(struct kitchen *k, struct window_order *o, uint32_t i)
{
    struct window *w = o->window;
    const struct recipe *r = w->recipe;
    const struct slot *s = &o->slots[i].slot;
    k->progress = o->slots[i].progress;
    char detail[RECORD_DETAIL] = "";
    if (o->slots[i].duplicate)
        return add_unusable(k, s, UNUSABLE_DUPLICATE, "the same bytes as an earlier record");
    if (o->slots[i].read == UINT32_MAX) {
        (void)snprintf(detail, sizeof detail, "larger than record_max (%lld bytes)",
                       (long long)r->record_max);
        return add_unusable(k, s, UNUSABLE_TOO_LARGE, detail);
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
    if (o->slots[i].read != k->parsed) {
        k->parsed = UINT32_MAX;
        k->whole = false;
        int why = record_parse(k->parser, corpus_conf(c), corpus_format(c), o->slots[i].plain,
                               (struct slice){read->data, read->size}, &k->sample, detail);
        if (why < 0)
            return why;
        if (why != USABLE)
            return add_unusable(k, s, (enum unusable)why, detail);
        k->parsed = o->slots[i].read;
        k->draft.w.left_out += k->sample.left_out;
    }
    return k->sample.turns[0].role == ROLE_TEXT ? add_text(k, s) : add_dialogue(k, s);
}

/* Row numbers in the order in which they leave. Packing opens rows longest document first; left so, every
 * window would begin with long documents and end with short ones. Padded rows keep the stream's order, which
 * is shuffled already. */
static int place_rows(struct kitchen *k, uint32_t n_rows)
{
    struct window *w = &k->draft.w;
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

static int fill_rows(struct kitchen *k)
{
    struct window *w = &k->draft.w;
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
    if (rc != 0 || place_rows(k, n_rows) != 0 || array_grow(&w->rows, &k->draft.rows_cap, n_rows) != 0 ||
        array_grow(&w->row_docs, &k->draft.row_docs_cap, n) != 0)
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

/* Of the documents that are left: a split may have been taken back. */
static int count_distances(struct kitchen *k, struct window *w)
{
    struct window_distances *d = w->distances = pool_take(pool_of(w), sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    memset(d, 0, sizeof *d);
    for (size_t i = 0; i < w->n_docs; i++) {
        const struct window_doc *doc = &w->docs[i];
        const struct pos_span *spans = w->spans + doc->first_span;
        coverage_add(&k->distances.here[doc->strategy], w->runs + doc->first_run, doc->n_runs, spans,
                     doc->n_spans, doc->n_tokens);
        coverage_add_plain(&k->distances.ordinary, spans, doc->n_spans);
    }
    for (int s = 0; s < POS__COUNT; s++)
        if (k->distances.here[s].done.documents > 0)
            coverage_take(&k->distances.here[s], &d->here[s]);
    coverage_take(&k->distances.ordinary, &d->ordinary);
    return 0;
}

/* Looked at after reading: had a file been rewritten before or meanwhile, it shows now. */
static void check_files(const struct window_order *o)
{
    struct window *w = o->window;
    const uint64_t since_ns = clock_ns();
    for (uint32_t i = 0; i < w->n_slots && w->rc == 0; i++) {
        const struct slot *s = &o->slots[i].slot;
        w->rc = corpus_check_record(w->recipe->corpora[s->corpus], s->record, since_ns, &w->error);
    }
}

/* The next record comes from the reader's core while the one at hand is made. */
static void fetch_ahead(const struct window_order *o, uint32_t i)
{
    if (i >= o->window->n_slots || o->slots[i].read == UINT32_MAX)
        return;
    const struct fetch_read *read = &o->fetch.reads[o->slots[i].read];
    const uint32_t size = read->error != 0 ? 0 : read->size < AHEAD_BYTES ? read->size : AHEAD_BYTES;
    for (uint32_t at = 0; at < size; at += CACHE_LINE)
        __builtin_prefetch(read->data + at);
}

/* Into the draft. */
static int fill(struct kitchen *k, struct window_order *o, bool own)
{
    struct window *w = o->window;
    int rc = 0;
    k->parsed = UINT32_MAX;
    k->doc.own = own;
    window_begin(&k->draft, w);
    for (uint32_t i = 0; i < w->n_slots && rc == 0; i++) {
        fetch_ahead(o, i + 1);
        rc = add_slot(k, o, i);
    }
    return rc == 0 ? fill_rows(k) : rc;
}

/* By our own code once more, to see where documents lay. */
static int make_as_before(struct kitchen *k, struct window_order *o, struct window *was)
{
    int rc = was == NULL ? -ENOMEM : fill(k, o, true);
    return rc == 0 ? window_seal(&k->draft, was) : rc;
}

/* The draft's documents into their places. The ledger has the tokens of the one, or, where it was lost, of
 * the other. */
static int lay_as_before(struct kitchen *k, const struct window_order *o, const struct window *was)
{
    struct window *w = o->window;
    if (o->rows_before != UINT64_MAX &&
        (was->n_rows != o->rows_before ||
         (was->n_tokens != o->tokens_before && k->draft.w.n_tokens != o->tokens_before)))
        return err_set(
            &w->error, ERR_CHANGED,
            "window %llu: its rows were laid by a tokenizer that has been found wrong, and it does not "
            "lay them so any more (%zu rows, then %llu); start with --forget, and the stream begins "
            "anew with the right ids",
            (unsigned long long)w->number, was->n_rows, (unsigned long long)o->rows_before);
    return lay_as(&k->draft, was);
}

void kitchen_make(struct kitchen *k, struct window_order *o)
{
    struct window *w = o->window, *was = o->as_before ? window_twin(w) : NULL;
    w->own = tokenizer_own(w->recipe->tokenizer);
    check_files(o);
    if (w->rc == 0 && o->as_before)
        w->rc = make_as_before(k, o, was);
    if (w->rc == 0)
        w->rc = fill(k, o, false);
    if (w->rc == 0 && was != NULL)
        w->rc = lay_as_before(k, o, was);
    if (w->rc == 0)
        w->rc = window_seal(&k->draft, w);
    if (w->rc == 0)
        w->rc = count_distances(k, w);
    if (w->rc != 0 && w->error.text[0] == '\0')
        (void)err_set(&w->error, w->rc, "making window %llu: %s", (unsigned long long)w->number,
                      err_str(w->rc));
    window_unref(was);
}
