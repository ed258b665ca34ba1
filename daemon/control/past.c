/* past - what happened to a stream: batches that were sent, records that were not. */
#include "control/commands.h"

#include "base/array.h"

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

/* Of one generation; copied, so that the feed's thread is soon back at its work. */
struct part {
    uint32_t generation, n;
    struct recipe *recipe; /* a reference */
    struct quarantined *records;
};

struct unused {
    const char *name;
    uint32_t limit;
    struct part *parts;
    uint32_t n_parts;
    size_t parts_cap;
    struct stream_counts counts;
    int rc;
};

static int take_part(struct unused *u, const struct stream *st, uint64_t step,
                     const struct generation_info *g)
{
    const struct quarantined *records;
    uint32_t n;
    stream_get_quarantine(st, step, &records, &n);
    n = n < u->limit ? n : u->limit;
    if (n == 0)
        return 0;
    struct part part = {.generation = g->number, .n = n, .records = malloc(n * sizeof *records)};
    if (part.records == NULL || array_grow(&u->parts, &u->parts_cap, u->n_parts + 1) != 0) {
        free(part.records);
        return -ENOMEM;
    }
    memcpy(part.records, records, n * sizeof *records);
    part.recipe = recipe_ref((struct recipe *)g->recipe);
    u->parts[u->n_parts++] = part;
    u->limit -= n;
    return 0;
}

static void get_unused(struct feed *f, void *arg)
{
    struct unused *u = arg;
    const struct stream *st = supply_find(feed_supply(f), u->name);
    struct generation_info g;
    stream_get_counts(st, &u->counts);
    for (uint64_t step = 0; step != STREAM_UNKNOWN && u->rc == 0; step = g.end_step) {
        stream_generation_at(st, step, &g);
        u->rc = take_part(u, st, step, &g);
    }
}

static void put_unused(struct ctl_writer *w, const struct part *part, const struct quarantined *u)
{
    const struct corpus *c = part->recipe->corpora[u->corpus];
    struct corpus_extent extent;
    corpus_get(c, u->record, &extent);
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "generation", part->generation);
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

static void put_reasons(struct ctl_writer *w, const struct stream_counts *counts)
{
    uint64_t all = 0;
    ctl_put_map(w, "reasons");
    for (int i = USABLE + 1; i < UNUSABLE__COUNT; i++) {
        all += counts->unusable[i];
        if (counts->unusable[i] > 0)
            ctl_put_uint(w, unusable_names[i], counts->unusable[i]);
    }
    ctl_put_end(w);
    ctl_put_uint(w, "unused", all);
    ctl_put_uint(w, "seen", counts->slots);
}

void command_quarantine(struct request *q)
{
    const struct conf_stream *stream = request_stream(q, 0);
    if (stream == NULL)
        return;
    struct ctl_writer *w = &q->reply;
    struct unused u = {.name = stream->name, .limit = (uint32_t)q->arguments[1].number};
    feed_call(q->context->feed, get_unused, &u);
    put_reasons(w, &u.counts);
    ctl_put_list(w, "records");
    for (uint32_t p = 0; p < u.n_parts; p++)
        for (uint32_t i = 0; i < u.parts[p].n; i++)
            put_unused(w, &u.parts[p], &u.parts[p].records[i]);
    ctl_put_end(w);
    if (u.rc != 0)
        w->rc = u.rc;
    for (uint32_t p = 0; p < u.n_parts; p++) {
        free(u.parts[p].records);
        recipe_unref(u.parts[p].recipe);
    }
    free(u.parts);
}
