#include "feed/feed.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/answer.h"
#include "feed/router.h"
#include "feed/xpub.h"
#include "stream/doubt.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_MS 1000            /* for what is on its way when the feed stops */
#define POOL_PART 16              /* this part of the memory may lie ready for the next frames */
#define DRAIN_LOOK_NS 10000000ull /* how often to look what has gone out: nothing tells */
/* Until somebody comes the machine has nothing else to do: so many tokens are made from the first step on. */
#define HEAD_START (2 << 20)

struct call {
    void (*fn)(struct feed *f, void *arg);
    void *arg;
    bool done;
    struct call *next;
};

/* A stream that is served. */
struct served {
    struct stream *stream;
    /* Asked for before anyone comes, NULL once they are made: the one that is likely to be wanted first, and
     * then the last one of a head start. */
    struct step *first, *head;
    bool paused, told_end, told_failure, told_ledger;
    bool end_sent; /* somebody has got `end`, as the stream is complete */
    LIST_ENTRY(served) link;
};

struct feed {
    /* The feed's thread's own. */
    struct feed_setup setup;
    void *context;
    struct router router;
    struct xpub xpub;
    struct taps taps;
    struct pool *pool;
    struct share *share;
    struct supply *supply;
    struct consumers *consumers;
    struct tally *tally;
    LIST_HEAD(, served) served;
    char *state_dir;
    bool stopping, draining;
    char listen[256], subscribe[256]; /* as bound; constant once started */
    /* Between threads, under lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct call *calls, **calls_end;
    bool started, drained;
    int start_rc;
    struct err *start_err;
    pthread_t thread;
};

/* ---- calls from other threads ---- */

void feed_call(struct feed *f, void (*fn)(struct feed *f, void *arg), void *arg)
{
    CHECK(!pthread_equal(pthread_self(), f->thread));
    struct call call = {.fn = fn, .arg = arg};
    (void)pthread_mutex_lock(&f->lock);
    *f->calls_end = &call;
    f->calls_end = &call.next;
    workers_signal(f->setup.workers);
    while (!call.done)
        (void)pthread_cond_wait(&f->changed, &f->lock);
    (void)pthread_mutex_unlock(&f->lock);
}

static void run_calls(struct feed *f)
{
    (void)pthread_mutex_lock(&f->lock);
    for (struct call *c; (c = f->calls) != NULL;) {
        f->calls = c->next;
        if (f->calls == NULL)
            f->calls_end = &f->calls;
        (void)pthread_mutex_unlock(&f->lock);
        c->fn(f, c->arg);
        (void)pthread_mutex_lock(&f->lock);
        c->done = true;
        (void)pthread_cond_broadcast(&f->changed);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

/* ---- the thread's life ---- */

static void step_changed(void *arg, struct step *step)
{
    struct feed *f = arg;
    share_step_changed(f->share, step);
}

static struct served *served_of(const struct feed *f, const struct stream *st)
{
    struct served *served;
    LIST_FOREACH(served, &f->served, link)
    if (served->stream == st)
        return served;
    return NULL;
}

static void drop_step(struct feed *f, struct step **step)
{
    struct step *dropped = *step;
    *step = NULL;
    supply_step_unref(f->supply, dropped);
}

static void drop_first(struct feed *f, struct served *served)
{
    drop_step(f, &served->first);
    drop_step(f, &served->head);
}

/* Where training was is where it will go on; only as far as the ledger reaches, as the rest may take hours.
 */
static void ask_for_first(struct feed *f, struct served *served)
{
    uint64_t sent = stream_sent(served->stream), known = stream_known_steps(served->stream);
    served->first = supply_step(f->supply, served->stream, sent < known ? sent : known);
}

static void look_at_first(struct feed *f, struct served *served)
{
    const struct step *first = served->first;
    if (first == NULL && served->head == NULL)
        return;
    const bool busy = consumers_busy(f->consumers, served->stream);
    if (busy || (served->head != NULL && served->head->state != STEP_PENDING))
        drop_step(f, &served->head);
    if (first == NULL || first->state == STEP_PENDING)
        return;
    if (first->state == STEP_READY && !busy) { /* of one that failed there may be no recipe */
        const struct conf_stream *conf = first->recipe->conf;
        const uint64_t steps = HEAD_START / ((uint64_t)conf->seq_len * (uint64_t)conf->global_batch);
        if (steps > 0)
            served->head = supply_step(f->supply, served->stream, first->number + steps);
    }
    drop_step(f, &served->first);
}

/* Once a model, however many streams have it: what is known is on the disk. */
static void tell_of_model(const struct feed *f, const struct tokenizer *t)
{
    char path[PATH_MAX];
    struct err e;
    if (doubt_model_known(f->state_dir, tokenizer_sha256(t)))
        return;
    doubt_model_path(f->state_dir, tokenizer_sha256(t), path);
    log_error(
        "tokenizer %s: the fast path gave other ids than libsentencepiece for a text. From here on "
        "libsentencepiece tokenises for this model, after a restart, too (%s says so), and nothing more "
        "goes out that the fast path made. Training goes on, more slowly. Please report the model, SHA-256 "
        "%s, and skipalignd " SKIPALIGN_VERSION,
        tokenizer_path(t), path, tokenizer_sha256(t));
    if (doubt_model_write(f->state_dir, t, &e) != 0)
        log_error("tokenizer %s: %s, so a restart would trust the fast path again: set tokenizer.path to "
                  "library before one",
                  tokenizer_path(t), e.text);
}

/* Our own tokenising proves itself all the time. Where it has failed, nothing that it made goes out after
 * this.
 */
static void look_at_tokenizers(struct feed *f, struct stream *st)
{
    struct supply_doubt d;
    while (supply_doubt(f->supply, st, &d)) {
        tell_of_model(f, d.tokenizer);
        if (d.end_step > d.first_step)
            log_error(
                "stream '%s': steps %" PRIu64 " to %" PRIu64
                " had been handed out with ids of the fast path, of which some may be wrong. A job that "
                "goes back to a checkpoint before them gets the right ones: a step that is sent again has "
                "the same samples in the same rows, with libsentencepiece's ids",
                stream_name(st), d.first_step, d.end_step - 1);
        else
            log_warn("stream '%s': nothing had been handed out with ids of the fast path", stream_name(st));
        if (d.error.text[0] != '\0')
            log_error("stream '%s': %s, so after a restart some of its windows may be refused",
                      stream_name(st), d.error.text);
        consumers_change(f->consumers, st, 0);
        taps_forget(&f->taps, st);
    }
}

/* The end of a stream, or its failure, is news to consumers that have nothing wanted at the moment, too. With
 * the ledger nothing is lost but time. */
static void look_for_ends(struct feed *f)
{
    struct served *served;
    LIST_FOREACH(served, &f->served, link)
    {
        struct stream *st = served->stream;
        const char *failure = stream_failure(st);
        look_at_first(f, served);
        if (!served->told_end && stream_steps(st) != STREAM_UNKNOWN) {
            served->told_end = true;
            consumers_wake(f->consumers, st);
        }
        if (!served->told_ledger && stream_ledger_failure(st) != NULL) {
            served->told_ledger = true;
            log_warn("stream '%s': %s; it is served all the same, and the next start will take longer; make "
                     "room in "
                     "state_dir",
                     stream_name(st), stream_ledger_failure(st));
        }
        look_at_tokenizers(f, st);
        if (!served->told_failure && failure != NULL) {
            served->told_failure = true;
            consumers_wake(f->consumers, st);
            log_error("stream '%s' has failed and is not served any more: %s", stream_name(st), failure);
        }
    }
}

static void end_sent(void *arg, struct stream *st)
{
    served_of(arg, st)->end_sent = true;
}

static void batch_sent(void *arg, struct stream *st, uint64_t step)
{
    struct feed *f = arg;
    taps_sent(&f->taps, st, step);
}

static bool is_paused(void *arg, const struct stream *st)
{
    return feed_paused(arg, st);
}

static int set_up(struct feed *f, struct err *reterr)
{
    const struct feed_setup *s = &f->setup;
    f->context = zmq_ctx_new();
    f->pool = pool_new(s->memory / POOL_PART);
    f->share = f->pool != NULL ? share_new(s->workers, f->pool) : NULL;
    f->tally = calloc(1, sizeof *f->tally);
    f->state_dir = strdup(s->state_dir);
    if (f->share != NULL && f->tally != NULL)
        f->consumers = consumers_new(f->share, f->tally, s->memory / 2);
    if (f->context == NULL || f->state_dir == NULL || f->consumers == NULL)
        return err_sys(reterr, -ENOMEM, "feed");
    f->tally->stats.start_ns = clock_ns();
    f->consumers->sent = batch_sent;
    f->consumers->ended = end_sent;
    f->consumers->paused = is_paused;
    f->consumers->arg = f;
    int rc = supply_new(s->workers, s->reader, s->memory / 2, step_changed, f, &f->supply);
    if (rc != 0)
        return err_sys(reterr, rc, "feed");
    share_set_supply(f->share, f->supply);
    f->taps =
        (struct taps){.door = &f->xpub.door, .consumers = f->consumers, .share = f->share, .tally = f->tally};
    f->router = (struct router){.consumers = f->consumers, .supply = f->supply, .tally = f->tally};
    f->xpub =
        (struct xpub){.consumers = f->consumers, .taps = &f->taps, .supply = f->supply, .tally = f->tally};
    for (uint32_t i = 0; rc == 0 && i < s->n_streams; i++)
        rc = feed_add(f, &s->streams[i], reterr);
    if (rc == 0)
        rc = door_open(&f->router.door, DOOR_ROUTER, f->context, s->listen, reterr);
    if (rc == 0)
        rc = door_open(&f->xpub.door, DOOR_XPUB, f->context, s->subscribe, reterr);
    (void)strcpy(f->listen, f->router.door.endpoint);
    (void)strcpy(f->subscribe, f->xpub.door.endpoint);
    return rc;
}

static void served_free(struct feed *f, struct served *served)
{
    drop_first(f, served);
    LIST_REMOVE(served, link);
    free(served);
}

/* Frames that are being written hold steps: nothing is freed before the last one is done. */
static void wait_for_workers(struct feed *f)
{
    struct pollfd fd = {.fd = workers_fd(f->setup.workers), .events = POLLIN};
    while (share_n_making(f->share) > 0)
        if (workers_collect(f->setup.workers) == 0)
            (void)poll(&fd, 1, -1);
}

/* What set_up began, complete or not. */
static void tear_down(struct feed *f)
{
    consumers_free(f->consumers);
    taps_fini(&f->taps);
    while (!LIST_EMPTY(&f->served))
        served_free(f, LIST_FIRST(&f->served));
    if (f->share != NULL)
        wait_for_workers(f);
    supply_stop(f->supply);
    share_free(f->share);
    door_close(&f->router.door, LINGER_MS);
    door_close(&f->xpub.door, LINGER_MS);
    if (f->context != NULL)
        (void)zmq_ctx_term(f->context); /* lets go of what is still on its way */
    pool_free(f->pool);
    free(f->state_dir);
    free(f->tally);
}

static void say_good_bye(struct feed *f)
{
    struct consumer *c;
    struct msg_error e;
    answer_say(&e, MSG_SHUTTING_DOWN, "this feeder is stopping; open again elsewhere, or once it is back");
    TAILQ_FOREACH(c, &f->consumers->list, in_list)
    if (c->wait != WAIT_END)
        (void)answer_error(c->door, consumer_peer(c), &e, f->tally);
}

/* What there is to do at once, or else after waiting for it. */
struct news {
    bool router, xpub, workers;
};

static struct news wait_for_news(struct feed *f)
{
    struct pollfd fds[] = {
        {.fd = door_fd(&f->router.door), .events = POLLIN},
        {.fd = door_fd(&f->xpub.door), .events = POLLIN},
        {.fd = workers_fd(f->setup.workers), .events = POLLIN},
    };
    struct news n = {.router = door_pending(&f->router.door), .xpub = door_pending(&f->xpub.door)};
    uint64_t due_ns = consumers_due_ns(f->consumers), now_ns = clock_ns();
    if (f->draining && due_ns > now_ns + DRAIN_LOOK_NS)
        due_ns = now_ns + DRAIN_LOOK_NS;
    if (n.router || n.xpub || due_ns < now_ns)
        due_ns = now_ns;
    uint64_t left_ns = due_ns - now_ns;
    struct timespec t = {(time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S)};
    if (ppoll(fds, sizeof fds / sizeof fds[0], due_ns == UINT64_MAX ? NULL : &t, NULL) > 0) {
        n.router |= fds[0].revents != 0;
        n.xpub |= fds[1].revents != 0;
        n.workers = fds[2].revents != 0;
    }
    return n;
}

static void look_if_drained(struct feed *f)
{
    struct consumer *c;
    TAILQ_FOREACH(c, &f->consumers->list, in_list)
    if (!consumer_satisfied(c))
        return;
    (void)pthread_mutex_lock(&f->lock);
    f->drained = true;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static void serve(struct feed *f)
{
    while (!f->stopping) {
        struct news n = wait_for_news(f);
        if (n.router)
            router_receive(&f->router);
        if (n.xpub)
            xpub_receive(&f->xpub);
        if (n.workers) { /* feed_call signals there, too */
            (void)workers_collect(f->setup.workers);
            run_calls(f);
        }
        consumers_run(f->consumers, clock_ns());
        consumers_drop_silent(f->consumers, clock_ns());
        taps_run(&f->taps);
        share_run(f->share);
        look_for_ends(f);
        if (f->draining)
            look_if_drained(f);
    }
}

static void *run_thread(void *arg)
{
    struct feed *f = arg;
    int rc = set_up(f, f->start_err);
    (void)pthread_mutex_lock(&f->lock);
    f->started = true;
    f->start_rc = rc;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
    if (rc == 0) {
        serve(f);
        say_good_bye(f);
    }
    tear_down(f);
    return NULL;
}

static void free_feed(struct feed *f)
{
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

int feed_start(const struct feed_setup *setup, struct feed **ret, struct err *reterr)
{
    struct feed *f = calloc(1, sizeof *f);
    if (f == NULL)
        return err_sys(reterr, -ENOMEM, "feed");
    f->setup = *setup;
    f->calls_end = &f->calls;
    f->start_err = reterr;
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&f->lock, NULL);

    sigset_t all, old; /* signals are the main thread's */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = -pthread_create(&f->thread, NULL, run_thread, f);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        free_feed(f);
        return err_sys(reterr, rc, "feed: starting its thread");
    }
    (void)pthread_setname_np(f->thread, "feed");
    (void)pthread_mutex_lock(&f->lock);
    while (!f->started)
        (void)pthread_cond_wait(&f->changed, &f->lock);
    rc = f->start_rc;
    (void)pthread_mutex_unlock(&f->lock);
    if (rc != 0) {
        (void)pthread_join(f->thread, NULL);
        free_feed(f);
        return rc;
    }
    *ret = f;
    return 0;
}

static void drain_call(struct feed *f, void *arg)
{
    (void)arg;
    f->draining = f->router.draining = f->xpub.draining = true;
}

void feed_drain(struct feed *f, uint32_t timeout_ms)
{
    uint64_t end_ns = clock_ns() + timeout_ms * NS_PER_MS;
    struct timespec end = {(time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S)};
    feed_call(f, drain_call, NULL);
    (void)pthread_mutex_lock(&f->lock);
    for (int rc = 0; !f->drained && rc == 0;)
        rc = pthread_cond_timedwait(&f->changed, &f->lock, &end);
    (void)pthread_mutex_unlock(&f->lock);
}

static void stop_call(struct feed *f, void *arg)
{
    (void)arg;
    f->stopping = true;
}

void feed_stop(struct feed *f)
{
    if (f == NULL)
        return;
    feed_call(f, stop_call, NULL);
    (void)pthread_join(f->thread, NULL);
    free_feed(f);
}

const char *feed_endpoint(const struct feed *f, enum consumer_door door)
{
    return door == DOOR_ROUTER ? f->listen : f->subscribe;
}

/* ---- readiness ---- */

struct ready_call {
    int ret;
    struct err *err;
};

static void ready_call(struct feed *f, void *arg)
{
    struct ready_call *call = arg;
    call->ret = 1;
    const struct served *served;
    LIST_FOREACH(served, &f->served, link)
    {
        if (stream_failure(served->stream) != NULL) {
            call->ret = err_set(call->err, ERR_UNUSABLE, "stream '%s': %s", stream_name(served->stream),
                                stream_failure(served->stream));
            return;
        }
        if (served->first != NULL && served->first->state == STEP_PENDING)
            call->ret = 0;
    }
}

int feed_ready(struct feed *f, struct err *reterr)
{
    struct ready_call call = {.err = reterr};
    feed_call(f, ready_call, &call);
    return call.ret;
}

/* ---- what changes ---- */

int feed_add(struct feed *f, const struct stream_setup *setup, struct err *reterr)
{
    struct served *served = calloc(1, sizeof *served);
    int rc = served == NULL ? err_sys(reterr, -ENOMEM, "stream '%s'", setup->name) : 0;
    if (rc == 0)
        rc = supply_add(f->supply, setup->name, f->state_dir, setup->generations, setup->n, &served->stream,
                        reterr);
    if (rc != 0) {
        free(served);
        return rc;
    }
    LIST_INSERT_HEAD(&f->served, served, link);
    ask_for_first(f, served);
    return 0;
}

void feed_remove(struct feed *f, struct stream *st)
{
    consumers_drop_stream(f->consumers, st);
    taps_drop_stream(&f->taps, st);
    served_free(f, served_of(f, st));
    supply_remove(f->supply, st);
}

void feed_pause(struct feed *f, struct stream *st, bool paused)
{
    struct served *served = served_of(f, st);
    if (served->paused == paused)
        return;
    served->paused = paused;
    drop_first(f, served);
    if (!paused)
        ask_for_first(f, served);
    consumers_pause(f->consumers, st, paused);
}

bool feed_paused(const struct feed *f, const struct stream *st)
{
    return served_of(f, st)->paused;
}

int feed_hold(struct feed *f, struct stream *st, uint64_t at, uint64_t *ret_step, struct err *reterr)
{
    return stream_hold(f->supply, st, at, share_made(f->share, st), consumers_busy(f->consumers, st),
                       ret_step, reterr);
}

void feed_change(struct feed *f, struct stream *st, const struct generation_setup *g)
{
    struct served *served = served_of(f, st);
    const uint64_t end = stream_steps(st), dropped = stream_dropped(st);
    drop_first(f, served);
    supply_change(f->supply, st, g);
    if (served->end_sent && g->first_step == end)
        consumers_end_at(f->consumers, st, end, dropped);
    served->end_sent = false;
    served->told_end = served->told_failure = served->told_ledger = false;
    consumers_change(f->consumers, st, g->first_step);
    if (!served->paused)
        served->first = supply_step(f->supply, st, g->first_step);
}

void feed_release(struct feed *f, struct stream *st)
{
    stream_release(f->supply, st);
}

void feed_foresee(struct feed *f, struct stream *st, const struct conf_stream *conf,
                  struct feed_foresight *ret)
{
    consumers_foresee(f->consumers, st, conf, ret);
}

/* ---- what is going on ---- */

struct supply *feed_supply(struct feed *f)
{
    return f->supply;
}

uint32_t feed_consumers(struct feed *f, struct consumer_info *ret, uint32_t cap)
{
    struct consumer *c;
    uint64_t now_ns = clock_ns();
    uint32_t n = 0;
    TAILQ_FOREACH(c, &f->consumers->list, in_list)
    if (n < cap)
        consumer_get_info(c, now_ns, &ret[n++]);
    return f->consumers->n;
}

void feed_get_stats(struct feed *f, struct feed_stats *ret)
{
    *ret = f->tally->stats;
}

uint32_t feed_events(struct feed *f, uint64_t after, struct feed_event *ret, uint32_t cap)
{
    return tally_events(f->tally, after, ret, cap);
}
