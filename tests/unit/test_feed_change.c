/* What trainers and subscribers see while their streams are changed, paused, added and taken away. */
#include "feed_fixture.h"

#define LOTS 1000000

/* ---- what control does, on the feed's thread ---- */

struct change {
    const char *stream;
    uint64_t at, step; /* asked for; got */
    struct generation_setup g;
    bool busy;
    int rc;
};

static void hold(struct feed *f, void *arg)
{
    struct change *c = arg;
    struct err err;
    struct stream *st = supply_find(feed_supply(f), c->stream);
    c->rc = feed_hold(f, st, c->at, &c->step, &err);
    c->busy = fake_hold_was_busy;
}

static void commit(struct feed *f, void *arg)
{
    struct change *c = arg;
    c->g.first_step = c->step;
    feed_change(f, supply_find(feed_supply(f), c->stream), &c->g);
}

static void release(struct feed *f, void *arg)
{
    const struct change *c = arg;
    feed_release(f, supply_find(feed_supply(f), c->stream));
}

static void pause_stream(struct feed *f, void *arg)
{
    feed_pause(f, supply_find(feed_supply(f), arg), true);
}

static void resume_stream(struct feed *f, void *arg)
{
    feed_pause(f, supply_find(feed_supply(f), arg), false);
}

static void remove_stream(struct feed *f, void *arg)
{
    feed_remove(f, supply_find(feed_supply(f), arg));
}

/* The next generation of a stream: like the one before, in another shape. */
static void change_shape(struct fixture *x, const char *stream, uint32_t i, int64_t rows, int64_t length,
                         struct change *ret)
{
    static struct conf_stream conf[FAKE_PLANS];
    static struct recipe recipe[FAKE_PLANS];
    conf[i] = x->conf[i];
    conf[i].global_batch = rows;
    conf[i].seq_len = length;
    recipe[i] = x->recipe[i];
    recipe[i].conf = &conf[i];
    *ret = (struct change){.stream = stream, .at = STREAM_UNKNOWN, .g = {.number = 2, .recipe = &recipe[i]}};
    feed_call(x->feed, hold, ret);
    assert_int_equal(ret->rc, 0);
    feed_call(x->feed, commit, ret);
}

static void open_fixed(void *socket, const char *stream, uint32_t world, uint64_t step, uint64_t credit)
{
    struct msg_open m = {
        .version = MSG_VERSION, .world = world, .step = step, .credit = credit, .fixed_shape = true};
    (void)snprintf(m.stream, sizeof m.stream, "%s", stream);
    char *data = NULL;
    size_t size = 0;
    struct got g;
    int rc = msg_encode_open(&m, &data, &size);
    send_taken(socket, rc, data, size);
    expect(socket, MSG_TYPE_OPENED, &g);
    got_free(&g);
}

static void expect_batch_of(void *socket, uint64_t step, uint32_t generation, uint32_t rows, uint32_t length)
{
    struct got g;
    expect(socket, MSG_TYPE_BATCH, &g);
    assert_int_equal(g.m.batch.step, step);
    assert_int_equal(g.m.batch.generation, generation);
    assert_int_equal(g.m.batch.rows, rows);
    assert_int_equal(g.m.batch.length, length);
    got_free(&g);
}

static void expect_changed(void *socket, uint64_t step, uint32_t rows, uint32_t length)
{
    struct got g;
    expect(socket, MSG_TYPE_CHANGED, &g);
    assert_int_equal(g.m.opened.generation, 2);
    assert_int_equal(g.m.opened.step, step);
    assert_int_equal(g.m.opened.rows, rows);
    assert_int_equal(g.m.opened.length, length);
    assert_int_equal(g.m.opened.n_corpora, 2);
    got_free(&g);
}

/* Reads up to the change, whose step it knows. */
static void read_to(void *socket, uint64_t from, uint64_t step, uint32_t rows, uint32_t length)
{
    for (; from < step; from++)
        expect_batch_of(socket, from, 1, rows, length);
}

/* ---- changes ---- */

static void news_come_before_the_first_batch_of_a_generation(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x);
    struct change c;
    open_stream(d, "endless", 2, 1, 0, LOTS);
    expect_batch_of(d, 0, 1, 2, 32);
    change_shape(x, "endless", 1, 16, 48, &c);
    assert_true(c.busy);
    read_to(d, 1, c.step, 2, 32);
    expect_changed(d, c.step, 8, 48);
    for (uint64_t step = c.step; step < c.step + 20; step++)
        expect_batch_of(d, step, 2, 8, 48);
    assert_int_equal(fixture_see(x).consumers[0].generation, 2);
}

