#include "control/recall.h"

#include "base/log.h"
#include "config/diff.h"
#include "config/edit.h"
#include "config/merge.h"
#include "control/draft.h"
#include "stream/sent.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One stream that goes on. */
struct memory {
    struct roster *roster;
    const struct recall_options *options;
    struct roster_stream *stream;
    const struct conf_stream *in_file; /* NULL: the file does not have it */
    const struct timeline_entry *newest;
    struct conf *was;     /* its own configuration */
    uint64_t sent;        /* 1 + the highest step ever handed out */
    bool edited;          /* the file, since the newest generation */
    bool differs;         /* from the file, in what batches depend on */
    struct recipe *newly; /* what is there now, where that is not what it was */
};

/* ---- recipes of what was ---- */

/* As the entry has them, in the order of the stream's corpora. */
struct wanted {
    uint64_t *versions, *records;
};

static void wanted_fini(struct wanted *w)
{
    free(w->versions);
    free(w->records);
}

static int wanted_init(struct wanted *w, const struct timeline_entry *e, const struct conf_stream *s)
{
    w->versions = calloc(s->n_corpora, sizeof w->versions[0]);
    w->records = calloc(s->n_corpora, sizeof w->records[0]);
    if (w->versions == NULL || w->records == NULL) {
        wanted_fini(w);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < s->n_corpora; i++)
        for (uint32_t k = 0; k < e->n_corpora; k++)
            if (strcmp(e->corpora[k].name, s->corpora[i].corpus) == 0) {
                w->versions[i] = e->corpora[k].fingerprint;
                w->records[i] = e->corpora[k].records;
            }
    return 0;
}

/* Exactly what the generation was made of; conf says where it lies. An index that is lost is made again: what
 * it comes to tells whether the files are still the same. */
static int recipe_of(const struct memory *m, const struct timeline_entry *e, const struct conf *conf,
                     struct recipe **ret, struct err *reterr)
{
    const struct conf_stream *s = conf_find_stream(conf, m->stream->name);
    struct wanted versions;
    if (s == NULL)
        return err_set(reterr, ERR_FORMAT, "generation %" PRIu32 ": its configuration has another stream",
                       e->generation);
    int rc = wanted_init(&versions, e, s);
    if (rc != 0)
        return err_sys(reterr, rc, "stream '%s'", s->name);
    const struct stock_wanted wanted = {versions.versions, e->tokenizer};
    struct recipe *r = NULL;
    rc = stock_recipe(m->roster->stock, conf, s, STOCK_HELD, &wanted, m->options->progress, &r, reterr);
    wanted_fini(&versions);
    struct err e_now;
    if (rc == ERR_CHANGED &&
        stock_recipe(m->roster->stock, conf, s, STOCK_HELD, NULL, m->options->progress, &r, &e_now) == 0) {
        rc = r->fingerprint == e->fingerprint ? 0 : ERR_CHANGED;
        if (rc != 0)
            recipe_unref(r);
    }
    if (rc == 0 && r->fingerprint != e->fingerprint) {
        recipe_unref(r);
        return err_set(reterr, ERR_CHANGED,
                       "skipalignd %s makes other batches of it than the release that did",
                       SKIPALIGN_VERSION);
    }
    if (rc == 0)
        *ret = r;
    return rc;
}

static int entry_conf(const struct memory *m, const struct timeline_entry *e, struct conf **ret,
                      struct err *reterr)
{
    struct conf_errors errors = {0};
    int rc = draft_entry(e, ret, &errors);
    if (rc != 0)
        (void)err_set(reterr, rc, "stream '%s': the configuration of its generation cannot be read: %s",
                      m->stream->name, errors.text != NULL ? errors.text : err_str(rc));
    conf_errors_fini(&errors);
    return rc;
}

static void add_generation(struct memory *m, const struct timeline_entry *e, struct recipe *recipe)
{
    m->stream->generations[m->stream->n++] = (struct generation_setup){.number = e->generation,
                                                                       .first_step = e->first_step,
                                                                       .recipe = recipe,
                                                                       .fingerprint = e->fingerprint};
}

