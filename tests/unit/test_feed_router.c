#include "feed_fixture.h"

#include <errno.h>
#include <pthread.h>

#define LOTS 1000000

/* ---- opening ---- */

static void open_is_answered_with_what_the_stream_is(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    struct got g;
    send_open(d, "chat", 4, 1, 7, 0);
    expect(d, MSG_TYPE_OPENED, &g);
    const struct msg_opened *o = &g.m.opened;
    assert_int_equal(o->version, MSG_VERSION);
    assert_string_equal(o->stream, "chat");
    assert_int_equal(o->step, 7);
    assert_true(o->steps == MSG_UNKNOWN);
    assert_int_equal(o->rows, 2);
    assert_int_equal(o->length, 64);
    assert_int_equal(o->vocab_size, tokenizer_vocab_size(x->tokenizer));
    assert_int_equal(o->pad_id, tokenizer_pad(x->tokenizer));
    assert_string_equal(o->tokenizer, tokenizer_sha256(x->tokenizer));
    assert_int_equal(o->max_position, 65536);
    assert_string_equal(o->strategy, "skip_all");
    assert_true(o->packing);
    assert_int_equal(o->n_corpora, 2);
    assert_string_equal(o->corpora[0].name, "one");
    assert_string_equal(o->corpora[1].name, "two");
    assert_int_equal(o->corpora[1].records, 2);
    got_free(&g);
}

static void refused(void *d, const char *stream, uint32_t world, uint32_t rank, uint64_t step,
                    enum msg_code code)
{
    send_open(d, stream, world, rank, step, 4);
    expect_error(d, code);
}

static void open_is_refused_with_the_reason(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    refused(d, "caht", 1, 0, 0, MSG_UNKNOWN_STREAM);
    refused(d, "chat", 0, 0, 0, MSG_BAD_WORLD);
    refused(d, "chat", 3, 0, 0, MSG_BAD_WORLD);
    refused(d, "chat", 16, 0, 0, MSG_BAD_WORLD);
    refused(d, "chat", UINT32_MAX, 0, 0, MSG_BAD_WORLD);
    refused(d, "chat", 2, 2, 0, MSG_BAD_RANK);
    refused(d, "chat", 2, UINT32_MAX, 0, MSG_BAD_RANK);
    send_open_as(d, "chat", 1, 0, 0, 1, 2);
    expect_error(d, MSG_BAD_VERSION);
    send_credit(d, 1, MSG_UNKNOWN);
    expect_error(d, MSG_NOT_OPEN);
    assert_int_equal(fixture_see(x).n_consumers, 0);
    assert_int_equal(fixture_see(x).stats.errors, 9);
}

static void unknown_stream_names_those_there_are_and_the_nearest(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    struct got g;
    send_open(d, "chta", 1, 0, 0, 1);
    expect(d, MSG_TYPE_ERROR, &g);
    assert_non_null(strstr(g.m.error.message, "did you mean 'chat'?"));
    assert_non_null(strstr(g.m.error.message, "'endless'"));
    got_free(&g);
}

static void bad_world_names_those_that_divide(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    struct got g;
    send_open(d, "chat", 5, 0, 0, 1);
    expect(d, MSG_TYPE_ERROR, &g);
    static const uint32_t worlds[] = {1, 2, 4, 8};
    assert_int_equal(g.m.error.n_worlds, 4);
    assert_memory_equal(g.m.error.worlds, worlds, sizeof worlds);
    got_free(&g);
}

static void world_whose_batches_are_too_large_is_refused(void **state)
{
    struct fixture *x = *state;
    fake_plans[0].released = 0;
    x->conf[0].seq_len = 1 << 28; /* eight rows of it do not fit a message, four do not, two do */
    fixture_start(x);
    void *d = fixture_dealer(x);
    struct got g;
    send_open(d, "chat", 1, 0, 0, 1);
    expect(d, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_BAD_WORLD);
    static const uint32_t worlds[] = {4, 8};
    assert_int_equal(g.m.error.n_worlds, 2);
    assert_memory_equal(g.m.error.worlds, worlds, sizeof worlds);
    got_free(&g);
}

