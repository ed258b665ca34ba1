#include "feed_fixture.h"

#include <errno.h>

static void *subscriber(struct fixture *x, int rcvhwm, const char *topic)
{
    void *s = fixture_socket(x, ZMQ_SUB, rcvhwm);
    assert_int_equal(zmq_setsockopt(s, ZMQ_SUBSCRIBE, topic, strlen(topic)), 0);
    return s;
}

static void unsubscribe(void *s, const char *topic)
{
    assert_int_equal(zmq_setsockopt(s, ZMQ_UNSUBSCRIBE, topic, strlen(topic)), 0);
}

static void topic_gives_its_batches_in_order_and_the_end(void **state)
{
    struct fixture *x = *state;
    void *s = subscriber(x, 1000, "chat/4/2/5/");
    for (uint64_t step = 5; step < 20; step++) {
        struct got g;
        expect(s, MSG_TYPE_BATCH, &g);
        assert_string_equal(g.topic, "chat/4/2/5/");
        assert_int_equal(g.m.batch.step, step);
        assert_int_equal(g.m.batch.world, 4);
        assert_int_equal(g.m.batch.rank, 2);
        got_free(&g);
    }
    expect_end(s, 20, MSG_COMPLETE);
}

static void both_doors_give_the_same_bytes(void **state)
{
    struct fixture *x = *state;
    void *s = subscriber(x, 1000, "chat/2/1/0/"), *d = fixture_dealer(x);
    open_stream(d, "chat", 2, 1, 0, 20);
    for (uint64_t step = 0; step < 20; step++) {
        struct got a, b;
        expect(s, MSG_TYPE_BATCH, &a);
        expect(d, MSG_TYPE_BATCH, &b);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        got_free(&a);
        got_free(&b);
    }
}

static void slow_subscriber_loses_nothing_and_stops_nobody(void **state)
{
    struct fixture *x = *state;
    struct seen seen;
    void *slow = subscriber(x, 1, "big/1/0/0/");
    EVENTUALLY(x, seen, seen.n_consumers == 1 && seen.consumers[0].wait == WAIT_SOCKET);
    void *fast = subscriber(x, 1, "big/1/0/7/");
    for (uint64_t step = 7; step < 200; step++)
        expect_batch(fast, step);
    for (uint64_t step = 0; step < 200; step++)
        expect_batch(slow, step);
}

/* Whoever comes second starts the topic again: each sees every step from there on, in order. */
static void two_subscribers_of_a_topic_see_every_step(void **state)
{
    struct fixture *x = *state;
    void *s[2];
    s[0] = subscriber(x, 1000, "chat/1/0/3/");
    expect_batch(s[0], 3);
    s[1] = subscriber(x, 1000, "chat/1/0/3/");
    for (int i = 0; i < 2; i++) {
        uint64_t next = i == 0 ? 4 : 3;
        bool again = i == 1;
        for (;;) {
            struct got g;
            receive(s[i], &g);
            if (g.m.type == MSG_TYPE_END) {
                got_free(&g);
                if (again)
                    break;
                again = true; /* the first one had got to the end before the second came */
                next = 3;
                continue;
            }
            assert_int_equal(g.m.type, MSG_TYPE_BATCH);
            if (g.m.batch.step == 3) {
                again = true;
                next = 3;
            }
            assert_int_equal(g.m.batch.step, next++);
            got_free(&g);
        }
        assert_int_equal(next, 20);
    }
}

static void subscribing_again_starts_again(void **state)
{
    struct fixture *x = *state;
    void *s = subscriber(x, 1000, "chat/1/0/18/");
    for (int i = 0; i < 3; i++) {
        expect_batch(s, 18);
        expect_batch(s, 19);
        expect_end(s, 20, MSG_COMPLETE);
        unsubscribe(s, "chat/1/0/18/");
        assert_int_equal(zmq_setsockopt(s, ZMQ_SUBSCRIBE, "chat/1/0/18/", 12), 0);
    }
}

