/* feed_fixture - a running feed over fake_supply.h, and trainers made of sockets, for tests of either door.
 *
 * Sockets wait PATIENCE_MS at most, which only ends a test that would otherwise hang.
 */
#ifndef SKIPALIGN_TESTS_FEED_FIXTURE_H
#define SKIPALIGN_TESTS_FEED_FIXTURE_H

#include "base/clock.h"
#include "fake_supply.h"
#include "feed/feed.h"
#include "proto/message.h"
#include "support/folder.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <zmq.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define HEAD_START (2 << 20) /* tokens that a feed has made before anyone comes */

struct fixture {
    struct folder *folder;
    struct tokenizer *tokenizer;
    struct corpus *corpus;
    struct corpus *corpora[2];
    struct workers *workers;
    void *zmq;
    struct conf_share shares[2];
    struct conf_stream conf[FAKE_PLANS];
    struct recipe recipe[FAKE_PLANS];
    struct generation_setup generations[FAKE_PLANS];
    struct stream_setup streams[FAKE_PLANS];
    struct feed_setup setup;
    struct feed *feed;
    void *sockets[64]; /* of trainers */
    uint32_t n_sockets;
};

static struct conf_positions fixture_positions = {.strategy = POS_SKIP_ALL, .max_position = 65536};

static inline void fixture_stream(struct fixture *x, uint32_t i, const char *name, int64_t rows,
                                  int64_t length, uint64_t steps)
{
    /* A head start would find the end of a short stream. */
    const uint64_t head = (uint64_t)(HEAD_START / (rows * length)),
                   released = steps < head ? head : UINT64_MAX;
    fake_plans[i] = (struct fake_plan){.name = name, .steps = steps, .released = released, .dropped = 3};
    x->conf[i] = (struct conf_stream){
        .name = (char *)name,
        .corpora = x->shares,
        .n_corpora = 2,
        .seq_len = length,
        .global_batch = rows,
        .packing = true,
        .positions = &fixture_positions,
        .n_positions = 1,
    };
    x->recipe[i] = (struct recipe){
        .conf = &x->conf[i],
        .corpora = x->corpora,
        .n_corpora = 2,
        .tokenizer = x->tokenizer,
    };
    x->generations[i] = (struct generation_setup){.number = 1, .recipe = &x->recipe[i]};
    x->streams[i] = (struct stream_setup){.name = name, .generations = &x->generations[i], .n = 1};
    x->setup.n_streams = i + 1;
}

static inline int fixture_new(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    struct err err = {""};
    void *folder;
    assert_int_equal(folder_new(&folder), 0);
    x->folder = folder;
    assert_int_equal(tokenizer_load(TEST_DIR "/data/sample.model", NULL, 0, &x->tokenizer, &err), 0);
    static char name[] = "one", path[128];
    static char *paths[] = {path};
    (void)snprintf(path, sizeof path, "%s",
                   folder_write_text(x->folder, "one.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n"));
    static const struct conf_corpus conf = {.name = name, .paths = paths, .n_paths = 1};
    if (corpus_open(&conf, &(struct corpus_place){.state_dir = x->folder->path, .io = IO_PREAD}, NULL,
                    &x->corpus, &err) != 0)
        fail_msg("%s", err.text);
    x->corpora[0] = x->corpora[1] = x->corpus;
    x->shares[0] = (struct conf_share){(char *)"one", 1.0};
    x->shares[1] = (struct conf_share){(char *)"two", 1.0};
    assert_int_equal(workers_start(2, NULL, NULL, &x->workers, &err), 0);
    x->zmq = zmq_ctx_new();
    memset(fake_plans, 0, sizeof fake_plans);
    x->setup = (struct feed_setup){
        .listen = "tcp://127.0.0.1:*",
        .subscribe = "tcp://127.0.0.1:*",
        .memory = 64 << 20,
        .state_dir = x->folder->path,
        .workers = x->workers,
        .streams = x->streams,
    };
    fixture_stream(x, 0, "chat", 8, 64, 20);
    fixture_stream(x, 1, "endless", 4, 32, UINT64_MAX);
    fixture_stream(x, 2, "big", 8, 4096, UINT64_MAX); /* 384 KiB a batch */
    *state = x;
    return 0;
}

