/* shift - all ids of a sample move by one number, u ~ U{0..B}: no jump at all. The negative control: a model
 * with relative positions (RoPE) trains as with `none`, and one that does not sees a bug of its own.
 *
 * The one strategy whose first id is not 0: code that finds documents by id 0 (FlashAttention paths of
 * transformers) finds none. Boundaries travel beside the ids, as always.
 *
 * Runs:    one.
 * Source:  the usual control of position studies; ours in this form.
 */
#include "position/strategy.h"

int shift_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    ret_runs[0] = (struct pos_run){0, rng_below(&j->rng, j->budget + 1)};
    *ret_n_runs = 1;
    return POS_SKIPPED;
}
