/* coverage - how far training looks back: distances between the position ids of a supervised token and of
 * each earlier token of its document.
 *
 * They are counted in buckets: distances below 8 have one each, every octave above is cut into 8. Pairs of
 * tokens are counted without being visited: a stretch of supervised tokens and a run before it give a
 * trapezoid of distances, whose running sum is a few quadratic pieces, so four numbers for each pair of runs
 * do, whatever their lengths. Exact, but for documents of more runs than their length pays for (randpos: a
 * run a token): of those a few pairs of tokens stand for all, drawn evenly, and `sampled` says how many
 * documents that were.
 *
 * Threads: pure; a struct coverage_sum belongs to one thread.
 */
#ifndef SKIPALIGN_POSITION_COVERAGE_H
#define SKIPALIGN_POSITION_COVERAGE_H

#include "position/position.h"

#include <stdint.h>

#define COVERAGE_BUCKETS 233 /* distances 0 to 2^31 */

/* coverage_bucket - of a distance <= 2^31.   coverage_start - the least distance of a bucket; of
 * COVERAGE_BUCKETS: one past the largest of the last. */
uint32_t coverage_bucket(uint32_t distance);
uint64_t coverage_start(uint32_t bucket);

/* Pairs of a supervised token and an earlier one of the same document, by their distance. */
struct coverage {
    uint64_t pairs[COVERAGE_BUCKETS];
    uint64_t documents, sampled; /* sampled: of these, those that were not counted whole */
    uint32_t largest;            /* distance */
};

/* What is being counted. Zero it first; coverage_take leaves it so. */
struct coverage_sum {
    struct coverage done;
    uint64_t near, knots[COVERAGE_BUCKETS][3], draws; /* see coverage.c */
};

/* coverage_add - one document more.
 * Shapes:  runs[n_runs], runs[0].start == 0; spans[n_spans] supervised tokens, ascending, not empty, apart.
 * Units:   tokens; all ids < 2^31 - 1, strictly increasing.   Time: in n_runs * n_spans at most, and bounded
 * by about n_tokens / 16. */
void coverage_add(struct coverage_sum *c, const struct pos_run *runs, uint32_t n_runs,
                  const struct pos_span *spans, uint32_t n_spans, uint32_t n_tokens);

/* coverage_add_plain - the same where ids do not jump. */
void coverage_add_plain(struct coverage_sum *c, const struct pos_span *spans, uint32_t n_spans);

/* coverage_take - what was added since the last time; fewer than 2^63 pairs. */
void coverage_take(struct coverage_sum *c, struct coverage *ret);

/* coverage_long - shares of the buckets where every document has n_tokens tokens, with ids 0..n_tokens - 1,
 * and supervised ones are spread evenly: of n_tokens - d tokens the one d back is in the document. n_tokens
 * >= 2. */
void coverage_long(uint64_t n_tokens, double ret[COVERAGE_BUCKETS]);

/* Of shares or counts of the buckets: coverage_quantile - the distance that a share q of all pairs does not
 * pass, even inside its bucket; 0 where there are none.   coverage_beyond - the share of pairs with this
 * distance or a larger one, in the same way. */
double coverage_quantile(const double buckets[COVERAGE_BUCKETS], double q);
double coverage_beyond(const double buckets[COVERAGE_BUCKETS], uint64_t distance);

#endif
