/* libskipalign against a feeder of a few lines, which does what a feeder should and should not. */
#include "proto/message.h"
#include "skipalign.h"
#include "unit/mock_feeder.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const skipalign_options options = {
    .stream = "chat",
    .job = "test",
    .world = 2,
    .rank = 1,
    .step = 10,
    .credit = 4,
    .timeout_ms = PATIENCE_MS,
    .verify = 1,
};

static skipalign_feed *open_ok(const struct mock *m)
{
    skipalign_feed *f;
    if (skipalign_open(m->endpoint, &options, &f) != 0)
        fail_msg("%s", skipalign_message(f));
    return f;
}

static void next_is(skipalign_feed *f, uint64_t step)
{
    const skipalign_batch *b = NULL;
    if (skipalign_next(f, &b, PATIENCE_MS) != 0)
        fail_msg("step %d: %s", (int)step, skipalign_message(f));
    assert_int_equal(b->step, step);
    assert_int_equal(b->input_ids[0], step);
}

static void next_fails(skipalign_feed *f, int rc, const char *words)
{
    const skipalign_batch *b = NULL;
    assert_int_equal(skipalign_next(f, &b, PATIENCE_MS), rc);
    assert_null(b);
    if (strstr(skipalign_message(f), words) == NULL)
        fail_msg("'%s' does not say '%s'", skipalign_message(f), words);
}

/* ---- what should happen ---- */

static void serve_20_steps_by_credit(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    const struct msg_open *o = &m->heard.open;
    EXPECT(m, o->version == 1 && strcmp(o->stream, "chat") == 0 && strcmp(o->job, "test") == 0);
    EXPECT(m, o->world == 2 && o->rank == 1 && o->step == 10 && o->credit == 4);
    uint64_t credit = o->credit;
    answer_opened(m, 10);
    for (uint64_t step = 10; step < 30; credit--) {
        while (credit == 0) {
            EXPECT(m, hear(m, MSG_TYPE_CREDIT));
            credit += m->heard.credit.credit;
            EXPECT(m, credit <= 4);
        }
        answer_step(m, step++);
    }
    answer_end(m, 30, MSG_COMPLETE);
}

static void batches_come_in_order_to_the_end(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, serve_20_steps_by_credit);
    skipalign_feed *f = open_ok(&m);
    assert_null(skipalign_end(f));
    for (uint64_t step = 10; step < 30; step++)
        next_is(f, step);
    next_fails(f, SKIPALIGN_END, "complete");
    next_fails(f, SKIPALIGN_END, "complete");
    assert_int_equal(skipalign_end(f)->step, 30);
    assert_int_equal(skipalign_end(f)->dropped, 5);
    assert_string_equal(skipalign_end(f)->reason, "complete");
    skipalign_close(f);
    mock_finish(&m);
}

static void serve_small_and_large(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    for (uint32_t i = 0; i < 4; i++)
        answer_batch(m, 10 + i, i % 2 == 0 ? 7 : 4096, "chat", 2, 0);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
    EXPECT(m, hear(m, MSG_TYPE_CLOSE));
}

static void arrays_are_aligned_whatever_their_size(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, serve_small_and_large);
    skipalign_feed *f = open_ok(&m);
    for (uint64_t step = 10; step < 14; step++) {
        const skipalign_batch *b;
        assert_int_equal(skipalign_next(f, &b, PATIENCE_MS), 0);
        assert_int_equal(b->length, step % 2 == 0 ? 7 : 4096);
        assert_int_equal((uintptr_t)b->input_ids % sizeof(int32_t), 0);
        assert_int_equal((uintptr_t)b->doc_record % sizeof(int64_t), 0);
        assert_int_equal(b->input_ids[2 * b->length - 1], step + 2 * b->length - 1);
        assert_int_equal(b->position_ids[b->length], 0);
        assert_int_equal(b->labels[0], -100);
        assert_int_equal(b->tokens[1], b->length);
        assert_int_equal(b->cu_seqlens[b->n_docs], 2 * b->length);
        assert_int_equal(b->doc_corpus[0], 0);
        assert_true(b->doc_record[1] == 5000000000);
        assert_int_equal(b->supervised_global, 9);
        assert_int_equal(b->epoch, 1);
    }
    skipalign_close(f);
    mock_finish(&m);
}

