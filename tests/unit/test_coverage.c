/* Distances that are counted run by run, against a look at every pair of tokens. */
#include "position/coverage.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS_MAX = 4096, PARTS_MAX = 64 };

struct document {
    struct pos_run runs[TOKENS_MAX];
    struct pos_span spans[PARTS_MAX];
    uint32_t n_runs, n_spans, n_tokens;
};

static struct document doc;
static struct coverage_sum sum;

/* Ids 0..max_position - 1 at most, jumping where a run begins. */
static void random_document(struct rng *rng, uint32_t n_tokens, uint32_t n_runs, uint32_t max_position)
{
    doc = (struct document){.n_tokens = n_tokens};
    uint32_t left = max_position - n_tokens, start = 0, id = 0;
    for (uint32_t i = 0; i < n_runs && start < n_tokens; i++) {
        const uint32_t n = i + 1 == n_runs ? n_tokens - start
                                           : 1 + rng_below(rng, 2 * n_tokens / n_runs < n_tokens - start
                                                                    ? 2 * n_tokens / n_runs
                                                                    : n_tokens - start);
        doc.runs[doc.n_runs++] = (struct pos_run){start, id};
        const uint32_t jump = rng_below(rng, 3) == 0 ? 0 : rng_below(rng, left + 1);
        left -= jump;
        start += n;
        id += n + jump;
    }
    for (uint32_t t = rng_below(rng, 40), n; t < n_tokens && doc.n_spans < PARTS_MAX;
         t += n + rng_below(rng, 300)) {
        n = 1 + rng_below(rng, 400);
        n = n < n_tokens - t ? n : n_tokens - t;
        doc.spans[doc.n_spans++] = (struct pos_span){t, t + n};
        t += 1;
    }
}

static void look_at_every_pair(struct coverage *ret)
{
    static int32_t ids[TOKENS_MAX];
    pos_fill(doc.runs, doc.n_runs, doc.n_tokens, ids);
    ret->documents++;
    for (uint32_t s = 0; s < doc.n_spans; s++)
        for (uint32_t t = doc.spans[s].start; t < doc.spans[s].end; t++)
            for (uint32_t before = 0; before < t; before++) {
                const uint32_t distance = (uint32_t)(ids[t] - ids[before]);
                ret->pairs[coverage_bucket(distance)]++;
                ret->largest = distance > ret->largest ? distance : ret->largest;
            }
}

static void add(void)
{
    coverage_add(&sum, doc.runs, doc.n_runs, doc.spans, doc.n_spans, doc.n_tokens);
}

static uint64_t total(const struct coverage *c)
{
    uint64_t all = 0;
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++)
        all += c->pairs[b];
    return all;
}

static void buckets_are_in_order_and_without_gaps(void **state)
{
    (void)state;
    for (uint32_t d = 0; d < 300000; d++) {
        const uint32_t b = coverage_bucket(d);
        assert_true(coverage_start(b) <= d && d < coverage_start(b + 1));
    }
    for (uint32_t b = 8; b < COVERAGE_BUCKETS; b++) {
        assert_true(coverage_start(b + 1) - coverage_start(b) <= coverage_start(b) / 8 + 1);
        if (coverage_start(b) <= UINT32_C(1) << 31)
            assert_int_equal(coverage_bucket((uint32_t)coverage_start(b)), b);
    }
    assert_int_equal(coverage_bucket(UINT32_C(1) << 31), COVERAGE_BUCKETS - 1);
}

static void every_pair_is_counted_once(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = 3});
    static const uint32_t max_positions[] = {0, 1, 100, 5000, 65536, 1u << 20, INT32_MAX};
    for (uint32_t i = 0; i < 3000; i++) {
        struct coverage have, want = {0};
        const uint32_t n_docs = 1 + rng_below(&rng, 3);
        for (uint32_t k = 0; k < n_docs; k++) {
            const uint32_t n = 1 + rng_below(&rng, 600), room = max_positions[rng_below(&rng, 7)];
            random_document(&rng, n, 1 + rng_below(&rng, 7), room < n ? n + room : room);
            add();
            look_at_every_pair(&want);
        }
        coverage_take(&sum, &have);
        assert_int_equal(have.sampled, 0);
        assert_memory_equal(&have, &want, sizeof want);
    }
}

