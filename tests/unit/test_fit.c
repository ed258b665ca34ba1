/* What is too long, and the pieces of it. */
#include "base/rng.h"
#include "stream/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Two pairs: instructions of 10 tokens, responses of 20 of which the first two are a header. */
struct dialogue {
    struct text_block blocks[4];
    struct document d;
};

static void dialogue_init(struct dialogue *x)
{
    for (int b = 0; b < 4; b++)
        x->blocks[b] =
            b % 2 ? (struct text_block){ROLE_ASSISTANT, 20, 2, 20} : (struct text_block){ROLE_USER, 10, 0, 0};
    x->d = (struct document){.n_ids = 60, .blocks = x->blocks, .n_blocks = 4};
}

static uint64_t sum(const struct document *d)
{
    uint64_t n = 0;
    for (size_t b = 0; b < d->n_blocks; b++) {
        assert_true(d->blocks[b].supervised_start <= d->blocks[b].supervised_end);
        assert_true(d->blocks[b].supervised_end <= d->blocks[b].n_tokens);
        n += d->blocks[b].n_tokens;
    }
    return n;
}

static void truncate_ends_after_a_whole_response_or_in_the_first(void **state)
{
    (void)state;
    for (uint32_t seq_len = 1; seq_len < 70; seq_len++) {
        struct dialogue x;
        dialogue_init(&x);
        fit_truncate(&x.d, seq_len);
        const uint32_t want = seq_len >= 60 ? 60 : seq_len >= 30 ? 30 : seq_len;
        assert_int_equal(x.d.n_ids, want);
        assert_int_equal(sum(&x.d), want);
        assert_int_equal(x.d.n_blocks, want == 60 ? 4 : want >= 10 ? 2 : 1);
    }
    struct dialogue x;
    dialogue_init(&x);
    fit_truncate(&x.d, 15); /* three tokens of the response are left to train */
    assert_int_equal(x.blocks[1].supervised_start, 2);
    assert_int_equal(x.blocks[1].supervised_end, 5);
    dialogue_init(&x);
    fit_truncate(&x.d, 11); /* not all of its header is left */
    assert_int_equal(x.blocks[1].supervised_start, x.blocks[1].supervised_end);
}

static void pairs_are_as_many_as_fit_and_at_least_one(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {10, 20, 10, 20, 5, 5, 7};
    static const struct {
        uint32_t first, seq_len, want;
    } cases[] = {{0, 1, 1},  {0, 30, 1},         {0, 59, 1}, {0, 60, 2}, {0, 69, 2}, {0, 70, 3},
                 {0, 77, 3}, {0, UINT32_MAX, 3}, {2, 40, 2}, {2, 39, 1}, {4, 10, 1}, {4, 17, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(fit_pairs(blocks, 7, cases[i].first, cases[i].seq_len), cases[i].want);
}

static void last_pairs_are_as_many_as_fit_and_at_least_one(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {10, 20, 10, 20, 5, 5, 7};
    static const struct {
        uint32_t n_blocks, seq_len, want;
    } cases[] = {{6, 1, 1},  {6, 10, 1}, {6, 39, 1},         {6, 40, 2}, {6, 69, 2},
                 {6, 70, 3}, {7, 70, 3}, {7, UINT32_MAX, 3}, {2, 9, 1},  {2, 30, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(fit_last_pairs(blocks, cases[i].n_blocks, cases[i].seq_len), cases[i].want);
}

static void only_the_last_response_stays_supervised(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 4; n++) {
        struct dialogue x;
        dialogue_init(&x);
        x.d.n_blocks = n;
        fit_last(&x.d);
        for (size_t b = 0; b < n; b++) {
            const bool last = b % 2 == 1 && b + 2 >= n;
            assert_int_equal(x.blocks[b].supervised_start, last ? 2 : 0);
            assert_int_equal(x.blocks[b].supervised_end, last ? 20 : 0);
        }
    }
    struct text_block text = {ROLE_TEXT, 9, 1, 9};
    fit_last(&(struct document){.n_ids = 9, .blocks = &text, .n_blocks = 1});
    assert_int_equal(text.supervised_end, 9);
}

static void a_piece_stays_what_it_is_while_its_record_does(void **state)
{
    (void)state;
    const struct piece p = {.from = 3, .to = 9, .of = 17, .part = 2}, same = fit_piece(p, 17);
    assert_memory_equal(&p, &same, sizeof p);
    const struct piece all = fit_piece((struct piece){.part = 5}, 17);
    assert_int_equal(all.from, 0);
    assert_int_equal(all.to, 17);
    assert_int_equal(all.of, 17);
    assert_int_equal(all.part, 5);
}

static void pieces_that_met_still_meet_whatever_the_record_has_now(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = 1});
    for (int i = 0; i < 10000; i++) {
        const uint32_t of = 1 + rng_below(&rng, i % 2 ? 50 : UINT32_MAX - 1),
                       n = rng_below(&rng, i % 3 ? 100 : UINT32_MAX);
        uint32_t from = 0, met = 0;
        while (from < of) {
            const uint32_t to = of - from < 3 ? of : from + 1 + rng_below(&rng, of - from);
            const struct piece p = fit_piece((struct piece){.from = from, .to = to, .of = of, .part = 7}, n);
            assert_int_equal(p.from, met);
            assert_true(p.to >= p.from);
            assert_int_equal(p.of, n);
            assert_int_equal(p.part, 7);
            met = p.to;
            from = to;
        }
        assert_int_equal(met, n);
    }
}

static void tokens_of_a_text_keep_their_labels(void **state)
{
    (void)state;
    int32_t ids[20];
    for (int i = 0; i < 20; i++)
        ids[i] = 100 + i;
    struct text_block whole = {ROLE_TEXT, 20, 3, 18}, block;
    const struct document text = {.ids = ids, .n_ids = 20, .blocks = &whole, .n_blocks = 1};
    for (uint32_t from = 0; from < 20; from++)
        for (uint32_t to = from + 1; to <= 20; to++) {
            const struct document d = fit_tokens(&text, from, to, &block);
            assert_ptr_equal(d.ids, ids + from);
            assert_int_equal(d.n_ids, to - from);
            assert_int_equal(d.n_blocks, 1);
            assert_int_equal(sum(&d), to - from);
            assert_int_equal(d.blocks[0].role, ROLE_TEXT);
            for (uint32_t i = from; i < to; i++)
                assert_int_equal(i - from >= block.supervised_start && i - from < block.supervised_end,
                                 i >= 3 && i < 18);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncate_ends_after_a_whole_response_or_in_the_first),
        cmocka_unit_test(pairs_are_as_many_as_fit_and_at_least_one),
        cmocka_unit_test(last_pairs_are_as_many_as_fit_and_at_least_one),
        cmocka_unit_test(only_the_last_response_stays_supervised),
        cmocka_unit_test(a_piece_stays_what_it_is_while_its_record_does),
        cmocka_unit_test(pieces_that_met_still_meet_whatever_the_record_has_now),
        cmocka_unit_test(tokens_of_a_text_keep_their_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
