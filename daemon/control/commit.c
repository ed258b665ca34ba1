#include "control/commit.h"

#include "base/log.h"
#include "control/draft.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recipe *affected_newest(const struct affected *t)
{
    return t->stream != NULL ? t->stream->generations[t->stream->n - 1].recipe : NULL;
}

/* One whose world does not divide the new global batch has to be
 * named: its people are to be asked. */
bool commit_refuse_readers(struct request *q, struct feed *f, struct stream *st,
                           const struct conf_stream *conf)
{
    struct feed_foresight foresight;
    feed_foresee(f, st, conf, &foresight);
    /* One who reads an older generation may not fit the newest already: that is not this change's doing. */
    if (foresight.wrong_world > 0 && conf->global_batch != stream_recipe(st)->conf->global_batch) {
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

/* ---- holding: from which step on ---- */

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
    request_fail(q, code, "stream '%s': %s", t->name, e->text);
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
        if (t->fate != FATE_CHANGE || commit_refuse_readers(h->request, f, st, conf))
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
    const struct recipe *old = affected_newest(t), *new = t->recipe;
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
    if (affected_newest(t) != NULL)
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

static int commit_generation(struct change *c, struct affected *t, struct err *reterr)
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
    int rc = t->fate == FATE_CHANGE ? commit_generation(c, t, reterr)
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

static bool commit_or_fail(struct request *q, struct change *c)
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

void commit_change(struct request *q, struct change *c)
{
    struct hold hold = {c, q};
    int rc = 0;
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
    else if (commit_or_fail(q, c))
        put_result(q, c, c->roster->running);
}
