/* The order of a stream: every record once a pass, exact shares, the same from anywhere. */
#include "base/rng.h"
#include "stream/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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

/* Three quarters of the first epoch are gone, two slots are left over. */
static void progress_rises_evenly_and_goes_on_where_the_order_began(void **state)
{
    (void)state;
    struct order_corpus corpora[] = {{.hash = 1, .records = 500, .slots = 1000, .first_slots = 250}};
    const struct slot left[2] = {{.record = 3}, {.record = 4}};
    struct order *o = order_new(5, corpora, 1, 7, 0, left, 2);
    assert_true(order_progress(o, 0) == 7.75 && order_progress(o, 1) == 7.75);
    assert_true(order_progress(o, 2) == 7.75 && order_progress(o, 127) == 7.875);
    assert_true(order_progress(o, 252) == 8 && order_progress(o, 1252) == 9);
    for (uint64_t i = 3; i < 3000; i++)
        assert_true(order_progress(o, i) > order_progress(o, i - 1));
    order_free(o);
    o = order_new(5, corpora, 1, 7, 8, left, 2);
    assert_true(order_progress(o, 251) < 8);
    order_free(o);
    corpora[0].first_slots = 0; /* nothing of that epoch is left */
    o = order_new(5, corpora, 1, 7, 0, left, 2);
    assert_true(order_progress(o, 1) == 8 && order_progress(o, 2) == 8);
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

/* What earlier releases gave: a stream in training stays what it is. */
static void a_stream_from_the_beginning_is_what_it_always_was(void **state)
{
    (void)state;
    struct order_corpus corpora[] = {{.hash = 1, .records = 5000, .slots = 5000},
                                     {.hash = 2, .records = 300, .slots = 900},
                                     {.hash = 3, .records = 4001, .slots = 2000},
                                     {.hash = 4, .records = 1, .slots = 1}};
    struct order *o = fresh(77, corpora, 4);
    struct order_cursor cur = {0};
    uint64_t hash = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        struct slot s;
        order_get(o, &cur, i, &s);
        const uint64_t words[] = {s.corpus, s.pass, s.record};
        hash = XXH3_64bits_withSeed(words, sizeof words, hash);
    }
    assert_int_equal(hash, 0xe40ab3157a301c3d);
    order_free(o);
}

enum { CORPORA = 5, PASSES = 40, RECORDS = 2500 };

static uint32_t between(struct rng *rng, uint32_t least, uint32_t most)
{
    return least + rng_below(rng, most - least + 1);
}

/* Every slot of an order that begins anywhere is the next position of the corpus whose turn it is, and
 * order_where, order_turns, order_epoch and order_room say what counting says. */
