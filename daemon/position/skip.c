/* skip - the SkipAlign strategies: each block keeps its ids in a row, and jumps come before some of the
 * blocks.
 *
 * Block j of a dialogue (1-based: odd ones are instructions, even ones responses) gets ids u_j + natural
 * start; u is cumulative. skip_all may jump before every block from the second on, skip_inner before
 * responses, skip_outer before later instructions. The sampler shares out the budget B = max_position - n
 * over the k eligible boundaries.
 *
 * Runs:    a run per block that jumps, plus the first.
 * Source:  SkipAlign, arXiv 2405.03939, section 3; samplers: see position.h. Differs: the paper's own code is
 *          not public, so how much is skipped where is ours: `sorted` unless another sampler is chosen.
 */
#include "position/strategy.h"

#include "base/array.h"

/* Cumulative biases 0 <= draws[0] <= .. <= draws[k-1] <= budget; budget <= 2^31 - 2, k >= 1. */
static int draw_cumulative(struct pos_job *j, uint32_t budget, uint32_t k)
{
    struct pos_scratch *s = j->scratch;
    if (array_grow(&s->draws, &s->draws_cap, k) != 0)
        return -ENOMEM;
    switch (j->p->sampler) {
    case SAMPLER_SORTED:
        return strategy_sorted(j, budget + 1, k);
    case SAMPLER_SEQUENTIAL:
        for (uint32_t i = 0, low = 0; i < k; low = s->draws[i++])
            s->draws[i] = low + rng_below(&j->rng, budget - low + 1);
        break;
    case SAMPLER_EVEN:
        for (uint32_t i = 0, sum = 0; i < k; sum = s->draws[i++])
            s->draws[i] = sum + rng_below(&j->rng, budget / k + 1);
        break;
    case SAMPLER_PINNED:
        if (strategy_sorted(j, budget + 1, k - 1) != 0)
            return -ENOMEM;
        s->draws[k - 1] = budget;
        break;
    case SAMPLER__COUNT:
        break;
    }
    return 0;
}

/* The boundaries before blocks first, first + stride, ... (0-based) may skip. */
static int draw(struct pos_job *j, uint32_t first, uint32_t stride, struct pos_run *ret_runs,
                uint32_t *ret_n_runs)
{
    const struct pos_doc *d = j->doc;
    if (d->n_blocks <= first)
        return POS_KEPT_BOUNDARY;
    uint32_t k = (d->n_blocks - first - 1) / stride + 1;
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    uint64_t min_gap = (uint64_t)j->p->min_gap;
    if (min_gap > j->budget / k)
        return POS_KEPT_MIN_GAP;
    if (draw_cumulative(j, (uint32_t)(j->budget - k * min_gap), k) != 0)
        return -ENOMEM;

    uint32_t n = 0, start = 0, i = 0;
    ret_runs[n++] = (struct pos_run){0, 0};
    for (uint32_t b = 0; b < d->n_blocks; start += d->block_tokens[b++]) {
        if (b < first || (b - first) % stride != 0)
            continue;
        uint32_t u = j->scratch->draws[i] + (uint32_t)((i + 1) * min_gap);
        i++;
        if (start == ret_runs[n - 1].start && n > 1)
            n--; /* an empty block came before: its jump and this one are one */
        if (start < d->n_tokens && start > 0)
            ret_runs[n++] = (struct pos_run){start, u + start};
    }
    *ret_n_runs = n;
    return POS_SKIPPED;
}

int skip_all_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    return draw(j, 1, 1, ret_runs, ret_n_runs);
}

int skip_inner_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    return draw(j, 1, 2, ret_runs, ret_n_runs);
}

int skip_outer_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    return draw(j, 2, 2, ret_runs, ret_n_runs);
}
