/* randpos - randomised positions: the ids are n distinct numbers below max_position in order, every set of
 * them as likely. A baseline: it takes neighbouring tokens apart, which hurts a pretrained model.
 *
 * Runs:    one per token, which pos_fill writes fastest.
 * Source:  Ruoss et al., "Randomized positional encodings boost length generalization", arXiv 2305.16843.
 *          Differs: all ids move down so that the first is 0. Relative encodings (RoPE) see no difference.
 */
#include "position/strategy.h"

#include <errno.h>

int randpos_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    uint32_t n = j->doc->n_tokens;
    if (n < 2)
        return POS_KEPT_BOUNDARY;
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    if (strategy_subset(j, j->window, n) != 0)
        return -ENOMEM;
    const uint32_t *draws = j->scratch->draws;
    for (uint32_t t = 0; t < n; t++)
        ret_runs[t] = (struct pos_run){t, draws[t] - draws[0]};
    *ret_n_runs = n;
    return POS_SKIPPED;
}