static void expect_done(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
    EXPECT(m, m->heard.credit.done == 10);
    EXPECT(m, hear(m, MSG_TYPE_CLOSE));
}

static void done_and_close_are_told(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, expect_done);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    assert_int_equal(skipalign_done(f, 10), 0);
    skipalign_close(f);
    mock_finish(&m);
}

static void open_only(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CLOSE));
}

static void info_is_what_the_feeder_says(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, open_only);
    skipalign_feed *f = open_ok(&m);
    const skipalign_info *info = skipalign_get_info(f);
    assert_string_equal(info->server, "mock");
    assert_string_equal(info->strategy, "skip_all");
    assert_string_equal(info->tokenizer, "00ff");
    assert_int_equal(info->generation, 3);
    assert_int_equal(info->vocab_size, 64000);
    assert_true(info->steps == UINT64_MAX);
    assert_int_equal(info->n_corpora, 2);
    assert_string_equal(info->corpus_names[1], "own");
    assert_int_equal(info->corpus_records[0], 939343);
    skipalign_close(f);
    mock_finish(&m);
}

/* ---- feeders that go and come ---- */

static void forget_after_two(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_step(m, 11);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT)); /* a new life: this peer is unknown */
    answer_error(m, MSG_NOT_OPEN, "open first");
    do
        EXPECT(m, hear(m, MSG_TYPE_CREDIT) || m->heard.type == MSG_TYPE_OPEN);
    while (m->heard.type != MSG_TYPE_OPEN);
    EXPECT(m, m->heard.open.step == 12 && m->heard.open.credit == 4);
    answer_opened(m, 12);
    answer_step(m, 12);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT) || m->heard.type == MSG_TYPE_CLOSE);
}

static void forgotten_feed_opens_again_at_the_next_step(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, forget_after_two);
    skipalign_feed *f = open_ok(&m);
    const skipalign_info *info = skipalign_get_info(f);
    for (uint64_t step = 10; step < 13; step++)
        next_is(f, step);
    assert_ptr_equal(skipalign_get_info(f), info);
    assert_string_equal(info->corpus_names[0], "tulu");
    skipalign_close(f);
    mock_finish(&m);
}

static void restart_on_the_same_port(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT)); /* the batch has arrived: `done` came back */
    (void)zmq_close(m->router);
    do
        m->router = mock_bind(m, m->endpoint);
    while (m->router == NULL);
    while (!hear(m, MSG_TYPE_OPEN)) {
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
        answer_error(m, MSG_NOT_OPEN, "open first");
    }
    EXPECT(m, m->heard.open.step == 11);
    answer_opened(m, 11);
    answer_step(m, 11);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

static void restarted_feeder_goes_on_where_it_was(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, restart_on_the_same_port);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    assert_int_equal(skipalign_done(f, 10), 0);
    next_is(f, 11);
    skipalign_close(f);
    mock_finish(&m);
}

static void shut_down_and_return(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_error(m, MSG_SHUTTING_DOWN, "going down");
    while (!hear(m, MSG_TYPE_OPEN))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
    answer_error(m, MSG_SHUTTING_DOWN, "still going down");
    while (!hear(m, MSG_TYPE_OPEN))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
    EXPECT(m, m->heard.open.step == 11);
    answer_opened(m, 11);
    answer_step(m, 11);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

static void feeder_that_shuts_down_is_waited_for(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, shut_down_and_return);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    next_is(f, 11);
    skipalign_close(f);
    mock_finish(&m);
}

static void silent_until_asked(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    EXPECT(m, receive(m) && is_sign_of_life(m));
    answer_error(m, MSG_NOT_OPEN, "open first");
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CLOSE));
}

static void waiting_feed_notices_that_it_was_forgotten(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, silent_until_asked);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    skipalign_close(f);
    mock_finish(&m);
}

static void resend_old_steps(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_step(m, 9);
    answer_step(m, 10);
    answer_step(m, 11);
    uint64_t credit = 0;
    while (credit < 4) { /* what was dropped is paid for, too */
        EXPECT(m, hear(m, MSG_TYPE_CREDIT));
        credit += m->heard.credit.credit;
    }
    answer_end(m, 12, MSG_COMPLETE);
}

static void old_steps_are_dropped(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, resend_old_steps);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    next_is(f, 11);
    next_fails(f, SKIPALIGN_END, "complete");
    skipalign_close(f);
    mock_finish(&m);
}

