#include "base/array.h"
#include "text/template.h"
#include "text/template_ops.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Supervision of a block: it will start inside the piece at hand, has started at a token, or is over. */
enum supervision { NOT_YET, IN_PIECE, STARTED, OVER };

/* A document being written. Template text and turn text gather in `piece` until a symbol or the block's end,
 * then they are tokenised together. A piece of one slice is borrowed from where that lies; only joined ones
 * are copied. */
struct render {
    const struct template *t;
    struct document *d;
    char *detail;
    struct slice piece;
    bool supervise; /* the next {content} */
    enum supervision supervision;
    size_t mark;       /* IN_PIECE: where the response starts in the piece, bytes */
    size_t start, end; /* of what is supervised, in d->ids */
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
    int rc = tokenizer_encode(r->t->tok, text, &d->ids, &d->ids_cap, &d->n_ids, NULL);
    if (rc == 0 || rc == -ENOMEM)
        return rc;
    return unusable(r, UNUSABLE_TOKENIZER, "libsentencepiece refused the text");
}

/* How many of the tokens from `first` on are the header before a response. Both are one piece, so its tokens
 * may differ from those of the header alone where the two meet: what they share is the header. */
static int count_header(struct render *r, struct slice header, size_t first, size_t *ret_n)
{
    struct document *d = r->d;
    size_t last = d->n_ids, n = 0;
    int rc = encode(r, header);
    if (rc != 0)
        return rc;
    while (first + n < last && last + n < d->n_ids && d->ids[first + n] == d->ids[last + n])
        n++;
    d->n_ids = last;
    *ret_n = n;
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

static int flush(struct render *r)
{
    struct slice piece = r->piece;
    size_t first = r->d->n_ids, n_header = 0;
    int rc = 0;
    r->piece = (struct slice){NULL, 0};
    if (piece.size > 0 && ((rc = encode(r, piece)) != 0 || (rc = refuse_symbols(r, first)) != 0))
        return rc;
    if (r->supervision != IN_PIECE)
        return 0;
    if (r->mark > 0 && (rc = count_header(r, (struct slice){piece.data, r->mark}, first, &n_header)) != 0)
        return rc;
    r->supervision = STARTED;
    r->start = first + n_header;
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

static struct slice trimmed(struct slice s, const char *white)
{
    while (s.size > 0 && s.data[0] != '\0' && strchr(white, s.data[0]) != NULL)
        s = (struct slice){s.data + 1, s.size - 1};
    return s;
}

static struct slice trimmed_end(struct slice s, const char *white)
{
    while (s.size > 0 && s.data[s.size - 1] != '\0' && strchr(white, s.data[s.size - 1]) != NULL)
        s.size--;
    return s;
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
            else if (op->trim == TRIM_AROUND)
                text = trimmed(text, " \t\n\v\f\r");
            if (op->trim != TRIM_NONE)
                text = trimmed_end(text, op->trim == TRIM_AROUND ? " \t\n\v\f\r" : " ");
            if (rc == 0)
                rc = append(r, text);
            break;
        }
    }
    return rc;
}

static int add_block(struct render *r, enum role role, size_t first)
{
    struct document *d = r->d;
    int rc = array_grow(&d->blocks, &d->blocks_cap, d->n_blocks + 1);
    if (rc != 0)
        return rc;
    if (r->supervision == STARTED)
        r->end = d->n_ids;
    else if (r->supervision == NOT_YET)
        r->start = r->end = first;
    if (r->start == 0 && r->end > 0)
        r->start = 1; /* nothing comes before a document's first token that could predict it */
    d->blocks[d->n_blocks++] = (struct text_block){
        .role = role,
        .n_tokens = (uint32_t)(d->n_ids - first),
        .supervised_start = (uint32_t)(r->start - first),
        .supervised_end = (uint32_t)(r->end - first),
    };
    return 0;
}

/* One turn is one block; the first has begin, and maybe the system prompt, before it. */
static int put_turn(struct render *r, const struct turn *turn, bool is_first,
                    const struct slice *system_before, const struct slice *system_inside)
{
    const struct template *t = r->t;
    const struct part *p = turn->role == ROLE_USER   ? &t->user
                           : turn->role == ROLE_TEXT ? &t->text
                                                     : &t->assistant;
    size_t first = r->d->n_ids;
    int rc = 0;
    r->supervision = NOT_YET;
    r->supervise = false;
    if (is_first)
        rc = put_part(r, &t->begin, (struct slice){NULL, 0}, NULL);
    if (rc == 0 && system_before != NULL)
        rc = put_part(r, &t->system, *system_before, NULL);
    r->supervise = turn->role != ROLE_USER;
    if (rc == 0)
        rc = put_part(r, p, turn->text, system_inside);
    if (rc == 0)
        rc = flush(r);
    return rc == 0 ? add_block(r, turn->role, first) : rc;
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

int template_render(const struct template *t, const struct sample *s, struct document *d,
                    char detail[RECORD_DETAIL])
{
    struct render r = {.t = t, .d = d, .detail = detail};
    const struct slice *before = NULL, *inside = NULL;
    uint32_t first = s->n_turns > 0 && s->turns[0].role == ROLE_SYSTEM, host = UINT32_MAX;
    d->n_ids = d->n_blocks = 0;
    if (first == 1 && s->turns[0].text.size > 0) {
        if (t->system.source == NULL)
            return unusable(&r, UNUSABLE_TEMPLATE, "the template has no place for a system prompt");
        if (t->system_place == SYSTEM_BEFORE)
            before = &s->turns[0].text;
        else
            inside = &s->turns[0].text;
        if (inside != NULL && (host = find_host(s, t->system_place)) == UINT32_MAX)
            return unusable(&r, UNUSABLE_TEMPLATE, "there is no instruction to put the system prompt into");
    }
    for (uint32_t i = first; i < s->n_turns; i++) {
        int rc =
            put_turn(&r, &s->turns[i], i == first, i == first ? before : NULL, i == host ? inside : NULL);
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
