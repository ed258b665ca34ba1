/* wish - the commands that change what is served, each as a draft: set, add, remove, reload, revert; and
 * those beside them: diff, cancel, pause, resume. */
#include "base/array.h"
#include "base/log.h"
#include "control/change.h"
#include "control/draft.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_CORPUS, KIND_STREAM, KIND_TEMPLATE, KIND__COUNT };
static const char *const kind_names[KIND__COUNT] = {"corpus", "stream", "template"};
static const char *const list_names[KIND__COUNT] = {"corpora", "streams", "templates"};

static unsigned find(const struct request *q, const char *argument)
{
    unsigned i = 0;
    while (strcmp(q->command->arguments[i].name, argument) != 0)
        i++;
    return i;
}

static const char *who(const struct request *q)
{
    const char *text = q->arguments[find(q, "who")].text;
    return text[0] != '\0' ? text : "somebody";
}

/* False: another change is under way, and the request has failed. */
static bool is_free(struct request *q)
{
    char what[768];
    if (q->context->roster->change == NULL)
        return true;
    change_describe(q->context->roster, what, sizeof what);
    request_fail(q, "conflict",
                 "another change is being made (%s); wait for it, or cancel it: `skipalignctl cancel`", what);
    return false;
}

static struct wish wish_of(const struct request *q)
{
    return (struct wish){.choice = STOCK_HELD,
                         .who = who(q),
                         .dry_run = q->arguments[find(q, "dry_run")].number != 0,
                         .progress = q->arguments[find(q, "progress")].number != 0,
                         .at = q->arguments[find(q, "at")].number};
}

static void add_cause(struct wish *w, const char *word)
{
    const size_t n = strlen(w->cause);
    (void)snprintf(w->cause + n, sizeof w->cause - n, "%s%s", n > 0 ? " " : "", word);
}

/* What a draft's errors say, or that there is no memory. */
static void fail_draft(struct request *q, int rc, struct conf_errors *errors)
{
    if (errors->text == NULL) {
        q->reply.rc = rc;
        return;
    }
    errors->text[strlen(errors->text) - 1] = '\0'; /* the last line's end */
    request_fail(q, "bad-config", "%s", errors->text);
}

static void begin_edited(struct request *q, struct wish *w, const struct conf_edit *edits, uint32_t n)
{
    struct conf_errors errors = {0};
    int rc = draft_edit(q->context->roster->running, edits, n, &w->draft, &errors);
    if (rc == 0)
        change_begin(q, w);
    else
        fail_draft(q, rc, &errors);
    conf_errors_fini(&errors);
}

/* ---- set ---- */

/* The values of an argument of pairs; false: one is missing. */
static bool check_pairs(struct request *q, unsigned edits)
{
    const uint32_t n = q->arguments[edits].n;
    if (n % 2 != 0)
        request_fail(q, "bad-argument",
                     "%s: a value is missing after '%s'; it takes pairs of a name and a value",
                     q->command->name, q->arguments[edits].list[n - 1]);
    return n % 2 == 0;
}

void command_set(struct request *q)
{
    const unsigned i = find(q, "edits");
    const uint32_t n = q->arguments[i].n / 2;
    char **words = q->arguments[i].list;
    if (!is_free(q) || !check_pairs(q, i))
        return;
    struct wish w = wish_of(q);
    struct conf_edit *edits = calloc((size_t)n + 1, sizeof edits[0]);
    if (edits == NULL) {
        q->reply.rc = -ENOMEM;
        return;
    }
    add_cause(&w, "set");
    for (uint32_t k = 0; k < n; k++) {
        edits[k] = (struct conf_edit){words[2 * k], words[2 * k + 1]};
        add_cause(&w, words[2 * k]);
        add_cause(&w, words[2 * k + 1]);
    }
    begin_edited(q, &w, edits, n);
    free(edits);
}

/* ---- add, remove ---- */

static const void *find_element(const struct conf *c, enum kind kind, const char *name)
{
    if (kind == KIND_CORPUS)
        return conf_find_corpus(c, name);
    if (kind == KIND_STREAM)
        return conf_find_stream(c, name);
    for (uint32_t i = 0; i < c->n_templates; i++)
        if (strcmp(c->templates[i].name, name) == 0)
            return &c->templates[i];
    return NULL;
}