/* ---- several feeders ---- */

#define NOBODY "tcp://127.0.0.1:9"

static skipalign_feed *open_both(const char *first, const char *second, const skipalign_options *o)
{
    char endpoints[160];
    skipalign_feed *f;
    (void)snprintf(endpoints, sizeof endpoints, "%s, %s", first, second);
    if (skipalign_open(endpoints, o, &f) != 0)
        fail_msg("%s", skipalign_message(f));
    return f;
}

static void serve_two_steps(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    const uint64_t step = m->heard.open.step;
    answer_opened(m, step);
    answer_step(m, step);
    answer_step(m, step + 1);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

static void next_endpoint_is_tried_when_nobody_listens(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, serve_two_steps);
    skipalign_feed *f = open_both(NOBODY, m.endpoint, &options);
    next_is(f, 10);
    next_is(f, 11);
    skipalign_close(f);
    mock_finish(&m);
}

static void die_after_one(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT)); /* the batch has arrived: `done` came back */
}

static void leave_after_one(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_error(m, MSG_SHUTTING_DOWN, "going down");
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
}

static void another_feeder_goes_on(void (*first)(struct mock *m), const skipalign_options *o)
{
    struct mock m[2];
    mock_start(&m[0], first);
    mock_start(&m[1], serve_two_steps);
    skipalign_feed *f = open_both(m[0].endpoint, m[1].endpoint, o);
    next_is(f, 10);
    assert_int_equal(skipalign_done(f, 10), 0);
    next_is(f, 11);
    next_is(f, 12);
    skipalign_close(f);
    mock_finish(&m[0]);
    mock_finish(&m[1]);
}

static void another_feeder_goes_on_when_one_dies_or_leaves(void **state)
{
    (void)state;
    another_feeder_goes_on(die_after_one, &options);
    another_feeder_goes_on(leave_after_one, &options);
}

static sem_t released;

static void say_nothing(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    (void)sem_wait(&released);
}

static void open_and_say_nothing(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    (void)sem_wait(&released);
}

static void silent_feeder_is_left(void **state)
{
    (void)state;
    static void (*const scripts[])(struct mock * m) = {say_nothing, open_and_say_nothing};
    for (size_t i = 0; i < 2; i++) {
        skipalign_options o = options;
        *(i == 0 ? &o.dead_after_ms : &o.silent_after_ms) = 200;
        struct mock m[2];
        assert_int_equal(sem_init(&released, 0, 0), 0);
        mock_start(&m[0], scripts[i]);
        mock_start(&m[1], serve_two_steps);
        skipalign_feed *f = open_both(m[0].endpoint, m[1].endpoint, &o);
        next_is(f, 10);
        assert_int_equal(sem_post(&released), 0);
        skipalign_close(f);
        mock_finish(&m[0]);
        mock_finish(&m[1]);
    }
}

static void serve_an_older_history(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN) && m->heard.open.step == 11);
    answer_info(m, MSG_TYPE_OPENED, 11, 2, 8);
}

static void serve_another_history(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN) && m->heard.open.step == 11);
    answer_info(m, MSG_TYPE_OPENED, 11, 3, 16);
}

static void feeder_of_another_history_is_refused(void **state)
{
    (void)state;
    static const struct {
        void (*script)(struct mock *m);
        const char *words;
    } cases[] = {{serve_an_older_history, "only generation 2 of stream 'chat' at step 11"},
                 {serve_another_history, "another generation 3 of stream 'chat'"}};
    for (size_t i = 0; i < 2; i++) {
        struct mock m[2];
        mock_start(&m[0], die_after_one);
        mock_start(&m[1], cases[i].script);
        skipalign_feed *f = open_both(m[0].endpoint, m[1].endpoint, &options);
        next_is(f, 10);
        assert_int_equal(skipalign_done(f, 10), 0);
        next_fails(f, SKIPALIGN_CORRUPT, cases[i].words);
        skipalign_close(f);
        mock_finish(&m[0]);
        mock_finish(&m[1]);
    }
}

/* ---- a stream that changes ---- */

static void change_at_11(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN) && !m->heard.open.fixed_shape);
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_info(m, MSG_TYPE_CHANGED, 11, 5, 16);
    answer_batch(m, 11, 16, "chat", 2, 0);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

