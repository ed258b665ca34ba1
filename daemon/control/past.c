/* past - what happened to a stream: batches that were sent, records that were not. */
#include "control/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- tail ---- */

struct sent {
    struct feed_event *events;
    uint64_t after;
    uint32_t n;
};

static void get_sent(struct feed *f, void *arg)
{
    struct sent *s = arg;
    s->n = feed_events(f, s->after, s->events, FEED_EVENTS);
}

/* The ring holds all streams' batches; `missed` says how many of any stream left it before they could be
 * asked for. */
void command_tail(struct request *q)
{
    const struct conf_stream *stream = request_stream(q, 0);
    if (stream == NULL)
        return;
    struct ctl_writer *w = &q->reply;
    struct sent sent = {.events = malloc(FEED_EVENTS * sizeof *sent.events), .after = q->arguments[1].number};
    if (sent.events == NULL) {
        w->rc = -ENOMEM;
        return;
    }
    feed_call(q->context->feed, get_sent, &sent);
    const uint64_t first = sent.n > 0 ? sent.events[0].number : 0;
    ctl_put_uint(w, "missed", sent.after > 0 && first > sent.after + 1 ? first - sent.after - 1 : 0);
    ctl_put_uint(w, "after", sent.n > 0 ? sent.events[sent.n - 1].number : sent.after);
    uint32_t n = 0;
    for (uint32_t i = 0; i < sent.n; i++)
        if (strcmp(sent.events[i].stream, stream->name) == 0)
            sent.events[n++] = sent.events[i];
    ctl_put_list(w, "batches");
    for (uint32_t i = n > q->arguments[2].number ? n - (uint32_t)q->arguments[2].number : 0; i < n; i++) {
        const struct feed_event *e = &sent.events[i];
        ctl_put_map(w, NULL);
        ctl_put_uint(w, "time_ns", e->time_ns);
        ctl_put_uint(w, "step", e->step);
        ctl_put_uint(w, "epoch", e->epoch);
        ctl_put_uint(w, "world", e->world);
        ctl_put_uint(w, "rank", e->rank);
        ctl_put_uint(w, "tokens", e->tokens);
        ctl_put_uint(w, "bytes", e->bytes);
        ctl_put_text(w, "door", e->door == DOOR_ROUTER ? "router" : "xpub");
        ctl_put_end(w);
    }
    ctl_put_end(w);
    free(sent.events);
}

/* ---- quarantine ---- */

struct unused {
    const char *name;
    struct quarantined *records; /* copied, so that the feed's thread is soon back at its work */
    uint32_t limit, n;
    uint32_t generation;
    struct recipe *recipe; /* a reference */
    struct stream_counts counts;
    int rc;
};

static void get_unused(struct feed *f, void *arg)
{
    struct unused *u = arg;
    const struct stream *st = supply_find(feed_supply(f), u->name);
    const struct quarantined *records;
    stream_get_counts(st, &u->counts);
    stream_get_quarantine(st, &records, &u->n);
    u->n = u->n < u->limit ? u->n : u->limit;
    struct generation_info newest;
    stream_generation_at(st, UINT64_MAX, &newest);
    u->generation = newest.number;
    u->recipe = recipe_ref((struct recipe *)newest.recipe);
    u->records = malloc((u->n > 0 ? u->n : 1) * sizeof *records);
    if (u->records == NULL)
        u->rc = -ENOMEM;
    else if (u->n > 0)
        memcpy(u->records, records, u->n * sizeof *records);
}

static void put_unused(struct ctl_writer *w, const struct recipe *r, const struct quarantined *u)
{
    const struct corpus *c = r->corpora[u->corpus];
    struct corpus_extent extent;
    corpus_get(c, u->record, &extent);
    ctl_put_map(w, NULL);
    ctl_put_text(w, "corpus", corpus_conf(c)->name);
    ctl_put_uint(w, "record", u->record);
    ctl_put_text(w, "file", corpus_path(c, extent.file));
    ctl_put_uint(w, "offset", extent.offset);
    ctl_put_uint(w, "size", extent.size);
    ctl_put_uint(w, "pass", u->pass);
    ctl_put_text(w, "reason", unusable_names[u->reason]);
    ctl_put_text(w, "detail", u->detail);
    ctl_put_end(w);
}

void command_quarantine(struct request *q)
{
    const struct conf_stream *stream = request_stream(q, 0);
    if (stream == NULL)
        return;
    struct ctl_writer *w = &q->reply;
    struct unused u = {.name = stream->name, .limit = (uint32_t)q->arguments[1].number};
    feed_call(q->context->feed, get_unused, &u);
    if (u.rc != 0) {
        recipe_unref(u.recipe);
        w->rc = u.rc;
        return;
    }
    uint64_t all = 0;
    ctl_put_uint(w, "generation", u.generation);
    ctl_put_map(w, "reasons");
    for (int i = USABLE + 1; i < UNUSABLE__COUNT; i++) {
        all += u.counts.unusable[i];
        if (u.counts.unusable[i] > 0)
            ctl_put_uint(w, unusable_names[i], u.counts.unusable[i]);
    }
    ctl_put_end(w);
    ctl_put_uint(w, "unused", all);
    ctl_put_uint(w, "seen", u.counts.slots);
    ctl_put_list(w, "records");
    for (uint32_t i = 0; i < u.n; i++)
        put_unused(w, u.recipe, &u.records[i]);
    ctl_put_end(w);
    free(u.records);
    recipe_unref(u.recipe);
}