/* One that cannot be had any more. conf: its own; NULL: that cannot be read either. */
static int add_lost(struct memory *m, const struct timeline_entry *e, const struct conf *conf,
                    const struct err *why, struct err *reterr)
{
    const struct conf_stream *s = conf != NULL ? conf_find_stream(conf, m->stream->name) : NULL;
    struct recipe *lost = NULL;
    struct wanted w = {0};
    char *text = strdup(why->text);
    int rc = text == NULL || (s != NULL && wanted_init(&w, e, s) != 0)
                 ? err_sys(reterr, -ENOMEM, "stream '%s'", m->stream->name)
                 : 0;
    if (rc == 0 && s != NULL) {
        rc = recipe_new_lost(conf, s, w.records, w.versions, e->fingerprint, &lost, reterr);
        wanted_fini(&w);
    }
    if (rc != 0) {
        free(text);
        return rc;
    }
    add_generation(m, e, NULL);
    m->stream->generations[m->stream->n - 1].why = text;
    m->stream->generations[m->stream->n - 1].lost = lost;
    return 0;
}

/* One that later ones have taken over from: if it cannot be had, its steps fail, and nothing else. */
static int recall_older(struct memory *m, const struct timeline_entry *e, uint64_t end, struct err *reterr)
{
    struct conf *conf = NULL;
    struct recipe *recipe = NULL;
    struct err why = {""};
    int rc = entry_conf(m, e, &conf, &why);
    if (rc == 0)
        rc = recipe_of(m, e, conf, &recipe, &why);
    if (rc == ERR_CANCELLED || rc == -ENOMEM) {
        *reterr = why;
    } else if (rc != 0) {
        log_warn("stream '%s': steps %" PRIu64 " to %" PRIu64 " (generation %" PRIu32
                 ") cannot be made again: %s",
                 m->stream->name, e->first_step, end - 1, e->generation, why.text);
        rc = add_lost(m, e, conf, &why, reterr);
    } else {
        add_generation(m, e, recipe);
    }
    conf_free(conf);
    return rc;
}

/* ---- what is different ---- */

static int differs_from_file(struct memory *m, struct err *reterr)
{
    char *file = NULL, *was = NULL;
    uint64_t hash;
    if (m->in_file == NULL)
        return 0;
    const struct conf_stream *old = conf_find_stream(m->was, m->stream->name);
    int rc = roster_file_hash(m->roster->file, m->stream->name, &hash);
    if (rc == 0)
        rc = conf_stream_canonical(m->roster->file, m->in_file, &file);
    if (rc == 0)
        rc = conf_stream_canonical(m->was, old, &was);
    m->differs = rc == 0 && strcmp(file, was) != 0;
    m->edited = rc == 0 && hash != m->newest->file_hash;
    free(file);
    free(was);
    return rc == 0 ? 0 : err_sys(reterr, rc, "stream '%s'", m->stream->name);
}

/* Line by line, what the file says and what was served last. */
static void log_difference(const struct memory *m)
{
    char *text = NULL;
    struct conf *file = NULL;
    struct conf_change *changes;
    struct conf_errors errors = {0};
    uint32_t n;
    int rc = roster_print(m->roster->file, m->in_file, &text);
    if (rc == 0)
        rc = conf_parse(m->roster->file->path, text, strlen(text), &file, &errors);
    if (rc == 0 && conf_diff(m->was, file, &changes, &n) == 0) {
        for (uint32_t i = 0; i < n; i++)
            log_error("stream '%s': %s: was %s, and is %s in the file", m->stream->name, changes[i].name,
                      changes[i].before != NULL ? changes[i].before : "absent",
                      changes[i].after != NULL ? changes[i].after : "absent");
        conf_changes_free(changes, n);
    }
    conf_errors_fini(&errors);
    conf_free(file);
    free(text);
}

static int refuse_edited(const struct memory *m, struct err *reterr)
{
    log_difference(m);
    return err_set(reterr, ERR_CONFIG,
                   "stream '%s': %s is not what its steps below %" PRIu64 " were made by (generation %" PRIu32
                   ", by %s: %s). Put the file back; or start with --reload, and it counts from step %" PRIu64
                   " on; or with --forget %s, and the stream begins anew",
                   m->stream->name, m->roster->file->path, m->sent, m->newest->generation, m->newest->who,
                   m->newest->cause, m->sent, m->stream->name);
}

