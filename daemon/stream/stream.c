#include "stream/stream.h"

#include "base/array.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stream_free(struct stream *st)
{
    if (st == NULL)
        return;
    for (uint32_t i = 0; i < st->n_generations; i++)
        generation_free(st->generations[i]);
    for (uint32_t i = 0; i < st->n_gone; i++)
        generation_free(st->gone[i]);
    sent_close(st->sent);
    free(st->generations);
    free(st->gone);
    free(st->folder);
    free(st->name);
    free(st);
}

static int add_generations(struct stream *st, const struct generation_setup *g, uint32_t n,
                           struct err *reterr)
{
    for (uint32_t i = 0; i < n; i++) {
        struct generation *one, *before = i > 0 ? st->generations[i - 1] : NULL;
        if (stream_make_room(st) != 0)
            return err_sys(reterr, -ENOMEM, "generation %u", g[i].number);
        int rc = generation_new(st, st->folder, &g[i], before, &one, reterr);
        if (rc != 0)
            return rc;
        stream_put(st, one);
    }
    return 0;
}

/* Without the mark: the ledger of the newest tells what may have been sent. */
static int open_sent(struct stream *st, struct err *reterr)
{
    bool none;
    int rc = file_make_dir(st->folder, reterr);
    if (rc == 0)
        rc = sent_open(st->folder, &st->sent, &none, reterr);
    if (rc == 0 && none)
        sent_raise(st->sent, stream_known_steps(st));
    return rc;
}

int stream_new(const char *name, const char *state_dir, const struct generation_setup *g, uint32_t n,
               struct stream **ret, struct err *reterr)
{
    struct stream *st = calloc(1, sizeof *st);
    if (st == NULL || (st->name = strdup(name)) == NULL ||
        asprintf(&st->folder, "%s/streams/%s", state_dir, name) < 0) {
        stream_free(st);
        return err_sys(reterr, -ENOMEM, "stream '%s'", name);
    }
    st->held_from = STREAM_UNKNOWN;
    depth_init(&st->depth);
    int rc = add_generations(st, g, n, reterr);
    if (rc == 0)
        rc = open_sent(st, reterr);
    if (rc != 0) {
        stream_free(st);
        return err_wrap(reterr, rc, "stream '%s'", name);
    }
    *ret = st;
    return 0;
}

/* ---- generations ---- */

struct generation *stream_newest(const struct stream *st)
{
    return st->generations[st->n_generations - 1];
}

struct generation *stream_at(const struct stream *st, uint64_t step)
{
    uint32_t i = st->n_generations - 1;
    while (i > 0 && st->generations[i]->first_step > step)
        i--;
    return st->generations[i];
}

struct generation *stream_before(const struct stream *st, const struct generation *g)
{
    return g->first_step > 0 ? stream_at(st, g->first_step - 1) : NULL;
}

struct generation *stream_after(const struct stream *st, const struct generation *g)
{
    return g->end_step != STREAM_UNKNOWN ? stream_at(st, g->end_step) : NULL;
}

int stream_make_room(struct stream *st)
{
    int rc = array_grow(&st->generations, &st->generations_cap, st->n_generations + 1);
    return rc == 0 ? array_grow(&st->gone, &st->gone_cap, (size_t)st->n_gone + st->n_generations) : rc;
}

void stream_put(struct stream *st, struct generation *g)
{
    while (st->n_generations > 0 && stream_newest(st)->first_step >= g->first_step) {
        generation_fail(stream_newest(st), "another generation took its place");
        st->gone[st->n_gone++] = stream_newest(st);
        st->n_generations--;
    }
    if (st->n_generations > 0)
        stream_newest(st)->end_step = g->first_step;
    st->generations[st->n_generations++] = g;
}

/* ---- steps ---- */

bool stream_is_held(const struct stream *st, uint64_t step)
{
    return st->held_from != STREAM_UNKNOWN && step >= st->held_from;
}

enum stream_place stream_place(const struct stream *st, uint64_t step, struct generation **ret,
                               uint64_t *ret_first, uint64_t *ret_last)
{
    struct generation *g = stream_at(st, step);
    *ret = g;
    if (generation_failed(g))
        return PLACE_FAILED;
    uint64_t steps = stream_steps(st);
    if (steps != STREAM_UNKNOWN && step >= steps)
        return PLACE_PAST_END;
    if (g->order == NULL)
        return PLACE_UNBEGUN;
    uint64_t batch = (uint64_t)g->recipe->conf->global_batch, first, last,
             known = ledger_first_row(g->ledger, ledger_windows(g->ledger));
    if (__builtin_mul_overflow(step - g->first_step, batch, &first))
        return PLACE_BEYOND;
    last = first + batch - 1;
    if (g->ended && last >= known)
        last = known - 1; /* last: pad */
    if (last >= known)
        return PLACE_BEYOND;
    *ret_first = ledger_find(g->ledger, first);
    *ret_last = ledger_find(g->ledger, last);
    return PLACE_KNOWN;
}

/* The generation in which the stream ends; NULL: not known. */
static const struct generation *last_one(const struct stream *st)
{
    for (uint32_t i = 0; i < st->n_generations; i++) {
        const struct generation *g = st->generations[i];
        if (g->order != NULL && g->ended && g->first_step + generation_steps(g) < g->end_step)
            return g;
    }
    return NULL;
}

uint64_t stream_steps(const struct stream *st)
{
    const struct generation *g = last_one(st);
    return g != NULL ? g->first_step + generation_steps(g) : STREAM_UNKNOWN;
}

