#include "control/change.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/draft.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TELL_NS (100 * NS_PER_MS) /* how often a client hears how far it is */

/* What becomes of one stream. */
enum fate {
    FATE_SAME,   /* perhaps: its corpora and its model are looked at */
    FATE_CHANGE, /* a new generation */
    FATE_ADD,
    FATE_REMOVE,
};

struct affected {
    enum fate fate;
    const char *name;
    struct roster_stream *stream; /* NULL: FATE_ADD, until it is there */
    struct recipe *recipe;        /* prepared; NULL: FATE_REMOVE */
    bool held, done;
    uint64_t first_step;
    uint32_t generation;  /* that it is now, or would be */
    uint32_t *superseded; /* generations that never took effect */
    uint32_t n_superseded;
    char notes[2048]; /* lines */
};

struct change {
    struct roster *roster;
    struct feed *feed;
    struct wish wish;
    char who[129];
    uint64_t start_ns, told_ns;
    struct conf_change *diff;
    uint32_t n_diff;
    struct affected *turns;
    uint32_t n_turns;
    /* The thread that prepares, and how far it is. */
    pthread_t thread;
    atomic_bool stop, stopped;
    int rc;
    struct err err;
    pthread_mutex_t lock; /* of: */
    struct {
        char what[128];
        uint64_t done, all, number;
    } progress;
    uint64_t progress_told; /* number */
    char cancelled_by[129];
};

static void free_change(struct change *c)
{
    for (uint32_t i = 0; c->turns != NULL && i < c->n_turns; i++) {
        recipe_unref(c->turns[i].recipe);
        free(c->turns[i].superseded);
    }
    free(c->turns);
    conf_changes_free(c->diff, c->n_diff);
    conf_free(c->wish.draft);
    conf_free(c->wish.file);
    (void)pthread_mutex_destroy(&c->lock);
    if (c->roster->change == c)
        c->roster->change = NULL;
    free(c);
}

/* ---- what is different ---- */

/* Is `name` that of an element of a list, or of one of its keys? */
static bool is_of(const char *name, const char *list, const char *element)
{
    const size_t n_list = strlen(list), n = strlen(element);
    return strncmp(name, list, n_list) == 0 && strncmp(name + n_list, element, n) == 0 &&
           (name[n_list + n] == '\0' || name[n_list + n] == '.');
}

static bool depends_on(const struct conf_stream *s, const char *name)
{
    bool uses = strcmp(name, "record_max") == 0 || is_of(name, "templates.", s->template_name);
    for (uint32_t i = 0; i < s->n_corpora && !uses; i++)
        uses = is_of(name, "corpora.", s->corpora[i].corpus);
    return uses;
}

static bool any_depends_on(const struct conf *c, const char *name)
{
    bool uses = false;
    for (uint32_t i = 0; i < c->n_streams && !uses; i++)
        uses = depends_on(&c->streams[i], name);
    return uses;
}

static const char *applies(const struct conf *before, const struct conf *after, const struct conf_change *c)
{
    return c->restart ? "restart"
           : c->stream[0] != '\0' || strncmp(c->name, "streams.", 8) == 0 ||
                   any_depends_on(before, c->name) || any_depends_on(after, c->name)
               ? "generation"
               : "now";
}

void change_put_diff(struct ctl_writer *w, const struct roster *r, const struct conf *after,
                     const struct conf_change *changes, uint32_t n)
{
    ctl_put_list(w, "changes");
    for (uint32_t i = 0; i < n; i++) {
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", changes[i].name);
        ctl_put_text(w, "before", changes[i].before);
        ctl_put_text(w, "after", changes[i].after);
        ctl_put_text(w, "applies", applies(r->running, after, &changes[i]));
        ctl_put_text(w, "stream", changes[i].stream);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

/* ---- checks, before anything happens ---- */

/* "anna@gpu7 is at it: set chat.seq_len 8192, for 12 s" */
void change_describe(const struct roster *r, char *ret, size_t cap)
{
    struct change *c = r->change;
    char what[128];
    (void)pthread_mutex_lock(&c->lock);
    memcpy(what, c->progress.what, sizeof what);
    (void)pthread_mutex_unlock(&c->lock);
    (void)snprintf(ret, cap, "%s: %s%s%s, since %.0f s ago", c->who, c->wish.cause,
                   what[0] != '\0' ? ", " : "", what, (double)(clock_ns() - c->start_ns) / 1e9);
}

/* What needs a restart is said, all of it; true: there is such a key. */
static bool refuse_restart(struct request *q, const struct change *c)
{
    char names[1024] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < c->n_diff && n < sizeof names; i++)
        if (c->diff[i].restart)
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n > 0 ? ", " : "", c->diff[i].name);
    if (n == 0)
        return false;
    if (c->wish.file != NULL)
        request_fail(
            q, "needs-restart",
            "%s: a running daemon cannot take %s; put the old value%s back in %s and reload again, or "
            "restart the daemon: nothing was changed",
            names, strstr(names, ", ") != NULL ? "these" : "this", strstr(names, ", ") != NULL ? "s" : "",
            c->wish.file->path);
    else
        request_fail(q, "needs-restart",
                     "%s: a running daemon cannot take %s; write it into %s and restart: nothing was changed",
                     names, strstr(names, ", ") != NULL ? "these" : "this", c->roster->file->path);
    return true;
}