static void batches_that_are_there_stay_what_they_are(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    struct change c;
    void *d = fixture_socket(x, ZMQ_DEALER, 1);
    send_open(d, "big", 1, 0, 0, LOTS); /* reads nothing: batches wait for it */
    EVENTUALLY(x, s, s.n_consumers == 1 && s.consumers[0].wait == WAIT_SOCKET);
    change_shape(x, "big", 2, 4, 64, &c);
    s = fixture_see(x);
    assert_true(c.step >= s.consumers[0].next_step);
    struct got g;
    expect(d, MSG_TYPE_OPENED, &g);
    got_free(&g);
    read_to(d, 0, c.step, 8, 4096);
    expect_changed(d, c.step, 4, 64);
    expect_batch_of(d, c.step, 2, 4, 64);
}

static void nothing_is_sent_from_the_step_of_a_change_on_before_it_comes(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d = fixture_dealer(x);
    struct change c = {.stream = "endless", .at = 40};
    open_stream(d, "endless", 1, 0, 0, 10);
    read_to(d, 0, 10, 4, 32);
    feed_call(x->feed, hold, &c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(c.step, 40);
    send_credit(d, 100, 9);
    read_to(d, 10, 40, 4, 32);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_STEP && s.consumers[0].next_step == 40);
    feed_call(x->feed, release, &c);
    expect_batch_of(d, 40, 1, 4, 32);
    c.at = 3;
    feed_call(x->feed, hold, &c);
    assert_int_equal(c.rc, ERR_CHANGED);
}

static void who_waits_for_a_step_gets_it_of_the_generation_that_came_meanwhile(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    struct change c;
    void *d = fixture_dealer(x);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = 7});
    open_stream(d, "endless", 1, 0, 7, 4);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_STEP);
    change_shape(x, "endless", 1, 2, 16, &c);
    assert_int_equal(c.step, 0);
    fixture_plan(x, 1, (struct fake_plan){.name = "endless", .steps = UINT64_MAX, .released = UINT64_MAX});
    expect_changed(d, 7, 2, 16);
    expect_batch_of(d, 7, 2, 2, 16);
}

static void end_that_was_seen_is_none_after_a_change(void **state)
{
    struct fixture *x = *state;
    struct change c;
    void *late = fixture_dealer(x), *early = fixture_dealer(x);
    open_stream(early, "chat", 1, 0, 18, 3);
    expect_batch(early, 18);
    expect_batch(early, 19);
    expect_end(early, 20, MSG_COMPLETE);
    open_stream(late, "chat", 1, 0, 15, 0);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 25, .released = UINT64_MAX, .dropped = 3});
    change_shape(x, "chat", 0, 8, 16, &c);
    assert_int_equal(c.step, 20);
    send_credit(late, 20, MSG_UNKNOWN);
    read_to(late, 15, 20, 8, 64);
    expect_changed(late, 20, 8, 16);
    for (uint64_t step = 20; step < 25; step++)
        expect_batch_of(late, step, 2, 8, 16);
    expect_end(late, 25, MSG_COMPLETE);
}

static void older_generation_is_opened_and_read_into_the_next(void **state)
{
    struct fixture *x = *state;
    struct change c;
    struct got g;
    void *first = fixture_dealer(x), *again = fixture_dealer(x), *wrong = fixture_dealer(x);
    open_stream(first, "endless", 1, 0, 0, 10);
    read_to(first, 0, 10, 4, 32);
    change_shape(x, "endless", 1, 9, 16, &c);
    assert_int_equal(c.step, 10);
    send_open(again, "endless", 1, 0, 3, LOTS);
    expect(again, MSG_TYPE_OPENED, &g);
    assert_int_equal(g.m.opened.generation, 1);
    assert_int_equal(g.m.opened.length, 32);
    got_free(&g);
    read_to(again, 3, 10, 4, 32);
    expect_changed(again, 10, 9, 16);
    expect_batch_of(again, 10, 2, 9, 16);
    send_open(wrong, "endless", 2, 0, 10, 1); /* a world of the older generation */
    expect(wrong, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_BAD_WORLD);
    assert_non_null(strstr(g.m.error.message, "from step 10 on, 9 rows"));
    got_free(&g);
    open_stream(wrong, "endless", 3, 2, 10, 1);
    expect_batch_of(wrong, 10, 2, 3, 16);
}