/* Who uses a corpus or a template: "'chat', 'code'". */
static void list_users(const struct conf *c, enum kind kind, const char *name, char *ret, size_t cap)
{
    size_t n = 0;
    ret[0] = '\0';
    for (uint32_t i = 0; i < c->n_streams && n < cap; i++) {
        const struct conf_stream *s = &c->streams[i];
        bool uses = kind == KIND_TEMPLATE && strcmp(s->template_name, name) == 0;
        for (uint32_t k = 0; k < s->n_corpora && kind == KIND_CORPUS; k++)
            uses = uses || strcmp(s->corpora[k].corpus, name) == 0;
        if (uses)
            n += (size_t)snprintf(ret + n, cap - n, "%s'%s'", n > 0 ? ", " : "", s->name);
    }
}

static enum kind take_kind(struct request *q)
{
    const char *text = q->arguments[find(q, "kind")].text;
    for (enum kind k = 0; k < KIND__COUNT; k++)
        if (strcmp(text, kind_names[k]) == 0)
            return k;
    request_fail(q, "bad-argument", "%s: kind '%s': there are corpus, stream and template", q->command->name,
                 text);
    return KIND__COUNT;
}

/* Names of edits that are made here. */
struct names {
    char **list;
    size_t n, cap;
};

static const char *name_of(struct names *all, const char *first, const char *second, const char *third)
{
    char *name = NULL;
    if (array_grow(&all->list, &all->cap, all->n + 1) != 0 ||
        asprintf(&name, "%s%s%s%s%s", first, second[0] != '\0' ? "." : "", second,
                 third[0] != '\0' ? "." : "", third) < 0)
        return NULL;
    all->list[all->n++] = name;
    return name;
}

/* The element first, empty, then its keys by their names: a stream's begin with its own. */
static int add_edits(const struct request *q, enum kind kind, struct names *names, struct conf_edit *edits)
{
    const char *name = q->arguments[find(q, "name")].text;
    const unsigned i = find(q, "edits");
    char **words = q->arguments[i].list;
    edits[0] = (struct conf_edit){name_of(names, list_names[kind], name, ""), "{}"};
    bool whole = edits[0].name != NULL;
    for (uint32_t k = 0; k < q->arguments[i].n / 2 && whole; k++) {
        edits[k + 1] =
            (struct conf_edit){kind == KIND_STREAM ? name_of(names, name, words[2 * k], "")
                                                   : name_of(names, list_names[kind], name, words[2 * k]),
                               words[2 * k + 1]};
        whole = edits[k + 1].name != NULL;
    }
    return whole ? 0 : -ENOMEM;
}

void command_add(struct request *q)
{
    const unsigned i = find(q, "edits");
    const char *name = q->arguments[find(q, "name")].text;
    const enum kind kind = take_kind(q);
    if (kind == KIND__COUNT || !is_free(q) || !check_pairs(q, i))
        return;
    if (find_element(q->context->roster->running, kind, name) != NULL) {
        request_fail(q, "bad-config", "%s.%s: there is one already; `set` changes it", list_names[kind],
                     name);
        return;
    }
    struct wish w = wish_of(q);
    struct names names = {0};
    const uint32_t n = q->arguments[i].n / 2 + 1;
    struct conf_edit *edits = calloc(n, sizeof edits[0]);
    add_cause(&w, "add");
    add_cause(&w, kind_names[kind]);
    add_cause(&w, name);
    if (edits == NULL || add_edits(q, kind, &names, edits) != 0)
        q->reply.rc = -ENOMEM;
    else
        begin_edited(q, &w, edits, n);
    for (size_t k = 0; k < names.n; k++)
        free(names.list[k]);
    free(names.list);
    free(edits);
}

void command_remove(struct request *q)
{
    const struct conf *running = q->context->roster->running;
    const char *name = q->arguments[find(q, "name")].text;
    const enum kind kind = take_kind(q);
    char users[1024], full_name[128];
    if (kind == KIND__COUNT || !is_free(q))
        return;
    list_users(running, kind, name, users, sizeof users);
    if (users[0] != '\0') {
        request_fail(q, "bad-config", "%s.%s: is used by %s; take it out there first", list_names[kind], name,
                     users);
        return;
    }
    struct wish w = wish_of(q);
    (void)snprintf(full_name, sizeof full_name, "%s.%s", list_names[kind], name);
    add_cause(&w, "remove");
    add_cause(&w, kind_names[kind]);
    add_cause(&w, name);
    begin_edited(q, &w, &(struct conf_edit){full_name, NULL}, 1);
}

/* ---- reload, diff, revert ---- */

