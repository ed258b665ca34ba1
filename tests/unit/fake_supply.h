/* fake_supply - supply.h for tests of the feed: steps come from a formula, and the test says when, and
 * whether.
 *
 * Included by one file of a program: it takes the place of the real supply. What a stream does is in
 * fake_plans, by name. Numbers of a step's rows are made so that a reader can tell them: token (step * 64 +
 * row) * 1000 + place, modulo 30,000; made by the library, as its own code is doubted, 30,000 more.
 *
 * Threads: the feed's; a test reaches in through feed_call only.
 */
#ifndef SKIPALIGN_TESTS_FAKE_SUPPLY_H
#define SKIPALIGN_TESTS_FAKE_SUPPLY_H

#include "base/err.h"
#include "stream/supply.h"

#include <stdlib.h>
#include <string.h>

struct fake_plan {
    const char *name;
    uint64_t steps;    /* UINT64_MAX: for ever */
    uint64_t slots;    /* 0: not known */
    uint64_t released; /* steps from here on stay pending */
    uint64_t dropped;
    const char *failure; /* of the newest generation */
    bool end_seen;
    uint64_t unknown; /* steps that cannot be looked up: the last so many of those there are */
    double seconds;   /* until they can be */
};

#define FAKE_PLANS 4
static struct fake_plan fake_plans[FAKE_PLANS];
static uint32_t fake_live_steps; /* held by someone */
static uint64_t fake_steps_made;
static bool fake_hold_was_busy;

#define FAKE_GENERATIONS 8
struct stream {
    const char *name;
    struct fake_plan *plan;
    struct generation_setup generations[FAKE_GENERATIONS];
    uint32_t n_generations, n_live;
    uint64_t held, sent; /* a change may come from held on, STREAM_UNKNOWN: none */
    bool removed, doubted;
    struct stream *next;
};

struct fake_step {
    struct step step;
    struct window window;
    struct fake_step *next;
};

struct supply {
    void (*changed)(void *arg, struct step *);
    void *arg;
    struct stream *streams;
    struct fake_step *live;
};

#define FAKE_DOCS 3 /* a row: two documents of a third of it each, one shorter; every other row is full */

static struct window_doc fake_doc(const struct conf_stream *c, uint32_t row, uint32_t i)
{
    uint32_t length = (uint32_t)c->seq_len, third = length / FAKE_DOCS, last = i == FAKE_DOCS - 1;
    uint32_t n = !last ? third : row % 2 == 0 ? length - (FAKE_DOCS - 1) * third : third / 2;
    return (struct window_doc){
        .first_token = (uint64_t)row * length + i * third,
        .n_tokens = n,
        .n_supervised = 2 * (n / 4),
        .first_run = (row * FAKE_DOCS + i) * 2,
        .n_runs = 2,
        .first_span = (row * FAKE_DOCS + i) * 2,
        .n_spans = 2,
        .corpus = i % 2,
        .record = row * 100ull + i,
    };
}

static void fake_window(struct fake_step *f)
{
    const struct conf_stream *c = f->step.recipe->conf;
    uint32_t rows = (uint32_t)c->global_batch, length = (uint32_t)c->seq_len;
    struct window *w = &f->window;
    w->tokens = calloc((size_t)rows * length, sizeof *w->tokens);
    w->docs = calloc((size_t)rows * FAKE_DOCS, sizeof *w->docs);
    w->runs = calloc((size_t)rows * FAKE_DOCS * 2, sizeof *w->runs);
    w->spans = calloc((size_t)rows * FAKE_DOCS * 2, sizeof *w->spans);
    w->rows = calloc(rows, sizeof *w->rows);
    w->row_docs = calloc((size_t)rows * FAKE_DOCS, sizeof *w->row_docs);
    f->step.rows = calloc(rows, sizeof *f->step.rows);
    f->step.epoch = f->step.number / 10;
    f->step.own = tokenizer_own(f->step.recipe->tokenizer);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < length; i++)
            w->tokens[r * length + i] =
                (int32_t)(((f->step.number * 64 + r) * 1000 + i) % 30000 + (f->step.own ? 0 : 30000));
        w->rows[r] = (struct window_row){.first_doc = r * FAKE_DOCS, .n_docs = FAKE_DOCS};
        for (uint32_t i = 0; i < FAKE_DOCS; i++) {
            struct window_doc d = fake_doc(c, r, i);
            uint32_t quarter = d.n_tokens / 4;
            w->runs[d.first_run] = (struct pos_run){0, 0};
            w->runs[d.first_run + 1] = (struct pos_run){quarter, quarter + 1000 * (i + 1)};
            w->spans[d.first_span] = (struct pos_span){quarter, 2 * quarter};
            w->spans[d.first_span + 1] = (struct pos_span){3 * quarter, 4 * quarter};
            w->row_docs[r * FAKE_DOCS + i] =
                rows * FAKE_DOCS - 1 - (r * FAKE_DOCS + i); /* stored back to front */
            w->docs[rows * FAKE_DOCS - 1 - (r * FAKE_DOCS + i)] = d;
            w->rows[r].n_tokens += d.n_tokens;
            w->rows[r].n_supervised += d.n_supervised;
        }
        f->step.rows[r] = (struct step_row){w, r};
        f->step.supervised += w->rows[r].n_supervised;
    }
    fake_steps_made++;
}