/* What is read from the feed before anything happens. */
struct look {
    const struct change *change;
    struct request *request;
    struct feed_event *events;
    bool refused;
};

/* What the stream's readers cannot take. One whose world does not divide the new global batch has to be
 * named: its people are to be asked. */
static bool refuse_readers(struct request *q, struct feed *f, struct stream *st,
                           const struct conf_stream *conf)
{
    struct feed_foresight foresight;
    feed_foresee(f, st, conf, &foresight);
    if (foresight.wrong_world > 0) {
        const uint32_t n = feed_consumers(f, NULL, 0);
        struct consumer_info *list = calloc((size_t)n + 1, sizeof *list), *wrong = NULL;
        (void)feed_consumers(f, list, list != NULL ? n : 0);
        for (uint32_t i = 0; list != NULL && i < n && wrong == NULL; i++)
            if (strcmp(list[i].stream, conf->name) == 0 && (uint64_t)conf->global_batch % list[i].world != 0)
                wrong = &list[i];
        request_fail(q, "bad-config",
                     "%s.global_batch: %" PRId64
                     " rows cannot be dealt to all who read the stream: the world %" PRIu32
                     " of '%s' does not divide them; choose a multiple of it, or stop that job first",
                     conf->name, conf->global_batch, wrong != NULL ? wrong->world : 0,
                     wrong != NULL ? wrong->job : "");
        free(list);
        return true;
    }
    if (foresight.bytes > foresight.bytes_max) {
        request_fail(
            q, "bad-config",
            "%s: a batch for each of those who read now takes %.1f MB together, and half of `memory` is "
            "%.1f MB; make memory larger (needs a restart), or batches smaller",
            conf->name, (double)foresight.bytes / 1e6, (double)foresight.bytes_max / 1e6);
        return true;
    }
    return false;
}

static bool refuse_epochs(struct look *l, const struct conf_stream *conf)
{
    const uint32_t n = feed_events(l->change->feed, 0, l->events, FEED_EVENTS);
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(l->events[i].stream, conf->name) == 0 && l->events[i].epoch > epoch)
            epoch = l->events[i].epoch;
    if (conf->epochs == 0 || (uint64_t)conf->epochs > epoch)
        return false;
    request_fail(l->request, "bad-config",
                 "%s.epochs: %" PRId64 ", but epoch %" PRIu64
                 " (counted from 0) is being read; choose %" PRIu64 " or more, or 0 for ever",
                 conf->name, conf->epochs, epoch, epoch + 1);
    return true;
}

static void look(struct feed *f, void *arg)
{
    struct look *l = arg;
    const struct change *c = l->change;
    for (uint32_t i = 0; i < c->n_turns && !l->refused; i++) {
        const struct conf_stream *conf = conf_find_stream(c->wish.draft, c->turns[i].name);
        if (c->turns[i].fate == FATE_CHANGE)
            l->refused = refuse_readers(l->request, f, supply_find(feed_supply(f), conf->name), conf) ||
                         refuse_epochs(l, conf);
    }
}

static bool refuse_unfit(struct request *q, const struct change *c)
{
    struct look l = {.change = c, .request = q, .events = malloc(FEED_EVENTS * sizeof *l.events)};
    if (l.events == NULL) {
        q->reply.rc = -ENOMEM;
        return true;
    }
    feed_call(c->feed, look, &l);
    free(l.events);
    return l.refused;
}