static int refuse_data(const struct memory *m, const struct err *why, struct err *reterr)
{
    return err_set(
        reterr, ERR_CONFIG,
        "stream '%s': what its steps below %" PRIu64 " were made of (generation %" PRIu32
        ") is not there: %.500s. Put it back; or start with --reload, and the stream goes on with what "
        "is there now from step %" PRIu64 " on; or with --forget %s, and it begins anew",
        m->stream->name, m->sent, m->newest->generation, why->text, m->sent, m->stream->name);
}

/* ---- one stream ---- */

static int merge(struct roster *r, const struct conf *over, struct err *reterr)
{
    struct conf_errors errors = {0};
    struct conf *merged = NULL;
    int rc = conf_merge(r->running, over, &merged, &errors);
    if (rc != 0)
        (void)err_set(reterr, rc, "%s does not go together with what was changed while it ran: %s",
                      r->file->path, errors.text != NULL ? errors.text : err_str(rc));
    else
        conf_free(r->running);
    if (rc == 0)
        r->running = merged;
    conf_errors_fini(&errors);
    return rc;
}

static int commit(struct memory *m, const struct conf *conf, uint64_t first_step, const char *cause,
                  struct err *reterr)
{
    const struct roster_news news = {first_step, "skipalignd", cause};
    struct err e = {""};
    int rc = m->newly != NULL ? 0
                              : stock_recipe(m->roster->stock, conf, conf_find_stream(conf, m->stream->name),
                                             STOCK_NEWEST, NULL, m->options->progress, &m->newly, reterr);
    if (rc != 0)
        return rc;
    rc = roster_commit(m->roster, m->stream, conf, m->newly, &news, &e);
    if (rc != 0) {
        *reterr = e;
        return rc;
    }
    if (e.text[0] != '\0')
        log_warn("stream '%s': %s", m->stream->name, e.text);
    log_info("stream '%s': generation %" PRIu32 " from step %" PRIu64 " on (%s)", m->stream->name,
             m->stream->generations[m->stream->n - 1].number, first_step, cause);
    return 0;
}

/* The newest generation as it was: from the index of its version, or, where that is gone, from the files. */
static int recall_newest(struct memory *m, const struct conf *conf, struct err *why, struct err *reterr)
{
    const struct conf_stream *s = conf_find_stream(conf, m->stream->name);
    struct recipe *recipe = NULL;
    int rc = recipe_of(m, m->newest, conf, &recipe, why);
    if (rc == 0) {
        add_generation(m, m->newest, recipe);
        return 0;
    }
    if (rc == ERR_CANCELLED || rc == -ENOMEM) {
        *reterr = *why;
        return rc;
    }
    rc = stock_recipe(m->roster->stock, conf, s, STOCK_NEWEST, NULL, m->options->progress, &recipe, reterr);
    if (rc != 0)
        return rc;
    if (recipe->fingerprint == m->newest->fingerprint) {
        add_generation(m, m->newest, recipe);
        return 0;
    }
    m->newly = recipe;
    return add_lost(m, m->newest, m->was, why, reterr);
}

static int go_on(struct memory *m, struct err *reterr)
{
    /* Edited in nothing that batches depend on: where things lie now is what counts. */
    const bool by_file = m->edited && !m->differs;
    const struct conf *conf = by_file ? m->roster->file : m->was;
    struct err why = {""};
    int rc = recall_newest(m, conf, &why, reterr);
    if (rc != 0)
        return rc;
    if (m->newly != NULL && m->sent > 0 && !m->options->reload)
        return refuse_data(m, &why, reterr);
    if (m->newly != NULL)
        rc = commit(m, conf, m->sent,
                    m->sent > 0 ? "start with --reload: its data or model are others now"
                                : "its data or model changed before the first step",
                    reterr);
    if (rc == 0 && m->differs)
        log_info("stream '%s': generation %" PRIu32 " goes on, as it was changed while it ran (%s: %s); "
                 "`skipalignctl diff` shows where the file says otherwise",
                 m->stream->name, m->newest->generation, m->newest->who, m->newest->cause);
    return rc == 0 && !by_file ? merge(m->roster, m->was, reterr) : rc;
}

