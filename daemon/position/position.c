#include "position/position.h"

#include "position/skip.h"

#include <stddef.h>

const char *const pos_outcome_names[POS_OUTCOME__COUNT] = {
    [POS_SKIPPED] = "skipped",
    [POS_KEPT_STRATEGY] = "strategy-none",
    [POS_KEPT_PROBABILITY] = "by-probability",
    [POS_KEPT_BOUNDARY] = "no-boundary",
    [POS_KEPT_BUDGET] = "no-budget",
    [POS_KEPT_MIN_GAP] = "no-room-for-min-gap",
};

/* A strategy draws the runs of one document, or says why its ids stay 0..n-1. */
typedef enum pos_outcome draw_fn(const struct conf_positions *p, struct rng *rng,
                                 const uint32_t *block_tokens, uint32_t n_blocks, struct pos_run *ret_runs,
                                 uint32_t *ret_n_runs);

static draw_fn *const strategies[POS__COUNT] = {
    [POS_NONE] = NULL,
    [POS_SKIP_ALL] = skip_all_draw,
    [POS_SKIP_INNER] = skip_inner_draw,
    [POS_SKIP_OUTER] = skip_outer_draw,
};

/* The first word of every document is the draw for `probability`, whatever its value, so that changing it
 * leaves the gaps of the samples that still skip as they were. */
static enum pos_outcome draw(const struct conf_positions *p, struct rng_key key, const uint32_t *block_tokens,
                             uint32_t n_blocks, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    if (strategies[p->strategy] == NULL)
        return POS_KEPT_STRATEGY;
    struct rng rng;
    rng_init(&rng, key);
    if (rng_word(&rng) >= p->probability * 4294967296.0)
        return POS_KEPT_PROBABILITY;
    return strategies[p->strategy](p, &rng, block_tokens, n_blocks, ret_runs, ret_n_runs);
}

enum pos_outcome pos_draw(const struct conf_positions *p, struct rng_key key, const uint32_t *block_tokens,
                          uint32_t n_blocks, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    enum pos_outcome outcome = draw(p, key, block_tokens, n_blocks, ret_runs, ret_n_runs);
    if (outcome != POS_SKIPPED) {
        ret_runs[0] = (struct pos_run){0, 0};
        *ret_n_runs = 1;
    }
    return outcome;
}

void pos_fill(const struct pos_run *runs, uint32_t n_runs, uint32_t n_tokens, int32_t *ret)
{
    for (uint32_t r = 0; r < n_runs; r++) {
        uint32_t end = r + 1 < n_runs ? runs[r + 1].start : n_tokens;
        int32_t first = (int32_t)(runs[r].id - runs[r].start);
        for (uint32_t t = runs[r].start; t < end; t++)
            ret[t] = first + (int32_t)t;
    }
}