static void change_brings_the_info_up_to_date(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, change_at_11);
    skipalign_feed *f = open_ok(&m);
    const skipalign_info *info = skipalign_get_info(f);
    next_is(f, 10);
    assert_int_equal(info->length, 8);
    assert_int_equal(info->n_corpora, 2);
    next_is(f, 11);
    assert_ptr_equal(skipalign_get_info(f), info);
    assert_int_equal(info->generation, 5);
    assert_int_equal(info->step, 11);
    assert_int_equal(info->length, 16);
    assert_int_equal(info->n_corpora, 3);
    assert_string_equal(info->corpus_names[2], "new");
    skipalign_close(f);
    mock_finish(&m);
}

static void end_at_the_change(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN) && m->heard.open.fixed_shape);
    answer_opened(m, 10);
    answer_step(m, 10);
    answer_end(m, 11, MSG_CHANGED);
}

static void fixed_shape_ends_at_the_change(void **state)
{
    (void)state;
    struct mock m;
    skipalign_options o = options;
    skipalign_feed *f;
    o.fixed_shape = 1;
    mock_start(&m, end_at_the_change);
    assert_int_equal(skipalign_open(m.endpoint, &o, &f), 0);
    next_is(f, 10);
    next_fails(f, SKIPALIGN_END, "another shape from step 11 on");
    assert_string_equal(skipalign_end(f)->reason, "changed");
    assert_int_equal(skipalign_end(f)->step, 11);
    skipalign_close(f);
    mock_finish(&m);
}

static void speak_of_the_future(struct mock *m)
{
    static const char news[] = "\x82\xa4type\xa4news\xa2of\x01";
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer(m, news, sizeof news - 1, 0);
    answer_opened(m, 10);
    answer(m, news, sizeof news - 1, 0);
    answer_step(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CLOSE));
}

static void unknown_messages_are_ignored(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, speak_of_the_future);
    skipalign_feed *f = open_ok(&m);
    next_is(f, 10);
    skipalign_close(f);
    mock_finish(&m);
}

/* ---- nothing in time ---- */

static void batch_after_first_credit(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
    answer_step(m, 10);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

static void timeout_can_be_tried_again(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, batch_after_first_credit);
    skipalign_feed *f = open_ok(&m);
    const skipalign_batch *b;
    assert_int_equal(skipalign_next(f, &b, 0), SKIPALIGN_TIMEOUT);
    assert_int_equal(skipalign_next(f, &b, 1), SKIPALIGN_TIMEOUT);
    assert_non_null(strstr(skipalign_message(f), "step 10 did not come"));
    assert_int_equal(skipalign_done(f, 9), 0);
    assert_int_equal(skipalign_next(f, &b, -1), 0);
    assert_int_equal(b->step, 10);
    skipalign_close(f);
    mock_finish(&m);
}

static void batch_after_a_wait(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_wait(m, 10, 4, 75);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
    answer_wait(m, 10, 6, MSG_UNKNOWN);
    EXPECT(m, hear(m, MSG_TYPE_CREDIT));
    answer_step(m, 10);
    while (!hear(m, MSG_TYPE_CLOSE))
        EXPECT(m, m->heard.type == MSG_TYPE_CREDIT);
}

/* Looks until the feeder has said how far it is. */
static void wait_says(skipalign_feed *f, uint64_t known, uint64_t seconds, const char *words)
{
    const skipalign_batch *b;
    const skipalign_wait_info *w;
    do
        assert_int_equal(skipalign_next(f, &b, 1), SKIPALIGN_TIMEOUT);
    while ((w = skipalign_get_wait(f)) == NULL || w->known != known);
    assert_int_equal(w->step, 10);
    assert_true(w->seconds == seconds);
    assert_int_equal(skipalign_next(f, &b, 0), SKIPALIGN_TIMEOUT);
    if (strstr(skipalign_message(f), words) == NULL)
        fail_msg("'%s' does not say '%s'", skipalign_message(f), words);
}

static void wait_is_told(void **state)
{
    (void)state;
    struct mock m;
    mock_start(&m, batch_after_a_wait);
    skipalign_feed *f = open_ok(&m);
    wait_says(f, 4, 75, "4 steps so far, step 10 in about 75 s");
    assert_int_equal(skipalign_done(f, 9), 0);
    wait_says(f, 6, UINT64_MAX, "6 steps so far");
    assert_int_equal(skipalign_done(f, 9), 0);
    next_is(f, 10);
    assert_null(skipalign_get_wait(f));
    skipalign_close(f);
    mock_finish(&m);
}