static void fixed_shape_ends_where_the_shape_changes(void **state)
{
    struct fixture *x = *state;
    struct change c;
    struct seen s;
    void *d = fixture_dealer(x), *same = fixture_dealer(x);
    open_fixed(d, "endless", 1, 0, LOTS);
    open_fixed(same, "chat", 1, 0, 5);
    change_shape(x, "endless", 1, 4, 64, &c);
    read_to(d, 0, c.step, 4, 32);
    expect_end(d, c.step, MSG_CHANGED);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_END || s.consumers[1].wait == WAIT_END);
    open_fixed(d, "endless", 1, c.step, 1); /* in the new shape */
    expect_batch_of(d, c.step, 2, 4, 64);
    change_shape(x, "chat", 0, 8, 64, &c); /* another generation of the same shape */
    read_to(same, 0, c.step, 8, 64);
    send_credit(same, 1, MSG_UNKNOWN);
    expect_changed(same, c.step, 8, 64);
    expect_batch_of(same, c.step, 2, 8, 64);
}

static void world_that_does_not_divide_any_more_is_told_which_do(void **state)
{
    struct fixture *x = *state;
    struct change c;
    struct got g;
    void *d = fixture_dealer(x), *other = fixture_dealer(x);
    open_stream(d, "endless", 4, 3, 0, LOTS);
    open_stream(other, "endless", 2, 0, 0, LOTS);
    change_shape(x, "endless", 1, 6, 32, &c);
    read_to(d, 0, c.step, 1, 32);
    expect(d, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_BAD_WORLD);
    static const uint32_t worlds[] = {1, 2, 3, 6};
    assert_int_equal(g.m.error.n_worlds, 4);
    assert_memory_equal(g.m.error.worlds, worlds, sizeof worlds);
    got_free(&g);
    read_to(other, 0, c.step, 2, 32);
    expect_changed(other, c.step, 3, 32);
    expect_batch_of(other, c.step, 2, 3, 32);
    open_stream(d, "endless", 6, 5, c.step, 1);
    expect_batch_of(d, c.step, 2, 1, 32);
}

static void *subscriber(struct fixture *x, const char *topic)
{
    void *s = fixture_socket(x, ZMQ_SUB, 1000);
    assert_int_equal(zmq_setsockopt(s, ZMQ_SUBSCRIBE, topic, strlen(topic)), 0);
    return s;
}

static void subscriber_sees_a_change_in_its_batches(void **state)
{
    struct fixture *x = *state;
    struct change c;
    void *s = subscriber(x, "endless/1/0/0/"), *wrong = subscriber(x, "endless/4/0/0/");
    expect_batch(s, 0);
    expect_batch(wrong, 0);
    change_shape(x, "endless", 1, 3, 16, &c);
    read_to(s, 1, c.step, 4, 32);
    for (uint64_t step = c.step; step < c.step + 20; step++)
        expect_batch_of(s, step, 2, 3, 16);
    read_to(wrong, 1, c.step, 1, 32);
    expect_error(wrong, MSG_BAD_WORLD);
}

static void older_generation_that_is_lost_ends_only_who_reads_it(void **state)
{
    struct fixture *x = *state;
    struct got g;
    const struct generation_setup generations[] = {
        {.number = 1, .recipe = &x->recipe[1]},
        {.number = 3, .first_step = 5, .why = "corpus 'one': /data/one.jsonl was replaced"},
        {.number = 4, .first_step = 8, .recipe = &x->recipe[1]},
    };
    x->streams[1] = (struct stream_setup){.name = "endless", .generations = generations, .n = 3};
    fixture_start(x);
    void *d = fixture_dealer(x), *other = fixture_dealer(x), *late = fixture_dealer(x);
    open_stream(other, "endless", 1, 0, 8, 5);
    open_stream(d, "endless", 1, 0, 3, LOTS);
    read_to(d, 3, 5, 4, 32);
    expect(d, MSG_TYPE_ERROR, &g);
    assert_int_equal(g.m.error.code, MSG_STREAM_FAILED);
    assert_non_null(strstr(g.m.error.message, "step 5 of stream 'endless' (generation 3)"));
    assert_non_null(strstr(g.m.error.message, "was replaced"));
    got_free(&g);
    expect_end(d, 5, MSG_FAILED);
    for (uint64_t step = 8; step < 13; step++)
        expect_batch_of(other, step, 4, 4, 32);
    send_open(late, "endless", 1, 0, 7, 1);
    expect_error(late, MSG_STREAM_FAILED);
    open_stream(late, "endless", 1, 0, 4, 1);
    expect_batch_of(late, 4, 1, 4, 32);
    assert_int_equal(feed_ready(x->feed, NULL), 1);
}