static void check_against_counting(struct rng *rng)
{
    struct order_corpus corpora[CORPORA];
    struct order_place want[CORPORA], have[CORPORA];
    struct slot left[60];
    const uint32_t n = between(rng, 1, CORPORA), n_left = rng_below(rng, 3) * between(rng, 0, 30);
    const uint64_t seed = rng_word(rng), first_epoch = rng_below(rng, 4), epochs = rng_below(rng, 6);
    uint64_t first = 0, whole = 0, turns[CORPORA] = {0}, counted[CORPORA];
    const bool spent = rng_below(rng, 4) == 0; /* nothing is left of the first epoch */
    for (uint32_t c = 0; c < n; c++) {
        const uint32_t records = between(rng, 1, RECORDS), slots = between(rng, 1, 2 * records);
        corpora[c] = (struct order_corpus){.hash = rng_word(rng),
                                           .records = records,
                                           .slots = slots,
                                           .first_slots = spent ? 0 : rng_below(rng, slots + 1),
                                           .pass = rng_below(rng, 5),
                                           .at = rng_below(rng, records + 1),
                                           .pass_seed = rng_word(rng)};
        first += corpora[c].first_slots;
        whole += slots;
    }
    for (uint32_t i = 0; i < n_left; i++)
        left[i] = (struct slot){.corpus = rng_below(rng, n), .record = i, .piece = {.to = 1, .of = i + 1}};
    struct order *o = order_new(seed, corpora, n, first_epoch, epochs, left, n_left);
    struct order_cursor cur = {0}, other = {0};

    uint64_t end = UINT64_MAX, epoch = first_epoch, epoch_end = n_left + first;
    if (epochs > 0)
        end = epochs > first_epoch ? n_left + first + (epochs - first_epoch - 1) * whole : n_left;
    assert_int_equal(order_slots(o), end);
    assert_int_equal(order_epoch_slots(o), whole);
    for (uint32_t c = 0; c < n; c++)
        want[c] = (struct order_place){corpora[c].pass, corpora[c].at, corpora[c].pass_seed,
                                       corpora[c].first_slots};
    for (uint64_t slot = 0; slot <= end && slot < n_left + first + 2 * whole + 700; slot++) {
        while (slot >= n_left && slot == epoch_end) {
            epoch++;
            epoch_end += whole;
            for (uint32_t c = 0; c < n; c++)
                want[c].left = corpora[c].slots;
        }
        for (uint32_t c = 0; c < n; c++)
            if (want[c].at == corpora[c].records)
                want[c] = (struct order_place){want[c].pass + 1, 0, seed, want[c].left};
        uint64_t have_epoch;
        order_where(o, rng_below(rng, 2) ? &cur : &other, slot, &have_epoch, have);
        assert_int_equal(have_epoch, epoch);
        for (uint32_t c = 0; c < n; c++) {
            assert_int_equal(have[c].pass, want[c].pass);
            assert_int_equal(have[c].at, want[c].at);
            assert_int_equal(have[c].pass_seed, want[c].pass_seed);
            assert_int_equal(have[c].left, want[c].left);
        }
        order_turns(o, &cur, slot, counted);
        assert_memory_equal(counted, turns, n * sizeof turns[0]);
        if (slot == end) {
            assert_int_equal(order_room(o, slot), 0);
            break;
        }
        struct slot s;
        order_get(o, &cur, slot, &s);
        turns[s.corpus]++;
        assert_int_equal(order_epoch(o, slot), epoch);
        if (slot < n_left) {
            assert_int_equal(order_room(o, slot), n_left - slot);
            assert_memory_equal(&s, &left[slot], sizeof s);
            continue;
        }
        assert_int_equal(order_room(o, slot), epoch_end - slot);
        struct order_place *w = &want[s.corpus];
        assert_int_equal(s.pass, w->pass);
        assert_int_equal(s.record, order_permute(w->pass_seed, corpora[s.corpus].hash, w->pass,
                                                 corpora[s.corpus].records, w->at));
        assert_int_equal(s.piece.to, 0);
        w->at++;
        w->left--;
    }
    order_free(o);
}

static void it_stands_where_counting_says_at_every_slot(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 60; seed++) {
        struct rng rng;
        rng_init(&rng, (struct rng_key){.seed = seed});
        check_against_counting(&rng);
    }
}

/* A stream whose mixture and seed change, in mid-epoch as a rule: each order begins where the one before was
 * left, with round(new slots * left / old slots) turns for each corpus in the epoch that is being read. */
struct chain {
    struct order_corpus corpora[CORPORA];
    uint32_t n;
    uint8_t *times; /* [CORPORA][PASSES][RECORDS] */
    uint64_t turns[CORPORA];
};

static void chain_read(struct chain *x, const struct order *o, uint64_t n_slots)
{
    struct order_cursor cur = {0};
    for (uint64_t slot = 0; slot < n_slots; slot++) {
        struct slot s;
        order_get(o, &cur, slot, &s);
        assert_true(s.pass < PASSES && s.record < x->corpora[s.corpus].records);
        assert_int_equal(x->times[((size_t)s.corpus * PASSES + s.pass) * RECORDS + s.record]++, 0);
        x->turns[s.corpus]++;
    }
}

