#include "feed/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CREDIT_MAX (1ull << 62) /* sums stay far from wrapping */
#define TURN 8                  /* messages to one consumer before the next has its turn */
#define PAUSE_MIN_NS 200000ull
#define PAUSE_MAX_NS 10000000ull
#define RECENT_NS 1600000ull /* a longer pause: its peer does not read at the moment */
#define RECENT_TURN 16       /* of those that filled their sockets recently, in one turn */
#define SWEEP_NS (10 * NS_PER_S)
#define SHARERS_MIN 8 /* that many share the memory at least: the ninth then changes little */
#define BUCKETS (sizeof((struct consumers *)NULL)->buckets / sizeof((struct consumers *)NULL)->buckets[0])

enum { SENT = 0, WAITING = 1 }; /* what a look at one consumer came to; or a negative error of door_send */

struct consumers *consumers_new(struct share *share, struct tally *tally, uint64_t memory)
{
    struct consumers *cs = calloc(1, sizeof *cs);
    if (cs == NULL)
        return NULL;
    cs->share = share;
    cs->tally = tally;
    cs->memory = memory;
    cs->retry_ns = UINT64_MAX;
    TAILQ_INIT(&cs->list);
    TAILQ_INIT(&cs->scheduled);
    TAILQ_INIT(&cs->recent);
    TAILQ_INIT(&cs->paused);
    return cs;
}

void consumers_free(struct consumers *cs)
{
    if (cs == NULL)
        return;
    while (!TAILQ_EMPTY(&cs->list))
        consumer_remove(TAILQ_FIRST(&cs->list));
    free(cs);
}

uint64_t consumers_part(const struct consumers *cs)
{
    return cs->memory / (cs->n > SHARERS_MIN ? cs->n : SHARERS_MIN);
}

struct slice consumer_peer(const struct consumer *c)
{
    return (struct slice){c->peer, c->peer_size};
}

/* ---- who runs next ---- */

static void queue_in(struct consumer *c, struct consumer_list *queue)
{
    if (c->queue != NULL)
        TAILQ_REMOVE(c->queue, c, in_queue);
    c->queue = queue;
    if (queue != NULL)
        TAILQ_INSERT_TAIL(queue, c, in_queue);
}

static void schedule(struct consumer *c)
{
    if (c->queue != &c->all->scheduled)
        queue_in(c, &c->all->scheduled);
}

/* Nothing tells that a socket has room again, but something happens at its door when it does. So one that
 * filled its own a moment ago is tried at each turn, and after a pause that doubles; later after the pause
 * only. */
static void pause_for_room(struct consumer *c, uint64_t now_ns)
{
    struct consumers *cs = c->all;
    if (now_ns >= c->retry_ns) {
        c->pause_ns = c->pause_ns == 0 ? PAUSE_MIN_NS : c->pause_ns * 2;
        if (c->pause_ns > PAUSE_MAX_NS)
            c->pause_ns = PAUSE_MAX_NS;
        c->retry_ns = now_ns + c->pause_ns;
    }
    if (c->retry_ns < cs->retry_ns)
        cs->retry_ns = c->retry_ns;
    queue_in(c, c->pause_ns <= RECENT_NS ? &cs->recent : &cs->paused);
}

static void schedule_due(struct consumers *cs, struct consumer_list *queue, uint64_t now_ns)
{
    struct consumer *c, *next;
    for (c = TAILQ_FIRST(queue); c != NULL; c = next) {
        next = TAILQ_NEXT(c, in_queue);
        if (c->retry_ns <= now_ns)
            schedule(c);
        else if (c->retry_ns < cs->retry_ns)
            cs->retry_ns = c->retry_ns;
    }
}

static void schedule_paused(struct consumers *cs, uint64_t now_ns)
{
    if (now_ns >= cs->retry_ns) {
        cs->retry_ns = UINT64_MAX;
        schedule_due(cs, &cs->recent, now_ns);
        schedule_due(cs, &cs->paused, now_ns);
    }
    for (int i = 0; i < RECENT_TURN && !TAILQ_EMPTY(&cs->recent); i++)
        schedule(TAILQ_FIRST(&cs->recent));
}

uint64_t consumers_due_ns(const struct consumers *cs)
{
    return TAILQ_EMPTY(&cs->scheduled) ? cs->retry_ns : 0;
}