static void foresee(struct feed *f, void *arg)
{
    struct conf_stream *conf = arg;
    struct feed_foresight s;
    feed_foresee(f, supply_find(feed_supply(f), "endless"), conf, &s);
    assert_int_equal(s.consumers, 3);
    assert_int_equal(s.wrong_world, 1);
    assert_int_equal(s.fixed_shape, 1);
    assert_int_equal(s.bytes, 12 * (4 * 32 + 4 * 32 / 4 + 6 * 32 / 2)); /* who must leave has its old ones */
    assert_int_equal(s.bytes_max, 32 << 20);
}

static void change_is_foreseen(void **state)
{
    struct fixture *x = *state;
    void *fixed = fixture_dealer(x), *wrong = fixture_dealer(x), *fine = fixture_dealer(x);
    open_fixed(fixed, "endless", 1, 0, 1);
    open_stream(wrong, "endless", 4, 0, 0, 1);
    open_stream(fine, "endless", 2, 0, 0, 1);
    struct conf_stream conf = x->conf[1];
    conf.global_batch = 6;
    feed_call(x->feed, foresee, &conf);
}

/* ---- pauses ---- */

static char chat[] = "chat", endless[] = "endless";

static void count_made(struct feed *f, void *arg)
{
    (void)f;
    *(uint64_t *)arg = fake_steps_made;
}

static void paused_stream_is_neither_sent_nor_made(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d = fixture_dealer(x), *late = fixture_dealer(x), *other = fixture_dealer(x);
    open_stream(d, "endless", 1, 0, 0, 5);
    read_to(d, 0, 5, 4, 32);
    feed_call(x->feed, pause_stream, endless);
    send_credit(d, 5, 4);
    open_stream(late, "endless", 1, 0, 2, 3);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_PAUSED && s.consumers[1].wait == WAIT_PAUSED);
    uint64_t before, after;
    const uint64_t next[] = {5, 2};
    for (int i = 0; i < 2; i++) { /* so that they do not look for another feeder */
        struct got told;
        expect(i == 0 ? d : late, MSG_TYPE_WAIT, &told);
        assert_int_equal(told.m.wait.step, next[i]);
        assert_true(told.m.wait.seconds == MSG_UNKNOWN);
        got_free(&told);
    }
    feed_call(x->feed, count_made, &before);
    open_stream(other, "chat", 1, 0, 0, 20);
    for (uint64_t step = 0; step < 20; step++)
        expect_batch(other, step);
    feed_call(x->feed, count_made, &after);
    assert_int_equal(after, before + 20);
    feed_call(x->feed, resume_stream, endless);
    read_to(d, 5, 10, 4, 32);
    read_to(late, 2, 5, 4, 32);
}

static void pause_gives_back_what_was_being_made(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *d = fixture_dealer(x);
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 20, .released = 1});
    open_stream(d, "chat", 1, 0, 1, 4);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_STEP);
    feed_call(x->feed, pause_stream, chat);
    EVENTUALLY(x, s, s.consumers[0].wait == WAIT_PAUSED && fixture_live_steps(x) == 0);
    feed_drain(x->feed, PATIENCE_MS); /* does not wait for it */
}

/* ---- streams that come and go ---- */