/* ---- preparing, on its own thread ---- */

static int tell(void *arg, const char *what, uint64_t done, uint64_t all)
{
    struct change *c = arg;
    (void)pthread_mutex_lock(&c->lock);
    (void)snprintf(c->progress.what, sizeof c->progress.what, "%s", what);
    c->progress.done = done;
    c->progress.all = all;
    c->progress.number++;
    (void)pthread_mutex_unlock(&c->lock);
    return atomic_load_explicit(&c->stop, memory_order_relaxed);
}

static int prepare(struct change *c)
{
    const struct stock_progress progress = {tell, c};
    const struct conf *draft = c->wish.draft;
    int rc = 0;
    for (uint32_t i = 0; i < draft->n_corpora && rc == 0; i++)
        rc = stock_corpus(c->roster->stock, &draft->corpora[i], c->wish.choice, &progress, &c->err);
    for (uint32_t i = 0; i < c->n_turns && rc == 0; i++)
        if (c->turns[i].fate != FATE_REMOVE)
            rc = stock_recipe(c->roster->stock, draft, conf_find_stream(draft, c->turns[i].name),
                              c->wish.choice, NULL, &progress, &c->turns[i].recipe, &c->err);
    return rc == 0 && atomic_load_explicit(&c->stop, memory_order_relaxed) ? ERR_CANCELLED : rc;
}

static void *run_prepare(void *arg)
{
    struct change *c = arg;
    c->rc = prepare(c);
    atomic_store_explicit(&c->stopped, true, memory_order_release);
    return NULL;
}

/* ---- holding: from which step on ---- */

static struct recipe *newest_recipe(const struct affected *t)
{
    return t->stream != NULL ? t->stream->generations[t->stream->n - 1].recipe : NULL;
}

static void release_all(struct feed *f, void *arg)
{
    struct change *c = arg;
    for (uint32_t i = 0; i < c->n_turns; i++) {
        if (c->turns[i].held)
            feed_release(f, supply_find(feed_supply(f), c->turns[i].name));
        c->turns[i].held = false;
    }
}

static void note(struct affected *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct affected *t, const char *fmt, ...)
{
    const size_t n = strlen(t->notes);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(t->notes + n, sizeof t->notes - n, fmt, ap);
    va_end(ap);
}

struct hold {
    struct change *change;
    struct request *request;
};

static void refuse_hold(struct request *q, const struct affected *t, int rc, const struct err *e)
{
    const char *code = rc == ERR_CHANGED ? "too-early" : rc == -EBUSY ? "conflict" : "bad-argument";
    request_fail(q, code, "%s", e->text);
    if (rc == ERR_CHANGED)
        ctl_put_uint(&q->reply, "first_step", t->first_step);
}

static void hold_all(struct feed *f, void *arg)
{
    struct hold *h = arg;
    struct change *c = h->change;
    for (uint32_t i = 0; i < c->n_turns && !h->request->failed; i++) {
        struct affected *t = &c->turns[i];
        struct stream *st = supply_find(feed_supply(f), t->name);
        const struct conf_stream *conf = conf_find_stream(c->wish.draft, t->name);
        struct feed_foresight foresight;
        struct err e = {""};
        if (t->fate != FATE_CHANGE || refuse_readers(h->request, f, st, conf))
            continue; /* somebody may have come while it was being prepared */
        int rc = feed_hold(f, st, c->wish.at, &t->first_step, &e);
        if (rc != 0) {
            refuse_hold(h->request, t, rc, &e);
            break;
        }
        t->held = true;
        feed_foresee(f, st, conf, &foresight);
        if (foresight.fixed_shape > 0)
            note(t, "%" PRIu32 " of its readers take no other shape: they get their end at this step\n",
                 foresight.fixed_shape);
    }
    if (h->request->failed)
        release_all(f, c);
}