static int take_file(struct memory *m, struct err *reterr)
{
    struct err why = {""};
    struct recipe *recipe = NULL;
    int rc = recipe_of(m, m->newest, m->was, &recipe, &why);
    if (rc == ERR_CANCELLED || rc == -ENOMEM) {
        *reterr = why;
        return rc;
    }
    if (rc == 0)
        add_generation(m, m->newest, recipe);
    else if ((rc = add_lost(m, m->newest, m->was, &why, reterr)) != 0)
        return rc;
    return commit(m, m->roster->file, m->sent,
                  m->sent > 0 ? "start with --reload: the edited file"
                              : "the file, edited before the first step",
                  reterr);
}

static int recall_stream(struct memory *m, struct err *reterr)
{
    struct roster_stream *s = m->stream;
    char folder[PATH_MAX];
    uint32_t n;
    const struct timeline_entry *const *entries = timeline_effective(s->timeline, &n);
    if (n == 0)
        return commit(m, m->roster->file, 0, "first start", reterr);
    m->newest = entries[n - 1];
    struct generation_setup *g = realloc(s->generations, (n + 1) * sizeof *g);
    if (g == NULL)
        return err_sys(reterr, -ENOMEM, "stream '%s'", s->name);
    s->generations = g;
    (void)snprintf(folder, sizeof folder, "%s/streams/%s", m->roster->file->state_dir, s->name);
    m->sent = sent_read(folder);
    int rc = entry_conf(m, m->newest, &m->was, reterr);
    if (rc == 0)
        rc = differs_from_file(m, reterr);
    for (uint32_t i = 0; i + 1 < n && rc == 0; i++)
        rc = recall_older(m, entries[i], entries[i + 1]->first_step, reterr);
    if (rc != 0)
        return rc;
    if (m->differs && (m->options->reload || (m->edited && m->sent == 0)))
        return take_file(m, reterr);
    return m->differs && m->edited ? refuse_edited(m, reterr) : go_on(m, reterr);
}

static int open_stream(struct memory *m, const char *name, struct err *reterr)
{
    int rc = roster_add(m->roster, name, &m->stream, reterr);
    if (rc == ERR_FORMAT)
        return err_wrap(
            reterr, ERR_CONFIG,
            "its timeline is the law that its steps are made by, so nothing is guessed (put back a copy "
            "of state_dir, or start with --forget %s, and the stream begins anew)",
            name);
    if (rc == 0 && timeline_leftover(m->stream->timeline) != NULL)
        log_warn("stream '%s': %s is a change that was cut short; it was never in effect", name,
                 timeline_leftover(m->stream->timeline));
    return rc;
}

static void forget_memory(struct memory *m)
{
    conf_free(m->was);
    recipe_unref(m->newly);
}

/* ---- all of them ---- */

static int put_aside(struct roster *r, const char *name, const char *why, struct err *reterr)
{
    char aside[ROSTER_ASIDE];
    int rc = roster_put_aside(r->file->state_dir, name, aside, reterr);
    if (rc == 0 && aside[0] != '\0')
        log_info("stream '%s' begins anew, %s; what it was is kept as streams/%s", name, why, aside);
    return rc;
}

static int forget(struct roster *r, const struct recall_options *o, struct err *reterr)
{
    int rc = 0;
    for (uint32_t i = 0; i < o->n_forget && rc == 0; i++) {
        if (conf_find_stream(r->file, o->forget[i]) == NULL)
            return err_set(reterr, ERR_CONFIG, "--forget %s: %s has no such stream", o->forget[i],
                           r->file->path);
        rc = put_aside(r, o->forget[i], "as --forget says", reterr);
    }
    return rc;
}

/* Commands removed them, and of each the file says what it said then. Last of all: what they added may be all
 * that is left. */
static int leave_out(struct roster *r, struct err *reterr)
{
    struct conf_errors errors = {0};
    struct conf *rest = NULL;
    uint32_t n = 0;
    char(*names)[80] = calloc((size_t)r->file->n_streams + 1, sizeof names[0]);
    struct conf_edit *edits = calloc((size_t)r->file->n_streams + 1, sizeof edits[0]);
    int rc = names == NULL || edits == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; rc == 0 && i < r->file->n_streams; i++) {
        const char *name = r->file->streams[i].name;
        if (roster_find(r, name) != NULL)
            continue;
        log_info("stream '%s' was removed by a command and is not served; take it out of %s, or start with "
                 "--forget %s to have it begin anew",
                 name, r->file->path, name);
        (void)snprintf(names[n], sizeof names[n], "streams.%s", name);
        edits[n] = (struct conf_edit){names[n], NULL};
        n++;
    }
    if (n > 0)
        rc = conf_edit(r->running, edits, n, &rest, &errors);
    if (rc != 0)
        (void)err_set(reterr, rc, "streams that were removed by commands: %s",
                      errors.text != NULL ? errors.text : err_str(rc));
    if (rest != NULL) {
        conf_free(r->running);
        r->running = rest;
    }
    conf_errors_fini(&errors);
    free(names);
    free(edits);
    return rc;
}