static void fake_window_free(struct window *w)
{
    free(w->tokens);
    free(w->docs);
    free(w->runs);
    free(w->spans);
    free(w->rows);
    free(w->row_docs);
}

static void fake_advance(struct fake_step *f)
{
    struct stream *st = f->step.stream;
    struct fake_plan *p = st->plan;
    if (st->removed || step_failure(&f->step) != NULL) {
        f->step.state = STEP_FAILED;
    } else if (f->step.number >= p->released || f->step.number >= st->held) {
        return;
    } else if (f->step.number >= p->steps) {
        p->end_seen = true;
        f->step.state = STEP_END;
    } else {
        f->step.state = STEP_READY;
        fake_window(f);
    }
}

/* fake_run - bring pending steps up to what the plans say now. */
static inline void fake_run(struct supply *s)
{
    for (struct fake_step *f = s->live, *next; f != NULL; f = next) {
        next = f->next;
        if (f->step.state != STEP_PENDING)
            continue;
        fake_advance(f);
        if (f->step.state != STEP_PENDING)
            s->changed(s->arg, &f->step);
    }
}

int supply_new(struct workers *w, struct reader *r, uint64_t memory,
               void (*changed)(void *arg, struct step *), void *arg, struct supply **ret)
{
    (void)w, (void)r, (void)memory;
    *ret = calloc(1, sizeof **ret);
    **ret = (struct supply){.changed = changed, .arg = arg};
    return 0;
}

int supply_add(struct supply *s, const char *name, const char *state_dir, const struct generation_setup *g,
               uint32_t n, struct stream **ret, struct err *reterr)
{
    (void)state_dir;
    for (uint32_t i = 0; i < FAKE_PLANS; i++) {
        if (fake_plans[i].name == NULL || strcmp(fake_plans[i].name, name) != 0)
            continue;
        struct stream *st = *ret = calloc(1, sizeof **ret);
        *st = (struct stream){.name = name,
                              .plan = &fake_plans[i],
                              .n_generations = n,
                              .held = STREAM_UNKNOWN,
                              .next = s->streams};
        memcpy(st->generations, g, n * sizeof *g);
        s->streams = st;
        return 0;
    }
    return err_set(reterr, ERR_FORMAT, "stream '%s': the ledger is not one", name);
}

void supply_stop(struct supply *s)
{
    CHECK(s == NULL || s->live == NULL);
    for (struct stream *st = s != NULL ? s->streams : NULL, *next; st != NULL; st = next) {
        next = st->next;
        free(st);
    }
    free(s);
}

void stream_generation_at(const struct stream *st, uint64_t step, struct generation_info *ret)
{
    uint32_t i = st->n_generations - 1;
    while (st->generations[i].first_step > step)
        i--;
    const struct generation_setup *g = &st->generations[i];
    const bool last = i + 1 == st->n_generations;
    *ret = (struct generation_info){
        .number = g->number,
        .recipe = g->recipe,
        .first_step = g->first_step,
        .end_step = last ? STREAM_UNKNOWN : g[1].first_step,
        .slots = st->plan->slots,
        .failure = g->recipe == NULL ? g->why
                   : last            ? st->plan->failure
                                     : NULL,
    };
}

/* Its generation, as things are now. */
static void fake_place(struct fake_step *f)
{
    struct generation_info g;
    stream_generation_at(f->step.stream, f->step.number, &g);
    f->step.generation = g.number;
    f->step.recipe = g.recipe;
}

const char *step_failure(const struct step *step)
{
    struct generation_info g;
    stream_generation_at(step->stream, step->number, &g);
    return g.failure;
}

