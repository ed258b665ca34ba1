#include "base/array.h"
#include "text/template.h"
#include "text/template_ops.h"
#include "text/white.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Supervision of a block: it will start inside the piece at hand, has started at a token, or is over. */
enum supervision { NOT_YET, IN_PIECE, STARTED, OVER };

/* A joined piece lies in at most so many blocks that end in it: the end of a response's, and a whole
 * instruction. */
#define ENDS_MAX 2

/* A document being written. Template text and turn text gather in `piece` until a symbol or the block's end
 * (joined: a symbol or the document's), then they are tokenised together. A piece of one slice is borrowed
 * from where that lies; only joined ones are copied. */
struct render {
    const struct template *t;
    struct document *d;
    char *detail;
    struct slice piece;
    bool supervise; /* the next {content} */
    enum supervision supervision;
    size_t mark;                   /* IN_PIECE: where the response starts in the piece, bytes */
    size_t start, end;             /* of what is supervised, in d->ids */
    size_t first;                  /* token of the first block that has no length yet; those before have */
    size_t n_closed;               /* blocks that have */
    size_t ends[ENDS_MAX], n_ends; /* where blocks end in the piece, bytes */
};

static int unusable(struct render *r, enum unusable why, const char *detail)
{
    (void)snprintf(r->detail, RECORD_DETAIL, "%s", detail);
    return (int)why;
}

static int append(struct render *r, struct slice text)
{
    struct document *d = r->d;
    if (text.size == 0)
        return 0;
    if (r->piece.size == 0) {
        r->piece = text;
        return 0;
    }
    bool joined = r->piece.data == d->scratch;
    int rc = array_grow(&d->scratch, &d->scratch_cap, r->piece.size + text.size);
    if (rc != 0)
        return rc;
    if (!joined)
        memcpy(d->scratch, r->piece.data, r->piece.size);
    memcpy(d->scratch + r->piece.size, text.data, text.size);
    r->piece = (struct slice){d->scratch, r->piece.size + text.size};
    return 0;
}

static int encode(struct render *r, struct slice text)
{
    struct document *d = r->d;
    int rc = (d->own ? tokenizer_encode_own : tokenizer_encode)(r->t->tok, text, &d->ids, &d->ids_cap,
                                                                &d->n_ids, NULL);
    if (rc == 0 || rc == -ENOMEM)
        return rc;
    return unusable(r, UNUSABLE_TOKENIZER, "libsentencepiece refused the text");
}

/* How many of the tokens from `first` on, which are all of the piece, are its first n bytes. One piece's
 * tokens may differ from those of its beginning alone where that ends: what they share is the beginning. */
static int count_tokens(struct render *r, struct slice piece, size_t n, size_t first, size_t *ret_n)
{
    struct document *d = r->d;
    size_t last = d->n_ids, k = 0;
    if (n < piece.size) {
        int rc = encode(r, (struct slice){piece.data, n});
        if (rc != 0)
            return rc;
        while (first + k < last && last + k < d->n_ids && d->ids[first + k] == d->ids[last + k])
            k++;
        d->n_ids = last;
    }
    *ret_n = n < piece.size ? k : last - first;
    return 0;
}

/* Symbols come from the template only; a model that finds one of them in a text cannot keep that text as it
 * is. */
static int refuse_symbols(struct render *r, size_t first)
{
    for (size_t k = 0; k < r->t->n_unwanted; k++)
        for (size_t i = first; i < r->d->n_ids; i++)
            if (r->d->ids[i] == r->t->unwanted[k])
                return unusable(r, UNUSABLE_TEMPLATE, "the text holds a symbol of the template");
    return 0;
}

/* The first block without a length ends before token `end`. */
static void close_block(struct render *r, size_t end)
{
    if (end < r->first)
        end = r->first;
    r->d->blocks[r->n_closed++].n_tokens = (uint32_t)(end - r->first);
    r->first = end;
}

static int flush(struct render *r)
{
    struct slice piece = r->piece;
    size_t first = r->d->n_ids, n = 0;
    int rc = 0;
    r->piece = (struct slice){NULL, 0};
    if (piece.size > 0 && ((rc = encode(r, piece)) != 0 || (rc = refuse_symbols(r, first)) != 0))
        return rc;
    for (size_t i = 0; i < r->n_ends; i++) {
        if ((rc = count_tokens(r, piece, r->ends[i], first, &n)) != 0)
            return rc;
        close_block(r, first + n);
    }
    r->n_ends = 0;
    if (r->supervision != IN_PIECE)
        return 0;
    n = 0;
    if (r->mark > 0 && (rc = count_tokens(r, piece, r->mark, first, &n)) != 0)
        return rc;
    r->supervision = STARTED;
    r->start = first + n > r->first ? first + n : r->first;
    return 0;
}

static int put_symbol(struct render *r, int32_t id)
{
    struct document *d = r->d;
    int rc = flush(r);
    if (rc != 0)
        return rc;
    if (id == r->t->bos && d->n_ids > 0 && d->ids[d->n_ids - 1] == id)
        return 0;
    rc = array_grow(&d->ids, &d->ids_cap, d->n_ids + 1);
    if (rc != 0)
        return rc;
    d->ids[d->n_ids++] = id;
    if (r->supervision == STARTED) {
        r->supervision = OVER;
        r->end = d->n_ids;
    }
    return 0;
}

