#include "config/check.h"

#include "base/nearest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB (INT64_C(1) << 20)
/* input_ids, position_ids and labels of a token, and what is beside them. */
#define TOKEN_BYTES 16
/* What goes on beside batches: records being read, tokenizers' scratch, queues. */
#define BASE_BYTES (32 * MIB)

static void check_doors(const struct conf *c, struct report *r)
{
    const char *const *doors[] = {(const char *const *)&c->feed_listen,
                                  (const char *const *)&c->feed_subscribe,
                                  (const char *const *)&c->control_listen};
    if (c->feed_listen != NULL && c->feed_subscribe != NULL && c->feed_listen[0] == '\0' &&
        c->feed_subscribe[0] == '\0')
        report_add(r, report_find(r, &c->feed_listen),
                   "both doors of the feed are shut (\"\"); open listen or subscribe, so that a trainer can "
                   "come in");
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *a = *doors[i], *b = *doors[j];
            if (a == NULL || b == NULL || a[0] == '\0' || strcmp(a, b) != 0 ||
                strcmp(strrchr(a, ':'), ":*") == 0 || strcmp(strrchr(a, ':'), ":0") == 0)
                continue;
            report_add(r, report_find(r, doors[i]), "%s is another door's already; each needs its own", a);
        }
    }
}

static void check_name(const struct conf_stream *s, struct report *r)
{
    for (const struct key *k = schema_keys; k->name != NULL && s->name != NULL; k++)
        if (strcmp(k->name, s->name) == 0)
            report_add(
                r, report_find(r, &s->name),
                "\"%s\" is a key of the configuration, so %s.KEY would not be clear; choose another name",
                s->name, s->name);
}

static const char *nearest_corpus(const struct conf *c, const char *name)
{
    const char **names = calloc(c->n_corpora, sizeof *names);
    if (names == NULL)
        return NULL; /* the message goes without a hint */
    for (uint32_t i = 0; i < c->n_corpora; i++)
        names[i] = c->corpora[i].name;
    const char *near = nearest(name, names, c->n_corpora);
    free(names);
    return near;
}

static void check_shares(const struct conf *c, const struct conf_stream *s, struct report *r)
{
    for (uint32_t i = 0; i < c->n_corpora; i++)
        if (c->corpora[i].name == NULL)
            return; /* which one was meant is not known */
    for (uint32_t i = 0; i < s->n_corpora && c->n_corpora > 0; i++) {
        const char *name = s->corpora[i].corpus;
        if (name == NULL || conf_find_corpus(c, name) != NULL)
            continue;
        const char *near = nearest_corpus(c, name);
        if (near != NULL)
            report_add(r, report_find(r, &s->corpora[i].corpus),
                       "there is no corpus \"%s\"; did you mean \"%s\"?", name, near);
        else
            report_add(r, report_find(r, &s->corpora[i].corpus),
                       "there is no corpus \"%s\"; name one from the list of corpora, or add it there", name);
    }
}

/* in_list - is it one of a list, or the group that stands alone? */
static bool in_list(const struct report *r, const struct conf_positions *p)
{
    return r->places[r->places[report_find(r, &p->strategy)].parent].item != NOT_ITEM;
}

static void check_window(const struct conf_stream *s, int64_t window, uint32_t place, struct report *r)
{
    if (window < s->seq_len)
        report_add(r, place,
                   "%" PRId64 " is below seq_len (%" PRId64
                   "): a sample as long as a row would not fit; raise "
                   "max_position or lower seq_len",
                   window, s->seq_len);
}

/* settle_window - max_position where the file leaves it out. */
static void settle_window(const struct conf_stream *s, struct conf_positions *p, struct report *r)
{
    uint32_t place = report_find(r, &p->max_position);
    if (p->max_position != 0 || place == 0 || r->places[place].given)
        return;
    if (p->n_schedule > 0 && p->schedule[0].epoch == 0)
        p->max_position = p->schedule[0].max_position;
    else if (p->strategy == POS_NONE && p->n_schedule == 0)
        p->max_position = s->seq_len;
    else
        report_add(r, place,
                   "is missing; strategy %s needs it: the context length to train for, at least seq_len",
                   pos_strategy_names[p->strategy]);
}

