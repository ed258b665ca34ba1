/* strategy - what the files of the strategies share with the table in position.c; private to the stage.
 *
 * A strategy draws the runs of one document, or says why its ids stay 0..n-1. It reads nothing but the job,
 * so the same document and key give the same runs everywhere. Where it draws, the word of `probability` has
 * been taken already. proto/POSITIONS.md has every draw of each, exactly.
 *
 * Result:  enum pos_outcome (the runs are read of POS_SKIPPED alone), or -ENOMEM.
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_POSITION_STRATEGY_H
#define SKIPALIGN_POSITION_STRATEGY_H

#include "position/position.h"

struct pos_job {
    const struct conf_positions *p;
    const struct pos_doc *doc;
    uint32_t window; /* ids are below it: max_position, or what the schedule says */
    uint32_t budget; /* window - doc->n_tokens; 0 where the document is as long or longer */
    struct rng rng;
    struct pos_scratch *scratch;
};

typedef int pos_strategy_fn(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs);

pos_strategy_fn skip_all_draw, skip_inner_draw, skip_outer_draw, pose_draw, randpos_draw, cream_draw,
    longrecipe_draw, stretch_draw, shift_draw;

/* strategy_sorted - k independent draws of 0..m-1, smallest first, in j->scratch->draws; m >= 1.
 * strategy_subset - k distinct ones, every set of them as likely; k <= m.   Errors: -ENOMEM. */
int strategy_sorted(struct pos_job *j, uint32_t m, uint32_t k);
int strategy_subset(struct pos_job *j, uint32_t m, uint32_t k);

#endif
