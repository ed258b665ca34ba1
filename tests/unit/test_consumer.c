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
    struct pool *pool;
    struct share *share;
    struct consumers *consumers;
    struct conf_stream conf;
    struct recipe recipe;
    struct fake_plan plan;
    struct stream stream;
};

static bool not_paused(void *arg, const struct stream *st)
{
    (void)arg, (void)st;
    return false;
}

static void not_told(void *arg, struct stream *st, uint64_t step)
{
    (void)arg, (void)st, (void)step;
}

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    x->router.kind = DOOR_ROUTER;
    x->xpub.kind = DOOR_XPUB;
    x->conf = (struct conf_stream){.name = (char *)"chat", .seq_len = 64, .global_batch = 8};
    x->recipe.conf = &x->conf;
    x->plan = (struct fake_plan){.name = "chat", .steps = UINT64_MAX, .released = UINT64_MAX};
    x->stream = (struct stream){.name = "chat",
                                .plan = &x->plan,
                                .generations = {{.number = 1, .recipe = &x->recipe}},
                                .n_generations = 1,
                                .held = STREAM_UNKNOWN};
    x->pool = pool_new(0);
    x->share = share_new(NULL, x->pool);
    x->consumers = consumers_new(x->share, &x->tally, MEMORY);
    x->consumers->paused = not_paused;
    x->consumers->sent = not_told;
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    consumers_free(x->consumers);
    share_free(x->share);
    pool_free(x->pool);
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

/* The batches of a consumer come to take half of the memory, then more than there is. */
static void growing_batches_find_room_or_none(void **state)
{
    struct fixture *x = *state;
    for (uint32_t i = 0; i < 4; i++)
        (void)opened(x, &x->router, i, 1);
    struct consumer *c = found(x, &x->router, 0);
    c->wait = WAIT_CREDIT; /* it is not given up for itself */
    const uint64_t others = 3 * c->frame_bytes;
    assert_true(consumer_resize(c, MEMORY / 2));
    assert_int_equal(x->consumers->frame_bytes, MEMORY / 2 + others);
    assert_false(consumer_resize(c, MEMORY));
    assert_int_equal(x->consumers->frame_bytes, MEMORY / 2 + others);
    c->wait = WAIT_STEP;
    found(x, &x->router, 1)->wait = found(x, &x->router, 3)->wait = WAIT_END;
    assert_true(consumer_resize(found(x, &x->router, 2), MEMORY / 2));
    assert_null(found(x, &x->router, 1));
    assert_null(found(x, &x->router, 3));
    assert_int_equal(x->consumers->frame_bytes, MEMORY);
    consumer_remove(found(x, &x->router, 2));
    assert_true(consumer_resize(c, 2 * MEMORY)); /* the only one may always have a batch */
}

/* A trainer at the door, as far as the feeder sees it. */
static void *trainer(struct fixture *x, void *context, struct consumer **ret)
{
    struct err err;
    zmq_msg_t part[2];
    void *dealer = zmq_socket(context, ZMQ_DEALER);
    const int linger = 0;
    (void)zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(door_open(&x->router, DOOR_ROUTER, context, "tcp://127.0.0.1:*", &err), 0);
    assert_int_equal(zmq_connect(dealer, x->router.endpoint), 0);
    assert_int_equal(zmq_send(dealer, "hello", 5, 0), 5);
    zmq_pollitem_t item = {.socket = x->router.socket, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, 60000), 1);
    assert_int_equal(door_receive(&x->router, part, 2), 2);
    const struct msg_open open = {.stream = "chat", .world = 1, .step = 90, .credit = 1};
    *ret = consumer_open(x->consumers, &x->router,
                         (struct slice){zmq_msg_data(&part[0]), zmq_msg_size(&part[0])}, &x->stream, &open);
    (*ret)->owes_opened = false;
    door_release(part, 2, 2);
    return dealer;
}

static void expect_wait(void *dealer, uint64_t known, uint64_t seconds)
{
    char data[256] = "", why[128] = "";
    struct msg m;
    int n = zmq_recv(dealer, data, sizeof data, 0);
    assert_in_range(n, 1, sizeof data);
    if (msg_decode(data, (size_t)n, &m, why, sizeof why) != 0)
        fail_msg("%s", why);
    assert_int_equal(m.type, MSG_TYPE_WAIT);
    assert_int_equal(m.wait.step, 90);
    assert_int_equal(m.wait.known, known);
    assert_int_equal(m.wait.seconds, seconds);
}