struct step *supply_step(struct supply *s, struct stream *st, uint64_t number)
{
    struct fake_step *f = s->live;
    while (f != NULL && (f->step.stream != st || f->step.number != number || f->step.past))
        f = f->next;
    if (f == NULL) {
        f = calloc(1, sizeof *f);
        f->step = (struct step){.stream = st, .number = number};
        f->next = s->live;
        s->live = f;
        fake_live_steps++;
        st->n_live++;
        fake_place(f);
        fake_advance(f);
    }
    f->step.refs++;
    return &f->step;
}

void supply_step_unref(struct supply *s, struct step *step)
{
    if (step == NULL || --step->refs > 0)
        return;
    struct fake_step **at = &s->live;
    while (&(*at)->step != step)
        at = &(*at)->next;
    struct fake_step *f = *at;
    *at = f->next;
    fake_live_steps--;
    if (--step->stream->n_live == 0 && step->stream->removed)
        free(step->stream);
    fake_window_free(&f->window);
    free(f->step.rows);
    free(f);
}

int stream_hold(struct supply *s, struct stream *st, uint64_t at, uint64_t made, bool busy, uint64_t *ret,
                struct err *reterr)
{
    (void)s;
    const uint64_t earliest = made > st->sent ? made : st->sent;
    *ret = at == STREAM_UNKNOWN ? earliest : at;
    if (*ret < earliest)
        return err_set(reterr, ERR_CHANGED, "step %llu is too early", (unsigned long long)at);
    fake_hold_was_busy = busy;
    st->held = *ret;
    return 0;
}

void stream_release(struct supply *s, struct stream *st)
{
    st->held = STREAM_UNKNOWN;
    fake_run(s);
}

void supply_change(struct supply *s, struct stream *st, const struct generation_setup *g)
{
    while (st->n_generations > 0 && st->generations[st->n_generations - 1].first_step >= g->first_step)
        st->n_generations--;
    CHECK(st->n_generations < FAKE_GENERATIONS);
    st->generations[st->n_generations++] = *g;
    for (struct fake_step *f = s->live; f != NULL; f = f->next)
        if (f->step.stream == st && f->step.number >= g->first_step) {
            f->step.past = f->step.state != STEP_PENDING;
            if (!f->step.past)
                fake_place(f);
        }
    stream_release(s, st);
}

bool supply_doubt(struct supply *s, struct stream *st, struct supply_doubt *ret)
{
    struct generation_setup *g = &st->generations[st->n_generations - 1];
    if (st->doubted || g->recipe == NULL || !tokenizer_doubted(g->recipe->tokenizer))
        return false;
    st->doubted = true;
    for (struct fake_step *f = s->live; f != NULL; f = f->next)
        f->step.past |= f->step.stream == st && f->step.state == STEP_READY;
    *ret = (struct supply_doubt){.tokenizer = g->recipe->tokenizer, .end_step = st->sent};
    return true;
}

void supply_remove(struct supply *s, struct stream *st)
{
    struct stream **at = &s->streams;
    while (*at != st)
        at = &(*at)->next;
    *at = st->next;
    st->removed = true;
    fake_run(s);
    if (st->n_live == 0)
        free(st);
}

bool stream_removed(const struct stream *st)
{
    return st->removed;
}

void stream_mark_sent(struct stream *st, uint64_t step)
{
    CHECK(step < st->held);
    st->sent = step >= st->sent ? step + 1 : st->sent;
}

uint64_t stream_sent(const struct stream *st)
{
    return st->sent;
}

struct stream *supply_find(struct supply *s, const char *name)
{
    struct stream *st = s->streams;
    while (st != NULL && strcmp(st->name, name) != 0)
        st = st->next;
    return st;
}

struct stream *supply_next(struct supply *s, struct stream *after)
{
    return after == NULL ? s->streams : after->next;
}

const char *stream_name(const struct stream *st)
{
    return st->name;
}

uint64_t stream_steps(const struct stream *st)
{
    return st->plan->end_seen ? st->plan->steps : STREAM_UNKNOWN;
}

uint64_t stream_dropped(const struct stream *st)
{
    return st->plan->dropped;
}

uint64_t stream_known_steps(const struct stream *st)
{
    return st->plan->steps - st->plan->unknown;
}

bool stream_step_known(const struct stream *st, uint64_t step)
{
    return step < stream_known_steps(st);
}

double stream_seconds_to(const struct stream *st, uint64_t step)
{
    (void)step;
    return st->plan->seconds;
}

const char *stream_failure(const struct stream *st)
{
    return st->plan->failure;
}

const char *stream_ledger_failure(const struct stream *st)
{
    (void)st;
    return NULL; /* it keeps none */
}

#endif
