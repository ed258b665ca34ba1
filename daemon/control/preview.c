/* preview - documents of a batch as a person wants to see them: text by role, what is trained, position ids.
 *
 * The step is asked for as any consumer would ask; while it is being made the request waits. Its windows are
 * immutable and held by the reference to the step, so they are read here, on the main thread.
 */
#include "base/array.h"
#include "base/clock.h"
#include "control/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_S 30
#define TOKENS_MAX (1 << 18) /* of several rows: what the reply may grow to */

enum {
    ARG_STREAM,
    ARG_STEP,
    ARG_RANK,
    ARG_WORLD,
    ARG_ROW,
    ARG_ROWS,
    ARG_TOKENS
}; /* as in the table of commands */

static const char *const role_names[ROLE__COUNT] = {"system", "user", "assistant", "text"};

struct preview {
    struct feed *feed;
    char name[MSG_NAME_MAX + 1];
    uint64_t number, deadline_ns;
    struct step *step;
    bool removed; /* the stream, meanwhile */
    struct {
        enum step_state state;
        uint64_t steps, known;
        char failure[512];
    } seen; /* copied on the feed's thread */
};

/* ---- on the feed's thread ---- */

static void look(struct feed *f, void *arg)
{
    struct preview *p = arg;
    struct supply *supply = feed_supply(f);
    struct stream *st = supply_find(supply, p->name);
    if (st == NULL) {
        p->removed = true;
        return;
    }
    struct step *step = supply_step(supply, st, p->number); /* a change may have made it another one */
    supply_step_unref(supply, p->step);
    p->step = step;
    if (step == NULL)
        return;
    p->seen.state = p->step->state;
    p->seen.steps = stream_steps(st);
    p->seen.known = stream_known_steps(st);
    if (p->step->state == STEP_FAILED)
        (void)snprintf(p->seen.failure, sizeof p->seen.failure, "%s", step_failure(p->step));
}

static void give_back(struct feed *f, void *arg)
{
    struct preview *p = arg;
    supply_step_unref(feed_supply(f), p->step);
}

/* ---- one document ---- */

struct pen { /* what a document is written with */
    struct ctl_writer *w;
    const struct window *window;
    const struct window_doc *doc;
    const struct tokenizer *tokenizer;
    bool tokens;
    uint32_t run, span; /* where the token at hand is, in the document's runs and spans */
    char *text;         /* of the segment at hand */
    size_t n_text, text_cap;
};

static uint32_t position_of(struct pen *p, uint32_t token)
{
    const struct pos_run *runs = p->window->runs + p->doc->first_run;
    while (p->run + 1 < p->doc->n_runs && runs[p->run + 1].start <= token)
        p->run++;
    return runs[p->run].id + (token - runs[p->run].start);
}

static bool is_supervised(struct pen *p, uint32_t token)
{
    const struct pos_span *spans = p->window->spans + p->doc->first_span;
    while (p->span < p->doc->n_spans && spans[p->span].end <= token)
        p->span++;
    return p->span < p->doc->n_spans && spans[p->span].start <= token;
}

/* Symbols are the tokens that came from the template and not from a text. */
static bool is_symbol(const struct pen *p, int32_t id, const char *piece, size_t n)
{
    return tokenizer_symbol(p->tokenizer, (struct slice){piece, n}) == id;
}

struct segment {
    uint32_t n_tokens;
    bool supervised, symbol;
};

static void put_segment(struct pen *p, struct segment *s)
{
    if (s->n_tokens > 0) {
        ctl_put_map(p->w, NULL);
        ctl_put_uint(p->w, "tokens", s->n_tokens);
        ctl_put_bool(p->w, "supervised", s->supervised);
        ctl_put_bool(p->w, "symbol", s->symbol);
        ctl_put_bytes(p->w, "text", p->text, p->n_text);
        ctl_put_end(p->w);
    }
    p->n_text = 0;
    *s = (struct segment){0};
}

/* Runs of tokens that are alike, with their text: byte pieces only make sense next to each other. */
static void put_segments(struct pen *p, uint32_t first, uint32_t n)
{
    const int32_t *ids = p->window->tokens + p->doc->first_token;
    struct segment s = {0};
    char piece[1024];
    ctl_put_list(p->w, "segments");
    for (uint32_t i = first; i < first + n; i++) {
        const size_t n_piece = tokenizer_piece(p->tokenizer, ids[i], piece, sizeof piece);
        const bool supervised = is_supervised(p, i), symbol = is_symbol(p, ids[i], piece, n_piece);
        if (supervised != s.supervised || symbol != s.symbol)
            put_segment(p, &s);
        s = (struct segment){s.n_tokens + 1, supervised, symbol};
        if (array_grow(&p->text, &p->text_cap, p->n_text + n_piece) != 0) {
            p->w->rc = -ENOMEM;
            break;
        }
        memcpy(p->text + p->n_text, piece, n_piece);
        p->n_text += n_piece;
    }
    put_segment(p, &s);
    ctl_put_end(p->w);
}

