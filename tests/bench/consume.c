/* consume - a trainer that only counts, at either door of a feeder: dealer (libskipalign, 8 credits) or sub
 * (a plain SUB socket).
 *
 * Opens the stream at FIRST, lets WARM batches go by, counts until SECONDS have been counted or the stream
 * ends; where PASS is not 0 it starts at FIRST again after so many batches, and the clock stands still until
 * WARM of them are there. "BATCHES TOKENS SECONDS NEXT_STEP SLOTS": tokens without padding, next_step for the
 * next one that goes on here; slots are tokens with padding.
 */
#include "common.h"

#include "proto/message.h"
#include "skipalign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define CREDIT 8
#define PATIENCE_MS 120000

struct trainer {
    const char *endpoint, *stream;
    bool sub;
    skipalign_feed *feed;
    void *context, *socket;
    zmq_msg_t part; /* the batch at hand, of a SUB socket */
};

struct seen {
    uint64_t step, tokens, slots;
};

static void fail_feed(const struct trainer *t)
{
    bench_fail("%s: %s", t->endpoint, skipalign_message(t->feed));
}

static void trainer_open(struct trainer *t, uint64_t step)
{
    const skipalign_options o = {.stream = t->stream, .job = "bench", .step = step, .credit = CREDIT};
    char topic[128];
    if (!t->sub) {
        if (skipalign_open(t->endpoint, &o, &t->feed) != 0)
            fail_feed(t);
        return;
    }
    int n = snprintf(topic, sizeof topic, "%s/1/0/%" PRIu64 "/", t->stream, step), patience = PATIENCE_MS;
    t->socket = zmq_socket(t->context, ZMQ_SUB);
    if (t->socket == NULL || zmq_setsockopt(t->socket, ZMQ_RCVTIMEO, &patience, sizeof patience) != 0 ||
        zmq_setsockopt(t->socket, ZMQ_SUBSCRIBE, topic, (size_t)n) != 0 ||
        zmq_connect(t->socket, t->endpoint) != 0)
        bench_fail("%s: %s", t->endpoint, zmq_strerror(zmq_errno()));
}

static void trainer_close(struct trainer *t)
{
    skipalign_close(t->feed);
    t->feed = NULL;
    if (t->socket != NULL)
        (void)zmq_close(t->socket);
    t->socket = NULL;
}

/* As skipalign_open does for its callers: else glibc gives a batch's memory back to the system and takes it
 * again. */
static void keep_freed_memory(void)
{
    void *volatile block = malloc(31u << 20);
    free(block);
}

static bool next_of_feed(struct trainer *t, struct seen *ret)
{
    const skipalign_batch *b;
    int rc = skipalign_next(t->feed, &b, PATIENCE_MS);
    if (rc == SKIPALIGN_END)
        return false;
    if (rc != 0)
        fail_feed(t);
    *ret = (struct seen){b->step, bench_sum(b->tokens, b->rows), (uint64_t)b->rows * b->length};
    return true;
}

static bool next_of_sub(struct trainer *t, struct seen *ret)
{
    struct msg m;
    char why[256];
    if (zmq_msg_recv(&t->part, t->socket, 0) < 0 || zmq_msg_recv(&t->part, t->socket, 0) < 0)
        bench_fail("%s: %s", t->endpoint, zmq_strerror(zmq_errno()));
    if (msg_decode(zmq_msg_data(&t->part), zmq_msg_size(&t->part), &m, why, sizeof why) != 0)
        bench_fail("%s: %s", t->endpoint, why);
    if (m.type == MSG_TYPE_ERROR)
        bench_fail("%s: %s", t->endpoint, m.error.message);
    bool any = m.type == MSG_TYPE_BATCH;
    if (any)
        *ret = (struct seen){m.batch.step, bench_sum(m.batch.tokens, m.batch.rows),
                             (uint64_t)m.batch.rows * m.batch.length};
    msg_fini(&m);
    return any;
}

static bool trainer_next(struct trainer *t, struct seen *ret)
{
    return t->sub ? next_of_sub(t, ret) : next_of_feed(t, ret);
}

struct count {
    uint64_t batches, tokens, slots, next;
    double seconds;
};

/* One opening; false if the stream has ended. */
static bool pass(struct trainer *t, uint64_t first, uint64_t warm, uint64_t length, double limit,
                 struct count *c)
{
    struct seen seen;
    double before = c->seconds, start = bench_seconds();
    bool more = true;
    trainer_open(t, first);
    for (uint64_t i = 0; c->seconds < limit && (length == 0 || i < length) && (more = trainer_next(t, &seen));
         i++) {
        if (seen.step != first + i)
            bench_fail("step %" PRIu64 " came instead of %" PRIu64, seen.step, first + i);
        c->next = seen.step + 1;
        if (i < warm) {
            start = bench_seconds();
            continue;
        }
        c->batches++;
        c->tokens += seen.tokens;
        c->slots += seen.slots;
        c->seconds = before + bench_seconds() - start;
    }
    trainer_close(t);
    return more;
}

int main(int argc, char **argv)
{
    static const char usage[] = "consume dealer|sub ENDPOINT STREAM FIRST WARM PASS SECONDS";
    uint64_t first = (uint64_t)bench_number(argc, argv, 4, usage),
             warm = (uint64_t)bench_number(argc, argv, 5, usage),
             length = (uint64_t)bench_number(argc, argv, 6, usage);
    double limit = bench_number(argc, argv, 7, usage);
    struct trainer t = {.endpoint = argv[2], .stream = argv[3], .sub = strcmp(argv[1], "sub") == 0};
    struct count c = {.next = first};
    keep_freed_memory();
    if (t.sub && ((t.context = zmq_ctx_new()) == NULL || zmq_msg_init(&t.part) != 0))
        bench_fail("no memory");
    while (pass(&t, first, warm, length, limit, &c) && c.seconds < limit)
        ;
    printf("%" PRIu64 " %" PRIu64 " %f %" PRIu64 " %" PRIu64 "\n", c.batches, c.tokens, c.seconds, c.next,
           c.slots);
    if (t.sub) {
        (void)zmq_msg_close(&t.part);
        (void)zmq_ctx_term(t.context);
    }
    return 0;
}