/* All that there are: those with a run a token are drawn from, and then the number of pairs is right. */
static void strategies_are_counted_right(void **state)
{
    (void)state;
    struct rng rng;
    struct pos_scratch scratch = {0};
    uint32_t n_whole = 0;
    rng_init(&rng, (struct rng_key){.seed = 4});
    for (uint32_t i = 0; i < 100 * POS__COUNT; i++) {
        struct coverage have, want = {0};
        uint32_t blocks[8], n_blocks = 1 + rng_below(&rng, 8);
        doc = (struct document){.n_runs = 0};
        for (uint32_t j = 0; j < n_blocks; j++) {
            blocks[j] = 1 + rng_below(&rng, 200);
            if (j % 2 == 1)
                doc.spans[doc.n_spans++] = (struct pos_span){doc.n_tokens, doc.n_tokens + blocks[j]};
            doc.n_tokens += blocks[j];
        }
        const struct conf_positions p = {.strategy = i % POS__COUNT,
                                         .sampler = i / POS__COUNT % SAMPLER__COUNT,
                                         .max_position = 1 << 17,
                                         .chunks = 3,
                                         .probability = 1};
        const struct pos_doc is = {.block_tokens = blocks, .n_blocks = n_blocks, .n_tokens = doc.n_tokens};
        assert_true(pos_runs_max(&p, doc.n_tokens, n_blocks) <= TOKENS_MAX);
        assert_true(
            pos_draw(&p, 1 << 17, (struct rng_key){.record = i}, &is, &scratch, doc.runs, &doc.n_runs) >= 0);
        add();
        look_at_every_pair(&want);
        coverage_take(&sum, &have);
        n_whole += have.sampled == 0;
        assert_true(total(&have) == total(&want));
        assert_int_equal(have.largest, want.largest);
        if (have.sampled == 0)
            assert_memory_equal(&have, &want, sizeof want);
        else
            assert_true(p.strategy != POS_SKIP_INNER && p.strategy != POS_SKIP_OUTER &&
                        p.strategy != POS_POSE);
    }
    assert_true(n_whole > 50 * POS__COUNT);
    pos_scratch_fini(&scratch);
}

static void taking_leaves_nothing(void **state)
{
    (void)state;
    struct coverage have;
    static const struct coverage none;
    coverage_take(&sum, &have);
    assert_memory_equal(&have, &none, sizeof none);
}

static void a_document_without_supervision_has_no_pairs(void **state)
{
    (void)state;
    struct coverage have;
    doc = (struct document){.n_runs = 1, .n_tokens = 50};
    add();
    doc.spans[doc.n_spans++] = (struct pos_span){0, 1};
    add();
    coverage_take(&sum, &have);
    assert_int_equal(total(&have), 0);
    assert_int_equal(have.documents, 2);
    assert_int_equal(have.largest, 0);
}

/* The largest ids there are: 2^30 tokens before as many. */
static void nothing_overflows(void **state)
{
    (void)state;
    const uint32_t half = UINT32_C(1) << 30;
    const struct pos_span span = {half, 2 * half - 1};
    const struct pos_run runs[] = {{0, 0}, {half, half}};
    for (uint32_t n_runs = 1; n_runs <= 2; n_runs++) {
        struct coverage have;
        coverage_add(&sum, runs, n_runs, &span, 1, 2 * half - 1);
        coverage_take(&sum, &have);
        const uint64_t n = half;
        assert_true(total(&have) == (2 * n - 1) * (n - 1) - n * (n - 1) / 2);
        assert_int_equal(have.largest, 2 * half - 2);
        assert_true(have.pairs[1] == n - 1);
    }
}

