/* position - position ids for one sample: where they jump and how far.
 *
 * A table of strategies (position.c), each a pure function of block lengths and a key. The result is runs:
 * from token `start` on the ids are id, id + 1, ... up to the next run. Runs are what is kept; pos_fill
 * writes the ids out.
 *
 * Laws: the first id is 0; ids strictly increase; inside a block they go up by 1; the last is < max_position.
 * Threads: pure; any.
 * Source:  SkipAlign, arXiv 2405.03939 (blocks, skip_all/inner/outer); PoSE, arXiv 2309.10400, eq. 4
 * (sequential); LOGO, arXiv 2410.18533 (even). Differs: draws come from rng_key, see base/rng.h; `sorted` is
 * our default.
 */
#ifndef SKIPALIGN_POSITION_POSITION_H
#define SKIPALIGN_POSITION_POSITION_H

#include "base/rng.h"
#include "config/conf.h"

#include <stdint.h>

/* What became of a sample: it skips, or why it does not. */
enum pos_outcome {
    POS_SKIPPED,
    POS_KEPT_STRATEGY,    /* strategy none */
    POS_KEPT_PROBABILITY, /* drawn to keep its ids */
    POS_KEPT_BOUNDARY,    /* no boundary where the strategy may skip */
    POS_KEPT_BUDGET,      /* as long as max_position */
    POS_KEPT_MIN_GAP,     /* max_position leaves no room for min_gap at each boundary */
    POS_OUTCOME__COUNT,
};
extern const char *const pos_outcome_names[POS_OUTCOME__COUNT];

struct pos_run {
    uint32_t start; /* token, from 0 in its document */
    uint32_t id;    /* position id of that token */
};

/* pos_draw - the runs of one document.
 * Shapes:  block_tokens[n_blocks], instruction first, alternating; ret_runs[n_blocks] at most; *ret_n_runs
 * >= 1. Units:   tokens; their sum is <= max_position <= 2^31 - 1.
 */
enum pos_outcome pos_draw(const struct conf_positions *p, struct rng_key key, const uint32_t *block_tokens,
                          uint32_t n_blocks, struct pos_run *ret_runs, uint32_t *ret_n_runs);

/* pos_fill - the ids: ret[n_tokens]; runs[0].start == 0. */
void pos_fill(const struct pos_run *runs, uint32_t n_runs, uint32_t n_tokens, int32_t *ret);

#endif