/* A SUB socket that subscribes twice cancels once: the topic must not live on for nobody. */
static void topic_is_given_up_when_nobody_is_left(void **state)
{
    struct fixture *x = *state;
    struct seen seen;
    void *twice = subscriber(x, 1, "big/1/0/0/"), *vanishing = subscriber(x, 1, "big/2/0/0/");
    assert_int_equal(zmq_setsockopt(twice, ZMQ_SUBSCRIBE, "big/1/0/0/", 10), 0);
    expect_batch(twice, 0);
    expect_batch(vanishing, 0);
    unsubscribe(twice, "big/1/0/0/");
    unsubscribe(twice, "big/1/0/0/");
    fixture_close(x, vanishing);
    char part[256];
    uint64_t end_ns = clock_ns() + PATIENCE_MS * NS_PER_MS;
    const int zero = 0;
    (void)zmq_setsockopt(twice, ZMQ_RCVTIMEO, &zero, sizeof zero);
    for (seen = fixture_see(x); seen.n_consumers > 0; seen = fixture_see(x)) {
        assert_true(clock_ns() < end_ns);
        while (zmq_recv(twice, part, sizeof part, 0) >=
               0) /* what is on its way comes before its cancellation goes */
            ;
    }
}

static void ended_topic_is_forgotten_with_its_subscriber(void **state)
{
    struct fixture *x = *state;
    struct seen seen;
    void *s = subscriber(x, 1000, "chat/1/0/19/");
    expect_batch(s, 19);
    expect_end(s, 20, MSG_COMPLETE);
    EVENTUALLY(x, seen, seen.n_consumers == 1 && seen.consumers[0].wait == WAIT_END);
    fixture_close(x, s);
    EVENTUALLY(x, seen, seen.n_consumers == 0);
}

static void wrong_topic_is_told_why(void **state)
{
    struct fixture *x = *state;
    static const struct {
        const char *topic;
        enum msg_code code;
    } wrong[] = {
        {"", MSG_BAD_MESSAGE},
        {"chat", MSG_BAD_MESSAGE},
        {"chat/1/0/0", MSG_BAD_MESSAGE},
        {"chat/1/0/x/", MSG_BAD_MESSAGE},
        {"chat/1/0/-1/", MSG_BAD_MESSAGE},
        {"chat/1/0/99999999999999999999999/", MSG_BAD_MESSAGE},
        {"chta/1/0/0/", MSG_UNKNOWN_STREAM},
        {"chta/tap/", MSG_UNKNOWN_STREAM},
        {"chat/3/0/0/", MSG_BAD_WORLD},
        {"chat/0/0/0/", MSG_BAD_WORLD},
        {"chat/2/2/0/", MSG_BAD_RANK},
        {"endless/1/0/9000000000000000/", MSG_STEP_PAST_END},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct got g;
        void *s = subscriber(x, 1000, wrong[i].topic);
        expect(s, MSG_TYPE_ERROR, &g);
        assert_string_equal(g.topic, wrong[i].topic);
        assert_int_equal(g.m.error.code, wrong[i].code);
        got_free(&g);
        fixture_close(x, s);
    }
    assert_int_equal(fixture_see(x).n_consumers, 0);
}

static void topic_longer_than_any_name_is_told_why(void **state)
{
    struct fixture *x = *state;
    char topic[500], echo[500];
    memset(topic, 'x', sizeof topic);
    topic[sizeof topic - 1] = '\0';
    void *s = subscriber(x, 1000, topic);
    assert_int_equal(zmq_recv(s, echo, sizeof echo, 0), strlen(topic));
    assert_true(zmq_recv(s, echo, sizeof echo, 0) > 0);
    assert_int_equal(fixture_see(x).stats.errors, 1);
}

/* A subscription to a prefix gets what is sent on longer topics: an answer must not stray to those who are
 * fed. */
static void answer_to_a_wrong_topic_reaches_nobody_else(void **state)
{
    struct fixture *x = *state;
    struct seen seen;
    void *s = subscriber(x, 1, "big/1/0/0/");
    expect_batch(s, 0);
    (void)subscriber(x, 1000, "big/1/0/0/more/");
    EVENTUALLY(x, seen, seen.stats.bad_messages == 1);
    for (uint64_t step = 1; step < 100; step++)
        expect_batch(s, step);
}

static void junk_on_the_open_door_is_counted(void **state)
{
    struct fixture *x = *state;
    struct seen seen;
    void *s = fixture_socket(x, ZMQ_XSUB, 1000);
    assert_int_equal(zmq_send(s, "\x02junk", 5, 0), 5);
    assert_int_equal(zmq_send(s, "junk", 4, ZMQ_SNDMORE), 4);
    assert_int_equal(zmq_send(s, "junk", 4, 0), 4);
    EVENTUALLY(x, seen, seen.stats.bad_messages >= 2);
    void *other = subscriber(x, 1000, "chat/1/0/19/");
    expect_batch(other, 19);
}