static void step_past_the_end_is_refused_whenever_the_end_shows(void **state)
{
    struct fixture *x = *state;
    fake_plans[0].slots = 8 * 30; /* of which two thirds come to be rows */
    fixture_start(x);
    void *d = fixture_dealer(x);
    struct got g;
    refused(d, "chat", 1, 0, 32, MSG_STEP_PAST_END); /* more than there are slots for */
    refused(d, "endless", 1, 0, 1ull << 62, MSG_STEP_PAST_END);
    open_stream(d, "chat", 1, 0, 25, 1); /* the end is found behind it */
    expect(d, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_STEP_PAST_END);
    assert_int_equal(g.m.error.steps, 20);
    got_free(&g);
    send_open(d, "chat", 1, 0, 21, 1); /* now it is known */
    expect(d, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_STEP_PAST_END);
    assert_int_equal(g.m.error.steps, 20);
    got_free(&g);
    open_stream(d, "chat", 1, 0, 20, 0); /* a job that comes back when all is done */
    expect_end(d, 20, MSG_COMPLETE);
}

static void open_again_starts_again(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    open_stream(d, "endless", 1, 0, 100, 2);
    expect_batch(d, 100);
    expect_batch(d, 101);
    open_stream(d, "chat", 2, 1, 5, 1);
    expect_batch(d, 5);
    struct seen s = fixture_see(x);
    assert_int_equal(s.n_consumers, 1);
    assert_string_equal(s.consumers[0].stream, "chat");
    assert_string_equal(s.jobs[0], "test-1");
}

static void close_forgets(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    open_stream(d, "endless", 1, 0, 0, 1);
    expect_batch(d, 0);
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_close(&data, &size);
    send_taken(d, rc, data, size);
    send_credit(d, 1, 0);
    expect_error(d, MSG_NOT_OPEN);
    assert_int_equal(fixture_see(x).n_consumers, 0);
}

/* ---- credit ---- */

static void credit_is_what_is_sent(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    struct seen s;
    open_stream(d, "endless", 1, 0, 0, 2);
    expect_batch(d, 0);
    expect_batch(d, 1);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_CREDIT);
    assert_int_equal(s.stats.batches, 2);
    send_credit(d, 3, 1);
    for (uint64_t step = 2; step < 5; step++)
        expect_batch(d, step);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_CREDIT);
    assert_int_equal(s.stats.batches, 5);
    assert_int_equal(s.consumers[0].next_step, 5);
    assert_int_equal(s.consumers[0].done, 1);
    assert_int_equal(s.consumers[0].credit, 0);
}

static void credit_saturates(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    open_stream(d, "chat", 1, 0, 0, 1ull << 62);
    for (int i = 0; i < 8; i++)
        send_credit(d, 1ull << 62, MSG_UNKNOWN);
    for (uint64_t step = 0; step < 20; step++)
        expect_batch(d, step);
    expect_end(d, 20, MSG_COMPLETE);
}

/* ---- what is sent ---- */

static void ranks_concatenate_to_the_global_batch(void **state)
{
    struct fixture *x = *state;
    void *whole = fixture_dealer(x), *rank[2] = {fixture_dealer(x), fixture_dealer(x)};
    open_stream(whole, "chat", 1, 0, 3, 5);
    for (uint32_t r = 0; r < 2; r++)
        open_stream(rank[r], "chat", 2, r, 3, 5);
    for (uint64_t step = 3; step < 8; step++) {
        struct got all, part;
        expect(whole, MSG_TYPE_BATCH, &all);
        uint64_t supervised = 0;
        for (uint32_t r = 0; r < 2; r++) {
            expect(rank[r], MSG_TYPE_BATCH, &part);
            const struct msg_batch *a = &all.m.batch, *p = &part.m.batch;
            size_t n = p->rows * p->length * sizeof(int32_t);
            assert_int_equal(p->step, step);
            assert_int_equal(p->supervised_global, a->supervised);
            assert_memory_equal(p->input_ids, (char *)a->input_ids + r * n, n);
            assert_memory_equal(p->position_ids, (char *)a->position_ids + r * n, n);
            assert_memory_equal(p->labels, (char *)a->labels + r * n, n);
            supervised += p->supervised;
            got_free(&part);
        }
        assert_int_equal(supervised, all.m.batch.supervised);
        got_free(&all);
    }
}