/* inside: a system prompt is before the text. */
static struct slice trimmed(struct slice text, enum trim trim, bool inside)
{
    if (trim == TRIM_TURN || (trim == TRIM_AROUND && !inside))
        text = white_trim_start(text);
    if (trim == TRIM_TURN || trim == TRIM_AROUND)
        text = white_trim_end(text);
    while (trim == TRIM_END_SPACES && text.size > 0 && text.data[text.size - 1] == ' ')
        text.size--;
    return text;
}

/* Write one of the template's strings around `text`; system, if not NULL, goes before the text, in its own
 * string. */
static int put_part(struct render *r, const struct part *p, struct slice text, const struct slice *system)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        switch (op->kind) {
        case OP_TEXT:
            rc = append(r, op->text);
            break;
        case OP_SYMBOL:
            rc = put_symbol(r, op->id);
            break;
        case OP_CONTENT:
            if (r->supervise) {
                r->supervision = IN_PIECE;
                r->mark = r->piece.size;
            }
            if (system != NULL)
                rc = put_part(r, &r->t->system, *system, NULL);
            text = trimmed(text, op->trim, system != NULL);
            if (op->trim == TRIM_AROUND && text.size == 0 && system != NULL)
                r->piece = white_trim_end(r->piece);
            if (rc == 0)
                rc = append(r, text);
            break;
        }
    }
    return rc;
}

/* The block at hand has all of its text. Its last tokens may be known only with those of the next one. */
static int end_block(struct render *r, enum role role, bool is_last)
{
    struct document *d = r->d;
    bool waits = r->t->joined && !is_last && r->piece.size > 0;
    int rc = waits ? 0 : flush(r);
    if (rc == 0)
        rc = array_grow(&d->blocks, &d->blocks_cap, d->n_blocks + 1);
    if (rc != 0)
        return rc;
    if (r->supervision == STARTED)
        r->end = d->n_ids;
    else if (r->supervision == NOT_YET)
        r->start = r->end = r->first;
    if (r->start == 0 && r->end > 0)
        r->start = 1; /* nothing comes before a document's first token that could predict it */
    d->blocks[d->n_blocks++] = (struct text_block){
        .role = role,
        .supervised_start = (uint32_t)(r->start - r->first),
        .supervised_end = (uint32_t)(r->end - r->first),
    };
    if (waits)
        r->ends[r->n_ends++] = r->piece.size;
    else
        close_block(r, d->n_ids);
    return 0;
}

/* One turn is one block; the first has begin, and maybe the system prompt, before it. */
static int put_turn(struct render *r, const struct turn *turn, bool is_first, bool is_last,
                    const struct slice *system_before, const struct slice *system_inside)
{
    const struct template *t = r->t;
    const struct part *p = turn->role == ROLE_USER   ? &t->user
                           : turn->role == ROLE_TEXT ? &t->text
                                                     : &t->assistant;
    int rc = 0;
    r->supervision = NOT_YET;
    r->supervise = false;
    if (is_first)
        rc = put_part(r, &t->begin, (struct slice){NULL, 0}, NULL);
    if (rc == 0 && system_before != NULL)
        rc = put_part(r, &t->system, *system_before, NULL);
    r->supervise = turn->role != ROLE_USER && !turn->untrained;
    if (rc == 0)
        rc = put_part(r, p, turn->text, system_inside);
    return rc == 0 ? end_block(r, turn->role, is_last) : rc;
}

/* The turn that a system prompt goes into; UINT32_MAX: there is none. */
static uint32_t find_host(const struct sample *s, enum template_system_place place)
{
    uint32_t host = UINT32_MAX;
    for (uint32_t i = 0; i < s->n_turns; i++)
        if (s->turns[i].role == ROLE_USER && (host == UINT32_MAX || place == SYSTEM_LAST_USER))
            host = i;
    return host;
}

/* The system prompt of a dialogue, or the template's where it has none; empty: none. */
static struct slice system_of(const struct template *t, const struct sample *s)
{
    if (s->n_turns > 0 && s->turns[0].role == ROLE_SYSTEM && s->turns[0].text.size > 0)
        return s->turns[0].text;
    bool text = s->n_turns > 0 && s->turns[0].role == ROLE_TEXT;
    return t->default_system != NULL && !text ? slice_of(t->default_system) : (struct slice){NULL, 0};
}

int template_render(const struct template *t, const struct sample *s, struct document *d,
                    char detail[RECORD_DETAIL])
{
    struct render r = {.t = t, .d = d, .detail = detail};
    const struct slice system = system_of(t, s), *before = NULL, *inside = NULL;
    uint32_t first = s->n_turns > 0 && s->turns[0].role == ROLE_SYSTEM, host = UINT32_MAX;
    d->n_ids = d->n_blocks = 0;
    if (system.size > 0) {
        if (t->system.source == NULL)
            return unusable(&r, UNUSABLE_TEMPLATE, "the template has no place for a system prompt");
        if (t->system_place == SYSTEM_BEFORE)
            before = &system;
        else
            inside = &system;
        if (inside != NULL && (host = find_host(s, t->system_place)) == UINT32_MAX)
            return unusable(&r, UNUSABLE_TEMPLATE, "there is no instruction to put the system prompt into");
    }
    for (uint32_t i = first; i < s->n_turns; i++) {
        int rc = put_turn(&r, &s->turns[i], i == first, i + 1 == s->n_turns, i == first ? before : NULL,
                          i == host ? inside : NULL);
        if (rc != 0)
            return rc;
    }
    return (int)USABLE;
}

void document_fini(struct document *d)
{
    free(d->ids);
    free(d->blocks);
    free(d->scratch);
    *d = (struct document){.ids = NULL};
}