static void nobody_answers_is_a_timeout(void **state)
{
    (void)state;
    skipalign_options o = options;
    o.timeout_ms = 1;
    skipalign_feed *f;
    assert_int_equal(skipalign_open("tcp://127.0.0.1:9", &o, &f), SKIPALIGN_TIMEOUT);
    assert_non_null(strstr(skipalign_message(f), "no answer from tcp://127.0.0.1:9"));
    assert_null(skipalign_get_info(f));
    skipalign_close(f);
}

/* ---- what must not happen ---- */

static void open_fails(void (*script)(struct mock *m), int rc, const char *words)
{
    struct mock m;
    mock_start(&m, script);
    skipalign_feed *f;
    assert_int_equal(skipalign_open(m.endpoint, &options, &f), rc);
    if (strstr(skipalign_message(f), words) == NULL)
        fail_msg("'%s' does not say '%s'", skipalign_message(f), words);
    next_fails(f, rc, words);
    skipalign_close(f);
    mock_finish(&m);
}

static void refuse(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_error(m, MSG_UNKNOWN_STREAM, "no such stream; there is: tulu");
}

static void send_noise(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer(m, "\xdd\xff\xff\xff\xff noise", 11, 0);
}

static void send_two_frames(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer(m, "", 0, ZMQ_SNDMORE);
    (void)zmq_send(m->router, "", 0, 0);
}

static void send_two_megabytes(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    char *large = calloc(2, 1 << 20);
    answer_and_free(m, large, 2 << 20);
}

static void send_a_request(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    char *data;
    size_t size;
    EXPECT(m, msg_encode_close(&data, &size) == 0);
    answer_and_free(m, data, size);
}

static void send_another_step(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 11);
}

static void send_a_batch_at_once(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_step(m, 10);
}

static void deny_the_open(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_error(m, MSG_NOT_OPEN, "what did you say?");
}

static void open_says_why_it_failed(void **state)
{
    (void)state;
    open_fails(refuse, SKIPALIGN_REFUSED, "no such stream; there is: tulu (unknown-stream)");
    open_fails(deny_the_open, SKIPALIGN_REFUSED, "not-open");
    open_fails(send_noise, SKIPALIGN_PROTOCOL, "not a msgpack map");
    open_fails(send_two_frames, SKIPALIGN_PROTOCOL, "one frame");
    open_fails(send_two_megabytes, SKIPALIGN_PROTOCOL, "2097152 bytes");
    open_fails(send_a_request, SKIPALIGN_PROTOCOL, "`close`");
    open_fails(send_another_step, SKIPALIGN_PROTOCOL, "opened step 11, asked for 10");
    open_fails(send_a_batch_at_once, SKIPALIGN_PROTOCOL, "not opened");
}

static void first_next_fails(void (*script)(struct mock *m), int rc, const char *words)
{
    struct mock m;
    mock_start(&m, script);
    skipalign_feed *f = open_ok(&m);
    next_fails(f, rc, words);
    next_fails(f, rc, words);
    skipalign_close(f);
    mock_finish(&m);
}

static void send_a_gap(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_step(m, 11);
}

static void send_another_stream(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_batch(m, 10, 8, "code", 2, 0);
}

static void send_another_world(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_batch(m, 10, 8, "chat", 4, 0);
}

static void send_a_wrong_hash(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_batch(m, 10, 8, "chat", 2, 1);
}

static void end_too_early(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_end(m, 12, MSG_COMPLETE);
}

static void remove_the_stream(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_end(m, 12, MSG_REMOVED);
}

static void fail_the_stream(struct mock *m)
{
    EXPECT(m, hear(m, MSG_TYPE_OPEN));
    answer_opened(m, 10);
    answer_error(m, MSG_STREAM_FAILED, "the corpus has changed");
}