static void note_corpora(struct affected *t)
{
    const struct recipe *old = newest_recipe(t), *new = t->recipe;
    for (uint32_t i = 0; i < new->n_corpora; i++) {
        const char *name = new->conf->corpora[i].corpus;
        uint32_t k = 0;
        while (k < old->n_corpora && strcmp(old->conf->corpora[k].corpus, name) != 0)
            k++;
        if (k == old->n_corpora)
            note(t, "corpus '%s' joins: %" PRIu64 " records\n", name, corpus_records(new->corpora[i]));
        else if (corpus_fingerprint(old->corpora[k]) != corpus_fingerprint(new->corpora[i]))
            note(t, "corpus '%s' has changed (%" PRIu64 " records, before %" PRIu64 ")%s\n", name,
                 corpus_records(new->corpora[i]), corpus_records(old->corpora[k]),
                 t->first_step > 0 ? ": it begins a new pass, and what was left of the old one is not sent"
                                   : "");
    }
    for (uint32_t i = 0; i < old->n_corpora; i++) {
        const char *name = old->conf->corpora[i].corpus;
        uint32_t k = 0;
        while (k < new->n_corpora && strcmp(new->conf->corpora[k].corpus, name) != 0)
            k++;
        if (k == new->n_corpora)
            note(t, "corpus '%s' leaves%s\n", name,
                 t->first_step > 0 ? ": what was left of it is not sent" : "");
    }
    if (strcmp(tokenizer_sha256(old->tokenizer), tokenizer_sha256(new->tokenizer)) != 0)
        note(t, "another tokenizer: %s\n", tokenizer_path(new->tokenizer));
}

/* What the reply says of a stream, before it is another. */
static int foretell(struct affected *t)
{
    uint32_t n = 0;
    t->generation = 1;
    if (t->fate != FATE_CHANGE)
        return 0;
    (void)timeline_entries(t->stream->timeline, &n);
    t->generation = n + 1;
    t->superseded = calloc(t->stream->n, sizeof t->superseded[0]);
    if (t->superseded == NULL || roster_reserve(t->stream) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->stream->n; i++)
        if (t->stream->generations[i].first_step >= t->first_step)
            t->superseded[t->n_superseded++] = t->stream->generations[i].number;
    if (newest_recipe(t) != NULL)
        note_corpora(t);
    return 0;
}

/* ---- committing ---- */

struct at_feed {
    struct affected *turn;
    int rc;
    struct err err;
};

static void change_stream(struct feed *f, void *arg)
{
    struct at_feed *a = arg;
    const struct roster_stream *s = a->turn->stream;
    feed_change(f, supply_find(feed_supply(f), s->name), &s->generations[s->n - 1]);
}

static void add_stream(struct feed *f, void *arg)
{
    struct at_feed *a = arg;
    const struct roster_stream *s = a->turn->stream;
    const struct stream_setup setup = {s->name, s->generations, s->n};
    a->rc = feed_add(f, &setup, &a->err);
}

static void remove_stream(struct feed *f, void *arg)
{
    struct at_feed *a = arg;
    feed_remove(f, supply_find(feed_supply(f), a->turn->name));
}

static int commit_change(struct change *c, struct affected *t, struct err *reterr)
{
    const struct roster_news news = {t->first_step, c->who, c->wish.cause};
    struct at_feed a = {.turn = t};
    struct err e = {""};
    int rc = roster_commit(c->roster, t->stream, c->wish.draft, t->recipe, &news, &e);
    if (rc != 0) {
        *reterr = e;
        return err_wrap(reterr, rc, "stream '%s'", t->name);
    }
    if (e.text[0] != '\0')
        note(t, "%s\n", e.text);
    feed_call(c->feed, change_stream, &a);
    t->held = false;
    return 0;
}

/* A stream that is new begins anew, also where one of its name was served before: that one's state is kept.
 */
static int commit_add(struct change *c, struct affected *t, struct err *reterr)
{
    const struct roster_news news = {0, c->who, c->wish.cause};
    const char *state_dir = c->roster->running->state_dir;
    struct at_feed a = {.turn = t};
    char aside[ROSTER_ASIDE];
    int rc = roster_put_aside(state_dir, t->name, aside, reterr);
    if (rc == 0)
        rc = roster_add(c->roster, t->name, &t->stream, reterr);
    if (rc != 0)
        return rc;
    if (aside[0] != '\0')
        note(t, "there was a stream of this name: its state is kept as streams/%s\n", aside);
    rc = roster_commit(c->roster, t->stream, c->wish.draft, t->recipe, &news, reterr);
    if (rc == 0) {
        feed_call(c->feed, add_stream, &a);
        rc = a.rc;
        *reterr = a.err;
    }
    if (rc != 0) {
        struct err e;
        roster_remove(c->roster, t->stream);
        t->stream = NULL;
        (void)roster_put_aside(state_dir, t->name, aside, &e);
        return err_wrap(reterr, rc, "stream '%s'", t->name);
    }
    return 0;
}

