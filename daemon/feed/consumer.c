#include "feed/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/admit.h"
#include "feed/answer.h"
#include "feed/deliver.h"

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
#define FIRST_WAIT_NS (2 * NS_PER_S) /* so long a step may take before anything is said, */
#define NEXT_WAIT_NS (10 * NS_PER_S) /* and then so often */
#define SAY_WAIT_NS (NS_PER_S / 10)  /* who has waited long is looked for so often at most */
#define SHARERS_MIN 8                /* that many share the memory at least: the ninth then changes little */
#define BUCKETS (sizeof((struct consumers *)NULL)->buckets / sizeof((struct consumers *)NULL)->buckets[0])

struct consumers *consumers_new(struct share *share, struct tally *tally, uint64_t memory)
{
    struct consumers *cs = calloc(1, sizeof *cs);
    if (cs == NULL)
        return NULL;
    cs->share = share;
    cs->tally = tally;
    cs->memory = memory;
    cs->retry_ns = cs->say_wait_ns = UINT64_MAX;
    TAILQ_INIT(&cs->list);
    TAILQ_INIT(&cs->scheduled);
    TAILQ_INIT(&cs->recent);
    TAILQ_INIT(&cs->full);
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
    queue_in(c, c->pause_ns <= RECENT_NS ? &cs->recent : &cs->full);
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

static void schedule_full(struct consumers *cs, uint64_t now_ns)
{
    if (now_ns >= cs->retry_ns) {
        cs->retry_ns = UINT64_MAX;
        schedule_due(cs, &cs->recent, now_ns);
        schedule_due(cs, &cs->full, now_ns);
    }
    for (int i = 0; i < RECENT_TURN && !TAILQ_EMPTY(&cs->recent); i++)
        schedule(TAILQ_FIRST(&cs->recent));
}

uint64_t consumers_due_ns(const struct consumers *cs)
{
    if (!TAILQ_EMPTY(&cs->scheduled))
        return 0;
    return cs->retry_ns < cs->say_wait_ns ? cs->retry_ns : cs->say_wait_ns;
}

static void settled(struct want *w)
{
    struct consumer *c = w->owner;
    if (w == &c->ahead[c->ahead_first])
        schedule(c);
}

/* ---- news of a stream ---- */

void consumers_wake(struct consumers *cs, const struct stream *st)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st)
        schedule(c);
}

void consumers_change(struct consumers *cs, const struct stream *st, uint64_t first_step)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st)
        deliver_forget(c, first_step);
    consumers_wake(cs, st);
}

void consumers_end_at(struct consumers *cs, const struct stream *st, uint64_t step, uint64_t dropped)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st && c->next_step <= step) {
        c->ends_at = step;
        c->ends_dropped = dropped;
    }
}

void consumers_pause(struct consumers *cs, const struct stream *st, bool paused)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st) {
        c->paused = paused;
        if (paused)
            deliver_forget(c, 0);
    }
    consumers_wake(cs, st);
}

void consumers_drop_stream(struct consumers *cs, const struct stream *st)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st) {
        deliver_forget(c, 0);
        c->stream = NULL;
        schedule(c);
    }
}

bool consumers_busy(const struct consumers *cs, const struct stream *st)
{
    const struct consumer *c;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c->stream == st && c->wait != WAIT_END && !c->paused)
        return true;
    return false;
}

void consumers_foresee(const struct consumers *cs, const struct stream *st, const struct conf_stream *conf,
                       struct feed_foresight *ret)
{
    const struct consumer *c;
    *ret = (struct feed_foresight){.bytes = cs->frame_bytes, .bytes_max = cs->memory};
    TAILQ_FOREACH(c, &cs->list, in_list)
    {
        if (c->stream != st || c->wait == WAIT_END)
            continue;
        uint64_t rows = (uint64_t)conf->global_batch / c->world;
        ret->consumers++;
        if (!admit_world(conf, c->world))
            ret->wrong_world++;
        else if (c->fixed_shape && (rows != c->rows || (uint64_t)conf->seq_len != c->length))
            ret->fixed_shape++;
        else
            ret->bytes += deliver_frame_bytes(conf, c->world) - c->frame_bytes;
    }
}