void consumers_wake(struct consumers *cs, const struct stream *st)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st)
        schedule(c);
}

/* ---- what a consumer wants next ---- */

static uint64_t frame_bytes(const struct stream *st, uint32_t world)
{
    const struct conf_stream *conf = stream_recipe(st)->conf;
    return 3 * sizeof(int32_t) * (uint64_t)conf->global_batch / world * (uint64_t)conf->seq_len;
}

static struct want *first_want(struct consumer *c)
{
    return &c->ahead[c->ahead_first];
}

static void settled(struct want *w)
{
    struct consumer *c = w->owner;
    if (w == first_want(c))
        schedule(c);
}

static void leave_first(struct consumer *c)
{
    share_leave(first_want(c));
    c->ahead_first = (c->ahead_first + 1) % CONSUMER_AHEAD;
    c->n_ahead--;
}

static void leave_all(struct consumer *c)
{
    while (c->n_ahead > 0)
        leave_first(c);
}

/* Want as many steps as credit, memory and the stream's end allow. */
static int reach_ahead(struct consumer *c)
{
    struct consumers *cs = c->all;
    uint64_t bytes = c->frame_bytes, part = consumers_part(cs);
    flight_land(&c->flight);
    while (c->n_ahead < CONSUMER_AHEAD && c->n_ahead < c->credit &&
           c->next_step + c->n_ahead < stream_steps(c->stream) &&
           flight_has_room(&c->flight, c->n_ahead + 1, bytes, part)) {
        struct want *w = &c->ahead[(c->ahead_first + c->n_ahead) % CONSUMER_AHEAD];
        int rc = share_want(cs->share, c->stream, c->next_step + c->n_ahead, c->world, c->rank, w);
        if (rc != 0)
            return c->n_ahead > 0 ? 0 : rc;
        c->n_ahead++;
    }
    return 0;
}

/* ---- sending ---- */

static int finish(struct consumer *c)
{
    leave_all(c);
    c->wait = WAIT_END;
    return WAITING;
}

static int send_opened(struct consumer *c)
{
    int rc = answer_opened(c->door, consumer_peer(c), c->stream, c->world, c->next_step);
    c->owes_opened = rc != 0;
    return rc;
}

static int send_batch(struct consumer *c)
{
    struct consumers *cs = c->all;
    struct want *w = first_want(c);
    struct frame *f = want_frame(w);
    int rc = door_send_frame(c->door, consumer_peer(c), f, &c->flight);
    if (rc != 0)
        return rc;
    struct feed_event e = {
        .step = f->step,
        .epoch = want_epoch(w),
        .tokens = f->tokens,
        .bytes = f->size,
        .world = c->world,
        .rank = c->rank,
        .door = c->door->kind,
    };
    (void)snprintf(e.stream, sizeof e.stream, "%s", stream_recipe(c->stream)->conf->name);
    tally_sent(cs->tally, &e);
    cs->sent(cs->sent_arg, c->stream, f->step);
    c->batches++;
    c->bytes += f->size;
    c->heard_ns = clock_ns();
    c->next_step++;
    c->credit -= c->door->kind == DOOR_ROUTER;
    leave_first(c);
    return SENT;
}

static int send_end(struct consumer *c)
{
    uint64_t steps = stream_steps(c->stream);
    int rc;
    if (c->next_step > steps) { /* opened while the end was not known */
        struct msg_error e;
        answer_say(&e, MSG_STEP_PAST_END,
                   "stream '%s' ends before step %" PRIu64 ": it has %" PRIu64 " steps",
                   stream_recipe(c->stream)->conf->name, c->next_step, steps);
        e.steps = steps;
        rc = answer_error(c->door, consumer_peer(c), &e, c->all->tally);
    } else {
        rc = answer_end(c->door, consumer_peer(c), c->stream, steps, MSG_COMPLETE);
    }
    return rc == 0 ? finish(c) : rc;
}

static int send_failure(struct consumer *c)
{
    int rc = 0;
    if (!c->told_failure) {
        struct msg_error e;
        answer_say(&e, MSG_STREAM_FAILED, "stream '%s' cannot go on: %s",
                   stream_recipe(c->stream)->conf->name, stream_failure(c->stream));
        rc = answer_error(c->door, consumer_peer(c), &e, c->all->tally);
        c->told_failure = rc == 0;
    }
    if (rc == 0)
        rc = answer_end(c->door, consumer_peer(c), c->stream, c->next_step, MSG_FAILED);
    return rc == 0 ? finish(c) : rc;
}