static int commit_remove(struct change *c, struct affected *t, struct err *reterr)
{
    struct at_feed a = {.turn = t};
    uint64_t hash;
    int rc = roster_file_hash(c->roster->file, t->name, &hash);
    if (rc != 0)
        return err_sys(reterr, rc, "stream '%s'", t->name);
    rc = roster_mark_removed(c->roster->running->state_dir, t->name, hash, reterr);
    if (rc != 0)
        return rc;
    feed_call(c->feed, remove_stream, &a);
    roster_remove(c->roster, t->stream);
    t->stream = NULL;
    note(t, "its state is kept in streams/%s\n", t->name);
    return 0;
}

static int commit_turn(struct change *c, struct affected *t, struct err *reterr)
{
    int rc = t->fate == FATE_CHANGE ? commit_change(c, t, reterr)
             : t->fate == FATE_ADD  ? commit_add(c, t, reterr)
                                    : commit_remove(c, t, reterr);
    if (rc != 0)
        return rc;
    t->done = true;
    if (t->fate == FATE_REMOVE)
        log_info("stream '%s' is not served any more (%s: %s)", t->name, c->who, c->wish.cause);
    else
        log_info("stream '%s': generation %" PRIu32 " from step %" PRIu64 " on (%s: %s)", t->name,
                 t->generation, t->first_step, c->who, c->wish.cause);
    return 0;
}

/* Some streams have changed and one could not: what is served is what they became, and the rest as it was. */
static void run_partly(struct change *c)
{
    for (uint32_t i = 0; i < c->n_turns; i++) {
        const struct affected *t = &c->turns[i];
        struct conf_errors errors = {0};
        struct conf *merged = NULL;
        uint32_t n;
        if (!t->done || t->stream == NULL)
            continue;
        const struct timeline_entry *const *entries = timeline_entries(t->stream->timeline, &n);
        if (draft_revert(c->roster->running, entries[n - 1], &merged, &errors) == 0) {
            conf_free(c->roster->running);
            c->roster->running = merged;
        } else {
            log_error("stream '%s': the running configuration is shown without its change: %s", t->name,
                      errors.text != NULL ? errors.text : err_str(-ENOMEM));
        }
        conf_errors_fini(&errors);
    }
}

static void fail_commit(struct request *q, struct change *c, const struct err *e)
{
    char done[1024] = "";
    size_t n = 0;
    feed_call(c->feed, release_all, c);
    for (uint32_t i = 0; i < c->n_turns && n < sizeof done; i++)
        if (c->turns[i].done)
            n += (size_t)snprintf(done + n, sizeof done - n, "%s'%s'", n > 0 ? ", " : "", c->turns[i].name);
    if (n > 0)
        run_partly(c);
    log_error("%s by %s: %s", c->wish.cause, c->who, e->text);
    if (n > 0)
        request_fail(q, "not-durable",
                     "%s; what had been committed before that is in effect (%s), the rest is as it "
                     "was: see `skipalignctl diff`",
                     e->text, done);
    else
        request_fail(q, "not-durable", "%s; nothing was changed", e->text);
}

static int commit_all(struct change *c, struct err *reterr)
{
    static const enum fate turns[] = {FATE_CHANGE, FATE_ADD, FATE_REMOVE};
    for (size_t k = 0; k < sizeof turns / sizeof *turns; k++)
        for (uint32_t i = 0; i < c->n_turns; i++) {
            int rc = c->turns[i].fate == turns[k] ? commit_turn(c, &c->turns[i], reterr) : 0;
            if (rc != 0)
                return rc;
        }
    return 0;
}

static bool commit(struct request *q, struct change *c)
{
    struct roster *r = c->roster;
    struct err e = {""};
    struct conf *file = r->file;
    if (c->wish.file != NULL)
        r->file = c->wish.file;
    int rc = commit_all(c, &e);
    bool any = rc == 0;
    for (uint32_t i = 0; i < c->n_turns; i++)
        any = any || c->turns[i].done;
    if (!any)
        r->file = file;
    else if (c->wish.file != NULL)
        c->wish.file = file; /* freed with the change */
    if (rc != 0) {
        fail_commit(q, c, &e);
        return false;
    }
    struct conf *was = r->running;
    r->running = c->wish.draft;
    c->wish.draft = was;
    if (c->n_turns == 0)
        log_info("%s by %s: no stream depends on it", c->wish.cause, c->who);
    roster_tidy(r);
    return true;
}

