#include "position/coverage.h"

#include <math.h>
#include <string.h>

#define PER_OCTAVE 8
#define LOG_PER_OCTAVE 3

/* A document is counted whole if its pairs of runs are at most so many; else pairs of tokens are drawn.
 * Either takes well under a hundredth of the time that it takes to make the document. */
#define WHOLE_MIN 32
#define TOKENS_PER_WHOLE 16
#define TOKENS_PER_DRAW 512

uint32_t coverage_bucket(uint32_t distance)
{
    if (distance < PER_OCTAVE)
        return distance;
    const uint32_t e = 31 - (uint32_t)__builtin_clz(distance) - LOG_PER_OCTAVE;
    return PER_OCTAVE * e + (distance >> e);
}

uint64_t coverage_start(uint32_t bucket)
{
    if (bucket < 2 * PER_OCTAVE)
        return bucket;
    const uint32_t e = bucket / PER_OCTAVE - 1;
    return (uint64_t)(bucket - PER_OCTAVE * e) << e;
}

/* ---- whole documents ----
 *
 * T(k) = k (k + 1) / 2 for k > 0, else 0. The pairs of supervised ids a..b-1 and ids lo..hi-1 before them
 * whose distance is below x are T(x - k1) - T(x - k2) - T(x - k3) + T(x - k4),   k1 = a-hi+1, k2 = b-hi+1, k3
 * = a-lo+1, k4 = b-lo+1, and those of supervised ids a..b-1 with ids lo.. of their own run (b - a) (x - 1) -
 * T(x - k3) + T(x - k4). So all pairs below x are near * (x - 1) + the sum of w T(x - k) over knots k < x: a
 * quadratic in x whose coefficients are the sums of w, w k and w k^2. Knots are kept by bucket, as buckets
 * begin where sums are wanted. Unsigned arithmetic wraps on the way; results below 2^63 are right all the
 * same. */

static inline void add_knot(struct coverage_sum *c, uint32_t bucket, uint32_t k, uint64_t weight)
{
    uint64_t *knot = c->knots[bucket], wk = weight * k;
    knot[0] += weight;
    knot[1] += wk;
    knot[2] += wk * k;
}

static inline void add_far(struct coverage_sum *c, uint32_t a, uint32_t b, uint32_t lo, uint32_t hi)
{
    const uint32_t k1 = a - hi + 1, k4 = b - lo + 1, k2 = b - hi + 1, k3 = a - lo + 1;
    const uint32_t least = coverage_bucket(k1), most = coverage_bucket(k4 - 2);
    if (least == most) {
        c->done.pairs[least] += (uint64_t)(b - a) * (hi - lo);
        return;
    }
    add_knot(c, least, k1, 1);
    add_knot(c, coverage_bucket(k2), k2, -UINT64_C(1));
    add_knot(c, coverage_bucket(k3), k3, -UINT64_C(1));
    add_knot(c, coverage_bucket(k4), k4, 1);
}

static inline void add_near(struct coverage_sum *c, uint32_t a, uint32_t b, uint32_t lo)
{
    const uint32_t k3 = a - lo + 1, k4 = b - lo + 1;
    c->near += b - a;
    add_knot(c, coverage_bucket(k3), k3, -UINT64_C(1));
    add_knot(c, coverage_bucket(k4), k4, 1);
}

static inline uint32_t run_end(const struct pos_run *runs, uint32_t n_runs, uint32_t r, uint32_t n_tokens)
{
    return r + 1 < n_runs ? runs[r + 1].start : n_tokens;
}

/* The stretches that spans are cut into by runs: which tokens, and of which run. */
struct stretch {
    uint32_t span, run, start, end;
};

static inline bool next_stretch(struct stretch *s, const struct pos_run *runs, uint32_t n_runs,
                                const struct pos_span *spans, uint32_t n_spans)
{
    if (s->end == spans[s->span].end && ++s->span == n_spans)
        return false;
    s->start = s->end > spans[s->span].start ? s->end : spans[s->span].start;
    while (s->run + 1 < n_runs && runs[s->run + 1].start <= s->start)
        s->run++;
    s->end = spans[s->span].end;
    if (s->run + 1 < n_runs && runs[s->run + 1].start < s->end)
        s->end = runs[s->run + 1].start;
    return true;
}