/* With nothing wanted: why? */
static int send_or_wait(struct consumer *c)
{
    if (stream_failure(c->stream) != NULL)
        return send_failure(c);
    if (c->next_step >= stream_steps(c->stream))
        return send_end(c);
    if (c->credit > 0)
        return -EAGAIN; /* its part of the memory is on its way */
    c->wait = WAIT_CREDIT;
    return WAITING;
}

static int send_next(struct consumer *c)
{
    if (c->owes_opened)
        return send_opened(c);
    if (c->wait == WAIT_END)
        return WAITING;
    int rc = reach_ahead(c);
    if (rc != 0)
        return rc;
    if (c->n_ahead == 0)
        return send_or_wait(c);
    switch (want_state(first_want(c))) {
    case BATCH_MAKING:
        c->wait = WAIT_STEP;
        return WAITING;
    case BATCH_READY:
        return send_batch(c);
    case BATCH_END:
        return send_end(c);
    case BATCH_FAILED:
        return send_failure(c);
    case BATCH_REFUSED:
        break;
    }
    leave_all(c);
    return -ENOMEM;
}

static void run_one(struct consumer *c, uint64_t now_ns)
{
    int rc = SENT;
    for (int i = 0; i < TURN && rc == SENT; i++) {
        rc = send_next(c);
        if (rc == SENT) {
            c->wait = WAIT_NOTHING;
            c->pause_ns = c->retry_ns = 0;
        }
    }
    if (rc == SENT) {
        schedule(c);
    } else if (rc == -EHOSTUNREACH) {
        consumer_remove(c);
    } else if (rc != WAITING) {
        c->wait = WAIT_SOCKET;
        pause_for_room(c, now_ns);
    }
}

void consumers_run(struct consumers *cs, uint64_t now_ns)
{
    schedule_paused(cs, now_ns);
    const struct consumer *last =
        TAILQ_LAST(&cs->scheduled, consumer_list); /* later ones: after a look at the doors */
    for (bool more = last != NULL; more;) {
        struct consumer *c = TAILQ_FIRST(&cs->scheduled);
        more = c != last;
        queue_in(c, NULL);
        run_one(c, now_ns);
    }
}

/* ZeroMQ tells that a peer is gone only when something is sent to it, and to one who waits for a step far
 * ahead nothing is: a feeder could work for the dead for ever. So one who says nothing for long is sent an
 * answer; who is there opens again. A subscriber's end is told. */
void consumers_drop_silent(struct consumers *cs, uint64_t now_ns)
{
    struct consumer *c, *next;
    if (now_ns < cs->sweep_ns)
        return;
    cs->sweep_ns = now_ns + SWEEP_NS;
    for (c = TAILQ_FIRST(&cs->list); c != NULL; c = next) {
        struct msg_error e;
        next = TAILQ_NEXT(c, in_list);
        if (c->door->kind != DOOR_ROUTER || c->wait != WAIT_STEP || now_ns < c->heard_ns + CONSUMER_SILENT_NS)
            continue;
        answer_say(&e, MSG_DENIED,
                   "step %" PRIu64
                   " of stream '%s' is still being made, and nothing was heard from here for 10 minutes; "
                   "open again to go on waiting, and send `credit` 0 now and then",
                   c->next_step, stream_recipe(c->stream)->conf->name);
        (void)answer_error(c->door, consumer_peer(c), &e, cs->tally);
        consumer_remove(c);
    }
}

/* ---- the table ---- */

static uint64_t bucket_of(const struct door *d, struct slice peer)
{
    return XXH3_64bits_withSeed(peer.data, peer.size, d->kind) % BUCKETS;
}

struct consumer *consumer_find(struct consumers *cs, const struct door *d, struct slice peer)
{
    struct consumer *c;
    LIST_FOREACH(c, &cs->buckets[bucket_of(d, peer)], in_bucket)
    if (c->door == d && c->peer_size == peer.size && memcmp(c->peer, peer.data, peer.size) == 0)
        return c;
    return NULL;
}

