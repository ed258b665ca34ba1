/* mock_feeder - a feeder of a few lines on a thread of its own, which does what a test's script says.
 *
 * A script hears a trainer's messages and answers as it likes; what it did not expect it writes down, and
 * mock_finish fails the test for it: cmocka asserts only on the test's own thread.
 */
#ifndef SKIPALIGN_TESTS_MOCK_FEEDER_H
#define SKIPALIGN_TESTS_MOCK_FEEDER_H

#include "proto/message.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zmq.h>

#include <cmocka.h>

#define PATIENCE_MS 30000 /* until a test that hangs is given up */

struct mock {
    void *ctx, *router;
    char endpoint[64];
    void (*script)(struct mock *m);
    pthread_t thread;
    zmq_msg_t peer; /* whom we heard last */
    bool has_peer;
    struct msg heard;
    char fault[256]; /* what the script did not expect; the test's own thread asserts */
};

/* In a script: what must hold, or the script ends and the test fails. */
#define EXPECT(m, x)                                                                           \
    do {                                                                                       \
        if (!(x)) {                                                                            \
            (void)snprintf((m)->fault, sizeof(m)->fault, "%s:%d: %s", __func__, __LINE__, #x); \
            return;                                                                            \
        }                                                                                      \
    } while (0)

static void *mock_bind(struct mock *m, const char *endpoint)
{
    void *router = zmq_socket(m->ctx, ZMQ_ROUTER);
    zmq_setsockopt(router, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_setsockopt(router, ZMQ_RCVTIMEO, &(int){PATIENCE_MS}, sizeof(int));
    if (zmq_bind(router, endpoint) < 0) {
        (void)zmq_close(router);
        return NULL;
    }
    return router;
}

static void *mock_run(void *arg)
{
    struct mock *m = arg;
    m->script(m);
    if (m->has_peer)
        (void)zmq_msg_close(&m->peer);
    zmq_setsockopt(m->router, ZMQ_LINGER, &(int){PATIENCE_MS}, sizeof(int));
    (void)zmq_close(m->router);
    return NULL;
}

static void mock_start(struct mock *m, void (*script)(struct mock *m))
{
    *m = (struct mock){.ctx = zmq_ctx_new(), .script = script};
    m->router = mock_bind(m, "tcp://127.0.0.1:*");
    assert_non_null(m->router);
    size_t n = sizeof m->endpoint;
    assert_int_equal(zmq_getsockopt(m->router, ZMQ_LAST_ENDPOINT, m->endpoint, &n), 0);
    assert_int_equal(pthread_create(&m->thread, NULL, mock_run, m), 0);
}

static void mock_finish(struct mock *m)
{
    assert_int_equal(pthread_join(m->thread, NULL), 0);
    while (zmq_ctx_term(m->ctx) < 0)
        ;
    assert_string_equal(m->fault, "");
}

static bool receive(struct mock *m)
{
    zmq_msg_t body;
    char why[128];
    if (m->has_peer)
        (void)zmq_msg_close(&m->peer);
    (void)zmq_msg_init(&m->peer);
    (void)zmq_msg_init(&body);
    m->has_peer = true;
    const bool ok = zmq_msg_recv(&m->peer, m->router, 0) >= 0 && zmq_msg_recv(&body, m->router, 0) >= 0 &&
                    msg_decode(zmq_msg_data(&body), zmq_msg_size(&body), &m->heard, why, sizeof why) == 0;
    (void)zmq_msg_close(&body);
    return ok;
}

static bool is_sign_of_life(const struct mock *m)
{
    return m->heard.type == MSG_TYPE_CREDIT && m->heard.credit.credit == 0 &&
           m->heard.credit.done == MSG_UNKNOWN;
}

/* The next message, and is it of that type? Signs of life come when the machine is slow: they do not count.
 */
static bool hear(struct mock *m, enum msg_type type)
{
    do
        if (!receive(m))
            return false;
    while (is_sign_of_life(m));
    return m->heard.type == type;
}

static void answer(struct mock *m, const char *data, size_t size, int flags)
{
    zmq_msg_t peer;
    (void)zmq_msg_init(&peer);
    (void)zmq_msg_copy(&peer, &m->peer);
    (void)zmq_msg_send(&peer, m->router, ZMQ_SNDMORE);
    (void)zmq_send(m->router, data, size, flags);
}

static void answer_and_free(struct mock *m, char *data, size_t size)
{
    answer(m, data, size, 0);
    free(data);
}

/* `opened`, or `changed` to rows of `length`. */
static void answer_info(struct mock *m, enum msg_type type, uint64_t step, uint32_t generation,
                        uint32_t length)
{
    struct msg_corpus corpora[] = {{"tulu", 939343}, {"own", 12}, {"new", 7}};
    const struct msg_opened o = {
        .version = 1,
        .generation = generation,
        .step = step,
        .steps = MSG_UNKNOWN,
        .rows = 2,
        .length = length,
        .vocab_size = 64000,
        .max_position = 65536,
        .packing = true,
        .server = "mock",
        .stream = "chat",
        .strategy = "skip_all",
        .tokenizer = "00ff",
        .corpora = corpora,
        .n_corpora = type == MSG_TYPE_OPENED ? 2 : 3,
    };
    char *data;
    size_t size;
    if ((type == MSG_TYPE_OPENED ? msg_encode_opened : msg_encode_changed)(&o, &data, &size) == 0)
        answer_and_free(m, data, size);
}

static void answer_opened(struct mock *m, uint64_t step)
{
    answer_info(m, MSG_TYPE_OPENED, step, 3, 8);
}

static void answer_wait(struct mock *m, uint64_t step, uint64_t known, uint64_t seconds)
{
    const struct msg_wait w = {.step = step, .known = known, .seconds = seconds};
    char *data;
    size_t size;
    if (msg_encode_wait(&w, &data, &size) == 0)
        answer_and_free(m, data, size);
}

static void answer_error(struct mock *m, enum msg_code code, const char *text)
{
    struct msg_error e = {.code = code, .steps = MSG_UNKNOWN};
    (void)snprintf(e.message, sizeof e.message, "%s", text);
    char *data;
    size_t size;
    if (msg_encode_error(&e, &data, &size) == 0)
        answer_and_free(m, data, size);
}

static void answer_end(struct mock *m, uint64_t step, enum msg_reason reason)
{
    const struct msg_end e = {.step = step, .reason = reason, .dropped = 5};
    char *data;
    size_t size;
    if (msg_encode_end(&e, &data, &size) == 0)
        answer_and_free(m, data, size);
}

static uint64_t payload_hash(const struct msg_batch *b)
{
    XXH3_state_t *x = XXH3_createState();
    (void)XXH3_64bits_reset(x);
    const size_t n = (size_t)b->rows * b->length;
    (void)XXH3_64bits_update(x, b->input_ids, n * 4);
    (void)XXH3_64bits_update(x, b->position_ids, n * 4);
    (void)XXH3_64bits_update(x, b->labels, n * 4);
    (void)XXH3_64bits_update(x, b->tokens, b->rows * sizeof *b->tokens);
    (void)XXH3_64bits_update(x, b->cu_seqlens, (b->n_docs + 1) * sizeof *b->cu_seqlens);
    (void)XXH3_64bits_update(x, b->doc_corpus, b->n_docs * sizeof *b->doc_corpus);
    (void)XXH3_64bits_update(x, b->doc_record, b->n_docs * sizeof *b->doc_record);
    const uint64_t hash = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    return hash;
}

/* Two rows of `length`, rank 1 of 2: ids count from the step on, so that a test sees whose bytes it has. */
static void answer_batch(struct mock *m, uint64_t step, uint32_t length, const char *stream, uint32_t world,
                         uint64_t hash_off)
{
    struct msg_batch b = {
        .world = world, .rank = 1, .rows = 2, .length = length, .n_docs = 2, .step = step, .epoch = 1};
    b.max_seqlen = length;
    b.supervised = 4;
    b.supervised_global = 9;
    (void)snprintf(b.stream, sizeof b.stream, "%s", stream);
    const size_t size = msg_batch_size(&b);
    char *data = calloc(1, size);
    if (data == NULL)
        return;
    msg_batch_layout(&b, data);
    for (uint32_t i = 0; i < 2 * length; i++) {
        b.input_ids[i] = (int32_t)(step + i);
        b.position_ids[i] = (int32_t)(i % length);
        b.labels[i] = -100;
    }
    b.tokens[0] = b.tokens[1] = (int32_t)length;
    b.cu_seqlens[1] = (int32_t)length;
    b.cu_seqlens[2] = (int32_t)(2 * length);
    b.doc_record[1] = 5000000000;
    b.hash = payload_hash(&b) + hash_off;
    msg_batch_seal(&b, data);
    answer_and_free(m, data, size);
}

static void answer_step(struct mock *m, uint64_t step)
{
    answer_batch(m, step, 8, "chat", 2, 0);
}

#endif