/* ---- their turns ---- */

/* A subscriber is told nothing: its topic has batches only. */
static void note_wait(struct consumer *c, uint64_t now_ns)
{
    struct consumers *cs = c->all;
    bool long_one = c->wait == WAIT_STEP || c->wait == WAIT_PAUSED;
    if (!long_one)
        c->say_wait_ns = 0;
    if (!long_one || c->door->kind != DOOR_ROUTER || c->say_wait_ns != 0)
        return;
    c->say_wait_ns = now_ns + FIRST_WAIT_NS;
    if (c->say_wait_ns < cs->say_wait_ns)
        cs->say_wait_ns = c->say_wait_ns;
}

/* A step that can be looked up is on its way; one that cannot may take hours, and so may a pause: its
 * consumer should know that nobody has forgotten it. */
static void say_wait(struct consumer *c)
{
    if (!c->paused && stream_step_known(c->stream, c->next_step))
        return;
    double seconds = c->paused ? -1 : stream_seconds_to(c->stream, c->next_step);
    const struct msg_wait m = {.step = c->next_step,
                               .known = stream_known_steps(c->stream),
                               .seconds = seconds < 0 ? MSG_UNKNOWN : (uint64_t)seconds + 1};
    (void)answer_wait(c->door, consumer_peer(c), &m); /* one whose socket is full is told the next time */
}

static void say_waits(struct consumers *cs, uint64_t now_ns)
{
    struct consumer *c;
    uint64_t due_ns = UINT64_MAX;
    if (now_ns < cs->say_wait_ns)
        return;
    TAILQ_FOREACH(c, &cs->list, in_list)
    {
        if (c->stream == NULL || c->say_wait_ns == 0)
            continue;
        if (c->say_wait_ns <= now_ns) {
            say_wait(c);
            c->say_wait_ns = now_ns + NEXT_WAIT_NS;
        }
        due_ns = c->say_wait_ns < due_ns ? c->say_wait_ns : due_ns;
    }
    cs->say_wait_ns = due_ns > now_ns + SAY_WAIT_NS ? due_ns : now_ns + SAY_WAIT_NS;
}

static void run_one(struct consumer *c, uint64_t now_ns)
{
    int rc = DELIVER_SENT;
    for (int i = 0; i < TURN && rc == DELIVER_SENT; i++) {
        rc = deliver_next(c);
        if (rc == DELIVER_SENT) {
            c->wait = WAIT_NOTHING;
            c->pause_ns = c->retry_ns = c->say_wait_ns = 0;
        }
    }
    note_wait(c, now_ns);
    if (rc == DELIVER_SENT) {
        schedule(c);
    } else if (rc == -EHOSTUNREACH) {
        consumer_remove(c);
    } else if (rc != DELIVER_WAITING) {
        c->wait = WAIT_SOCKET;
        pause_for_room(c, now_ns);
    }
}