/* Before the first stretch. */
static inline struct stretch stretch_begin(const struct pos_span *spans)
{
    return (struct stretch){.end = spans[0].start};
}

static void add_whole(struct coverage_sum *c, const struct pos_run *runs, uint32_t n_runs,
                      const struct pos_span *spans, uint32_t n_spans, uint32_t n_tokens)
{
    struct stretch s = stretch_begin(spans);
    while (next_stretch(&s, runs, n_runs, spans, n_spans)) {
        const uint32_t a = runs[s.run].id + (s.start - runs[s.run].start), b = a + (s.end - s.start);
        for (uint32_t r = 0; r < s.run; r++)
            add_far(c, a, b, runs[r].id, runs[r].id + (run_end(runs, n_runs, r, n_tokens) - runs[r].start));
        add_near(c, a, b, runs[s.run].id);
    }
}

/* ---- documents of too many runs ---- */

static bool is_cheap(const struct pos_run *runs, uint32_t n_runs, const struct pos_span *spans,
                     uint32_t n_spans, uint32_t n_tokens)
{
    const uint32_t most = WHOLE_MIN + n_tokens / TOKENS_PER_WHOLE;
    uint64_t work = 0;
    if ((uint64_t)n_runs * (n_runs + n_spans) <= most)
        return true;
    if (n_runs > most)
        return false;
    struct stretch s = stretch_begin(spans);
    while (work <= most && next_stretch(&s, runs, n_runs, spans, n_spans))
        work += s.run + 1;
    return work <= most;
}

static uint32_t id_of(const struct pos_run *runs, uint32_t n_runs, uint32_t token)
{
    uint32_t r = 0;
    for (uint32_t n = n_runs; n > 1;) { /* the last run that starts at it or before is in r..r+n-1 */
        const uint32_t half = n / 2;
        r = runs[r + half].start <= token ? r + half : r;
        n -= half;
    }
    return runs[r].id + (token - runs[r].start);
}