static void who_waits_for_a_step_far_ahead_is_told_how_long(void **state)
{
    struct fixture *x = *state;
    const uint64_t start = 1000 * NS_PER_S;
    struct consumer *c;
    struct supply *supply;
    void *context = zmq_ctx_new(), *dealer = trainer(x, context, &c);
    assert_int_equal(supply_new(NULL, NULL, 0, NULL, NULL, &supply), 0);
    share_set_supply(x->share, supply);
    x->plan = (struct fake_plan){.name = "chat", .steps = 100, .unknown = 60, .seconds = -1};
    consumers_run(x->consumers, start);
    assert_int_equal(c->wait, WAIT_STEP);
    assert_int_equal(consumers_due_ns(x->consumers), start + 2 * NS_PER_S);
    consumers_run(x->consumers, start + 2 * NS_PER_S - 1);
    consumers_run(x->consumers, start + 2 * NS_PER_S);
    expect_wait(dealer, 40, MSG_UNKNOWN); /* the first, so nothing came before */
    assert_int_equal(consumers_due_ns(x->consumers), start + 12 * NS_PER_S);
    x->plan.unknown = 20;
    x->plan.seconds = 7.2;
    consumers_run(x->consumers, start + 11 * NS_PER_S);
    consumers_run(x->consumers, start + 12 * NS_PER_S);
    expect_wait(dealer, 80, 8);
    x->plan.unknown = 0; /* it can be looked up: not long any more */
    consumers_run(x->consumers, start + 22 * NS_PER_S);
    x->plan.unknown = 11;
    consumers_run(x->consumers, start + 32 * NS_PER_S);
    expect_wait(dealer, 89, 8);
    consumer_remove(c);
    consumers_run(x->consumers, start + 42 * NS_PER_S);
    assert_true(consumers_due_ns(x->consumers) == UINT64_MAX);
    supply_stop(supply);
    (void)zmq_close(dealer);
    door_close(&x->router, 0);
    (void)zmq_ctx_term(context);
}

/* The batches that a consumer wants now lie ready. */
static void make_wanted(struct fixture *x, struct workers *workers)
{
    share_run(x->share);
    while (share_n_making(x->share) > 0)
        (void)workers_wait(workers);
}

/* The feed looks for that once in a round, and another thread may find the tokenizer wrong right after. */
static void what_was_doubted_since_the_feed_looked_is_not_sent(void **state)
{
    struct fixture *x = *state;
    struct err err;
    struct consumer *c;
    struct supply *supply;
    struct workers *workers;
    void *context = zmq_ctx_new(), *dealer = trainer(x, context, &c);
    assert_int_equal(workers_start(1, NULL, NULL, &workers, &err), 0);
    assert_int_equal(supply_new(NULL, NULL, 0, NULL, NULL, &supply), 0);
    assert_int_equal(tokenizer_load(TEST_DIR "/data/sample.model", NULL, 0, &x->recipe.tokenizer, &err), 0);
    share_free(x->share);
    x->share = x->consumers->share = share_new(workers, x->pool);
    share_set_supply(x->share, supply);
    c->generation = 1;
    consumers_run(x->consumers, 0);
    make_wanted(x, workers);
    consumers_run(x->consumers, 0);
    assert_int_equal(c->batches, 1);
    consumer_credit(c, 2, STREAM_UNKNOWN);
    consumers_run(x->consumers, 0);
    make_wanted(x, workers);
    tokenizer_doubt(x->recipe.tokenizer, false);
    consumers_run(x->consumers, 0);
    const uint64_t batches = c->batches;
    const enum consumer_wait wait = c->wait;
    consumer_remove(c);
    share_free(x->share);
    x->share = NULL;
    workers_stop(workers);
    supply_stop(supply);
    tokenizer_unref(x->recipe.tokenizer);
    (void)zmq_close(dealer);
    door_close(&x->router, 0);
    (void)zmq_ctx_term(context);
    assert_int_equal(batches, 1);
    assert_int_equal(wait, WAIT_STEP);
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
        TEST(growing_batches_find_room_or_none),
        TEST(who_waits_for_a_step_far_ahead_is_told_how_long),
        TEST(what_was_doubted_since_the_feed_looked_is_not_sent),
        TEST(memory_is_divided_among_them),
        TEST(flight_holds_its_part_and_always_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