static void check_chain(struct rng *rng, bool same_mixture)
{
    struct chain x = {.n = between(rng, 1, CORPORA), .times = calloc((size_t)CORPORA * PASSES * RECORDS, 1)};
    struct order_place places[CORPORA];
    struct order_cursor cur = {0};
    uint64_t seed = rng_word(rng), epoch = 0, whole = 0, all = 0;
    assert_non_null(x.times);
    for (uint32_t c = 0; c < x.n; c++) {
        const uint32_t records = between(rng, 1, RECORDS), slots = between(rng, 1, 2 * records);
        x.corpora[c] = (struct order_corpus){
            .hash = c, .records = records, .slots = slots, .first_slots = slots, .pass_seed = seed};
        whole += slots;
    }
    for (int generation = 0; generation < 6; generation++) {
        struct order *o = order_new(seed, x.corpora, x.n, epoch, 0, NULL, 0);
        const uint64_t n_slots =
            rng_below(rng, 2) ? rng_below(rng, (uint32_t)whole) : rng_below(rng, 3) * order_room(o, 0);
        chain_read(&x, o, n_slots);
        all += n_slots;
        memset(&cur, 0, sizeof cur);
        const uint64_t before = epoch;
        order_where(o, &cur, n_slots, &epoch, places);
        assert_true(epoch >= before);
        order_free(o);
        seed = rng_word(rng);
        whole = 0;
        for (uint32_t c = 0; c < x.n; c++) {
            struct order_corpus *oc = &x.corpora[c];
            const uint64_t slots = same_mixture ? oc->slots : between(rng, 1, 2 * (uint32_t)oc->records);
            const uint64_t first = (places[c].left * slots * 2 + oc->slots) / (2 * oc->slots);
            if (slots == oc->slots)
                assert_int_equal(first, places[c].left);
            *oc = (struct order_corpus){.hash = c,
                                        .records = oc->records,
                                        .slots = slots,
                                        .first_slots = first,
                                        .pass = places[c].pass,
                                        .at = places[c].at,
                                        .pass_seed = places[c].at > 0 ? places[c].pass_seed : seed};
            whole += slots;
        }
    }
    /* To the end of the epoch: with one mixture, as many turns as if nothing had changed. */
    struct order *o = order_new(seed, x.corpora, x.n, epoch, epoch + 1, NULL, 0);
    chain_read(&x, o, order_slots(o));
    all += order_slots(o);
    order_where(o, &cur, order_slots(o), &epoch, places);
    order_free(o);
    for (uint32_t c = 0; c < x.n; c++) {
        const struct order_corpus *oc = &x.corpora[c];
        assert_int_equal(x.turns[c], places[c].pass * oc->records + places[c].at);
        if (same_mixture)
            assert_int_equal(x.turns[c], epoch * oc->slots);
        for (uint32_t pass = 0; pass < places[c].pass; pass++)
            for (uint64_t r = 0; r < oc->records; r++)
                assert_int_equal(x.times[((size_t)c * PASSES + pass) * RECORDS + r], 1);
    }
    if (same_mixture)
        assert_int_equal(all, epoch * whole);
    free(x.times);
}

static void generations_cover_each_pass_once(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 150; seed++) {
        struct rng rng;
        rng_init(&rng, (struct rng_key){.seed = seed});
        check_chain(&rng, seed % 2 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permute_is_a_bijection),
        cmocka_unit_test(passes_differ_and_look_random),
        cmocka_unit_test(shares_are_exact_in_every_epoch_and_near_all_along),
        cmocka_unit_test(progress_rises_evenly_and_goes_on_where_the_order_began),
        cmocka_unit_test(a_slot_is_the_same_from_anywhere),
        cmocka_unit_test(the_mixture_is_shuffled),
        cmocka_unit_test(a_stream_from_the_beginning_is_what_it_always_was),
        cmocka_unit_test(it_stands_where_counting_says_at_every_slot),
        cmocka_unit_test(generations_cover_each_pass_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
