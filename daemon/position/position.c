#include "position/position.h"

#include "base/err.h"
#include "position/strategy.h"

#include <stdbool.h>
#include <stdlib.h>

const char *const pos_outcome_names[POS_OUTCOME__COUNT] = {
    [POS_SKIPPED] = "skipped",
    [POS_KEPT_STRATEGY] = "strategy-none",
    [POS_KEPT_PROBABILITY] = "by-probability",
    [POS_KEPT_BOUNDARY] = "no-boundary",
    [POS_KEPT_BUDGET] = "no-budget",
    [POS_KEPT_MIN_GAP] = "no-room-for-min-gap",
};

const char *pos_strategy_name(const struct conf_positions *groups, uint32_t n)
{
    return n == 1 ? pos_strategy_names[groups->strategy] : "mixture";
}

/* How many runs there are at most. */
enum runs { RUNS_ONE, RUNS_THREE, RUNS_CHUNKS, RUNS_BLOCKS, RUNS_TOKENS };

static const struct {
    pos_strategy_fn *draw;
    enum runs runs;
} strategies[POS__COUNT] = {
    [POS_NONE] = {NULL, RUNS_ONE},
    [POS_SKIP_ALL] = {skip_all_draw, RUNS_BLOCKS},
    [POS_SKIP_INNER] = {skip_inner_draw, RUNS_BLOCKS},
    [POS_SKIP_OUTER] = {skip_outer_draw, RUNS_BLOCKS},
    [POS_POSE] = {pose_draw, RUNS_CHUNKS},
    [POS_RANDPOS] = {randpos_draw, RUNS_TOKENS},
    [POS_CREAM] = {cream_draw, RUNS_THREE},
    [POS_LONGRECIPE] = {longrecipe_draw, RUNS_TOKENS},
    [POS_STRETCH] = {stretch_draw, RUNS_TOKENS},
    [POS_SHIFT] = {shift_draw, RUNS_ONE},
};

/* Keeps the choice apart from the draws of what was chosen, which so do not depend on the weights. */
#define CHOOSE_KEY 0x6d69787475726521ull

const struct conf_positions *pos_choose(const struct conf_positions *groups, uint32_t n, struct rng_key key)
{
    double total = 0, upto = 0;
    struct rng rng;
    if (n == 1)
        return groups;
    for (uint32_t i = 0; i < n; i++)
        total += groups[i].weight;
    key.seed ^= CHOOSE_KEY;
    rng_init(&rng, key);
    double at = rng_word(&rng) / 4294967296.0 * total;
    for (uint32_t i = 0; i + 1 < n; i++) {
        upto += groups[i].weight;
        if (at < upto)
            return &groups[i];
    }
    return &groups[n - 1];
}

uint32_t pos_window(const struct conf_positions *p, double progress)
{
    int64_t window = p->max_position;
    for (uint32_t i = 0; i < p->n_schedule && progress >= p->schedule[i].epoch; i++)
        window = p->schedule[i].max_position;
    return (uint32_t)window;
}

uint32_t pos_window_max(const struct conf_positions *groups, uint32_t n)
{
    int64_t most = 0;
    for (uint32_t g = 0; g < n; g++) {
        const struct conf_positions *p = &groups[g];
        bool first = p->n_schedule == 0 || p->schedule[0].epoch > 0;
        most = first && p->max_position > most ? p->max_position : most;
        for (uint32_t i = 0; i < p->n_schedule; i++)
            most = p->schedule[i].max_position > most ? p->schedule[i].max_position : most;
    }
    return (uint32_t)most;
}

uint32_t pos_runs_max(const struct conf_positions *p, uint32_t n_tokens, uint32_t n_blocks)
{
    uint32_t n = 1;
    switch (strategies[p->strategy].runs) {
    case RUNS_ONE:
        break;
    case RUNS_THREE:
        n = 3;
        break;
    case RUNS_CHUNKS:
        n = (uint32_t)p->chunks;
        break;
    case RUNS_BLOCKS:
        n = n_blocks;
        break;
    case RUNS_TOKENS:
        n = n_tokens;
        break;
    }
    return n > 0 ? n : 1;
}

/* The first word of every document is the draw for `probability`, whatever its value, so that changing it
 * leaves the gaps of the samples that still skip as they were. */
static int draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    if (strategies[j->p->strategy].draw == NULL)
        return POS_KEPT_STRATEGY;
    if (rng_word(&j->rng) >= j->p->probability * 4294967296.0)
        return POS_KEPT_PROBABILITY;
    return strategies[j->p->strategy].draw(j, ret_runs, ret_n_runs);
}

int pos_draw(const struct conf_positions *p, uint32_t window, struct rng_key key, const struct pos_doc *doc,
             struct pos_scratch *scratch, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    struct pos_job j = {.p = p,
                        .doc = doc,
                        .window = window,
                        .budget = window > doc->n_tokens ? window - doc->n_tokens : 0,
                        .scratch = scratch};
    rng_init(&j.rng, key);
    int outcome = draw(&j, ret_runs, ret_n_runs);
    if (outcome != POS_SKIPPED) {
        ret_runs[0] = (struct pos_run){0, 0};
        *ret_n_runs = 1;
    }
    return outcome;
}

void pos_scratch_fini(struct pos_scratch *s)
{
    free(s->draws);
    free(s->spare);
    free(s->starts);
    free(s->bits);
    *s = (struct pos_scratch){0};
}

void pos_fill(const struct pos_run *runs, uint32_t n_runs, uint32_t n_tokens, int32_t *ret)
{
    if (n_runs == n_tokens) { /* a run for each token, as of randpos and stretch */
        for (uint32_t t = 0; t < n_tokens; t++)
            ret[t] = (int32_t)runs[t].id;
        return;
    }
    for (uint32_t r = 0; r < n_runs; r++) {
        uint32_t end = r + 1 < n_runs ? runs[r + 1].start : n_tokens;
        int32_t first = (int32_t)(runs[r].id - runs[r].start);
        for (uint32_t t = runs[r].start; t < end; t++)
            ret[t] = first + (int32_t)t;
    }
}
