/* cream - continuity-relativity indexing: a head from id 0 on, a tail that ends at the last id, and a middle
 * part in between, drawn so that it lies near the middle of the window more often than PoSE's would.
 *
 * With f = floor(L / n), head = tail = floor(n/3) or 4f with even odds, at most floor((n-1)/2), mid the rest:
 * a = floor of a normal of mean 1+f and deviation 3 within [2, 2f], and the middle's last id is uniform on
 * head + floor((mid-1)*a/2) .. floor(a*n/2) - tail - 1. A sample of fewer than 3 tokens keeps its ids.
 *
 * Runs:    three.
 * Source:  CREAM, arXiv 2406.07138. Differs: f is a whole number for samples of any length (the paper has one
 *          length and one factor); where 4f would leave no middle, head and tail are as long as they can be;
 *          the normal is drawn from a table in whole numbers, so that every machine draws the same.
 */
#include "position/strategy.h"

#include <stdbool.h>

/* 2^31 * P(|Z| < d/3) for d = 1, 2, ..., Z standard normal, rounded: how far from the mean a normal of
 * deviation 3 lies, in whole steps. */
static const uint32_t within[] = {
    560745174,  1063036457, 1466064521, 1755734442, 1942225648, 2049772575, 2105327133,
    2131032289, 2141685880, 2145640848, 2146955941, 2147347621, 2147452108, 2147477074,
    2147482417, 2147483441, 2147483617, 2147483644, 2147483647,
};

/* The floor of the truncated normal: the upper bit of a word says on which side of the mean, the others how
 * far; one that is outside is drawn again. */
static uint32_t draw_factor(struct rng *rng, uint32_t f)
{
    if (f == 1)
        return 2;
    for (;;) {
        uint32_t word = rng_word(rng), far = word & INT32_MAX, d = 0;
        while (d < sizeof within / sizeof within[0] && within[d] <= far)
            d++;
        bool below = word >> 31 != 0;
        if (d < f - 1)
            return below ? f - d : f + 1 + d;
    }
}

int cream_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    const uint64_t n = j->doc->n_tokens;
    if (n < 3)
        return POS_KEPT_BOUNDARY;
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    const uint64_t f = j->window / n, most = (n - 1) / 2;
    uint64_t head = rng_below(&j->rng, 2) == 0 ? n / 3 : 4 * f;
    head = head < most ? head : most;
    const uint64_t mid = n - 2 * head, a = draw_factor(&j->rng, (uint32_t)f);
    const uint64_t low = head + (mid - 1) * a / 2, high = a * n / 2 - head - 1;
    const uint64_t end = low + rng_below(&j->rng, (uint32_t)(high - low + 1));
    ret_runs[0] = (struct pos_run){0, 0};
    ret_runs[1] = (struct pos_run){(uint32_t)head, (uint32_t)(end - mid + 1)};
    ret_runs[2] = (struct pos_run){(uint32_t)(head + mid), (uint32_t)(j->window - head)};
    *ret_n_runs = 3;
    return POS_SKIPPED;
}
