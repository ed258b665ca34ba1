#include "feed/consumer.h"

#include "fake_supply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MEMORY (64u << 20)

/* A table without sockets: nothing is sent here. */
struct fixture {
    struct door router, xpub;
    struct tally tally;
    struct share *share;
    struct consumers *consumers;
    struct conf_stream conf;
    struct recipe recipe;
    struct fake_plan plan;
    struct stream stream;
};

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    x->router.kind = DOOR_ROUTER;
    x->xpub.kind = DOOR_XPUB;
    x->conf = (struct conf_stream){.name = (char *)"chat", .seq_len = 64, .global_batch = 8};
    x->recipe.conf = &x->conf;
    x->stream = (struct stream){.recipe = &x->recipe, .plan = &x->plan};
    x->share = share_new(NULL, NULL);
    x->consumers = consumers_new(x->share, &x->tally, MEMORY);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    consumers_free(x->consumers);
    share_free(x->share);
    free(x);
    return 0;
}

static struct consumer *opened(struct fixture *x, struct door *d, uint32_t peer, uint64_t credit)
{
    const struct msg_open open = {.stream = "chat", .world = 1, .credit = credit};
    return consumer_open(x->consumers, d, (struct slice){(char *)&peer, sizeof peer}, &x->stream, &open);
}

static struct consumer *found(struct fixture *x, const struct door *d, uint32_t peer)
{
    return consumer_find(x->consumers, d, (struct slice){(char *)&peer, sizeof peer});
}

static void peer_is_found_at_its_own_door_only(void **state)
{
    struct fixture *x = *state;
    struct consumer *a = opened(x, &x->router, 7, 0), *b = opened(x, &x->xpub, 7, 0);
    assert_ptr_equal(found(x, &x->router, 7), a);
    assert_ptr_equal(found(x, &x->xpub, 7), b);
    assert_null(found(x, &x->router, 8));
    consumer_remove(a);
    assert_null(found(x, &x->router, 7));
    assert_ptr_equal(found(x, &x->xpub, 7), b);
}

static void credit_adds_up_and_never_wraps(void **state)
{
    struct fixture *x = *state;
    struct consumer *c = opened(x, &x->router, 1, 1000000);
    assert_int_equal(c->credit, 1000000);
    consumer_credit(c, 5, 3);
    assert_int_equal(c->credit, 1000005);
    assert_int_equal(c->done, 3);
    uint64_t before = c->credit;
    for (int i = 0; i < 4; i++) {
        consumer_credit(c, UINT64_MAX, STREAM_UNKNOWN);
        assert_true(c->credit >= before);
        before = c->credit;
    }
    assert_int_equal(c->done, 3);
}

static void full_table_gives_up_the_longest_silent_that_waits_for_nothing(void **state)
{
    struct fixture *x = *state;
    for (uint32_t i = 0; i < CONSUMERS_MAX; i++) {
        struct consumer *c = opened(x, &x->router, i, i == 5 || i == 9 ? 0 : 1);
        assert_non_null(c);
        c->wait = i == 5 || i == 9 ? WAIT_CREDIT : WAIT_STEP;
        c->heard_ns = i == 5 ? 2000 : i == 9 ? 1000 : i;
    }
    assert_non_null(opened(x, &x->router, CONSUMERS_MAX, 1));
    assert_null(found(x, &x->router, 9));
    assert_non_null(found(x, &x->router, 5));
    assert_non_null(opened(x, &x->xpub, 1, 1));
    assert_null(found(x, &x->router, 5));
    assert_null(opened(x, &x->xpub, 2, 1));
    assert_int_equal(x->consumers->n, CONSUMERS_MAX);
    assert_non_null(opened(x, &x->router, 3, 1)); /* in the place of its own */
    assert_int_equal(x->consumers->n, CONSUMERS_MAX);
}

static void memory_holds_a_batch_of_each(void **state)
{
    struct fixture *x = *state;
    uint32_t n = 0;
    x->conf.seq_len = MEMORY / (8 * 12) / 4; /* a batch takes a fourth of the memory */
    while (opened(x, &x->router, n, 1) != NULL)
        n++;
    assert_int_equal(n, 4);
    found(x, &x->router, 2)->wait = WAIT_CREDIT;
    assert_non_null(opened(x, &x->router, 4, 1));
    assert_null(found(x, &x->router, 2));
    consumer_remove(found(x, &x->router, 4));
    consumer_remove(found(x, &x->router, 0));
    assert_non_null(opened(x, &x->router, 5, 1));
    struct msg_error e;
    consumers_say_full(x->consumers, &e);
    assert_int_equal(e.code, MSG_DENIED);
    assert_non_null(strstr(e.message, "64 MiB"));
}

static void one_consumer_is_fed_whatever_the_memory(void **state)
{
    struct fixture *x = *state;
    x->conf.seq_len = MEMORY;
    assert_non_null(opened(x, &x->router, 0, 1));
    assert_null(opened(x, &x->router, 1, 1));
}

static void who_waits_for_a_step_and_says_nothing_is_dropped(void **state)
{
    struct fixture *x = *state;
    for (uint32_t i = 0; i < 4; i++) {
        struct consumer *c = opened(x, i == 3 ? &x->xpub : &x->router, i, 1);
        c->wait = i == 1 ? WAIT_CREDIT : WAIT_STEP;
        c->heard_ns = i == 2 ? 2000 : 1000;
    }
    consumers_drop_silent(x->consumers, CONSUMER_SILENT_NS);
    assert_int_equal(x->consumers->n, 4);
    x->consumers->sweep_ns = 0;
    consumers_drop_silent(x->consumers, CONSUMER_SILENT_NS + 1500);
    assert_null(found(x, &x->router, 0));
    assert_non_null(found(x, &x->router, 1));
    assert_non_null(found(x, &x->router, 2));
    assert_non_null(found(x, &x->xpub, 3));
}

static void memory_is_divided_among_them(void **state)
{
    struct fixture *x = *state;
    assert_int_equal(consumers_part(x->consumers), MEMORY / 8);
    for (uint32_t i = 0; i < 32; i++)
        (void)opened(x, &x->router, i, 0);
    assert_int_equal(consumers_part(x->consumers), MEMORY / 32);
}

static void flight_holds_its_part_and_always_one(void **state)
{
    (void)state;
    static struct flight f;
    assert_true(flight_has_room(&f, 1, 1000, 10));
    assert_false(flight_has_room(&f, 2, 1000, 10));
    assert_true(flight_has_room(&f, 2, 5, 10));
    assert_false(flight_has_room(&f, FLIGHT_MAX + 1, 0, 10));
    f.n = 1;
    f.bytes = 8;
    assert_false(flight_has_room(&f, 1, 5, 10));
    assert_true(flight_has_room(&f, 1, 2, 10));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(peer_is_found_at_its_own_door_only),
        TEST(credit_adds_up_and_never_wraps),
        TEST(full_table_gives_up_the_longest_silent_that_waits_for_nothing),
        TEST(memory_holds_a_batch_of_each),
        TEST(one_consumer_is_fed_whatever_the_memory),
        TEST(who_waits_for_a_step_and_says_nothing_is_dropped),
        TEST(memory_is_divided_among_them),
        TEST(flight_holds_its_part_and_always_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
