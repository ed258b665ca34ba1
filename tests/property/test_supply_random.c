/* Whatever is asked of a supply and given back, in whatever order, with whatever memory: steps are the same
 * bytes, every change is told, and all ends. */
#include "base/rng.h"
#include "support/supply_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 2000, WANTS = 24, ROUNDS = 6, ACTIONS = 250, STEPS_MAX = 4000 };

static char folder[] = "/tmp/skipalign-random-XXXXXX";

struct want {
    struct step *step; /* NULL: nothing is wanted */
    uint32_t stream;
    bool waits; /* it was pending, and no change has been told */
};

struct round {
    struct rig *rig;
    struct rng rng;
    uint64_t hashes[RIG_STREAMS][STEPS_MAX], walk[RIG_STREAMS];
    uint32_t n_steps[RIG_STREAMS];
    struct want wants[WANTS];
    bool telling; /* one change after the other: some may not have been told yet */
};

static uint32_t below(struct round *x, uint32_t n)
{
    return rng_below(&x->rng, n);
}

/* Mostly a walk, as trainers do; sometimes anywhere, the end, or far past it. */
static uint64_t choose_number(struct round *x, uint32_t stream)
{
    uint64_t n = x->n_steps[stream];
    switch (below(x, 16)) {
    case 0:
        return n + below(x, 2);
    case 1:
        return below(x, 2) == 0 ? UINT64_MAX - below(x, 3) : 1ull << (20 + below(x, 44));
    case 2:
    case 3:
    case 4:
        return x->walk[stream] = below(x, (uint32_t)n);
    default:
        return x->walk[stream] = (x->walk[stream] + 1) % n;
    }
}

static void check(struct round *x, const struct want *w)
{
    const struct step *step = w->step;
    assert_int_equal(step->state, step->number < x->n_steps[w->stream] ? STEP_READY : STEP_END);
    if (step->state == STEP_READY)
        assert_true(rig_hash(step) == x->hashes[w->stream][step->number]);
}

static void give_back(struct round *x, struct want *w)
{
    struct step *step = w->step;
    if (step == NULL)
        return;
    assert_true(step->state == STEP_PENDING || !w->waits || x->telling);
    if (step->state != STEP_PENDING)
        check(x, w);
    w->step = NULL;
    supply_step_unref(x->rig->supply, step);
}

static void ask(struct round *x, struct want *w)
{
    uint32_t stream = below(x, x->rig->n_streams);
    struct step *step = supply_step(x->rig->supply, x->rig->streams[stream], choose_number(x, stream));
    assert_non_null(step);
    if (w->step != NULL) { /* a change that was told meanwhile has asked, too */
        supply_step_unref(x->rig->supply, step);
        return;
    }
    *w = (struct want){.step = step, .stream = stream, .waits = step->state == STEP_PENDING};
}

/* Told from within the supply: it may be called again from here. */
static void changed(void *arg, struct step *step)
{
    struct round *x = arg;
    bool telling = x->telling;
    x->telling = true;
    for (int i = 0; i < WANTS; i++)
        if (x->wants[i].step == step)
            x->wants[i].waits = false;
    struct want *w = &x->wants[below(x, WANTS)];
    if (below(x, 3) == 0)
        give_back(x, w);
    if (below(x, 3) == 0 && w->step == NULL)
        ask(x, w);
    x->telling = telling;
}

static bool any_waits(const struct round *x)
{
    for (int i = 0; i < WANTS; i++)
        if (x->wants[i].step != NULL && x->wants[i].step->state == STEP_PENDING)
            return true;
    return false;
}

static void act(struct round *x)
{
    struct want *w = &x->wants[below(x, WANTS)];
    if (w->step == NULL)
        ask(x, w);
    else if (w->step->state != STEP_PENDING || below(x, 4) == 0)
        give_back(x, w);
    else if (below(x, 2) == 0 && any_waits(x))
        (void)workers_wait(x->rig->workers);
    else
        (void)workers_collect(x->rig->workers);
}

static void choose_streams(struct round *x)
{
    struct rig *r = x->rig;
    r->n_streams = 1 + below(x, RIG_STREAMS);
    for (uint32_t i = 0; i < r->n_streams; i++) {
        struct conf_stream *c = &r->confs[i];
        c->seed = below(x, 100);
        c->packing = below(x, 2) == 0;
        c->seq_len = 128 << below(x, 3);
        c->global_batch = 1 + below(x, 300);
        c->last = below(x, 2) == 0 ? LAST_PAD : LAST_DROP;
        c->overlong = below(x, OVERLONG__COUNT);
        c->epochs = 1 + below(x, 3);
        c->max_unusable = 1;
        c->positions->strategy = below(x, POS__COUNT);
        c->positions->sampler = below(x, SAMPLER__COUNT);
    }
}

static void choose_means(struct round *x)
{
    struct rig *r = x->rig;
    r->workers_n = 1 + below(x, 4);
    r->memory = below(x, 4) == 0 ? 1 : 1 + below(x, 12 << 20);
    r->io = below(x, 2) == 0 ? IO_AUTO : IO_PREAD;
}

static void one_round(uint32_t number)
{
    char state[16];
    struct round *x = calloc(1, sizeof *x);
    assert_non_null(x);
    rng_init(&x->rng, (struct rng_key){.seed = 77, .record = number});
    (void)snprintf(state, sizeof state, "u%u", number);
    struct rig *r = x->rig = rig_new(folder, state, RECORDS, below(x, 2) * 7);
    choose_streams(x);
    rig_start(r);
    for (uint32_t i = 0; i < r->n_streams; i++)
        x->n_steps[i] = rig_hash_all(r, r->streams[i], x->hashes[i], STEPS_MAX);
    rig_stop(r);

    (void)snprintf(r->state, sizeof r->state, "%s/d%u", folder, number); /* no ledger there yet */
    r->changed = changed;
    r->arg = x;
    for (int start = 0; start < 3; start++) { /* stopped in the middle, and started again */
        struct supply_stats stats;
        choose_means(x);
        rig_start(r);
        for (int i = 0; i < ACTIONS; i++)
            act(x);
        while (start == 2 && any_waits(x)) /* in the end, all that is wanted comes */
            (void)workers_wait(r->workers);
        for (bool more = true; more;) { /* to give back may ask again */
            more = false;
            for (int i = 0; i < WANTS; i++) {
                more |= x->wants[i].step != NULL;
                give_back(x, &x->wants[i]);
            }
        }
        supply_get_stats(r->supply, &stats);
        assert_int_equal(stats.steps_pending, 0);
        rig_stop(r); /* checks that no memory is counted any more */
    }
    free(r);
    free(x);
}

static void steps_are_the_same_whatever_else_is_asked(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ROUNDS; i++)
        one_round(i);
}

static int make_folder(void **state)
{
    (void)state;
    (void)alarm(900); /* what waits for ever must not look like a slow machine to who runs this unattended */
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_the_same_whatever_else_is_asked),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