static void frame_is_made_once_for_all_who_want_it(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d[8];
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 0});
    for (int i = 0; i < 8; i++) {
        d[i] = fixture_dealer(x);
        open_stream(d[i], "endless", 1, 0, 50, 1);
    }
    EVENTUALLY(x, s, s.n_consumers == 8 && s.consumers[7].wait == WAIT_STEP);
    uint64_t made = fake_steps_made;
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = UINT64_MAX});
    for (int i = 0; i < 8; i++) {
        expect_batch(d[i], 50);
    }
    assert_int_equal(fake_steps_made, made + 1);
}

static void end_comes_after_the_last_step_and_costs_no_credit(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *early = fixture_dealer(x), *late = fixture_dealer(x);
    open_stream(early, "chat", 1, 0, 18, 3);
    expect_batch(early, 18);
    expect_batch(early, 19);
    expect_end(early, 20, MSG_COMPLETE);
    open_stream(late, "chat", 1, 0, 18, 2);
    expect_batch(late, 18);
    expect_batch(late, 19);
    expect_end(late, 20, MSG_COMPLETE);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_END && s.consumers[1].wait == WAIT_END);
}

static void end_is_told_to_those_without_credit(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *waiting = fixture_dealer(x), *other = fixture_dealer(x);
    open_stream(waiting, "chat", 1, 0, 19, 1);
    expect_batch(waiting, 19);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_CREDIT);
    open_stream(other, "chat", 1, 0, 19, 2);
    expect_end(waiting, 20, MSG_COMPLETE);
    expect_batch(other, 19);
    expect_end(other, 20, MSG_COMPLETE);
}

static void failed_stream_says_why(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    struct got g;
    struct err err = {""};
    void *fed = fixture_dealer(x), *idle = fixture_dealer(x), *late = fixture_dealer(x),
         *other = fixture_dealer(x);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 20, .released = 5, .dropped = 3});
    open_stream(fed, "chat", 1, 0, 4, 10);
    open_stream(idle, "chat", 1, 0, 0, 0);
    open_stream(other, "endless", 1, 0, 0, 1);
    expect_batch(fed, 4);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_STEP);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .failure = "a.jsonl has changed", .dropped = 3});
    expect(fed, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_STREAM_FAILED);
    assert_non_null(strstr(g.m.error.message, "a.jsonl has changed"));
    got_free(&g);
    expect_end(fed, 5, MSG_FAILED);
    expect_error(idle, MSG_STREAM_FAILED);
    expect_end(idle, 0, MSG_FAILED);
    refused(late, "chat", 1, 0, 0, MSG_STREAM_FAILED);
    expect_batch(other, 0);
    assert_true(feed_ready(x->feed, &err) < 0);
    assert_non_null(strstr(err.text, "stream 'chat': a.jsonl has changed"));
}

/* ---- peers that are slow, gone or lie ---- */

static void greedy_peer_that_does_not_read_stops_nobody_and_loses_nothing(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *greedy = fixture_socket(x, ZMQ_DEALER, 1), *other = fixture_dealer(x);
    send_open(greedy, "big", 1, 0, 0, LOTS);
    EVENTUALLY(x, s, s.n_consumers == 1 && s.consumers[0].wait == WAIT_SOCKET);
    open_stream(other, "big", 1, 0, 500, 8);
    for (uint64_t step = 500; step < 600; step++) {
        expect_batch(other, step);
        send_credit(other, 1, step);
    }
    struct got g;
    expect(greedy, MSG_TYPE_OPENED, &g);
    got_free(&g);
    for (uint64_t step = 0; step < 200; step++)
        expect_batch(greedy, step);
}