static inline void fixture_start(struct fixture *x)
{
    struct err err = {""};
    if (feed_start(&x->setup, &x->feed, &err) != 0)
        fail_msg("%s", err.text);
}

static inline int fixture_started(void **state)
{
    (void)fixture_new(state);
    fixture_start(*state);
    return 0;
}

static inline int fixture_free(void **state)
{
    struct fixture *x = *state;
    void *folder = x->folder;
    for (uint32_t i = 0; i < x->n_sockets; i++)
        if (x->sockets[i] != NULL)
            (void)zmq_close(x->sockets[i]);
    feed_stop(x->feed);
    assert_int_equal(fake_live_steps, 0);
    workers_stop(x->workers);
    (void)zmq_ctx_term(x->zmq);
    tokenizer_unref(x->tokenizer);
    corpus_close(x->corpus);
    assert_int_equal(folder_free(&folder), 0);
    free(x);
    return 0;
}

/* ---- on the feed's thread ---- */

struct plan_change {
    uint32_t plan;
    struct fake_plan to;
};

static inline void change_plan(struct feed *f, void *arg)
{
    const struct plan_change *c = arg;
    fake_plans[c->plan] = c->to;
    fake_run(feed_supply(f));
}

static inline void fixture_plan(struct fixture *x, uint32_t plan, struct fake_plan to)
{
    struct plan_change c = {plan, to};
    feed_call(x->feed, change_plan, &c);
}

struct seen {
    struct consumer_info consumers[128];
    uint32_t n_consumers, cap;
    char jobs[128][256];
    struct feed_stats stats;
};

static inline void see(struct feed *f, void *arg)
{
    struct seen *s = arg;
    s->n_consumers = feed_consumers(f, s->consumers, 128);
    for (uint32_t i = 0; i < s->n_consumers && i < 128; i++)
        (void)snprintf(s->jobs[i], sizeof s->jobs[i], "%s", s->consumers[i].job);
    feed_get_stats(f, &s->stats);
}

static inline struct seen fixture_see(struct fixture *x)
{
    struct seen s;
    feed_call(x->feed, see, &s);
    return s;
}

static inline void count_live_steps(struct feed *f, void *ret)
{
    (void)f;
    *(uint32_t *)ret = fake_live_steps;
}

/* Steps that somebody holds, after a round of the feed. */
static inline uint32_t fixture_live_steps(struct fixture *x)
{
    uint32_t n;
    (void)fixture_see(x);
    feed_call(x->feed, count_live_steps, &n);
    return n;
}