void command_reload(struct request *q)
{
    const struct roster *r = q->context->roster;
    struct conf_errors errors = {0};
    if (!is_free(q))
        return;
    struct wish w = wish_of(q);
    int rc = draft_load(r->file->path, r->state_dir, &w.draft, &errors);
    if (rc == 0) {
        w.file = conf_ref(w.draft);
        w.choice = STOCK_NEWEST;
        add_cause(&w, "reload of");
        add_cause(&w, r->file->path);
        change_begin(q, &w);
    } else {
        fail_draft(q, rc, &errors);
    }
    conf_errors_fini(&errors);
}

/* What a reload would do, but for what is new in corpora and models. */
void command_diff(struct request *q)
{
    const struct roster *r = q->context->roster;
    struct ctl_writer *w = &q->reply;
    struct conf_errors errors = {0};
    struct conf *file;
    struct conf_change *changes = NULL;
    uint32_t n = 0;
    int rc = draft_load(r->file->path, r->state_dir, &file, &errors);
    if (rc != 0) {
        fail_draft(q, rc, &errors);
        conf_errors_fini(&errors);
        return;
    }
    if ((rc = conf_diff(r->running, file, &changes, &n)) != 0)
        w->rc = rc;
    change_put_diff(w, r, file, changes, n);
    ctl_put_list(w, "streams");
    ctl_put_end(w);
    ctl_put_list(w, "notes");
    for (uint32_t i = 0; i < r->running->n_corpora; i++) {
        const struct corpus *c = stock_find_corpus(r->stock, &r->running->corpora[i]);
        char news[512], text[640];
        if (c == NULL || !corpus_news(c, news, sizeof news))
            continue;
        (void)snprintf(text, sizeof text, "corpus '%s': %s", r->running->corpora[i].name, news);
        ctl_put_text(w, NULL, text);
    }
    ctl_put_end(w);
    ctl_put_bool(w, "dry_run", true);
    conf_changes_free(changes, n);
    conf_free(file);
}

void command_revert(struct request *q)
{
    const struct roster *r = q->context->roster;
    const struct conf_stream *stream = request_stream(q, find(q, "stream"));
    const uint64_t generation = q->arguments[find(q, "generation")].number;
    struct conf_errors errors = {0};
    uint32_t n;
    if (stream == NULL || !is_free(q))
        return;
    const struct timeline_entry *const *entries =
        timeline_entries(roster_find(r, stream->name)->timeline, &n);
    if (generation > n) {
        request_fail(q, "unknown-generation",
                     "stream '%s' has generations 1 to %" PRIu32 "; `skipalignctl history %s` shows them",
                     stream->name, n, stream->name);
        return;
    }
    struct wish w = wish_of(q);
    (void)snprintf(w.cause, sizeof w.cause, "revert %s to generation %" PRIu64, stream->name, generation);
    int rc = draft_revert(r->running, entries[generation - 1], &w.draft, &errors);
    if (rc == 0)
        change_begin(q, &w);
    else
        fail_draft(q, rc, &errors);
    conf_errors_fini(&errors);
}

/* ---- cancel, pause, resume ---- */

void command_cancel(struct request *q)
{
    struct roster *r = q->context->roster;
    char what[768];
    if (r->change == NULL) {
        request_fail(q, "unchanged", "no change is being prepared");
        return;
    }
    change_describe(r, what, sizeof what);
    (void)change_cancel(r, who(q));
    ctl_put_text(&q->reply, "cancelled", what);
}

struct pausing {
    const char *stream;
    bool paused, was;
};

static void set_paused(struct feed *f, void *arg)
{
    struct pausing *p = arg;
    struct stream *st = supply_find(feed_supply(f), p->stream);
    p->was = feed_paused(f, st);
    feed_pause(f, st, p->paused);
}

static void pause_stream(struct request *q, bool paused)
{
    const struct conf_stream *stream = request_stream(q, find(q, "stream"));
    if (stream == NULL)
        return;
    struct pausing p = {.stream = stream->name, .paused = paused};
    feed_call(q->context->feed, set_paused, &p);
    if (p.was != paused)
        log_info("stream '%s': %s by %s", stream->name, paused ? "paused" : "goes on, resumed", who(q));
    ctl_put_text(&q->reply, "stream", stream->name);
    ctl_put_bool(&q->reply, "paused", paused);
    ctl_put_bool(&q->reply, "changed", p.was != paused);
}

void command_pause(struct request *q)
{
    pause_stream(q, true);
}

void command_resume(struct request *q)
{
    pause_stream(q, false);
}