static void vanished_peer_is_forgotten(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d = fixture_dealer(x);
    open_stream(d, "big", 1, 0, 0, LOTS);
    expect_batch(d, 0);
    fixture_close(x, d);
    EVENTUALLY(x, s, s.n_consumers == 0);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void lying_peer_is_told_and_hurts_nobody(void **state)
{
    struct fixture *x = *state;
    void *liar = fixture_dealer(x), *other = fixture_dealer(x);
    uint32_t seed = 7, n_bad = 300;
    open_stream(other, "endless", 1, 0, 0, LOTS);
    for (uint32_t i = 0; i < n_bad; i++) {
        char bytes[300];
        size_t size = next_random(&seed) % sizeof bytes;
        for (size_t k = 0; k < size; k++)
            bytes[k] = (char)next_random(&seed);
        if (i % 3 == 0)
            assert_int_equal(zmq_send(liar, bytes, size, ZMQ_SNDMORE), size);
        assert_int_equal(zmq_send(liar, bytes, size, 0), size);
        expect_error(liar, MSG_BAD_MESSAGE);
        expect_batch(other, i);
    }
    static const char feeders_own[] = "\x82\xa4type\xa3"
                                      "end\xa4step\x01";
    assert_int_equal(zmq_send(liar, feeders_own, sizeof feeders_own - 1, 0), sizeof feeders_own - 1);
    expect_error(liar, MSG_BAD_MESSAGE);
    assert_int_equal(fixture_see(x).stats.bad_messages, n_bad + 1);
    open_stream(liar, "chat", 1, 0, 0, 1); /* it may still come to its senses */
    expect_batch(liar, 0);
}

static void huge_message_ends_the_connection_of_its_sender_only(void **state)
{
    struct fixture *x = *state;
    void *liar = fixture_dealer(x), *other = fixture_dealer(x);
    static char huge[MSG_REQUEST_MAX + 1];
    open_stream(other, "endless", 1, 0, 0, LOTS);
    assert_int_equal(zmq_send(liar, huge, sizeof huge, 0), sizeof huge);
    for (uint64_t step = 0; step < 50; step++)
        expect_batch(other, step);
}

/* Each its own pace: credit 1 to 8, and every third gives its credit back late. */
static void many_consumers_of_several_streams_lose_nothing(void **state)
{
    struct fixture *x = *state;
    static const char *const streams[] = {"chat", "endless", "big"};
    static const uint32_t worlds[] = {8, 4, 8};
    void *d[32];
    for (uint32_t i = 0; i < 32; i++) {
        d[i] = fixture_dealer(x);
        open_stream(d[i], streams[i % 3], worlds[i % 3], i / 3 % worlds[i % 3], 0, 1 + i % 8);
    }
    uint64_t next[32] = {0}, owed[32] = {0};
    for (int round = 0; round < 20; round++)
        for (uint32_t i = 0; i < 32; i++) {
            uint64_t credit = 1 + i % 8;
            expect_batch(d[i], next[i]++);
            if (++owed[i] == (i % 3 == 0 ? credit : 1)) {
                send_credit(d[i], owed[i], next[i] - 1);
                owed[i] = 0;
            }
        }
}

/* ---- the feed itself ---- */

static void count(struct feed *f, void *arg)
{
    (void)f;
    ++*(uint32_t *)arg;
}

struct caller {
    struct feed *feed;
    uint32_t *n;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 500; i++)
        feed_call(c->feed, count, c->n);
    return NULL;
}

static void calls_run_one_at_a_time(void **state)
{
    struct fixture *x = *state;
    uint32_t n = 0;
    struct caller c = {x->feed, &n};
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, call_often, &c), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(n, 1500);
}

static void ready_when_each_stream_has_its_first_step(void **state)
{
    struct fixture *x = *state;
    fake_plans[1].released = 0;
    fake_plans[0].steps = 0; /* an empty stream is ready, too: to say so */
    fixture_start(x);
    assert_int_equal(feed_ready(x->feed, NULL), 0);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 1});
    assert_int_equal(feed_ready(x->feed, NULL), 1);
}

