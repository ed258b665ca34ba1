/* pose - positional skip-wise training: a sample is cut into chunks wherever it may be, turns or not, and
 * each chunk from the second on may jump.
 *
 * Two chunks: cut ~ U{1..floor((n+1)/2)}, and from the cut on ids are u later, u ~ U{0..B}. More, N of them:
 * the cuts are N-1 distinct points of 1..n-1, all sets as likely, and u_i ~ U{u_{i-1}..B} (eq. 4). A sample
 * of fewer tokens than chunks has a chunk for each token.
 *
 * Runs:    one per chunk.
 * Source:  PoSE, arXiv 2309.10400, and its code (dwzhu-pku/PoSE, src/train_pose.py) for two chunks. Differs:
 *          the text is all of the sample, where PoSE may also skip text between chunks (its v_i); the last
 *          chunk is never empty.
 */
#include "position/strategy.h"

#include <errno.h>

int pose_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    uint32_t n = j->doc->n_tokens, cuts = (uint32_t)j->p->chunks - 1, u = 0;
    if (n < 2)
        return POS_KEPT_BOUNDARY;
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    ret_runs[0] = (struct pos_run){0, 0};
    if (cuts == 1) {
        uint32_t cut = 1 + rng_below(&j->rng, (n + 1) / 2);
        ret_runs[1] = (struct pos_run){cut, cut + rng_below(&j->rng, j->budget + 1)};
    } else {
        cuts = cuts < n - 1 ? cuts : n - 1;
        if (strategy_subset(j, n - 1, cuts) != 0)
            return -ENOMEM;
        for (uint32_t i = 0; i < cuts; i++) {
            uint32_t cut = 1 + j->scratch->draws[i];
            u += rng_below(&j->rng, j->budget - u + 1);
            ret_runs[1 + i] = (struct pos_run){cut, cut + u};
        }
    }
    *ret_n_runs = 1 + cuts;
    return POS_SKIPPED;
}
