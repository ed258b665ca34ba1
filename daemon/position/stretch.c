/* stretch - ids at equal distances: id = i * floor(max_position / n). Nothing is drawn. A baseline, like
 * position interpolation the other way round: no two tokens are neighbours any more.
 *
 * Where max_position is less than twice the sample, ids stay 0..n-1 (no-budget).
 *
 * Runs:    one per token.
 * Source:  equidistant position ids as a control in the papers on positional encodings; ours in this form.
 */
#include "position/strategy.h"

int stretch_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    uint32_t n = j->doc->n_tokens;
    if (n < 2)
        return POS_KEPT_BOUNDARY;
    uint32_t step = j->window / n;
    if (step < 2)
        return POS_KEPT_BUDGET;
    for (uint32_t t = 0; t < n; t++)
        ret_runs[t] = (struct pos_run){t, t * step};
    *ret_n_runs = n;
    return POS_SKIPPED;
}