static void tap_shows_each_new_step_once_as_a_whole(void **state)
{
    struct fixture *x = *state;
    void *tap = subscriber(x, 1000, "chat/tap/"), *d[2];
    struct got all;
    for (int i = 0; i < 2; i++)
        d[i] = fixture_dealer(x);
    /* The tap shows what is sent from now on; asking a wrong topic after it says that it is in place. */
    assert_int_equal(zmq_setsockopt(tap, ZMQ_SUBSCRIBE, "wrong", 5), 0);
    expect_error(tap, MSG_BAD_MESSAGE);
    for (uint64_t step = 4; step < 10; step++) {
        for (uint32_t r = 0; r < 2; r++) {
            if (step == 4)
                open_stream(d[r], "chat", 2, r, 4, 1);
            else
                send_credit(d[r], 1, MSG_UNKNOWN);
            expect_batch(d[r], step);
        }
        expect(tap, MSG_TYPE_BATCH, &all);
        assert_string_equal(all.topic, "chat/tap/");
        assert_int_equal(all.m.batch.step, step);
        assert_int_equal(all.m.batch.world, 1);
        assert_int_equal(all.m.batch.rows, 8);
        got_free(&all);
    }
    assert_int_equal(fixture_see(x).stats.tap_dropped, 0);
}

static void tap_that_is_not_read_drops_and_stops_nobody(void **state)
{
    struct fixture *x = *state;
    void *tap = subscriber(x, 1, "big/tap/"), *d = fixture_dealer(x);
    assert_int_equal(zmq_setsockopt(tap, ZMQ_SUBSCRIBE, "wrong", 5), 0);
    expect_error(tap, MSG_BAD_MESSAGE);
    open_stream(d, "big", 1, 0, 0, 8);
    uint64_t step = 0;
    for (; fixture_see(x).stats.tap_dropped == 0; step++) {
        expect_batch(d, step);
        send_credit(d, 1, step);
        assert_true(step < 10000);
    }
    uint64_t last = 0; /* what comes is whole, and in order */
    for (int i = 0; i < 5; i++) {
        struct got g;
        expect(tap, MSG_TYPE_BATCH, &g);
        assert_true(i == 0 || g.m.batch.step > last);
        last = g.m.batch.step;
        got_free(&g);
    }
}

static void failure_and_stop_are_told_on_the_topic(void **state)
{
    struct fixture *x = *state;
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 20, .released = 2, .dropped = 3});
    void *failing = subscriber(x, 1000, "chat/1/0/1/"), *stopped = subscriber(x, 1000, "endless/1/0/0/");
    expect_batch(failing, 1);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .failure = "a.jsonl has changed", .dropped = 3});
    expect_error(failing, MSG_STREAM_FAILED);
    expect_end(failing, 2, MSG_FAILED);
    void *late = subscriber(x, 1000, "chat/1/0/1/");
    expect_error(late, MSG_STREAM_FAILED);
    expect_batch(stopped, 0);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 0});
    feed_drain(x->feed, 1);
    void *too_late = subscriber(x, 1000, "endless/2/0/0/");
    expect_error(too_late, MSG_SHUTTING_DOWN);
    feed_stop(x->feed);
    x->feed = NULL;
    for (uint64_t step = 1;; step++) {
        struct got g;
        receive(stopped, &g);
        bool more = g.m.type == MSG_TYPE_BATCH && g.m.batch.step == step;
        assert_true(more || (g.m.type == MSG_TYPE_ERROR && g.m.error.code == MSG_SHUTTING_DOWN));
        got_free(&g);
        if (!more)
            break;
    }
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, fixture_started, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(topic_gives_its_batches_in_order_and_the_end),
        BOTH(both_doors_give_the_same_bytes),
        BOTH(slow_subscriber_loses_nothing_and_stops_nobody),
        BOTH(two_subscribers_of_a_topic_see_every_step),
        BOTH(subscribing_again_starts_again),
        BOTH(topic_is_given_up_when_nobody_is_left),
        BOTH(ended_topic_is_forgotten_with_its_subscriber),
        BOTH(wrong_topic_is_told_why),
        BOTH(topic_longer_than_any_name_is_told_why),
        BOTH(answer_to_a_wrong_topic_reaches_nobody_else),
        BOTH(junk_on_the_open_door_is_counted),
        BOTH(tap_shows_each_new_step_once_as_a_whole),
        BOTH(tap_that_is_not_read_drops_and_stops_nobody),
        BOTH(failure_and_stop_are_told_on_the_topic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
