/* skip - the SkipAlign strategies: each block keeps its ids in a row, and jumps come before some of the
 * blocks.
 *
 * Block j of a dialogue (1-based: odd ones are instructions, even ones responses) gets ids u_j + natural
 * start; u is cumulative. skip_all may jump before every block from the second on, skip_inner before
 * responses, skip_outer before later instructions. The sampler shares out the budget B = max_position - n
 * over the k eligible boundaries.
 *
 * Runs:    a run per block that jumps, plus the first; *ret_n_runs <= n_blocks.
 * Threads: pure; any.
 * Source:  SkipAlign, arXiv 2405.03939, section 3; samplers: see position.h.
 */
#ifndef SKIPALIGN_POSITION_SKIP_H
#define SKIPALIGN_POSITION_SKIP_H

#include "position/position.h"

enum pos_outcome skip_all_draw(const struct conf_positions *p, struct rng *rng, const uint32_t *block_tokens,
                               uint32_t n_blocks, struct pos_run *ret_runs, uint32_t *ret_n_runs);
enum pos_outcome skip_inner_draw(const struct conf_positions *p, struct rng *rng,
                                 const uint32_t *block_tokens, uint32_t n_blocks, struct pos_run *ret_runs,
                                 uint32_t *ret_n_runs);
enum pos_outcome skip_outer_draw(const struct conf_positions *p, struct rng *rng,
                                 const uint32_t *block_tokens, uint32_t n_blocks, struct pos_run *ret_runs,
                                 uint32_t *ret_n_runs);

#endif
