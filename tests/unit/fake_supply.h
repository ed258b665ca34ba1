/* fake_supply - supply.h for tests of the feed: steps come from a formula, and the test says when, and
 * whether.
 *
 * Included by one file of a program: it takes the place of the real supply. A test's recipe names the stream;
 * what the stream does is in fake_plans, by name. Numbers of a step's rows are made so that a reader can tell
 * them: token (step * 64 + row) * 1000 + place, modulo 30,000.
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
    uint64_t slots;    /* 0: for ever */
    uint64_t released; /* steps from here on stay pending */
    uint64_t dropped;
    const char *failure;
    bool end_seen;
};

#define FAKE_PLANS 4
static struct fake_plan fake_plans[FAKE_PLANS];
static uint32_t fake_live_steps; /* held by someone */
static uint64_t fake_steps_made;

struct stream {
    struct recipe *recipe;
    struct fake_plan *plan;
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
    const struct conf_stream *c = f->step.stream->recipe->conf;
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
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < length; i++)
            w->tokens[r * length + i] = (int32_t)(((f->step.number * 64 + r) * 1000 + i) % 30000);
        w->rows[r] = (struct window_row){.first_doc = r * FAKE_DOCS, .n_docs = FAKE_DOCS};
        for (uint32_t i = 0; i < FAKE_DOCS; i++) {
            struct window_doc d = fake_doc(c, r, i);
            uint32_t quarter = d.n_tokens / 4;
            w->runs[d.first_run] = (struct pos_run){0, 0};
            w->runs[d.first_run + 1] = (struct pos_run){quarter, quarter + 1000 * (i + 1)};
            w->spans[d.first_span] = (struct window_span){quarter, 2 * quarter};
            w->spans[d.first_span + 1] = (struct window_span){3 * quarter, 4 * quarter};
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
    struct fake_plan *p = f->step.stream->plan;
    if (p->failure != NULL) {
        f->step.state = STEP_FAILED;
    } else if (f->step.number >= p->released) {
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

int supply_add(struct supply *s, struct recipe *r, const char *state_dir, struct stream **ret,
               struct err *reterr)
{
    (void)state_dir;
    for (uint32_t i = 0; i < FAKE_PLANS; i++) {
        if (fake_plans[i].name == NULL || strcmp(fake_plans[i].name, r->conf->name) != 0)
            continue;
        *ret = calloc(1, sizeof **ret);
        **ret = (struct stream){.recipe = r, .plan = &fake_plans[i], .next = s->streams};
        s->streams = *ret;
        return 0;
    }
    return err_set(reterr, ERR_FORMAT, "stream '%s': the ledger is not one", r->conf->name);
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

struct step *supply_step(struct supply *s, struct stream *st, uint64_t number)
{
    struct fake_step *f = s->live;
    while (f != NULL && (f->step.stream != st || f->step.number != number))
        f = f->next;
    if (f == NULL) {
        f = calloc(1, sizeof *f);
        f->step = (struct step){.stream = st, .number = number};
        f->next = s->live;
        s->live = f;
        fake_live_steps++;
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
    fake_window_free(&f->window);
    free(f->step.rows);
    free(f);
}

struct stream *supply_find(struct supply *s, const char *name)
{
    struct stream *st = s->streams;
    while (st != NULL && strcmp(st->plan->name, name) != 0)
        st = st->next;
    return st;
}

struct stream *supply_next(struct supply *s, struct stream *after)
{
    return after == NULL ? s->streams : after->next;
}

const struct recipe *stream_recipe(const struct stream *st)
{
    return st->recipe;
}

uint64_t stream_steps(const struct stream *st)
{
    return st->plan->end_seen ? st->plan->steps : STREAM_UNKNOWN;
}

uint64_t stream_slots(const struct stream *st)
{
    return st->plan->slots > 0 ? st->plan->slots : UINT64_MAX;
}

uint64_t stream_dropped(const struct stream *st)
{
    return st->plan->dropped;
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

bool stream_ledger_replaced(const struct stream *st)
{
    (void)st;
    return false;
}

#endif
