#include "feed/deliver.h"

#include "feed/admit.h"
#include "feed/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

uint64_t deliver_frame_bytes(const struct conf_stream *conf, uint32_t world)
{
    return 3 * sizeof(int32_t) * (uint64_t)conf->global_batch / world * (uint64_t)conf->seq_len;
}

/* ---- what a consumer wants next ---- */

static struct want *want_at(struct consumer *c, uint32_t i)
{
    return &c->ahead[(c->ahead_first + i) % CONSUMER_AHEAD];
}

static void leave_first(struct consumer *c)
{
    share_leave(want_at(c, 0));
    c->ahead_first = (c->ahead_first + 1) % CONSUMER_AHEAD;
    c->n_ahead--;
}

void deliver_forget(struct consumer *c, uint64_t from_step)
{
    while (c->n_ahead > 0 && c->next_step + c->n_ahead > from_step)
        share_leave(want_at(c, --c->n_ahead));
}

static bool same_shape(const struct consumer *c, const struct conf_stream *conf)
{
    return (uint64_t)conf->global_batch / c->world == c->rows && (uint64_t)conf->seq_len == c->length;
}

/* Can it read a step of that generation? */
static bool may_read(const struct consumer *c, const struct generation_info *g)
{
    if (g->number == c->generation)
        return true;
    return admit_world(g->recipe->conf, c->world) && !(c->fixed_shape && !same_shape(c, g->recipe->conf));
}

/* Want as many steps as credit, memory, changes and the stream's end allow. */
static int reach_ahead(struct consumer *c)
{
    struct consumers *cs = c->all;
    uint64_t bytes = c->frame_bytes, part = consumers_part(cs);
    flight_land(&c->flight);
    while (c->n_ahead < CONSUMER_AHEAD && c->n_ahead < c->credit && c->next_step + c->n_ahead < c->ends_at &&
           c->next_step + c->n_ahead < stream_steps(c->stream)) {
        struct generation_info g;
        stream_generation_at(c->stream, c->next_step + c->n_ahead, &g);
        if (g.failure != NULL || !may_read(c, &g))
            return 0;
        uint64_t frame = deliver_frame_bytes(g.recipe->conf, c->world);
        bytes = frame > bytes ? frame : bytes;
        if (!flight_has_room(&c->flight, c->n_ahead + 1, bytes, part))
            return 0;
        int rc = share_want(cs->share, c->stream, c->next_step + c->n_ahead, c->world, c->rank,
                            want_at(c, c->n_ahead));
        if (rc != 0)
            return c->n_ahead > 0 ? 0 : rc;
        c->n_ahead++;
    }
    return 0;
}

/* ---- the last words ---- */

static int wait_for(struct consumer *c, enum consumer_wait wait)
{
    c->wait = wait;
    return DELIVER_WAITING;
}

static int finish(struct consumer *c)
{
    deliver_forget(c, 0);
    return wait_for(c, WAIT_END);
}

static int finish_with_error(struct consumer *c, const struct msg_error *e)
{
    int rc = answer_error(c->door, consumer_peer(c), e, c->all->tally);
    return rc == 0 ? finish(c) : rc;
}

static int finish_with_end(struct consumer *c, uint64_t step, enum msg_reason reason, uint64_t dropped)
{
    int rc = answer_end(c->door, consumer_peer(c), step, reason, dropped);
    return rc == 0 ? finish(c) : rc;
}

static int send_end(struct consumer *c)
{
    struct consumers *cs = c->all;
    uint64_t steps = stream_steps(c->stream);
    if (c->next_step <= steps) {
        int rc = finish_with_end(c, steps, MSG_COMPLETE, stream_dropped(c->stream));
        if (rc == DELIVER_WAITING && cs->ended != NULL)
            cs->ended(cs->arg, c->stream);
        return rc;
    }
    struct msg_error e; /* opened while the end was not known */
    answer_say(&e, MSG_STEP_PAST_END, "stream '%s' ends before step %" PRIu64 ": it has %" PRIu64 " steps",
               c->stream_name, c->next_step, steps);
    e.steps = steps;
    return finish_with_error(c, &e);
}

static int send_removed(struct consumer *c)
{
    if (!c->owes_opened)
        return finish_with_end(c, c->next_step, MSG_REMOVED, 0);
    struct msg_error e;
    answer_say(&e, MSG_UNKNOWN_STREAM, "stream '%s' has just been taken out of the configuration",
               c->stream_name);
    c->owes_opened = false;
    return finish_with_error(c, &e);
}

static int send_failure(struct consumer *c, const struct generation_info *g, const char *why)
{
    int rc = 0;
    if (!c->told_failure) {
        struct msg_error e;
        admit_say_failure(c->stream_name, g, c->next_step, why, &e);
        rc = answer_error(c->door, consumer_peer(c), &e, c->all->tally);
        c->told_failure = rc == 0;
    }
    return rc == 0 ? finish_with_end(c, c->next_step, MSG_FAILED, 0) : rc;
}