void consumers_run(struct consumers *cs, uint64_t now_ns)
{
    say_waits(cs, now_ns);
    schedule_full(cs, now_ns);
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
static void drop_waiting(struct consumer *c)
{
    struct msg_error e;
    answer_say(&e, MSG_DENIED,
               "step %" PRIu64
               " of stream '%s' is still being made, and nothing was heard from here for 10 minutes; "
               "open again to go on waiting, and send `credit` 0 now and then",
               c->next_step, c->stream_name);
    (void)answer_error(c->door, consumer_peer(c), &e, c->all->tally);
    consumer_remove(c);
}

void consumers_drop_silent(struct consumers *cs, uint64_t now_ns)
{
    struct consumer *c, *next;
    if (now_ns < cs->sweep_ns)
        return;
    cs->sweep_ns = now_ns + SWEEP_NS;
    for (c = TAILQ_FIRST(&cs->list); c != NULL; c = next) {
        next = TAILQ_NEXT(c, in_list);
        if (c->door->kind != DOOR_ROUTER)
            continue;
        if (c->wait == WAIT_END && now_ns >= c->heard_ns + CONSUMER_ENDED_NS)
            consumer_remove(c); /* has been told all there is */
        else if (c->wait == WAIT_STEP && now_ns >= c->heard_ns + CONSUMER_SILENT_NS)
            drop_waiting(c);
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
    deliver_forget(c, 0);
    flight_fini(&c->flight);
    LIST_REMOVE(c, in_bucket);
    TAILQ_REMOVE(&cs->list, c, in_list);
    cs->n--;
    cs->frame_bytes -= c->frame_bytes;
    free(c);
}

/* The one longest silent among those that wait for nothing from us. */
static bool give_one_up(struct consumers *cs, const struct consumer *but)
{
    struct consumer *c, *oldest = NULL;
    TAILQ_FOREACH(c, &cs->list, in_list)
    if (c != but && (c->wait == WAIT_END || c->wait == WAIT_CREDIT) &&
        (oldest == NULL || c->heard_ns < oldest->heard_ns))
        oldest = c;
    if (oldest != NULL)
        consumer_remove(oldest);
    return oldest != NULL;
}

/* However slow they all are, one batch of each fits the memory. */
static bool make_place(struct consumers *cs, uint64_t bytes)
{
    while (cs->n >= CONSUMERS_MAX || (cs->n > 0 && cs->frame_bytes + bytes > cs->memory))
        if (!give_one_up(cs, NULL))
            return false;
    return true;
}

bool consumer_resize(struct consumer *c, uint64_t frame_bytes)
{
    struct consumers *cs = c->all;
    while (frame_bytes > c->frame_bytes && cs->n > 1 &&
           cs->frame_bytes - c->frame_bytes + frame_bytes > cs->memory)
        if (!give_one_up(cs, c))
            return false;
    cs->frame_bytes += frame_bytes - c->frame_bytes;
    c->frame_bytes = frame_bytes;
    return true;
}

struct consumer *consumer_open(struct consumers *cs, struct door *d, struct slice peer, struct stream *st,
                               const struct msg_open *open)
{
    CHECK(peer.size <= PEER_MAX);
    struct consumer *c = consumer_find(cs, d, peer);
    if (c != NULL)
        consumer_remove(c);
    struct generation_info g;
    stream_generation_at(st, open->step, &g);
    uint64_t bytes = deliver_frame_bytes(g.recipe->conf, open->world);
    if (!make_place(cs, bytes))
        return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->all = cs;
    c->door = d;
    c->stream = st;
    (void)snprintf(c->stream_name, sizeof c->stream_name, "%s", stream_name(st));
    c->fixed_shape = open->fixed_shape;
    c->paused = cs->paused(cs->arg, st);
    memcpy(c->peer, peer.data, peer.size);
    c->peer_size = (uint32_t)peer.size;
    (void)snprintf(c->job, sizeof c->job, "%s", d->kind == DOOR_XPUB ? c->peer : open->job);
    c->world = open->world;
    c->frame_bytes = bytes;
    c->rank = open->rank;
    c->first_step = c->next_step = open->step;
    c->ends_at = STREAM_UNKNOWN;
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
    return c->door->kind == DOOR_XPUB || ((c->credit == 0 || c->wait == WAIT_END || c->wait == WAIT_PAUSED) &&
                                          c->flight.n == 0 && !c->owes_opened);
}

void consumer_get_info(const struct consumer *c, uint64_t now_ns, struct consumer_info *ret)
{
    *ret = (struct consumer_info){
        .door = c->door->kind,
        .wait = c->wait,
        .stream = c->stream_name,
        .job = c->job,
        .world = c->world,
        .rank = c->rank,
        .generation = c->generation,
        .fixed_shape = c->fixed_shape,
        .first_step = c->first_step,
        .next_step = c->next_step,
        .credit = c->door->kind == DOOR_ROUTER ? c->credit : 0,
        .done = c->done,
        .batches = c->batches,
        .bytes = c->bytes,
        .idle_ns = now_ns > c->heard_ns ? now_ns - c->heard_ns : 0,
    };
}
