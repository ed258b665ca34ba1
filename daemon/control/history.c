/* history - the generations of a stream, like a logbook: from which step on it was what, by whom and why. */
#include "config/diff.h"
#include "control/commands.h"
#include "control/draft.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct mark {
    const char *stream;
    uint64_t sent;
};

static void get_sent(struct feed *f, void *arg)
{
    struct mark *m = arg;
    m->sent = stream_sent(supply_find(feed_supply(f), m->stream));
}

static void put_change(struct ctl_writer *w, const char *name, const char *before, const char *after)
{
    ctl_put_map(w, NULL);
    ctl_put_text(w, "name", name);
    ctl_put_text(w, "before", before);
    ctl_put_text(w, "after", after);
    ctl_put_end(w);
}

/* One that cannot be read has changed nothing that can be said. */
static void put_config_changes(struct ctl_writer *w, const struct timeline_entry *before,
                               const struct timeline_entry *e)
{
    struct conf *a = NULL, *b = NULL;
    struct conf_errors errors = {0};
    struct conf_change *changes;
    uint32_t n;
    int rc = draft_entry(before, &a, &errors);
    if (rc == 0)
        rc = draft_entry(e, &b, &errors);
    if (rc == 0 && conf_diff(a, b, &changes, &n) == 0) {
        for (uint32_t i = 0; i < n; i++)
            put_change(w, changes[i].name, changes[i].before, changes[i].after);
        conf_changes_free(changes, n);
    }
    conf_errors_fini(&errors);
    conf_free(a);
    conf_free(b);
}

/* What lies in the files, where they go by the same names. */
static void put_data_changes(struct ctl_writer *w, const struct timeline_entry *before,
                             const struct timeline_entry *e)
{
    char name[80], was[64], is[64];
    for (uint32_t i = 0; i < e->n_corpora; i++)
        for (uint32_t k = 0; k < before->n_corpora; k++) {
            const struct timeline_corpus *a = &before->corpora[k], *b = &e->corpora[i];
            if (strcmp(a->name, b->name) != 0 || a->fingerprint == b->fingerprint)
                continue;
            (void)snprintf(name, sizeof name, "corpora.%s", b->name);
            (void)snprintf(was, sizeof was, "%" PRIu64 " records (%016" PRIx64 ")", a->records,
                           a->fingerprint);
            (void)snprintf(is, sizeof is, "%" PRIu64 " records (%016" PRIx64 ")", b->records, b->fingerprint);
            put_change(w, name, was, is);
        }
    if (strcmp(before->tokenizer, e->tokenizer) != 0)
        put_change(w, "tokenizer (SHA-256)", before->tokenizer, e->tokenizer);
}

/* Where an entry stands among those in effect; n: it was superseded. */
static uint32_t place_of(const struct roster_stream *s, const struct timeline_entry *e)
{
    uint32_t i = 0;
    while (i < s->n && s->generations[i].number != e->generation)
        i++;
    return i;
}

static const char *state_of(const struct roster_stream *s, uint32_t place, uint64_t sent)
{
    if (place == s->n)
        return "superseded";
    if (s->generations[place].recipe == NULL)
        return "lost";
    const uint64_t first = s->generations[place].first_step;
    if (first > 0 && first >= sent)
        return "coming";
    return place + 1 == s->n || s->generations[place + 1].first_step >= sent ? "serving" : "served";
}

static void put_generation(struct ctl_writer *w, const struct roster_stream *s,
                           const struct timeline_entry *before, const struct timeline_entry *e, uint64_t sent)
{
    const uint32_t place = place_of(s, e);
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "generation", e->generation);
    ctl_put_uint(w, "first_step", e->first_step);
    if (place == s->n)
        ctl_put_uint(w, "steps", 0);
    else if (place + 1 == s->n)
        ctl_put_nil(w, "steps");
    else
        ctl_put_uint(w, "steps", s->generations[place + 1].first_step - e->first_step);
    ctl_put_int(w, "time", e->time_s);
    ctl_put_text(w, "who", e->who);
    ctl_put_text(w, "cause", e->cause);
    ctl_put_text(w, "state", state_of(s, place, sent));
    ctl_put_text(w, "why", place < s->n ? s->generations[place].why : NULL);
    ctl_put_list(w, "changes");
    if (before != NULL) {
        put_config_changes(w, before, e);
        put_data_changes(w, before, e);
    }
    ctl_put_end(w);
    ctl_put_end(w);
}

void command_history(struct request *q)
{
    const struct conf_stream *stream = request_stream(q, 0);
    struct ctl_writer *w = &q->reply;
    uint32_t n;
    if (stream == NULL)
        return;
    struct mark m = {.stream = stream->name};
    feed_call(q->context->feed, get_sent, &m);
    const struct roster_stream *s = roster_find(q->context->roster, stream->name);
    const struct timeline_entry *const *entries = timeline_entries(s->timeline, &n);
    ctl_put_text(w, "stream", stream->name);
    ctl_put_list(w, "generations");
    for (uint32_t i = 0; i < n; i++)
        put_generation(w, s, i > 0 ? entries[i - 1] : NULL, entries[i], m.sent);
    ctl_put_end(w);
}