uint64_t stream_dropped(const struct stream *st)
{
    const struct generation *g = last_one(st);
    if (g == NULL || g->recipe->conf->last == LAST_PAD)
        return 0;
    return ledger_first_row(g->ledger, ledger_windows(g->ledger)) % (uint64_t)g->recipe->conf->global_batch;
}

uint64_t stream_known_steps(const struct stream *st)
{
    for (uint32_t i = st->n_generations; i-- > 0;) {
        const struct generation *g = st->generations[i];
        if (g->order == NULL)
            continue;
        uint64_t steps = g->first_step + generation_steps(g);
        return steps < g->end_step ? steps : g->end_step;
    }
    return 0;
}

bool stream_step_known(const struct stream *st, uint64_t step)
{
    struct generation *g;
    uint64_t first, last;
    return stream_place(st, step, &g, &first, &last) == PLACE_KNOWN;
}

bool stream_epoch_of(const struct stream *st, uint64_t step, uint64_t *ret)
{
    struct generation *g;
    uint64_t first, last;
    if (stream_place(st, step, &g, &first, &last) != PLACE_KNOWN)
        return false;
    *ret = order_epoch(g->order, ledger_first_slot(g->ledger, first));
    return true;
}

double stream_seconds_to(const struct stream *st, uint64_t step)
{
    const struct generation *g = stream_at(st, step);
    if (g->order == NULL)
        return -1;
    double speed = generation_rows_a_second(g);
    if (speed <= 0)
        return -1;
    double rows = (double)(step - g->first_step + 1) * (double)g->recipe->conf->global_batch -
                  (double)ledger_first_row(g->ledger, ledger_windows(g->ledger));
    return rows > 0 ? rows / speed : 0;
}

void stream_generation_at(const struct stream *st, uint64_t step, struct generation_info *ret)
{
    const struct generation *g = stream_at(st, step);
    *ret = (struct generation_info){.number = g->number,
                                    .recipe = g->recipe,
                                    .first_step = g->first_step,
                                    .end_step = g->end_step,
                                    .slots = g->order != NULL ? order_slots(g->order) : 0,
                                    .not_carried = g->start.lost,
                                    .failure = generation_failed(g) ? g->failure.text : NULL};
    for (uint32_t c = 0; g->recipe != NULL && c < g->recipe->n_corpora; c++)
        ret->epoch_slots += g->recipe->epoch_slots[c];
}

bool stream_get_doubt(const struct stream *st, uint64_t *ret_first, uint64_t *ret_end)
{
    bool any = false;
    for (uint32_t i = 0; i < st->n_generations; i++) {
        const struct doubt *d = &st->generations[i]->doubt;
        if (d->end_step == d->first_step)
            continue;
        *ret_first = any ? *ret_first : d->first_step;
        *ret_end = d->end_step;
        any = true;
    }
    return any;
}

void stream_mark_sent(struct stream *st, uint64_t step)
{
    sent_raise(st->sent, step + 1);
}

uint64_t stream_sent(const struct stream *st)
{
    return sent_get(st->sent);
}

const char *stream_name(const struct stream *st)
{
    return st->name;
}

const struct recipe *stream_recipe(const struct stream *st)
{
    return stream_newest(st)->recipe;
}

const char *stream_failure(const struct stream *st)
{
    const struct generation *g = stream_newest(st);
    return generation_failed(g) ? g->failure.text : NULL;
}

bool stream_removed(const struct stream *st)
{
    return st->removed;
}

const char *step_failure(const struct step *step)
{
    return step->of->failure.text;
}

const char *stream_ledger_failure(const struct stream *st)
{
    const struct generation *g = stream_newest(st);
    return g->ledger != NULL ? ledger_failure(g->ledger) : NULL;
}

void stream_get_counts(const struct stream *st, struct stream_counts *ret)
{
    *ret = (struct stream_counts){0};
    for (uint32_t i = 0; i < st->n_generations; i++) {
        const struct generation *g = st->generations[i];
        if (g->ledger == NULL)
            continue;
        const struct stream_counts *c = ledger_counts(g->ledger);
        ret->windows += c->windows;
        ret->rows += c->rows;
        ret->documents += c->documents;
        ret->tokens += c->tokens;
        ret->supervised += c->supervised;
        ret->row_tokens += c->rows * (uint64_t)g->recipe->conf->seq_len;
        ret->slots += c->slots;
        ret->truncated += c->truncated;
        ret->split += c->split;
        ret->left_out += c->left_out;
        for (int k = 0; k < UNUSABLE__COUNT; k++)
            ret->unusable[k] += c->unusable[k];
        for (int k = 0; k < POS_OUTCOME__COUNT; k++)
            ret->outcome[k] += c->outcome[k];
    }
}

const struct stream_coverage *stream_get_coverage(const struct stream *st, uint32_t generation)
{
    for (uint32_t i = st->n_generations; i-- > 0;) {
        const struct generation *g = st->generations[i];
        struct stream_coverage *sum = g->covered.sum;
        if (sum == NULL || (generation != 0 && generation != g->number))
            continue;
        sum->generation = g->number;
        sum->first_step = g->first_step;
        sum->windows_known = ledger_windows(g->ledger);
        sum->recipe = g->recipe;
        return sum;
    }
    return NULL;
}

void stream_get_quarantine(const struct stream *st, uint64_t step, const struct quarantined **ret,
                           uint32_t *ret_n)
{
    const struct generation *g = stream_at(st, step);
    *ret_n = 0;
    if (g->ledger != NULL)
        ledger_quarantine(g->ledger, ret, ret_n);
}