/* ---- the reply ---- */

static void put_notes(struct ctl_writer *w, const char *notes)
{
    ctl_put_list(w, "notes");
    for (const char *end; (end = strchr(notes, '\n')) != NULL; notes = end + 1)
        ctl_put_bytes(w, NULL, notes, (size_t)(end - notes));
    ctl_put_end(w);
}

static bool is_unlike(const struct conf *after, const struct conf *file)
{
    struct conf_change *changes;
    uint32_t n = 0;
    if (conf_diff(after, file, &changes, &n) != 0)
        return false;
    conf_changes_free(changes, n);
    return n > 0;
}

static void put_result(struct request *q, const struct change *c, const struct conf *after)
{
    struct ctl_writer *w = &q->reply;
    ctl_put_list(w, "streams");
    for (uint32_t i = 0; i < c->n_turns; i++) {
        const struct affected *t = &c->turns[i];
        ctl_put_map(w, NULL);
        ctl_put_text(w, "stream", t->name);
        if (t->fate == FATE_REMOVE) {
            ctl_put_nil(w, "generation");
            ctl_put_nil(w, "first_step");
        } else {
            ctl_put_uint(w, "generation", t->generation);
            ctl_put_uint(w, "first_step", t->first_step);
        }
        ctl_put_list(w, "superseded");
        for (uint32_t k = 0; k < t->n_superseded; k++)
            ctl_put_uint(w, NULL, t->superseded[k]);
        ctl_put_end(w);
        put_notes(w, t->notes);
        ctl_put_end(w);
    }
    ctl_put_end(w);
    ctl_put_list(w, "notes");
    if (c->wish.file == NULL && is_unlike(after, c->roster->file))
        ctl_put_text(
            w, NULL,
            "the configuration file says otherwise: `skipalignctl diff` shows what, and a `reload` goes "
            "back to it");
    if (c->wish.file == NULL && c->n_turns == 0)
        ctl_put_text(w, NULL, "no stream depends on it, so it is forgotten when the daemon ends");
    ctl_put_end(w);
    ctl_put_bool(w, "dry_run", c->wish.dry_run);
}

/* ---- a change's life ---- */

/* Streams that were only looked at, and are what they were. */
static void drop_same(struct change *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_turns; i++) {
        struct affected *t = &c->turns[i];
        if (t->fate == FATE_SAME && newest_recipe(t)->fingerprint == t->recipe->fingerprint) {
            recipe_unref(t->recipe);
            continue;
        }
        t->fate = t->fate == FATE_SAME ? FATE_CHANGE : t->fate;
        c->turns[n++] = *t;
    }
    c->n_turns = n;
}

static void finish(struct request *q, struct change *c)
{
    struct hold hold = {c, q};
    int rc = c->rc;
    if (c->cancelled_by[0] != '\0') {
        request_fail(q, "cancelled", "cancelled by %s; nothing was changed", c->cancelled_by);
        return;
    }
    if (rc != 0) {
        request_fail(q, "bad-config", "%s", c->err.text);
        return;
    }
    drop_same(c);
    if (c->n_turns == 0 && c->n_diff == 0) {
        request_fail(q, "unchanged", "%s is what is running, and no file of a corpus or model has changed",
                     c->wish.file->path);
        return;
    }
    feed_call(c->feed, hold_all, &hold);
    for (uint32_t i = 0; i < c->n_turns && rc == 0 && !q->failed; i++)
        rc = foretell(&c->turns[i]);
    if (rc != 0)
        q->reply.rc = rc;
    if (rc != 0 || c->wish.dry_run)
        feed_call(c->feed, release_all, c);
    if (rc != 0 || q->failed)
        return;
    /* Written before it is done: afterwards, what is running is the other one. */
    change_put_diff(&q->reply, c->roster, c->wish.draft, c->diff, c->n_diff);
    if (c->wish.dry_run)
        put_result(q, c, c->wish.draft);
    else if (commit(q, c))
        put_result(q, c, c->roster->running);
}

