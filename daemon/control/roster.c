#include "control/roster.h"

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "config/print.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void free_generation(struct generation_setup *g)
{
    recipe_unref(g->recipe);
    recipe_unref(g->lost);
    free((char *)g->why);
}

static void free_stream(struct roster_stream *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        free_generation(&s->generations[i]);
    free(s->generations);
    timeline_close(s->timeline);
    free(s);
}

void roster_fini(struct roster *r)
{
    for (uint32_t i = 0; i < r->n_streams; i++)
        free_stream(r->streams[i]);
    free(r->streams);
    stock_free(r->stock);
    conf_free(r->running);
    conf_free(r->file);
    *r = (struct roster){0};
}

struct roster_stream *roster_find(const struct roster *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_streams; i++)
        if (strcmp(r->streams[i]->name, name) == 0)
            return r->streams[i];
    return NULL;
}

int roster_add(struct roster *r, const char *name, struct roster_stream **ret, struct err *reterr)
{
    struct roster_stream **streams = realloc(r->streams, (r->n_streams + 1) * sizeof *streams);
    struct roster_stream *s = calloc(1, sizeof *s);
    if (streams != NULL)
        r->streams = streams;
    if (streams == NULL || s == NULL) {
        free(s);
        return err_sys(reterr, -ENOMEM, "stream '%s'", name);
    }
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    int rc = timeline_open(r->running->state_dir, name, &s->timeline, reterr);
    if (rc == 0)
        rc = roster_reserve(s) == 0 ? 0 : err_sys(reterr, -ENOMEM, "stream '%s'", name);
    if (rc != 0) {
        free_stream(s);
        return rc;
    }
    r->streams[r->n_streams++] = s;
    *ret = s;
    return 0;
}

void roster_remove(struct roster *r, struct roster_stream *s)
{
    uint32_t i = 0;
    while (r->streams[i] != s)
        i++;
    r->n_streams--;
    memmove(&r->streams[i], &r->streams[i + 1], (r->n_streams - i) * sizeof r->streams[0]);
    free_stream(s);
}

int roster_reserve(struct roster_stream *s)
{
    struct generation_setup *g = realloc(s->generations, (s->n + 1) * sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    s->generations = g;
    return 0;
}

/* ---- a new generation ---- */

int roster_print(const struct conf *conf, const struct conf_stream *s, char **ret)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    int rc = f == NULL ? -ENOMEM : conf_print_stream(conf, s, f);
    if (f != NULL && fclose(f) != 0)
        rc = -ENOMEM;
    if (rc != 0) {
        free(text);
        return -ENOMEM;
    }
    *ret = text;
    return 0;
}

int roster_file_hash(const struct conf *file, const char *stream, uint64_t *ret)
{
    const struct conf_stream *s = conf_find_stream(file, stream);
    char *text;
    *ret = 0;
    if (s == NULL)
        return 0;
    int rc = roster_print(file, s, &text);
    if (rc != 0)
        return rc;
    *ret = rng_name_hash(text);
    free(text);
    return 0;
}

/* Into effect: what begins at its first step or later never was. */
static void take_effect(struct roster_stream *s, uint32_t number, uint64_t first_step, struct recipe *recipe)
{
    while (s->n > 0 && s->generations[s->n - 1].first_step >= first_step)
        free_generation(&s->generations[--s->n]);
    s->generations[s->n++] = (struct generation_setup){.number = number,
                                                       .first_step = first_step,
                                                       .recipe = recipe_ref(recipe),
                                                       .fingerprint = recipe->fingerprint};
}

int roster_commit(struct roster *r, struct roster_stream *s, const struct conf *conf, struct recipe *recipe,
                  const struct roster_news *news, struct err *reterr)
{
    uint32_t n;
    (void)timeline_entries(s->timeline, &n);
    struct timeline_corpus *corpora = calloc(recipe->n_corpora, sizeof corpora[0]);
    struct timeline_entry e = {.generation = n + 1,
                               .first_step = news->first_step,
                               .time_s = time(NULL),
                               .who = (char *)news->who,
                               .cause = (char *)news->cause,
                               .fingerprint = recipe->fingerprint,
                               .corpora = corpora,
                               .n_corpora = recipe->n_corpora};
    int rc = corpora == NULL ? -ENOMEM : roster_reserve(s);
    if (rc == 0)
        rc = roster_file_hash(r->file, s->name, &e.file_hash);
    if (rc == 0)
        rc = roster_print(conf, conf_find_stream(conf, s->name), &e.config);
    if (rc != 0) {
        free(corpora);
        return err_sys(reterr, rc, "stream '%s'", s->name);
    }
    (void)snprintf(e.tokenizer, sizeof e.tokenizer, "%s", tokenizer_sha256(recipe->tokenizer));
    for (uint32_t i = 0; i < recipe->n_corpora; i++)
        corpora[i] = (struct timeline_corpus){.name = recipe->conf->corpora[i].corpus,
                                              .records = corpus_records(recipe->corpora[i]),
                                              .fingerprint = corpus_fingerprint(recipe->corpora[i])};
    rc = timeline_append(s->timeline, &e, reterr);
    if (rc == 0)
        take_effect(s, e.generation, e.first_step, recipe);
    free(e.config);
    free(corpora);
    return rc;
}

/* ---- what is not needed any more ---- */

