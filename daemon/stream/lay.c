#include "stream/lay.h"

#include "base/array.h"

#include <errno.h>

#define NOWHERE UINT32_MAX

static bool same_document(const struct window_doc *a, const struct window_doc *b)
{
    return a->corpus == b->corpus && a->pass == b->pass && a->record == b->record &&
           a->piece.part == b->piece.part;
}

/* For each document of `was` its index in w. Both are in the order of their slots. */
static void find_documents(const struct window *w, const struct window *was, uint32_t *ret)
{
    size_t next = 0;
    for (size_t i = 0; i < was->n_docs; i++) {
        size_t at = next;
        while (at < w->n_docs && !same_document(&w->docs[at], &was->docs[i]))
            at++;
        ret[i] = at < w->n_docs ? (uint32_t)at : NOWHERE;
        next = at < w->n_docs ? at + 1 : next;
    }
}

/* To its first n tokens. */
static void cut(struct window *w, struct window_doc *d, uint32_t n)
{
    uint32_t at = 0, b = 0, s = 0;
    for (; b < d->n_blocks && at < n; b++) {
        struct window_block *block = &w->blocks[d->first_block + b];
        if (block->n_tokens > n - at)
            block->n_tokens = n - at;
        at += block->n_tokens;
    }
    d->n_blocks = b;
    while (d->n_runs > 1 && w->runs[d->first_run + d->n_runs - 1].start >= n)
        d->n_runs--;
    d->n_supervised = 0;
    for (; s < d->n_spans && w->spans[d->first_span + s].start < n; s++) {
        struct pos_span *span = &w->spans[d->first_span + s];
        if (span->end > n)
            span->end = n;
        d->n_supervised += span->end - span->start;
    }
    d->n_spans = s;
    d->n_tokens = n;
}

static void lay_row(struct window *w, const struct window *was, const struct window_row *from,
                    const uint32_t *index, struct window_row *row)
{
    const uint32_t *docs = was->row_docs + from->first_doc;
    uint64_t n_tokens = 0;
    for (uint32_t i = 0; i < from->n_docs; i++)
        n_tokens += index[docs[i]] != NOWHERE ? w->docs[index[docs[i]]].n_tokens : 0;
    uint64_t excess =
        n_tokens > (uint64_t)w->recipe->conf->seq_len ? n_tokens - (uint64_t)w->recipe->conf->seq_len : 0;
    for (uint32_t i = 0; i < from->n_docs; i++) {
        if (index[docs[i]] == NOWHERE)
            continue;
        struct window_doc *d = &w->docs[index[docs[i]]];
        const uint32_t before = was->docs[docs[i]].n_tokens,
                       grown = d->n_tokens > before ? d->n_tokens - before : 0,
                       less = grown < excess ? grown : (uint32_t)excess;
        if (less > 0)
            cut(w, d, d->n_tokens - less);
        excess -= less;
        w->row_docs[row->first_doc + row->n_docs++] = index[docs[i]];
        row->n_tokens += d->n_tokens;
        row->n_supervised += d->n_supervised;
    }
}

int lay_as(struct window_draft *d, const struct window *was)
{
    struct window *w = &d->w;
    uint32_t *index = malloc((was->n_docs + 1) * sizeof index[0]), n = 0;
    int rc = index == NULL || array_grow(&w->rows, &d->rows_cap, was->n_rows) != 0 ||
                     array_grow(&w->row_docs, &d->row_docs_cap, was->n_docs) != 0
                 ? -ENOMEM
                 : 0;
    if (rc == 0) {
        find_documents(w, was, index);
        for (size_t r = 0; r < was->n_rows; r++) {
            w->rows[r] = (struct window_row){.first_doc = n};
            lay_row(w, was, &was->rows[r], index, &w->rows[r]);
            n += w->rows[r].n_docs;
        }
        w->n_rows = was->n_rows;
    }
    free(index);
    return rc;
}
