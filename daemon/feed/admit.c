#include "feed/admit.h"

#include "base/nearest.h"
#include "feed/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STEP_MAX (1ull << 48) /* what no training run reaches; beyond it sums of steps could overflow */
#define PARTS_MAX 4096        /* documents that one record can be split into (base/rng.h) */
#define SHOWN_MAX 64          /* streams named in a message */

static void say_unknown(struct supply *s, const char *name, struct refusal *ret)
{
    const char *names[SHOWN_MAX];
    char list[MSG_TEXT_MAX / 2] = "";
    size_t n = 0, used = 0;
    for (struct stream *st = supply_next(s, NULL); st != NULL && n < SHOWN_MAX;
         st = supply_next(s, st), n++) {
        names[n] = stream_name(st);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s'%s'", n == 0 ? "" : ", ", names[n]);
        if (used >= sizeof list)
            break;
    }
    const char *meant = nearest(name, names, n);
    answer_say(&ret->error, MSG_UNKNOWN_STREAM, "there is no stream '%s'%s%s%s; the streams here: %s", name,
               meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "", meant != NULL ? "'?" : "",
               list);
}

bool admit_world(const struct conf_stream *c, uint64_t world)
{
    uint64_t rows = (uint64_t)c->global_batch;
    return world != 0 && world <= rows && rows % world == 0 &&
           rows / world * (uint64_t)c->seq_len <= MSG_TOKENS_MAX;
}

static void add_world(const struct conf_stream *c, uint64_t world, struct refusal *ret, uint32_t *n)
{
    if (admit_world(c, world) && *n < sizeof ret->worlds / sizeof ret->worlds[0])
        ret->worlds[(*n)++] = (uint32_t)world;
}

void admit_say_world(const struct conf_stream *c, uint64_t first_step, uint32_t world, struct refusal *ret)
{
    uint64_t rows = (uint64_t)c->global_batch;
    uint32_t n = 0;
    char from[48] = "";
    if (first_step > 0)
        (void)snprintf(from, sizeof from, " from step %" PRIu64 " on", first_step);
    if (world != 0 && rows % world == 0)
        answer_say(&ret->error, MSG_BAD_WORLD,
                   "a batch of stream '%s'%s for world %" PRIu32
                   " would hold more than %d tokens; open it with one of `worlds`",
                   c->name, from, world, MSG_TOKENS_MAX);
    else
        answer_say(&ret->error, MSG_BAD_WORLD,
                   "world %" PRIu32 " does not divide the global batch of stream '%s'%s, %" PRIu64
                   " rows; open it with one of `worlds`, or change global_batch",
                   world, c->name, from, rows);
    uint64_t w = 1; /* small divisors upwards, then their partners downwards from the middle */
    for (; w * w <= rows; w++)
        add_world(c, w, ret, &n);
    for (w--; w > 0; w--)
        if (rows % w == 0 && w * w != rows)
            add_world(c, rows / w, ret, &n);
    ret->error.worlds = ret->worlds;
    ret->error.n_worlds = n;
}

void admit_say_failure(const char *stream, const struct generation_info *g, uint64_t step, const char *why,
                       struct msg_error *ret)
{
    if (g->end_step != STREAM_UNKNOWN)
        answer_say(ret, MSG_STREAM_FAILED,
                   "step %" PRIu64 " of stream '%s' (generation %" PRIu32 ") cannot be made again: %s", step,
                   stream, g->number, why);
    else
        answer_say(ret, MSG_STREAM_FAILED, "stream '%s' cannot go on: %s", stream, why);
}

/* Steps that the stream cannot have more of, whatever its records turn out to be; known before the end was
 * seen. */
static uint64_t steps_bound(const struct stream *st, const struct generation_info *g)
{
    if (stream_steps(st) != STREAM_UNKNOWN)
        return stream_steps(st);
    if (g->end_step != STREAM_UNKNOWN)
        return g->end_step;
    const struct conf_stream *c = g->recipe->conf;
    uint64_t parts = c->overlong == OVERLONG_SPLIT ? PARTS_MAX : 1;
    if (g->slots == 0 || g->slots >= STEP_MAX / parts || g->first_step >= STEP_MAX)
        return STEP_MAX;
    uint64_t bound = g->first_step + g->slots * parts / (uint64_t)c->global_batch + 1;
    return bound < STEP_MAX ? bound : STEP_MAX;
}

struct stream *admit_open(struct supply *s, const struct msg_open *open, struct refusal *ret)
{
    struct stream *st = supply_find(s, open->stream);
    if (st == NULL) {
        say_unknown(s, open->stream, ret);
        return NULL;
    }
    struct generation_info g;
    stream_generation_at(st, open->step, &g);
    if (g.failure != NULL) {
        admit_say_failure(open->stream, &g, open->step, g.failure, &ret->error);
        return NULL;
    }
    if (!admit_world(g.recipe->conf, open->world)) {
        admit_say_world(g.recipe->conf, g.first_step, open->world, ret);
        return NULL;
    }
    if (open->rank >= open->world) {
        answer_say(&ret->error, MSG_BAD_RANK,
                   "rank %" PRIu32 " is not in a world of %" PRIu32 "; ranks are 0 to %" PRIu32, open->rank,
                   open->world, open->world - 1);
        return NULL;
    }
    uint64_t bound = steps_bound(st, &g);
    if (open->step > bound) {
        answer_say(&ret->error, MSG_STEP_PAST_END,
                   "stream '%s' ends before step %" PRIu64 ": it has %s%" PRIu64 " steps", open->stream,
                   open->step, stream_steps(st) == STREAM_UNKNOWN ? "at most " : "", bound);
        ret->error.steps = stream_steps(st);
        return NULL;
    }
    return st;
}