static void removed_stream_ends_for_all_who_read_it(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    fixture_plan(x, 0, (struct fake_plan){.name = "chat", .steps = 20, .released = 5, .dropped = 3});
    void *waiting = fixture_dealer(x), *idle = fixture_dealer(x), *done = fixture_dealer(x),
         *other = fixture_dealer(x), *sub = subscriber(x, "chat/1/0/3/");
    open_stream(waiting, "chat", 1, 0, 4, 5);
    open_stream(idle, "chat", 1, 0, 2, 0);
    open_stream(other, "endless", 1, 0, 0, 3);
    open_stream(done, "chat", 1, 0, 0, 1);
    read_to(other, 0, 1, 4, 32);
    expect_batch(waiting, 4);
    expect_batch(done, 0);
    expect_batch(sub, 3);
    expect_batch(sub, 4);
    feed_call(x->feed, remove_stream, chat);
    expect_end(waiting, 5, MSG_REMOVED);
    expect_end(idle, 2, MSG_REMOVED);
    expect_end(done, 1, MSG_REMOVED);
    expect_end(sub, 5, MSG_REMOVED);
    read_to(other, 1, 3, 4, 32);
    send_open(waiting, "chat", 1, 0, 5, 1);
    expect_error(waiting, MSG_UNKNOWN_STREAM);
    EVENTUALLY(x, s, s.n_consumers == 5); /* they stay until they leave */
    assert_int_equal(feed_ready(x->feed, NULL), 1);
}

static void tap_of_a_removed_stream_ends(void **state)
{
    struct fixture *x = *state;
    void *tap = subscriber(x, "endless/tap/"), *d = fixture_dealer(x);
    assert_int_equal(zmq_setsockopt(tap, ZMQ_SUBSCRIBE, "wrong", 5), 0);
    expect_error(tap, MSG_BAD_MESSAGE); /* the tap was seen before it */
    open_stream(d, "endless", 1, 0, 0, 1);
    expect_batch(d, 0);
    expect_batch(tap, 0);
    feed_call(x->feed, remove_stream, endless);
    expect_end(tap, 1, MSG_REMOVED);
}

struct addition {
    const struct stream_setup *setup;
    int rc;
    struct err err;
};

static void add_stream(struct feed *f, void *arg)
{
    struct addition *a = arg;
    a->rc = feed_add(f, a->setup, &a->err);
}

static void added_stream_is_served(void **state)
{
    struct fixture *x = *state;
    x->setup.n_streams = 1;
    fixture_start(x);
    void *d = fixture_dealer(x);
    send_open(d, "endless", 1, 0, 0, 1);
    expect_error(d, MSG_UNKNOWN_STREAM);
    struct addition a = {.setup = &x->streams[1]};
    feed_call(x->feed, add_stream, &a);
    assert_int_equal(a.rc, 0);
    open_stream(d, "endless", 1, 0, 0, 2);
    read_to(d, 0, 2, 4, 32);
    feed_call(x->feed, remove_stream, endless);
    expect_end(d, 2, MSG_REMOVED);
    feed_call(x->feed, add_stream, &a); /* and again, under the same name */
    assert_int_equal(a.rc, 0);
    open_stream(d, "endless", 1, 0, 1, 1);
    read_to(d, 1, 2, 4, 32);
    fake_plans[1].name = "another";
    feed_call(x->feed, add_stream, &a);
    assert_int_equal(a.rc, ERR_FORMAT);
}

#define BOTH(test, before) cmocka_unit_test_setup_teardown(test, before, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(news_come_before_the_first_batch_of_a_generation, fixture_started),
        BOTH(batches_that_are_there_stay_what_they_are, fixture_started),
        BOTH(nothing_is_sent_from_the_step_of_a_change_on_before_it_comes, fixture_started),
        BOTH(who_waits_for_a_step_gets_it_of_the_generation_that_came_meanwhile, fixture_started),
        BOTH(end_that_was_seen_is_none_after_a_change, fixture_started),
        BOTH(older_generation_is_opened_and_read_into_the_next, fixture_started),
        BOTH(fixed_shape_ends_where_the_shape_changes, fixture_started),
        BOTH(world_that_does_not_divide_any_more_is_told_which_do, fixture_started),
        BOTH(subscriber_sees_a_change_in_its_batches, fixture_started),
        BOTH(older_generation_that_is_lost_ends_only_who_reads_it, fixture_new),
        BOTH(change_is_foreseen, fixture_started),
        BOTH(paused_stream_is_neither_sent_nor_made, fixture_started),
        BOTH(pause_gives_back_what_was_being_made, fixture_started),
        BOTH(removed_stream_ends_for_all_who_read_it, fixture_started),
        BOTH(tap_of_a_removed_stream_ends, fixture_started),
        BOTH(added_stream_is_served, fixture_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