static void last_asked_for(struct feed *f, void *ret)
{
    const struct fake_step *live = feed_supply(f)->live;
    *(uint64_t *)ret = live != NULL ? live->step.number : UINT64_MAX;
}

/* Two million tokens from the first step on are asked for once that is there, if nobody reads yet. */
static void a_head_start_before_anyone_comes(void **state)
{
    struct fixture *x = *state;
    const uint64_t tokens = (uint64_t)(x->conf[1].seq_len * x->conf[1].global_batch);
    uint64_t asked;
    for (uint32_t i = 0; i < x->setup.n_streams; i++)
        fake_plans[i].released = 0;
    fixture_start(x);
    feed_call(x->feed, last_asked_for, &asked);
    assert_int_equal(asked, 0);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 1});
    feed_call(x->feed, last_asked_for, &asked);
    assert_int_equal(asked, HEAD_START / tokens);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = UINT64_MAX});
    assert_int_equal(fixture_live_steps(x), x->setup.n_streams - 1);
}

static void a_head_start_ends_when_somebody_comes(void **state)
{
    struct fixture *x = *state;
    for (uint32_t i = 0; i < x->setup.n_streams; i++)
        fake_plans[i].released = 0;
    fake_plans[1].released = 1;
    fixture_start(x);
    assert_int_equal(fixture_live_steps(x), x->setup.n_streams); /* of two the first step, of one the last */
    open_stream(fixture_dealer(x), "endless", 1, 0, 0, 0);
    assert_int_equal(fixture_live_steps(x), x->setup.n_streams - 1);
}

static void no_head_start_for_who_is_there(void **state)
{
    struct fixture *x = *state;
    for (uint32_t i = 0; i < x->setup.n_streams; i++)
        fake_plans[i].released = 0;
    fixture_start(x);
    void *d = fixture_dealer(x);
    open_stream(d, "endless", 1, 0, 0, 1);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 1});
    expect_batch(d, 0);
    assert_int_equal(fixture_live_steps(x), x->setup.n_streams - 1);
}

/* Its corpora are gone, for one: then there is no recipe either. */
static void no_head_start_of_a_stream_that_failed(void **state)
{
    struct fixture *x = *state;
    x->generations[1] = (struct generation_setup){.number = 1, .why = "corpus 'one': it was replaced"};
    fixture_start(x);
    void *d = fixture_dealer(x);
    send_open(d, "endless", 1, 0, 0, 1);
    expect_error(d, MSG_STREAM_FAILED);
}

static void stop_is_told(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    open_stream(d, "chat", 1, 0, 0, 1);
    expect_batch(d, 0);
    feed_stop(x->feed);
    x->feed = NULL;
    expect_error(d, MSG_SHUTTING_DOWN);
}

static void drain_sends_what_was_asked_for_and_opens_no_more(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x), *late = fixture_dealer(x);
    open_stream(d, "big", 1, 0, 0, 40);
    feed_drain(x->feed, PATIENCE_MS);
    assert_int_equal(fixture_see(x).stats.batches, 40);
    send_credit(d, 10, MSG_UNKNOWN);
    refused(late, "big", 1, 0, 0, MSG_SHUTTING_DOWN);
    for (uint64_t step = 0; step < 40; step++)
        expect_batch(d, step);
    assert_int_equal(fixture_see(x).consumers[0].credit, 0);
}

static void drain_gives_up_after_its_time(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 20, .released = 1});
    open_stream(d, "chat", 1, 0, 1, 1);
    feed_drain(x->feed, 1);
    assert_int_equal(fixture_see(x).stats.batches, 0);
}

struct events {
    uint64_t after;
    struct feed_event e[64];
    uint32_t n;
};

static void get_events(struct feed *f, void *arg)
{
    struct events *e = arg;
    e->n = feed_events(f, e->after, e->e, 64);
}

