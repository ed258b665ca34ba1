/* A tokenizer is found wrong while its batches wait to be sent: not one of them is. */
#include "feed_fixture.h"
#include "stream/doubt.h"

#define LOTS 1000000

static bool by_library(const struct msg_batch *b)
{
    for (uint32_t i = 1; i < b->rows; i++)
        assert_int_equal(b->input_ids[(size_t)i * b->length] >= 30000, b->input_ids[0] >= 30000);
    return b->input_ids[0] >= 30000;
}

/* Reads steps `from` to `last`; returns the first one that the library made. */
static uint64_t read_steps(void *socket, uint64_t from, uint64_t last)
{
    uint64_t first = last + 1;
    struct got g;
    for (uint64_t step = from; step <= last; step++) {
        expect(socket, MSG_TYPE_BATCH, &g);
        assert_int_equal(g.m.batch.step, step);
        if (by_library(&g.m.batch) && step < first)
            first = step;
        assert_int_equal(by_library(&g.m.batch), step >= first); /* no way back */
        got_free(&g);
    }
    return first;
}

/* Batches lie ready for one who does not read, and for one who has given no credit for them yet. */
static void what_waits_is_made_again(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *full = fixture_socket(x, ZMQ_DEALER, 1), *slow = fixture_dealer(x);
    send_open(full, "big", 1, 0, 0, LOTS);
    EVENTUALLY(x, s, s.n_consumers == 1 && s.consumers[0].wait == WAIT_SOCKET);
    open_stream(slow, "big", 2, 1, 0, 3);
    assert_int_equal(read_steps(slow, 0, 2), 3);

    tokenizer_doubt(x->tokenizer, false);
    s = fixture_see(x);
    const uint64_t sent = s.consumers[0].world == 1 ? s.consumers[0].next_step : s.consumers[1].next_step;
    struct got g;
    expect(full, MSG_TYPE_OPENED, &g);
    got_free(&g);
    assert_in_range(read_steps(full, 0, sent + 20), 1, sent);
    send_credit(slow, 5, MSG_UNKNOWN);
    assert_int_equal(read_steps(slow, 3, 7), 3);
}

/* Whoever comes later, or comes back, gets the library's, older steps too; the next start knows. */
static void older_steps_are_right_now(void **state)
{
    struct fixture *x = *state;
    void *d = fixture_dealer(x), *again = fixture_dealer(x), *other = fixture_dealer(x);
    open_stream(d, "chat", 1, 0, 0, 6);
    assert_int_equal(read_steps(d, 0, 5), 6);
    assert_false(doubt_model_known(x->folder->path, tokenizer_sha256(x->tokenizer)));
    tokenizer_doubt(x->tokenizer, false);
    open_stream(again, "chat", 4, 2, 2, 4);
    assert_int_equal(read_steps(again, 2, 5), 2);
    open_stream(other, "endless", 1, 0, 0, 4);
    assert_int_equal(read_steps(other, 0, 3), 0);
    assert_true(doubt_model_known(x->folder->path, tokenizer_sha256(x->tokenizer)));
}

/* Subscribers of batches, and who watches. */
static void subscribers_get_no_other(void **state)
{
    struct fixture *x = *state;
    struct seen s;
    void *sub = fixture_socket(x, ZMQ_SUB, 1);
    assert_int_equal(zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "big/1/0/0/", 10), 0);
    EVENTUALLY(x, s, s.n_consumers == 1 && s.consumers[0].wait == WAIT_SOCKET);
    tokenizer_doubt(x->tokenizer, false);
    const uint64_t sent = fixture_see(x).consumers[0].next_step;
    assert_in_range(read_steps(sub, 0, sent + 20), 1, sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_waits_is_made_again, fixture_started, fixture_free),
        cmocka_unit_test_setup_teardown(older_steps_are_right_now, fixture_started, fixture_free),
        cmocka_unit_test_setup_teardown(subscribers_get_no_other, fixture_started, fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