static void put_tokens(struct pen *p, uint32_t first, uint32_t n)
{
    const int32_t *ids = p->window->tokens + p->doc->first_token;
    char piece[1024];
    ctl_put_list(p->w, "ids");
    for (uint32_t i = first; i < first + n; i++) {
        const size_t n_piece = tokenizer_piece(p->tokenizer, ids[i], piece, sizeof piece);
        ctl_put_map(p->w, NULL);
        ctl_put_int(p->w, "id", ids[i]);
        ctl_put_bytes(p->w, "piece", piece, n_piece);
        ctl_put_uint(p->w, "position", position_of(p, i));
        ctl_put_int(p->w, "label", is_supervised(p, i) ? ids[i] : -100);
        ctl_put_end(p->w);
    }
    ctl_put_end(p->w);
}

static void put_block(struct pen *p, const struct window_block *b, uint32_t first)
{
    const uint32_t run = p->run, span = p->span;
    ctl_put_map(p->w, NULL);
    ctl_put_text(p->w, "role", role_names[b->role]);
    ctl_put_uint(p->w, "tokens", b->n_tokens);
    ctl_put_uint(p->w, "first_token", first);
    ctl_put_uint(p->w, "first_position", position_of(p, first));
    ctl_put_uint(p->w, "last_position", position_of(p, first + b->n_tokens - 1));
    put_segments(p, first, b->n_tokens);
    if (p->tokens) {
        p->run = run, p->span = span;
        put_tokens(p, first, b->n_tokens);
    }
    ctl_put_end(p->w);
}

static void put_document(struct pen *p)
{
    const struct window_doc *d = p->doc;
    const struct corpus *corpus = p->window->recipe->corpora[d->corpus];
    const struct window_block *blocks = p->window->blocks + d->first_block;
    ctl_put_map(p->w, NULL);
    ctl_put_text(p->w, "corpus", corpus_conf(corpus)->name);
    ctl_put_uint(p->w, "record", d->record);
    ctl_put_uint(p->w, "pass", d->pass);
    ctl_put_uint(p->w, "part", d->piece.part);
    ctl_put_text(p->w, "outcome", pos_outcome_names[d->outcome]);
    ctl_put_uint(p->w, "tokens", d->n_tokens);
    ctl_put_uint(p->w, "supervised", d->n_supervised);
    ctl_put_list(p->w, "runs");
    for (uint32_t i = 0; i < d->n_runs; i++) {
        ctl_put_map(p->w, NULL);
        ctl_put_uint(p->w, "first_token", p->window->runs[d->first_run + i].start);
        ctl_put_uint(p->w, "first_position", p->window->runs[d->first_run + i].id);
        ctl_put_end(p->w);
    }
    ctl_put_end(p->w);
    ctl_put_list(p->w, "blocks");
    uint32_t first = 0;
    for (uint32_t i = 0; i < d->n_blocks; first += blocks[i++].n_tokens)
        if (blocks[i].n_tokens > 0)
            put_block(p, &blocks[i], first);
    ctl_put_end(p->w);
    ctl_put_end(p->w);
}

/* ---- the batch ---- */

static void put_row(struct request *q, const struct step *step, uint64_t row, uint64_t in_step)
{
    struct ctl_writer *w = &q->reply;
    const struct window *window = step->rows[in_step].window;
    const struct window_row *r = window != NULL ? &window->rows[step->rows[in_step].row] : NULL;
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "row", row);
    ctl_put_uint(w, "tokens", r != NULL ? r->n_tokens : 0);
    ctl_put_uint(w, "supervised", r != NULL ? r->n_supervised : 0);
    ctl_put_list(w, "documents");
    for (uint32_t i = 0; r != NULL && i < r->n_docs; i++) {
        struct pen p = {.w = w,
                        .window = window,
                        .doc = &window->docs[window->row_docs[r->first_doc + i]],
                        .tokenizer = window->recipe->tokenizer,
                        .tokens = q->arguments[ARG_TOKENS].number};
        put_document(&p);
        free(p.text);
    }
    ctl_put_end(w);
    ctl_put_end(w);
}