static int recall_in_file(struct roster *r, const struct recall_options *o, const struct conf_stream *s,
                          struct err *reterr)
{
    struct memory m = {.roster = r, .options = o, .in_file = s};
    enum roster_mark mark;
    uint64_t hash;
    int rc = roster_file_hash(r->file, s->name, &hash);
    if (rc != 0)
        return err_sys(reterr, rc, "stream '%s'", s->name);
    rc = roster_read_mark(r->file->state_dir, s->name, hash, &mark, reterr);
    if (rc == 0 && mark == MARK_REMOVED)
        return 0; /* see leave_out */
    if (rc == 0 && mark == MARK_OTHER)
        rc = put_aside(r, s->name, "having been removed before its part of the file was edited", reterr);
    if (rc == 0)
        rc = open_stream(&m, s->name, reterr);
    if (rc == 0)
        rc = recall_stream(&m, reterr);
    forget_memory(&m);
    return rc;
}

/* A folder that the file says nothing of: a stream that a command added, or what is left of others. */
static int recall_added(struct roster *r, const struct recall_options *o, const char *name,
                        struct err *reterr)
{
    struct memory m = {.roster = r, .options = o};
    enum roster_mark mark;
    uint32_t n;
    int rc = roster_read_mark(r->file->state_dir, name, 0, &mark, reterr);
    if (rc != 0 || mark != MARK_NONE)
        return rc;
    if ((rc = open_stream(&m, name, reterr)) != 0)
        return rc;
    const struct timeline_entry *const *entries = timeline_effective(m.stream->timeline, &n);
    if (n > 0 && entries[n - 1]->file_hash == 0) {
        rc = recall_stream(&m, reterr);
        forget_memory(&m);
        return rc;
    }
    if (n > 0)
        log_info("stream '%s' is not in %s any more and is not served; its state stays in streams/%s", name,
                 r->file->path, name);
    roster_remove(r, m.stream);
    return 0;
}

static int may_be_stream(const struct dirent *d)
{
    return d->d_name[0] != '.' && strlen(d->d_name) <= 64 &&
           fnmatch("*.old.[0-9]*T[0-9]*Z", d->d_name, 0) != 0;
}

static int recall_others(struct roster *r, const struct recall_options *o, struct err *reterr)
{
    char path[PATH_MAX];
    struct dirent **list;
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/streams", r->file->state_dir);
    const int n = scandir(path, &list, may_be_stream, alphasort);
    int rc = n < 0 && errno != ENOENT ? err_sys(reterr, -errno, "%s", path) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        (void)snprintf(path, sizeof path, "%s/streams/%s", r->file->state_dir, name);
        if (rc == 0 && conf_find_stream(r->file, name) == NULL && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            rc = recall_added(r, o, name, reterr);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return rc;
}

int recall_streams(struct roster *r, const struct recall_options *o, struct err *reterr)
{
    int rc = forget(r, o, reterr);
    stock_load_ahead(r->stock, r->file);
    for (uint32_t i = 0; i < r->file->n_streams && rc == 0; i++)
        rc = recall_in_file(r, o, &r->file->streams[i], reterr);
    if (rc == 0)
        rc = recall_others(r, o, reterr);
    if (rc == 0)
        rc = leave_out(r, reterr);
    for (uint32_t i = 0; rc == 0 && i < r->running->n_corpora; i++)
        rc = stock_corpus(r->stock, &r->running->corpora[i], STOCK_HELD, o->progress, reterr);
    stock_end_ahead(r->stock);
    if (rc == 0) {
        roster_tidy(r);
        roster_prune(r);
    }
    return rc;
}
