#include "control/change.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TELL_NS (100 * NS_PER_MS) /* how often a client hears how far it is */

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
    bool refused;
};

static bool refuse_epochs(struct look *l, const struct stream *st, const struct conf_stream *conf)
{
    uint64_t epoch, sent = stream_sent(st);
    if (conf->epochs == 0 || sent == 0 || !stream_epoch_of(st, sent - 1, &epoch) ||
        (uint64_t)conf->epochs > epoch)
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
        if (c->turns[i].fate != FATE_CHANGE)
            continue;
        struct stream *st = supply_find(feed_supply(f), conf->name);
        l->refused = commit_refuse_readers(l->request, f, st, conf) || refuse_epochs(l, st, conf);
    }
}

static bool refuse_unfit(struct request *q, const struct change *c)
{
    struct look l = {.change = c, .request = q};
    feed_call(c->feed, look, &l);
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

/* ---- a change's life ---- */

/* Streams that were only looked at, and are what they were. */
static void drop_same(struct change *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_turns; i++) {
        struct affected *t = &c->turns[i];
        if (t->fate == FATE_SAME && affected_newest(t)->fingerprint == t->recipe->fingerprint) {
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
    if (c->cancelled_by[0] != '\0') {
        request_fail(q, "cancelled", "cancelled by %s; nothing was changed", c->cancelled_by);
        return;
    }
    if (c->rc != 0) {
        request_fail(q, "bad-config", "%s", c->err.text);
        return;
    }
    drop_same(c);
    if (c->n_turns == 0 && c->n_diff == 0 && c->wish.file != NULL)
        request_fail(q, "unchanged", "%s is what is running, and no file of a corpus or model has changed",
                     c->wish.file->path);
    else if (c->n_turns == 0 && c->n_diff == 0)
        request_fail(q, "unchanged", "nothing to do: it is so already");
    if (q->failed)
        return;
    commit_change(q, c);
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
    roster_tidy(c->roster); /* versions that were opened in vain are not held */
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

/* Is the stream served as another than `text` says? Where a change could not be committed for all streams,
 * one may be; and one that only its file's places have changed for is looked at in vain. */
static bool is_behind(const struct roster_stream *s, const char *text)
{
    uint32_t n;
    const struct timeline_entry *const *entries = timeline_effective(s->timeline, &n);
    return strcmp(entries[n - 1]->config, text) != 0;
}

static int plan_turn(struct change *c, const struct conf_stream *s)
{
    const struct conf_stream *was = conf_find_stream(c->roster->running, s->name);
    struct affected t = {.fate = FATE_ADD, .name = s->name, .stream = roster_find(c->roster, s->name)};
    char *before = NULL, *after = NULL;
    int rc = was != NULL ? roster_print(c->roster->running, was, &before) : 0;
    if (rc == 0 && was != NULL)
        rc = roster_print(c->wish.draft, s, &after);
    if (rc == 0 && was != NULL)
        t.fate = strcmp(before, after) != 0 ? FATE_CHANGE : FATE_SAME;
    if (rc == 0 && (t.fate != FATE_SAME || c->wish.choice == STOCK_NEWEST || is_behind(t.stream, after)))
        c->turns[c->n_turns++] = t;
    free(before);
    free(after);
    return rc;
}

/* What becomes of each stream that is running or wanted. */
static int plan_turns(struct change *c)
{
    const struct conf *running = c->roster->running, *draft = c->wish.draft;
    c->turns = calloc((size_t)running->n_streams + draft->n_streams + 1, sizeof c->turns[0]);
    int rc = c->turns == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; i < running->n_streams && rc == 0; i++) {
        const char *name = running->streams[i].name;
        if (conf_find_stream(draft, name) == NULL)
            c->turns[c->n_turns++] =
                (struct affected){.fate = FATE_REMOVE, .name = name, .stream = roster_find(c->roster, name)};
    }
    for (uint32_t i = 0; i < draft->n_streams && rc == 0; i++)
        rc = plan_turn(c, &draft->streams[i]);
    return rc;
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
