/* The order of a stream: every record once a pass, exact shares, the same from anywhere. */
#include "base/rng.h"
#include "stream/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void permute_is_a_bijection(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 255, 257, 1000, 4096, 65537, 300000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t n = sizes[s];
        unsigned char *seen = calloc(n, 1);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t r = order_permute(17, 99, 3, n, i);
            assert_true(r < n);
            assert_int_equal(seen[r]++, 0);
        }
        free(seen);
    }
}

static void passes_differ_and_look_random(void **state)
{
    (void)state;
    const uint64_t n = 10000;
    uint64_t same = 0, fixed = 0, ascents = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t a = order_permute(1, 2, 0, n, i);
        same += a == order_permute(1, 2, 1, n, i);
        fixed += a == i;
        ascents += i > 0 && a > order_permute(1, 2, 0, n, i - 1);
    }
    assert_true(same < 10); /* one expected */
    assert_true(fixed < 10);
    assert_in_range(ascents, n / 2 - 200, n / 2 + 200); /* sigma is 29 */
}

/* An order that begins at the beginning. */
static struct order *fresh(uint64_t seed, struct order_corpus *corpora, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        corpora[c].first_slots = corpora[c].slots;
        corpora[c].pass_seed = seed;
    }
    return order_new(seed, corpora, n, 0, 0, NULL, 0);
}

static void shares_are_exact_in_every_epoch_and_near_all_along(void **state)
{
    (void)state;
    struct order_corpus corpora[] = {
        {.hash = 1, .records = 5000, .slots = 5000},
        {.hash = 2, .records = 300, .slots = 900}, /* repeat 3 */
        {.hash = 3, .records = 4001, .slots = 2000},
        {.hash = 4, .records = 1, .slots = 1},
    };
    enum { N = 4, EPOCHS = 4 };
    struct order *o = fresh(5, corpora, N);
    uint64_t slots = order_epoch_slots(o);
    assert_int_equal(slots, 7901);
    struct order_cursor cur = {0};
    uint64_t turns[N] = {0};
    uint32_t *times[N];
    for (int c = 0; c < N; c++)
        times[c] = calloc(corpora[c].records * 16, sizeof(uint32_t));
    for (uint64_t i = 0; i < EPOCHS * slots; i++) {
        struct slot s;
        order_get(o, &cur, i, &s);
        assert_true(s.corpus < N && s.record < corpora[s.corpus].records);
        assert_int_equal(s.pass, turns[s.corpus] / corpora[s.corpus].records);
        assert_true(s.pass < 16);
        turns[s.corpus]++;
        assert_int_equal(times[s.corpus][s.pass * corpora[s.corpus].records + s.record]++, 0);
        double share = (double)(i % slots + 1) * (double)corpora[0].slots / (double)slots;
        double have = (double)(turns[0] - i / slots * corpora[0].slots);
        assert_true(have > share - ORDER_BLOCK && have < share + ORDER_BLOCK);
        if ((i + 1) % slots == 0)
            for (int c = 0; c < N; c++)
                assert_int_equal(turns[c], (i + 1) / slots * corpora[c].slots);
    }
    for (int c = 0; c < N; c++)
        free(times[c]);
    order_free(o);
}

static void a_slot_is_the_same_from_anywhere(void **state)
{
    (void)state;
    struct order_corpus corpora[] = {{.hash = 8, .records = 3000, .slots = 1500},
                                     {.hash = 9, .records = 700, .slots = 700}};
    struct order *o = fresh(123, corpora, 2);
    struct order_cursor walk = {0};
    for (uint64_t i = 0; i < 9000; i++) {
        struct slot a, b;
        order_get(o, &walk, i, &a);
        struct order_cursor fresh = {0};
        order_get(o, &fresh, i, &b);
        assert_true(a.corpus == b.corpus && a.pass == b.pass && a.record == b.record);
    }
    order_free(o);
}

static void the_mixture_is_shuffled(void **state)
{
    (void)state;
    struct order_corpus corpora[] = {{.hash = 8, .records = 5000, .slots = 5000},
                                     {.hash = 9, .records = 5000, .slots = 5000}};
    struct order *o = fresh(4, corpora, 2);
    struct order_cursor cur = {0};
    uint64_t switches = 0;
    struct slot last = {0}, s;
    for (uint64_t i = 0; i < 10000; i++, last = s) {
        order_get(o, &cur, i, &s);
        switches += i > 0 && s.corpus != last.corpus;
    }
    assert_in_range(switches, 4700, 5300); /* 5000 expected, sigma 50 */
    order_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permute_is_a_bijection),
        cmocka_unit_test(passes_differ_and_look_random),
        cmocka_unit_test(shares_are_exact_in_every_epoch_and_near_all_along),
        cmocka_unit_test(a_slot_is_the_same_from_anywhere),
        cmocka_unit_test(the_mixture_is_shuffled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