/* A run a token, as for `randpos`: some pairs stand for all. Their number is right, and the shares of octaves
 * are those of all pairs. The draws are fixed, so this passes always or never. */
static void drawn_pairs_stand_for_all(void **state)
{
    (void)state;
    struct rng rng;
    struct coverage have, want = {0};
    rng_init(&rng, (struct rng_key){.seed = 5});
    for (uint32_t i = 0; i < 3000; i++) {
        const uint32_t n = 100 + rng_below(&rng, 300);
        random_document(&rng, n, n, 8192);
        add();
        look_at_every_pair(&want);
    }
    coverage_take(&sum, &have);
    assert_int_equal(have.documents, 3000);
    assert_in_range(have.sampled, 2900, 3000);
    assert_int_equal(have.largest, want.largest);
    assert_true(total(&have) == total(&want));
    double here[COVERAGE_BUCKETS], there[COVERAGE_BUCKETS];
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++) {
        here[b] = (double)have.pairs[b];
        there[b] = (double)want.pairs[b];
    }
    for (uint32_t octave = 0; octave < 13; octave++) /* sigma of a share is below .01 */
        assert_true(fabs(coverage_beyond(here, 1u << octave) - coverage_beyond(there, 1u << octave)) < .04);
}

static void long_documents_are_as_counted(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {2, 3, 9, 100, 1000, 4096};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct coverage have;
        double shares[COVERAGE_BUCKETS];
        const uint32_t n = lengths[i];
        doc =
            (struct document){.runs = {{0, 0}}, .n_runs = 1, .spans = {{0, n}}, .n_spans = 1, .n_tokens = n};
        add();
        coverage_take(&sum, &have);
        coverage_long(n, shares);
        for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++)
            assert_true(fabs(shares[b] - (double)have.pairs[b] / (double)total(&have)) < 1e-12);
    }
}

static void quantiles_and_shares(void **state)
{
    (void)state;
    double buckets[COVERAGE_BUCKETS] = {0};
    assert_true(coverage_quantile(buckets, .5) == 0);
    assert_true(coverage_beyond(buckets, 1) == 0);
    buckets[coverage_bucket(1)] = 1;
    buckets[coverage_bucket(5)] = 1;
    buckets[coverage_bucket(1024)] = 2; /* 1024..1151 */
    assert_true(coverage_quantile(buckets, .25) == 5);
    assert_true(coverage_quantile(buckets, .1) == 1);
    assert_true(coverage_quantile(buckets, .4) == 5);
    assert_true(coverage_quantile(buckets, .75) == 1024 + 64);
    assert_true(coverage_quantile(buckets, 1) == 1151);
    assert_true(coverage_beyond(buckets, 1) == 1);
    assert_true(coverage_beyond(buckets, 2) == .75);
    assert_true(coverage_beyond(buckets, 1024) == .5);
    assert_true(coverage_beyond(buckets, 1024 + 32) == .375);
    assert_true(coverage_beyond(buckets, 1152) == 0);
    coverage_long(65536, buckets);
    assert_in_range((uint64_t)coverage_quantile(buckets, .5), 19100,
                    19300); /* (1 - sqrt(1/2)) of 65536: 19195 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_in_order_and_without_gaps),
        cmocka_unit_test(every_pair_is_counted_once),
        cmocka_unit_test(strategies_are_counted_right),
        cmocka_unit_test(taking_leaves_nothing),
        cmocka_unit_test(a_document_without_supervision_has_no_pairs),
        cmocka_unit_test(nothing_overflows),
        cmocka_unit_test(drawn_pairs_stand_for_all),
        cmocka_unit_test(long_documents_are_as_counted),
        cmocka_unit_test(quantiles_and_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