static void put_batch(struct request *q, const struct step *step)
{
    struct ctl_writer *w = &q->reply;
    const struct conf_stream *c = step->recipe->conf;
    const uint64_t rank = q->arguments[ARG_RANK].number, world = q->arguments[ARG_WORLD].number;
    const uint64_t n_rows = (uint64_t)c->global_batch / world, first = q->arguments[ARG_ROW].number;
    ctl_put_text(w, "stream", c->name);
    ctl_put_uint(w, "generation", step->generation);
    ctl_put_uint(w, "step", step->number);
    ctl_put_uint(w, "epoch", step->epoch);
    ctl_put_uint(w, "world", world);
    ctl_put_uint(w, "rank", rank);
    ctl_put_uint(w, "rows", n_rows);
    ctl_put_uint(w, "length", (uint64_t)c->seq_len);
    ctl_put_uint(w, "supervised_global", step->supervised);
    ctl_put_text(w, "strategy", pos_strategy_name(c->positions, c->n_positions));
    if (c->n_positions == 1)
        ctl_put_text(w, "sampler", pos_sampler_names[c->positions->sampler]);
    ctl_put_uint(w, "max_position", pos_window_max(c->positions, c->n_positions));
    ctl_put_list(w, "shown");
    for (uint64_t row = first; row < n_rows && row < first + q->arguments[ARG_ROWS].number; row++)
        put_row(q, step, row, rank * n_rows + row);
    ctl_put_end(w);
}

/* As the generation is that the step belongs to. */
static bool check_place(struct request *q, const struct conf_stream *c)
{
    const uint64_t world = q->arguments[ARG_WORLD].number, rows = (uint64_t)c->global_batch;
    if (rows % world != 0) {
        request_fail(q, "bad-argument",
                     "world %" PRIu64 " does not divide the global batch of %" PRIu64
                     " rows of stream '%s'; choose one that does",
                     world, rows, c->name);
        return false;
    }
    if (q->arguments[ARG_ROW].number >= rows / world) {
        request_fail(q, "bad-argument",
                     "row %" PRIu64 ": a batch of stream '%s' in world %" PRIu64 " has rows 0 to %" PRIu64,
                     q->arguments[ARG_ROW].number, c->name, world, rows / world - 1);
        return false;
    }
    if (q->arguments[ARG_ROWS].number > 1 &&
        q->arguments[ARG_ROWS].number * (uint64_t)c->seq_len > TOKENS_MAX) {
        request_fail(q, "bad-argument",
                     "rows %" PRIu64 ": one preview shows at most %d tokens, and a row here has %" PRId64,
                     q->arguments[ARG_ROWS].number, TOKENS_MAX, c->seq_len);
        return false;
    }
    return true;
}

static void preview_drop(struct request *q)
{
    struct preview *p = q->waiting;
    if (p->step != NULL)
        feed_call(p->feed, give_back, p);
    free(p);
}

static bool preview_again(struct request *q)
{
    struct preview *p = q->waiting;
    feed_call(p->feed, look, p);
    if (p->step != NULL && !p->removed && p->seen.state == STEP_PENDING && clock_ns() < p->deadline_ns)
        return false;
    if (p->removed)
        request_fail(q, "unknown-stream", "stream '%s' has been removed meanwhile", p->name);
    else if (p->step == NULL)
        q->reply.rc = -ENOMEM;
    else if (p->seen.state == STEP_READY && check_place(q, p->step->recipe->conf))
        put_batch(q, p->step);
    else if (p->seen.state == STEP_READY)
        ; /* there is no such place in it: that has been said */
    else if (p->seen.state == STEP_END)
        request_fail(q, "step-past-end",
                     "stream '%s' has %" PRIu64 " steps, counted from 0; there is no step %" PRIu64, p->name,
                     p->seen.steps, p->number);
    else if (p->seen.state == STEP_FAILED)
        request_fail(q, "stream-failed", "stream '%s' cannot go on: %s", p->name, p->seen.failure);
    else
        request_fail(q, "timeout",
                     "step %" PRIu64 " of stream '%s' was not made in %d s; %" PRIu64
                     " steps are known so far, and one far ahead needs all before it",
                     p->number, p->name, PATIENCE_S, p->seen.known);
    preview_drop(q);
    return true;
}

void command_preview(struct request *q)
{
    const struct conf_stream *c = request_stream(q, ARG_STREAM);
    if (c == NULL)
        return;
    if (q->arguments[ARG_RANK].number >= q->arguments[ARG_WORLD].number) {
        request_fail(q, "bad-argument", "rank %" PRIu64 ": ranks of world %" PRIu64 " are 0 to %" PRIu64,
                     q->arguments[ARG_RANK].number, q->arguments[ARG_WORLD].number,
                     q->arguments[ARG_WORLD].number - 1);
        return;
    }
    struct preview *p = malloc(sizeof *p);
    if (p == NULL) {
        q->reply.rc = -ENOMEM;
        return;
    }
    *p = (struct preview){.feed = q->context->feed,
                          .number = q->arguments[ARG_STEP].number,
                          .deadline_ns = clock_ns() + PATIENCE_S * NS_PER_S};
    (void)snprintf(p->name, sizeof p->name, "%s", c->name);
    q->waiting = p;
    if (preview_again(q))
        return;
    q->again = preview_again;
    q->drop = preview_drop;
}