void consumer_remove(struct consumer *c)
{
    struct consumers *cs = c->all;
    queue_in(c, NULL);
    leave_all(c);
    flight_fini(&c->flight);
    LIST_REMOVE(c, in_bucket);
    TAILQ_REMOVE(&cs->list, c, in_list);
    cs->n--;
    cs->frame_bytes -= c->frame_bytes;
    free(c);
}

/* The one longest silent among those that wait for nothing from us. */
static bool give_one_up(struct consumers *cs)
{
    struct consumer *c, *oldest = NULL;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if ((c->wait == WAIT_END || c->wait == WAIT_CREDIT) && (oldest == NULL || c->heard_ns < oldest->heard_ns))
        oldest = c;
    if (oldest != NULL)
        consumer_remove(oldest);
    return oldest != NULL;
}

/* However slow they all are, one batch of each fits the memory. */
static bool make_place(struct consumers *cs, uint64_t bytes)
{
    while (cs->n >= CONSUMERS_MAX || (cs->n > 0 && cs->frame_bytes + bytes > cs->memory))
        if (!give_one_up(cs))
            return false;
    return true;
}

struct consumer *consumer_open(struct consumers *cs, struct door *d, struct slice peer, struct stream *st,
                               const struct msg_open *open)
{
    CHECK(peer.size <= PEER_MAX);
    struct consumer *c = consumer_find(cs, d, peer);
    if (c != NULL)
        consumer_remove(c);
    uint64_t bytes = frame_bytes(st, open->world);
    if (!make_place(cs, bytes))
        return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->all = cs;
    c->door = d;
    c->stream = st;
    memcpy(c->peer, peer.data, peer.size);
    c->peer_size = (uint32_t)peer.size;
    (void)snprintf(c->job, sizeof c->job, "%s", d->kind == DOOR_XPUB ? c->peer : open->job);
    c->world = open->world;
    c->frame_bytes = bytes;
    c->rank = open->rank;
    c->first_step = c->next_step = open->step;
    c->credit = d->kind == DOOR_XPUB ? CREDIT_MAX : 0;
    c->done = STREAM_UNKNOWN;
    c->owes_opened = d->kind == DOOR_ROUTER;
    for (size_t i = 0; i < CONSUMER_AHEAD; i++)
        c->ahead[i] = (struct want){.settled = settled, .owner = c};
    LIST_INSERT_HEAD(&cs->buckets[bucket_of(d, peer)], c, in_bucket);
    TAILQ_INSERT_TAIL(&cs->list, c, in_list);
    cs->n++;
    cs->frame_bytes += bytes;
    consumer_credit(c, open->credit, STREAM_UNKNOWN);
    return c;
}

void consumers_say_full(const struct consumers *cs, struct msg_error *ret)
{
    answer_say(
        ret, MSG_DENIED,
        "this feeder has no room for another consumer: it takes %d, and one batch of each has to fit half of "
        "`memory`, %" PRIu64 " MiB; try again later, use a larger world, or raise `memory`",
        CONSUMERS_MAX, cs->memory >> 20);
}

void consumer_credit(struct consumer *c, uint64_t more, uint64_t done)
{
    c->credit = more > CREDIT_MAX - c->credit ? CREDIT_MAX : c->credit + more;
    if (done != STREAM_UNKNOWN)
        c->done = done;
    c->heard_ns = clock_ns();
    schedule(c);
}

bool consumer_satisfied(struct consumer *c)
{
    flight_land(&c->flight);
    return c->door->kind == DOOR_XPUB ||
           ((c->credit == 0 || c->wait == WAIT_END) && c->flight.n == 0 && !c->owes_opened);
}

void consumer_get_info(const struct consumer *c, uint64_t now_ns, struct consumer_info *ret)
{
    *ret = (struct consumer_info){
        .door = c->door->kind,
        .wait = c->wait,
        .stream = stream_recipe(c->stream)->conf->name,
        .job = c->job,
        .world = c->world,
        .rank = c->rank,
        .first_step = c->first_step,
        .next_step = c->next_step,
        .credit = c->door->kind == DOOR_ROUTER ? c->credit : 0,
        .done = c->done,
        .batches = c->batches,
        .bytes = c->bytes,
        .idle_ns = now_ns > c->heard_ns ? now_ns - c->heard_ns : 0,
    };
}