static void next_says_what_is_wrong(void **state)
{
    (void)state;
    first_next_fails(send_a_gap, SKIPALIGN_CORRUPT, "sent step 11, the next is 10");
    first_next_fails(send_another_stream, SKIPALIGN_CORRUPT, "stream 'code'");
    first_next_fails(send_another_world, SKIPALIGN_CORRUPT, "rank 1 of 4");
    first_next_fails(send_a_wrong_hash, SKIPALIGN_CORRUPT, "hash");
    first_next_fails(end_too_early, SKIPALIGN_CORRUPT, "step 10 was never sent");
    first_next_fails(remove_the_stream, SKIPALIGN_END, "removed");
    first_next_fails(fail_the_stream, SKIPALIGN_REFUSED, "the corpus has changed");
}

static void argument_refused(const char *endpoint, const skipalign_options *o, const char *words)
{
    skipalign_feed *f;
    assert_int_equal(skipalign_open(endpoint, o, &f), SKIPALIGN_ARGUMENT);
    if (strstr(skipalign_message(f), words) == NULL)
        fail_msg("'%s' does not say '%s'", skipalign_message(f), words);
    skipalign_close(f);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    char name[MSG_NAME_MAX + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    argument_refused("tcp://127.0.0.1:9", NULL, "options are missing");
    argument_refused("tcp://127.0.0.1:9", &(skipalign_options){.world = 1}, "`stream`");
    argument_refused("tcp://127.0.0.1:9", &(skipalign_options){.stream = name}, "`stream`");
    argument_refused("tcp://127.0.0.1:9", &(skipalign_options){.stream = "s", .job = name}, "`job`");
    argument_refused("tcp://127.0.0.1:9", &(skipalign_options){.stream = "s", .rank = 1}, "`rank` is 1");
    argument_refused("127.0.0.1:9", &options, "endpoint '127.0.0.1:9'");
    argument_refused("smtp://127.0.0.1:9", &options, "tcp://127.0.0.1:5757");
    argument_refused(NULL, &options, "endpoint ''");
    argument_refused(" , ", &options, "endpoint ''");
    argument_refused("tcp://127.0.0.1:9,tcp://127.0.0.1", &options, "endpoint 'tcp://127.0.0.1'");
    argument_refused("tcp://127.0.0.1:9 ipc://", &options, "endpoint 'ipc://'");
    argument_refused("tcp://127.0.0.1:70000", &options, "endpoint 'tcp://127.0.0.1:70000'");
    argument_refused(NOBODY, &(skipalign_options){.stream = "s", .dead_after_ms = 1}, "`dead_after_ms`");
    argument_refused(NOBODY, &(skipalign_options){.stream = "s", .silent_after_ms = UINT32_MAX},
                     "10 to 86400000");
    skipalign_close(NULL);
}

static void every_code_has_words(void **state)
{
    (void)state;
    for (int rc = SKIPALIGN_ARGUMENT; rc <= SKIPALIGN_END; rc++)
        for (int other = rc + 1; other <= SKIPALIGN_END; other++)
            assert_string_not_equal(skipalign_strerror(rc), skipalign_strerror(other));
    assert_string_equal(skipalign_strerror(0), "no error");
    assert_string_equal(skipalign_strerror(-12), "Cannot allocate memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order_to_the_end),
        cmocka_unit_test(arrays_are_aligned_whatever_their_size),
        cmocka_unit_test(done_and_close_are_told),
        cmocka_unit_test(info_is_what_the_feeder_says),
        cmocka_unit_test(forgotten_feed_opens_again_at_the_next_step),
        cmocka_unit_test(restarted_feeder_goes_on_where_it_was),
        cmocka_unit_test(feeder_that_shuts_down_is_waited_for),
        cmocka_unit_test(waiting_feed_notices_that_it_was_forgotten),
        cmocka_unit_test(old_steps_are_dropped),
        cmocka_unit_test(next_endpoint_is_tried_when_nobody_listens),
        cmocka_unit_test(another_feeder_goes_on_when_one_dies_or_leaves),
        cmocka_unit_test(silent_feeder_is_left),
        cmocka_unit_test(feeder_of_another_history_is_refused),
        cmocka_unit_test(change_brings_the_info_up_to_date),
        cmocka_unit_test(fixed_shape_ends_at_the_change),
        cmocka_unit_test(unknown_messages_are_ignored),
        cmocka_unit_test(timeout_can_be_tried_again),
        cmocka_unit_test(wait_is_told),
        cmocka_unit_test(nobody_answers_is_a_timeout),
        cmocka_unit_test(open_says_why_it_failed),
        cmocka_unit_test(next_says_what_is_wrong),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(every_code_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