/* A change has come that it cannot follow. */
static int send_parting(struct consumer *c, const struct generation_info *g)
{
    struct refusal refusal;
    if (admit_world(g->recipe->conf, c->world))
        return finish_with_end(c, c->next_step, MSG_CHANGED, 0);
    admit_say_world(g->recipe->conf, g->first_step, c->world, &refusal);
    return finish_with_error(c, &refusal.error);
}

/* ---- what comes before them ---- */

/* From here on its peer knows this generation. */
static bool enter(struct consumer *c, const struct generation_info *g)
{
    const struct conf_stream *conf = g->recipe->conf;
    if (!consumer_resize(c, deliver_frame_bytes(conf, c->world)))
        return false;
    c->generation = g->number;
    c->rows = (uint32_t)conf->global_batch / c->world;
    c->length = (uint32_t)conf->seq_len;
    return true;
}

/* `opened` or `changed`; a plain subscriber gets neither. */
static int send_news(struct consumer *c, enum msg_type type, const struct generation_info *g)
{
    struct refusal refusal;
    if (g->failure != NULL)
        return send_failure(c, g, g->failure);
    if (!admit_world(g->recipe->conf, c->world))
        return send_parting(c, g);
    if (!enter(c, g)) {
        consumers_say_full(c->all, &refusal.error);
        return finish_with_error(c, &refusal.error);
    }
    if (c->door->kind == DOOR_XPUB)
        return DELIVER_SENT;
    int rc = answer_opened(c->door, consumer_peer(c), type, c->stream, g, c->world, c->next_step);
    if (rc != 0)
        c->generation = 0;
    return rc;
}

static int send_opened(struct consumer *c)
{
    struct generation_info g;
    stream_generation_at(c->stream, c->next_step, &g);
    int rc = send_news(c, MSG_TYPE_OPENED, &g);
    c->owes_opened = rc < 0;
    return rc;
}

static int send_batch(struct consumer *c)
{
    struct consumers *cs = c->all;
    struct want *w = want_at(c, 0);
    struct frame *f = want_frame(w);
    if (want_doubted(w))
        return wait_for(c, WAIT_STEP); /* until the feed has looked (feed.c), in this round */
    if (f->generation != c->generation) {
        struct generation_info g;
        stream_generation_at(c->stream, f->step, &g);
        return send_news(c, MSG_TYPE_CHANGED, &g);
    }
    stream_mark_sent(c->stream, f->step);
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
    (void)snprintf(e.stream, sizeof e.stream, "%s", c->stream_name);
    tally_sent(cs->tally, &e);
    cs->sent(cs->arg, c->stream, f->step);
    c->batches++;
    c->bytes += f->size;
    c->heard_ns = clock_ns();
    c->next_step++;
    c->credit -= c->door->kind == DOOR_ROUTER;
    leave_first(c);
    return DELIVER_SENT;
}

/* With nothing wanted: why? */
static int send_or_wait(struct consumer *c)
{
    struct generation_info g;
    if (c->next_step >= c->ends_at)
        return finish_with_end(c, c->ends_at, MSG_COMPLETE, c->ends_dropped);
    stream_generation_at(c->stream, c->next_step, &g);
    if (g.failure != NULL)
        return send_failure(c, &g, g.failure);
    if (c->next_step >= stream_steps(c->stream))
        return send_end(c);
    if (c->paused)
        return wait_for(c, WAIT_PAUSED);
    if (c->credit == 0)
        return wait_for(c, WAIT_CREDIT);
    if (!may_read(c, &g))
        return send_parting(c, &g);
    return -EAGAIN; /* its part of the memory is on its way */
}

static int send_first_wanted(struct consumer *c)
{
    struct generation_info g;
    struct want *w = want_at(c, 0);
    switch (want_state(w)) {
    case BATCH_MAKING:
        return wait_for(c, WAIT_STEP);
    case BATCH_READY:
        return send_batch(c);
    case BATCH_END:
        return send_end(c);
    case BATCH_FAILED:
        stream_generation_at(c->stream, c->next_step, &g);
        return send_failure(c, &g, want_failure(w));
    case BATCH_REFUSED:
        break;
    }
    deliver_forget(c, 0);
    return -ENOMEM;
}

int deliver_next(struct consumer *c)
{
    if (c->wait == WAIT_END)
        return DELIVER_WAITING;
    if (c->stream == NULL)
        return send_removed(c);
    if (c->owes_opened)
        return send_opened(c);
    int rc = c->paused ? 0 : reach_ahead(c);
    if (rc != 0)
        return rc;
    return c->n_ahead == 0 ? send_or_wait(c) : send_first_wanted(c);
}