/* Ask until it holds. */
#define EVENTUALLY(x, s, condition)                                \
    do {                                                           \
        uint64_t end_ns_ = clock_ns() + PATIENCE_MS * NS_PER_MS;   \
        for (s = fixture_see(x); !(condition); s = fixture_see(x)) \
            if (clock_ns() > end_ns_)                              \
                fail_msg("never: %s", #condition);                 \
    } while (0)

/* ---- trainers ---- */

static inline void *fixture_socket(struct fixture *x, int type, int rcvhwm)
{
    assert_in_range(x->n_sockets, 0, 63);
    void *s = x->sockets[x->n_sockets++] = zmq_socket(x->zmq, type);
    const int zero = 0, patience = PATIENCE_MS;
    assert_int_equal(zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero), 0);
    assert_int_equal(zmq_setsockopt(s, ZMQ_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(zmq_setsockopt(s, ZMQ_RCVHWM, &rcvhwm, sizeof rcvhwm), 0);
    const char *endpoint = feed_endpoint(x->feed, type == ZMQ_DEALER ? DOOR_ROUTER : DOOR_XPUB);
    assert_int_equal(zmq_connect(s, endpoint), 0);
    return s;
}

/* Before the test ends: a trainer that vanishes. */
static inline void fixture_close(struct fixture *x, void *socket)
{
    for (uint32_t i = 0; i < x->n_sockets; i++)
        if (x->sockets[i] == socket)
            x->sockets[i] = NULL;
    (void)zmq_close(socket);
}

static inline void *fixture_dealer(struct fixture *x)
{
    return fixture_socket(x, ZMQ_DEALER, 1000);
}

/* A message received and decoded; got_free when done with it. */
struct got {
    char *data; /* a copy, aligned for its arrays: a received message lies anywhere */
    size_t size;
    char topic[256]; /* of a SUB */
    struct msg m;
};

static inline void got_free(struct got *g)
{
    msg_fini(&g->m);
    free(g->data);
}

static inline void receive(void *socket, struct got *g)
{
    char why[256] = "";
    int type;
    size_t size = sizeof type;
    g->topic[0] = '\0';
    assert_int_equal(zmq_getsockopt(socket, ZMQ_TYPE, &type, &size), 0);
    if (type == ZMQ_SUB) {
        int n = zmq_recv(socket, g->topic, sizeof g->topic - 1, 0);
        assert_in_range(n, 0, sizeof g->topic - 1);
        g->topic[n] = '\0';
    }
    zmq_msg_t raw;
    (void)zmq_msg_init(&raw);
    if (zmq_msg_recv(&raw, socket, 0) < 0)
        fail_msg("nothing came");
    assert_false(zmq_msg_more(&raw));
    g->size = zmq_msg_size(&raw);
    g->data = malloc(g->size + 1);
    memcpy(g->data, zmq_msg_data(&raw), g->size);
    (void)zmq_msg_close(&raw);
    if (msg_decode(g->data, g->size, &g->m, why, sizeof why) != 0)
        fail_msg("%s", why);
}

static inline void expect(void *socket, enum msg_type type, struct got *g)
{
    receive(socket, g);
    if (g->m.type != type)
        fail_msg("'%s' came, not '%s': %s", msg_type_names[g->m.type], msg_type_names[type],
                 g->m.type == MSG_TYPE_ERROR ? g->m.error.message : "");
}

static inline void expect_batch(void *socket, uint64_t step)
{
    struct got g;
    expect(socket, MSG_TYPE_BATCH, &g);
    assert_int_equal(g.m.batch.step, step);
    got_free(&g);
}

static inline void expect_error(void *socket, enum msg_code code)
{
    struct got g;
    expect(socket, MSG_TYPE_ERROR, &g);
    if (g.m.error.code != code)
        fail_msg("'%s' came, not '%s': %s", g.m.error.code_name, msg_code_names[code], g.m.error.message);
    assert_true(g.m.error.message[0] != '\0');
    got_free(&g);
}

static inline void expect_end(void *socket, uint64_t step, enum msg_reason reason)
{
    struct got g;
    expect(socket, MSG_TYPE_END, &g);
    assert_int_equal(g.m.end.step, step);
    assert_int_equal(g.m.end.reason, reason);
    assert_int_equal(g.m.end.dropped, reason == MSG_COMPLETE ? 3 : 0);
    got_free(&g);
}

static inline void send_taken(void *socket, int rc, char *data, size_t size)
{
    assert_int_equal(rc, 0);
    assert_int_equal(zmq_send(socket, data, size, 0), size);
    free(data);
}

static inline void send_open_as(void *socket, const char *stream, uint32_t world, uint32_t rank,
                                uint64_t step, uint64_t credit, uint32_t version)
{
    struct msg_open m = {.version = version, .world = world, .rank = rank, .step = step, .credit = credit};
    (void)snprintf(m.stream, sizeof m.stream, "%s", stream);
    (void)snprintf(m.job, sizeof m.job, "test-%" PRIu32, rank);
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_open(&m, &data, &size);
    send_taken(socket, rc, data, size);
}

static inline void send_open(void *socket, const char *stream, uint32_t world, uint32_t rank, uint64_t step,
                             uint64_t credit)
{
    send_open_as(socket, stream, world, rank, step, credit, MSG_VERSION);
}

static inline void send_credit(void *socket, uint64_t credit, uint64_t done)
{
    const struct msg_credit m = {credit, done};
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_credit(&m, &data, &size);
    send_taken(socket, rc, data, size);
}

static inline void open_stream(void *socket, const char *stream, uint32_t world, uint32_t rank, uint64_t step,
                               uint64_t credit)
{
    struct got g;
    send_open(socket, stream, world, rank, step, credit);
    expect(socket, MSG_TYPE_OPENED, &g);
    got_free(&g);
}

#endif
