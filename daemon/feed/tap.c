#include "feed/tap.h"

#include "feed/answer.h"
#include "feed/deliver.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD 4 /* steps being made for a tap */

struct tap {
    struct taps *all;
    struct stream *stream;
    char topic[MSG_NAME_MAX + 8];
    uint64_t next_step; /* no older one is shown */
    struct want wants[AHEAD];
    uint32_t first, n;
    struct flight flight;
    LIST_ENTRY(tap) link;
};

static void settled(struct want *w)
{
    struct tap *t = w->owner;
    t->all->settled = true;
}

static struct tap *find(const struct taps *all, const struct stream *st)
{
    struct tap *t;
    LIST_FOREACH(t, &all->list, link)
    if (t->stream == st)
        return t;
    return NULL;
}

int taps_add(struct taps *all, struct stream *st)
{
    if (find(all, st) != NULL)
        return 0;
    struct tap *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->all = all;
    t->stream = st;
    (void)snprintf(t->topic, sizeof t->topic, "%s/tap/", stream_name(st));
    for (size_t i = 0; i < AHEAD; i++)
        t->wants[i] = (struct want){.settled = settled, .owner = t};
    LIST_INSERT_HEAD(&all->list, t, link);
    return 0;
}

static void leave_first(struct tap *t)
{
    share_leave(&t->wants[t->first]);
    t->first = (t->first + 1) % AHEAD;
    t->n--;
}

static void tap_free(struct tap *t)
{
    while (t->n > 0)
        leave_first(t);
    flight_fini(&t->flight);
    LIST_REMOVE(t, link);
    free(t);
}

void taps_sent(struct taps *all, struct stream *st, uint64_t step)
{
    struct tap *t = find(all, st);
    if (t == NULL || step < t->next_step)
        return;
    struct generation_info g;
    stream_generation_at(st, step, &g);
    uint64_t bytes = deliver_frame_bytes(g.recipe->conf, 1);
    t->next_step = step + 1;
    flight_land(&t->flight);
    if (t->n < AHEAD && flight_has_room(&t->flight, t->n + 1, bytes, consumers_part(all->consumers)) &&
        share_want(all->share, st, step, 1, 0, &t->wants[(t->first + t->n) % AHEAD]) == 0) {
        t->n++;
        all->settled = true;
    } else {
        all->tally->stats.tap_dropped++;
    }
}

void taps_forget(struct taps *all, const struct stream *st)
{
    struct tap *t = find(all, st);
    for (; t != NULL && t->n > 0; all->tally->stats.tap_dropped++)
        leave_first(t);
}

void taps_drop_stream(struct taps *all, const struct stream *st)
{
    struct tap *t = find(all, st);
    if (t == NULL)
        return;
    (void)answer_end(all->door, slice_of(t->topic), t->next_step, MSG_REMOVED, 0);
    tap_free(t);
}

/* False: nobody watches any more. */
static bool show(struct tap *t)
{
    int rc = 0;
    while (t->n > 0 && want_state(&t->wants[t->first]) != BATCH_MAKING) {
        struct want *w = &t->wants[t->first];
        const bool good = want_state(w) == BATCH_READY && !want_doubted(w);
        if (good)
            rc = door_send_frame(t->all->door, slice_of(t->topic), want_frame(w), &t->flight);
        if (rc == -EHOSTUNREACH)
            return false;
        t->all->tally->stats.tap_dropped += !good || rc != 0;
        leave_first(t);
    }
    return true;
}

void taps_run(struct taps *all)
{
    if (!all->settled)
        return;
    all->settled = false;
    struct tap *next;
    for (struct tap *t = LIST_FIRST(&all->list); t != NULL; t = next) {
        next = LIST_NEXT(t, link);
        if (!show(t))
            tap_free(t);
    }
}

void taps_fini(struct taps *all)
{
    while (!LIST_EMPTY(&all->list))
        tap_free(LIST_FIRST(&all->list));
}