static void events_say_what_was_sent(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d = fixture_dealer(x);
    open_stream(d, "chat", 2, 1, 9, 3);
    struct got g;
    expect(d, MSG_TYPE_BATCH, &g);
    EVENTUALLY(x, s, s.stats.batches == 3);
    struct events e = {0};
    feed_call(x->feed, get_events, &e);
    assert_int_equal(e.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(e.e[i].number, i + 1);
        assert_int_equal(e.e[i].step, 9 + i);
        assert_string_equal(e.e[i].stream, "chat");
        assert_int_equal(e.e[i].world, 2);
        assert_int_equal(e.e[i].rank, 1);
        assert_int_equal(e.e[i].door, DOOR_ROUTER);
    }
    assert_int_equal(e.e[0].bytes, g.size);
    uint64_t tokens = 0;
    for (uint32_t r = 0; r < g.m.batch.rows; r++)
        tokens += (uint64_t)g.m.batch.tokens[r];
    assert_int_equal(e.e[0].tokens, tokens);
    assert_int_equal(e.e[0].epoch, g.m.batch.epoch);
    e.after = 2;
    feed_call(x->feed, get_events, &e);
    assert_int_equal(e.n, 1);
    assert_int_equal(e.e[0].number, 3);
    got_free(&g);
}

static void ledger_that_cannot_be_opened_ends_the_start(void **state)
{
    struct fixture *x = *state;
    struct err err = {""};
    fake_plans[2].name = "another";
    assert_int_equal(feed_start(&x->setup, &x->feed, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "stream 'big'"));
    assert_null(x->feed);
}

#define BOTH(test, before) cmocka_unit_test_setup_teardown(test, before, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(open_is_answered_with_what_the_stream_is, fixture_started),
        BOTH(open_is_refused_with_the_reason, fixture_started),
        BOTH(unknown_stream_names_those_there_are_and_the_nearest, fixture_started),
        BOTH(bad_world_names_those_that_divide, fixture_started),
        BOTH(world_whose_batches_are_too_large_is_refused, fixture_new),
        BOTH(step_past_the_end_is_refused_whenever_the_end_shows, fixture_new),
        BOTH(open_again_starts_again, fixture_started),
        BOTH(close_forgets, fixture_started),
        BOTH(credit_is_what_is_sent, fixture_started),
        BOTH(credit_saturates, fixture_started),
        BOTH(ranks_concatenate_to_the_global_batch, fixture_started),
        BOTH(frame_is_made_once_for_all_who_want_it, fixture_started),
        BOTH(end_comes_after_the_last_step_and_costs_no_credit, fixture_started),
        BOTH(end_is_told_to_those_without_credit, fixture_started),
        BOTH(failed_stream_says_why, fixture_started),
        BOTH(greedy_peer_that_does_not_read_stops_nobody_and_loses_nothing, fixture_started),
        BOTH(vanished_peer_is_forgotten, fixture_started),
        BOTH(lying_peer_is_told_and_hurts_nobody, fixture_started),
        BOTH(huge_message_ends_the_connection_of_its_sender_only, fixture_started),
        BOTH(many_consumers_of_several_streams_lose_nothing, fixture_started),
        BOTH(calls_run_one_at_a_time, fixture_started),
        BOTH(ready_when_each_stream_has_its_first_step, fixture_new),
        BOTH(a_head_start_before_anyone_comes, fixture_new),
        BOTH(a_head_start_ends_when_somebody_comes, fixture_new),
        BOTH(no_head_start_for_who_is_there, fixture_new),
        BOTH(no_head_start_of_a_stream_that_failed, fixture_new),
        BOTH(stop_is_told, fixture_started),
        BOTH(drain_sends_what_was_asked_for_and_opens_no_more, fixture_started),
        BOTH(drain_gives_up_after_its_time, fixture_started),
        BOTH(events_say_what_was_sent, fixture_started),
        BOTH(ledger_that_cannot_be_opened_ends_the_start, fixture_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