static void stop_preparing(struct change *c)
{
    atomic_store_explicit(&c->stop, true, memory_order_relaxed);
    (void)pthread_join(c->thread, NULL);
}

static void change_drop(struct request *q)
{
    struct change *c = q->waiting;
    stop_preparing(c);
    free_change(c);
}

static void tell_progress(struct request *q, struct change *c)
{
    if (!c->wish.progress || clock_ns() - c->told_ns < TELL_NS)
        return;
    (void)pthread_mutex_lock(&c->lock);
    if (c->progress.number != c->progress_told) {
        request_tell(q, c->progress.what, c->progress.done, c->progress.all);
        c->progress_told = c->progress.number;
        c->told_ns = clock_ns();
    }
    (void)pthread_mutex_unlock(&c->lock);
}

static bool change_again(struct request *q)
{
    struct change *c = q->waiting;
    if (!atomic_load_explicit(&c->stopped, memory_order_acquire)) {
        tell_progress(q, c);
        return false;
    }
    (void)pthread_join(c->thread, NULL);
    finish(q, c);
    free_change(c);
    return true;
}

bool change_cancel(struct roster *r, const char *who)
{
    struct change *c = r->change;
    if (c == NULL)
        return false;
    (void)snprintf(c->cancelled_by, sizeof c->cancelled_by, "%s", who);
    atomic_store_explicit(&c->stop, true, memory_order_relaxed);
    log_info("%s by %s: cancelled by %s", c->wish.cause, c->who, who);
    return true;
}

/* What becomes of each stream that is running or wanted. */
static int plan_turns(struct change *c)
{
    const struct conf *running = c->roster->running, *draft = c->wish.draft;
    c->turns = calloc((size_t)running->n_streams + draft->n_streams + 1, sizeof c->turns[0]);
    if (c->turns == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < running->n_streams; i++)
        if (conf_find_stream(draft, running->streams[i].name) == NULL)
            c->turns[c->n_turns++] = (struct affected){.fate = FATE_REMOVE, .name = running->streams[i].name};
    for (uint32_t i = 0; i < draft->n_streams; i++) {
        const struct conf_stream *s = &draft->streams[i], *was = conf_find_stream(running, s->name);
        struct affected t = {.fate = FATE_ADD, .name = s->name};
        char *before = NULL, *after = NULL;
        if (was != NULL) {
            int rc = roster_print(running, was, &before);
            if (rc == 0)
                rc = roster_print(draft, s, &after);
            t.fate = rc != 0 || strcmp(before, after) != 0 ? FATE_CHANGE : FATE_SAME;
            free(before);
            free(after);
            if (rc != 0)
                return rc;
        }
        if (t.fate != FATE_SAME || c->wish.choice == STOCK_NEWEST)
            c->turns[c->n_turns++] = t;
    }
    for (uint32_t i = 0; i < c->n_turns; i++)
        c->turns[i].stream = roster_find(c->roster, c->turns[i].name);
    return 0;
}

void change_begin(struct request *q, struct wish *wish)
{
    struct roster *r = q->context->roster;
    struct change *c = calloc(1, sizeof *c);
    int rc = -ENOMEM;
    if (c == NULL) {
        conf_free(wish->draft);
        conf_free(wish->file);
        goto out_fail;
    }
    c->roster = r;
    c->feed = q->context->feed;
    c->wish = *wish;
    c->start_ns = clock_ns();
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)snprintf(c->who, sizeof c->who, "%s", wish->who);
    if ((rc = conf_diff(r->running, wish->draft, &c->diff, &c->n_diff)) != 0 || (rc = plan_turns(c)) != 0)
        goto out_free;
    if (c->n_diff == 0 && wish->choice == STOCK_HELD) {
        request_fail(q, "unchanged", "nothing to do: it is so already");
        goto out_free;
    }
    if (refuse_restart(q, c) || refuse_unfit(q, c))
        goto out_free;
    rc = -pthread_create(&c->thread, NULL, run_prepare, c);
    if (rc != 0)
        goto out_free;
    r->change = c;
    q->waiting = c;
    q->again = change_again;
    q->drop = change_drop;
    return;
out_free:
    free_change(c);
out_fail:
    if (rc != 0)
        request_fail(q, "failed", "%s; nothing was changed", err_str(rc));
}
