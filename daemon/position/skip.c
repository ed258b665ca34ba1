#include "position/skip.h"

#include "base/err.h"

#include <stdlib.h>

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void draw_sorted(struct rng *rng, uint32_t budget, uint32_t k, uint32_t *ret)
{
    for (uint32_t i = 0; i < k; i++)
        ret[i] = rng_below(rng, budget + 1);
    qsort(ret, k, sizeof ret[0], compare_u32);
}

/* Cumulative biases 0 <= ret[0] <= .. <= ret[k-1] <= budget; budget <= 2^31 - 2, k >= 1. */
static void draw_cumulative(enum pos_sampler sampler, struct rng *rng, uint32_t budget, uint32_t k,
                            uint32_t *ret)
{
    switch (sampler) {
    case SAMPLER_SORTED:
        draw_sorted(rng, budget, k, ret);
        break;
    case SAMPLER_SEQUENTIAL:
        for (uint32_t i = 0, low = 0; i < k; low = ret[i++])
            ret[i] = low + rng_below(rng, budget - low + 1);
        break;
    case SAMPLER_EVEN:
        for (uint32_t i = 0, sum = 0; i < k; sum = ret[i++])
            ret[i] = sum + rng_below(rng, budget / k + 1);
        break;
    case SAMPLER_PINNED:
        draw_sorted(rng, budget, k - 1, ret);
        ret[k - 1] = budget;
        break;
    case SAMPLER__COUNT:
        break;
    }
}

/* The boundaries before blocks first, first + stride, ... (0-based) may skip. */
static enum pos_outcome draw(const struct conf_positions *p, struct rng *rng, const uint32_t *block_tokens,
                             uint32_t n_blocks, uint32_t first, uint32_t stride, struct pos_run *ret_runs,
                             uint32_t *ret_n_runs)
{
    if (n_blocks <= first)
        return POS_KEPT_BOUNDARY;
    uint32_t k = (n_blocks - first - 1) / stride + 1;
    uint64_t n_tokens = 0;
    for (uint32_t j = 0; j < n_blocks; j++)
        n_tokens += block_tokens[j];
    if (n_tokens >= (uint64_t)p->max_position)
        return POS_KEPT_BUDGET;
    uint64_t budget = (uint64_t)p->max_position - n_tokens, min_gap = (uint64_t)p->min_gap;
    if (min_gap > budget / k)
        return POS_KEPT_MIN_GAP;

    uint32_t few[64], *bias = k <= 64 ? few : malloc(k * sizeof bias[0]);
    CHECK(bias != NULL); /* k is bounded by seq_len: a few megabytes at the very most */
    draw_cumulative(p->sampler, rng, (uint32_t)(budget - k * min_gap), k, bias);

    uint32_t n = 0, start = 0, i = 0;
    ret_runs[n++] = (struct pos_run){0, 0};
    for (uint32_t j = 0; j < n_blocks; start += block_tokens[j++]) {
        if (j < first || (j - first) % stride != 0)
            continue;
        uint32_t u = bias[i] + (uint32_t)((i + 1) * min_gap);
        i++;
        if (start == ret_runs[n - 1].start && n > 1)
            n--; /* an empty block came before: its jump and this one are one */
        if (start < n_tokens && start > 0)
            ret_runs[n++] = (struct pos_run){start, u + start};
    }
    *ret_n_runs = n;
    if (bias != few)
        free(bias);
    return POS_SKIPPED;
}

enum pos_outcome skip_all_draw(const struct conf_positions *p, struct rng *rng, const uint32_t *block_tokens,
                               uint32_t n_blocks, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    return draw(p, rng, block_tokens, n_blocks, 1, 1, ret_runs, ret_n_runs);
}

enum pos_outcome skip_inner_draw(const struct conf_positions *p, struct rng *rng,
                                 const uint32_t *block_tokens, uint32_t n_blocks, struct pos_run *ret_runs,
                                 uint32_t *ret_n_runs)
{
    return draw(p, rng, block_tokens, n_blocks, 1, 2, ret_runs, ret_n_runs);
}

enum pos_outcome skip_outer_draw(const struct conf_positions *p, struct rng *rng,
                                 const uint32_t *block_tokens, uint32_t n_blocks, struct pos_run *ret_runs,
                                 uint32_t *ret_n_runs)
{
    return draw(p, rng, block_tokens, n_blocks, 2, 2, ret_runs, ret_n_runs);
}