static void check_group(const struct conf_stream *s, struct conf_positions *p, struct report *r)
{
    settle_window(s, p, r);
    if (p->max_position == 0)
        return;
    check_window(s, p->max_position, report_find(r, &p->max_position), r);
    for (uint32_t i = 0; i < p->n_schedule; i++)
        if (p->schedule[i].max_position != 0)
            check_window(s, p->schedule[i].max_position, report_find(r, &p->schedule), r);
    if (p->min_gap > 0 && p->strategy > POS_SKIP_OUTER)
        report_add(r, report_find(r, &p->min_gap), "strategy %s has no use for it; leave it out",
                   pos_strategy_names[p->strategy]);
    else if (p->min_gap >= p->max_position)
        report_add(r, report_find(r, &p->min_gap),
                   "%" PRId64 " leaves no room below max_position (%" PRId64 ")", p->min_gap,
                   p->max_position);
}

/* settle_name - in a list, an element is called by its strategy where it has no name of its own. */
static void settle_name(struct conf_stream *s, struct conf_positions *p, struct report *r)
{
    bool named = p->name != NULL;
    if (!named && (p->name = strdup(pos_strategy_names[p->strategy])) == NULL) {
        r->rc = -ENOMEM;
        return;
    }
    for (const struct conf_positions *q = s->positions; q < p; q++) {
        if (strcmp(q->name, p->name) != 0 ||
            (named && report_find(r, &q->name) != 0 && r->places[report_find(r, &q->name)].given))
            continue; /* two names that were given alike have been told */
        report_add(r, report_find(r, &p->strategy),
                   "another in the list is called \"%s\" already; give this one a name: of its own", p->name);
        return;
    }
}

static void check_positions(struct conf_stream *s, struct report *r)
{
    for (uint32_t i = 0; i < s->n_positions && r->rc == 0; i++) {
        struct conf_positions *p = &s->positions[i];
        check_group(s, p, r);
        if (in_list(r, p)) {
            settle_name(s, p, r);
            p->weight = p->weight == 0 ? 1 : p->weight;
            continue;
        }
        if (p->name != NULL)
            report_add(r, report_find(r, &p->name),
                       "is for a list of groups, and this is one alone; leave it out");
        if (p->weight != 0)
            report_add(r, report_find(r, &p->weight),
                       "is for a list of groups, and this is one alone; leave it out");
    }
}

/* step_tokens - of a global batch; 0: not known, or refused. */
static int64_t step_tokens(const struct conf_stream *s, struct report *r)
{
    int64_t tokens;
    if (__builtin_mul_overflow(s->global_batch, s->seq_len, &tokens) || tokens > INT32_MAX) {
        report_add(r, report_find(r, &s->global_batch),
                   "%" PRId64 " rows of %" PRId64
                   " tokens (seq_len) are more than %d tokens a step; lower one of them",
                   s->global_batch, s->seq_len, INT32_MAX);
        return 0;
    }
    return tokens;
}

static void check_memory(const struct conf *c, int64_t largest, struct report *r)
{
    int64_t need = BASE_BYTES + 2 * TOKEN_BYTES * largest;
    int64_t need_mib = (need + MIB - 1) / MIB;
    if (c->memory == 0)
        return;
    if (largest > 0 && c->memory < need)
        report_add(r, report_find(r, &c->memory),
                   "%" PRId64 "MiB is too little: two global batches of the largest stream (%" PRId64
                   " tokens a step) need at least %" PRId64 "MiB",
                   c->memory / MIB, largest, need_mib);
    if (c->record_max > c->memory / 2)
        report_add(r, report_find(r, &c->record_max),
                   "a record of %" PRId64 " bytes would take more than half of memory (%" PRId64
                   "MiB); lower it, or give more memory",
                   c->record_max, c->memory / MIB);
}

void check_conf(struct conf *c, struct report *r)
{
    int64_t largest = 0;
    check_doors(c, r);
    for (uint32_t i = 0; r->path != NULL && i < c->n_templates; i++)
        c->templates[i].line = r->places[report_find(r, &c->templates[i].name)].mark.line;
    for (uint32_t i = 0; i < c->n_streams; i++) {
        struct conf_stream *s = &c->streams[i];
        check_name(s, r);
        check_shares(c, s, r);
        check_positions(s, r);
        int64_t tokens = step_tokens(s, r);
        largest = tokens > largest ? tokens : largest;
    }
    check_memory(c, largest, r);
}