/* SplitMix64 (Steele, Lea and Flood 2014). Nothing that is sent depends on it. */
static uint64_t draw(struct coverage_sum *c, uint64_t below)
{
    uint64_t z = (c->draws += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (uint64_t)(((unsigned __int128)(z ^ (z >> 31)) * below) >> 64);
}

static uint64_t pairs_before(uint64_t token)
{
    return token * (token - 1) / 2; /* 0 + 1 + .. + token - 1 */
}

/* Pair number n of those that all tokens have with earlier ones. */
static void pair_at(uint64_t n, uint32_t *ret_token, uint32_t *ret_before)
{
    uint64_t t = (uint64_t)((1 + sqrt(1 + 8 * (double)n)) / 2);
    while (pairs_before(t) > n)
        t--;
    while (pairs_before(t + 1) <= n)
        t++;
    *ret_token = (uint32_t)t;
    *ret_before = (uint32_t)(n - pairs_before(t));
}

/* All pairs in a row, cut into equal parts: one of each stands for its part. */
static void add_drawn(struct coverage_sum *c, const struct pos_run *runs, uint32_t n_runs,
                      const struct pos_span *spans, uint32_t n_spans, uint32_t n_tokens)
{
    uint64_t all = 0, done = 0;
    const uint64_t n = 1 + n_tokens / TOKENS_PER_DRAW;
    for (uint32_t i = 0; i < n_spans; i++)
        all += pairs_before(spans[i].end) - pairs_before(spans[i].start);
    for (uint64_t i = 0, span = 0, before = 0; i < n; i++) {
        const uint64_t part = all / n + (i < all % n);
        if (part == 0)
            break;
        const uint64_t pair = done + draw(c, part);
        done += part;
        for (uint64_t more;
             more = pairs_before(spans[span].end) - pairs_before(spans[span].start), pair >= before + more;
             span++)
            before += more;
        uint32_t token, earlier;
        pair_at(pairs_before(spans[span].start) + (pair - before), &token, &earlier);
        c->done.pairs[coverage_bucket(id_of(runs, n_runs, token) - id_of(runs, n_runs, earlier))] += part;
    }
    c->done.sampled++;
}

static void see_largest(struct coverage_sum *c, uint32_t distance)
{
    c->done.largest = distance > c->done.largest ? distance : c->done.largest;
}

void coverage_add_plain(struct coverage_sum *c, const struct pos_span *spans, uint32_t n_spans)
{
    c->done.documents++;
    for (uint32_t i = 0; i < n_spans; i++)
        add_near(c, spans[i].start, spans[i].end, 0);
    if (n_spans > 0)
        see_largest(c, spans[n_spans - 1].end - 1);
}

void coverage_add(struct coverage_sum *c, const struct pos_run *runs, uint32_t n_runs,
                  const struct pos_span *spans, uint32_t n_spans, uint32_t n_tokens)
{
    if (n_runs == 1 || n_spans == 0) {
        coverage_add_plain(c, spans, n_spans);
        return;
    }
    c->done.documents++;
    see_largest(c, id_of(runs, n_runs, spans[n_spans - 1].end - 1) - runs[0].id);
    if (is_cheap(runs, n_runs, spans, n_spans, n_tokens))
        add_whole(c, runs, n_runs, spans, n_spans, n_tokens);
    else
        add_drawn(c, runs, n_runs, spans, n_spans, n_tokens);
}

void coverage_take(struct coverage_sum *c, struct coverage *ret)
{
    uint64_t below = 0, w = 0, wk = 0, wkk = 0;
    *ret = c->done;
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++) {
        const uint64_t x = coverage_start(b + 1);
        w += c->knots[b][0];
        wk += c->knots[b][1];
        wkk += c->knots[b][2];
        const uint64_t twice = 2 * c->near * (x - 1) + w * (x * x + x) - wk * (2 * x + 1) + wkk;
        ret->pairs[b] += twice / 2 - below;
        below = twice / 2;
    }
    memset(c, 0, sizeof *c);
}

/* ---- shares ---- */

void coverage_long(uint64_t n_tokens, double ret[COVERAGE_BUCKETS])
{
    const double n = (double)n_tokens, all = n * (n - 1) / 2;
    double below = 0;
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++) {
        const uint64_t next = coverage_start(b + 1);
        const double d = next > n_tokens ? n - 1 : (double)next - 1; /* the largest distance so far */
        const double sum = d * n - d * (d + 1) / 2;
        ret[b] = (sum - below) / all;
        below = sum;
    }
}

static double sum_of(const double buckets[COVERAGE_BUCKETS])
{
    double sum = 0;
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++)
        sum += buckets[b];
    return sum;
}

double coverage_quantile(const double buckets[COVERAGE_BUCKETS], double q)
{
    double left = q * sum_of(buckets);
    uint32_t b = 0, last = 0;
    for (; b < COVERAGE_BUCKETS && buckets[b] <= left; b++) {
        left -= buckets[b];
        last = buckets[b] > 0 ? b : last;
    }
    if (b == COVERAGE_BUCKETS)
        return (double)coverage_start(last + 1) - 1;
    const double start = (double)coverage_start(b), end = (double)coverage_start(b + 1);
    return floor(start + (end - start) * left / buckets[b]);
}

double coverage_beyond(const double buckets[COVERAGE_BUCKETS], uint64_t distance)
{
    double sum = 0, beyond = 0;
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++) {
        const double start = (double)coverage_start(b), end = (double)coverage_start(b + 1),
                     d = (double)distance;
        sum += buckets[b];
        beyond += buckets[b] * (d <= start ? 1 : d >= end ? 0 : (end - d) / (end - start));
    }
    return sum > 0 ? beyond / sum : 0;
}