void roster_tidy(struct roster *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_streams; i++)
        n += r->streams[i]->n;
    struct recipe **recipes = calloc((size_t)n + 1, sizeof recipes[0]);
    if (recipes == NULL)
        return; /* the next time, then */
    n = 0;
    for (uint32_t i = 0; i < r->n_streams; i++) /* the newest ones first: those versions count as held */
        recipes[n++] = r->streams[i]->generations[r->streams[i]->n - 1].recipe;
    for (uint32_t i = 0; i < r->n_streams; i++)
        for (uint32_t g = 0; g + 1 < r->streams[i]->n; g++)
            recipes[n++] = r->streams[i]->generations[g].recipe;
    stock_keep(r->stock, r->running, recipes, n);
    free(recipes);
}

/* The versions of a corpus that generations in effect are made of: into keep where there is room for them. */
static uint32_t versions_of(const struct roster *r, const char *corpus, uint64_t *keep, uint32_t cap)
{
    uint32_t n = 0, n_entries;
    for (uint32_t i = 0; i < r->n_streams; i++) {
        const struct timeline_entry *const *e = timeline_effective(r->streams[i]->timeline, &n_entries);
        for (uint32_t g = 0; g < n_entries; g++)
            for (uint32_t c = 0; c < e[g]->n_corpora; c++)
                if (strcmp(e[g]->corpora[c].name, corpus) == 0) {
                    if (n < cap)
                        keep[n] = e[g]->corpora[c].fingerprint;
                    n++;
                }
    }
    return n;
}

static int prune_corpus(const struct roster *r, const char *name)
{
    struct err e;
    const uint32_t n = versions_of(r, name, NULL, 0);
    uint64_t *keep = calloc((size_t)n + 1, sizeof keep[0]);
    if (keep == NULL)
        return -ENOMEM; /* the next time, then */
    (void)versions_of(r, name, keep, n);
    int rc = n == 0 && conf_find_corpus(r->running, name) == NULL
                 ? corpus_drop_copies(r->running->state_dir, name, &e)
                 : corpus_prune(r->running->state_dir, name, keep, n, &e);
    if (rc != 0)
        log_warn("corpus '%s': what is kept of its old versions stays: %s", name, e.text);
    free(keep);
    return 0;
}

/* One that is not configured any more. */
static int prune_other(void *arg, const char *name)
{
    const struct roster *r = arg;
    return conf_find_corpus(r->running, name) != NULL ? 0 : prune_corpus(r, name);
}

void roster_prune(struct roster *r)
{
    struct err e;
    for (uint32_t c = 0; c < r->running->n_corpora; c++)
        if (prune_corpus(r, r->running->corpora[c].name) != 0)
            return;
    if (corpus_visit_spooled(r->running->state_dir, prune_other, r, &e) != 0)
        log_warn("decompressed copies that nothing needs may stay: %s", e.text);
}

/* ---- files of a stream ---- */

static int path_of(const char *state_dir, const char *stream, const char *file, char ret[PATH_MAX],
                   struct err *reterr)
{
    const int n = snprintf(ret, PATH_MAX, "%s/streams/%s%s", state_dir, stream, file);
    return n > 0 && n < PATH_MAX ? 0 : err_sys(reterr, -ENAMETOOLONG, "%s/streams/%s", state_dir, stream);
}

int roster_put_aside(const char *state_dir, const char *stream, char ret[ROSTER_ASIDE], struct err *reterr)
{
    char from[PATH_MAX], to[PATH_MAX], second[20], suffix[48];
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    ret[0] = '\0';
    int rc = path_of(state_dir, stream, "", from, reterr);
    if (rc != 0 || access(from, F_OK) != 0)
        return rc;
    (void)strftime(second, sizeof second, "%Y%m%dT%H%M%S", gmtime_r(&now.tv_sec, &tm));
    (void)snprintf(suffix, sizeof suffix, ".old.%s.%06ldZ", second, now.tv_nsec / 1000);
    if ((rc = path_of(state_dir, stream, suffix, to, reterr)) != 0)
        return rc;
    if (rename(from, to) != 0)
        return err_sys(reterr, -errno, "renaming %s to %s", from, to);
    (void)file_sync_folder(to); /* a power cut may bring it back under its name, and nothing is lost by it */
    (void)snprintf(ret, ROSTER_ASIDE, "%s%s", stream, suffix);
    return 0;
}

int roster_mark_removed(const char *state_dir, const char *stream, uint64_t file_hash, struct err *reterr)
{
    char path[PATH_MAX], text[32];
    int rc = path_of(state_dir, stream, "/removed", path, reterr);
    if (rc != 0)
        return rc;
    const int n = snprintf(text, sizeof text, "%016" PRIx64 "\n", file_hash);
    rc = file_replace(path, text, (size_t)n, true, reterr);
    return rc < 0 ? rc : 0;
}

int roster_read_mark(const char *state_dir, const char *stream, uint64_t file_hash, enum roster_mark *ret,
                     struct err *reterr)
{
    char path[PATH_MAX], *text;
    size_t size;
    *ret = MARK_NONE;
    int rc = path_of(state_dir, stream, "/removed", path, reterr);
    if (rc != 0)
        return rc;
    rc = file_read(path, 64, &text, &size, reterr);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    *ret = strtoull(text, NULL, 16) == file_hash ? MARK_REMOVED : MARK_OTHER;
    free(text);
    return 0;
}
