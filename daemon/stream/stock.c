#include "stream/stock.h"

#include "stream/doubt.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

struct stocked_corpus {
    struct corpus *corpus;
    STAILQ_ENTRY(stocked_corpus) next;
};

/* What a file was when it was read: enough to see that it is another one now. */
struct file_look {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct stocked_tokenizer {
    struct tokenizer *tokenizer;
    struct conf_special *special; /* [n_special], with its pieces one allocation each */
    uint32_t n_special;
    struct file_look look;
    STAILQ_ENTRY(stocked_tokenizer) next;
};

struct stock {
    char *state_dir;
    struct corpus_place place;
    enum tokenizer_path tokenizer_path;
    uint32_t tokenizer_verify;
    pthread_mutex_t opening, loading; /* two who want the same corpus or tokenizer do not open it twice */
    pthread_mutex_t lock;             /* of the lists; never held while something is opened */
    STAILQ_HEAD(stocked_corpora, stocked_corpus) corpora; /* what counts as held first */
    STAILQ_HEAD(stocked_tokenizers, stocked_tokenizer) tokenizers;
    struct conf *ahead; /* whose tokenizers a thread is loading; NULL: there is none */
    pthread_t ahead_thread;
    atomic_bool ahead_stops;
};

struct stock *stock_new(const struct corpus_place *place)
{
    struct stock *s = calloc(1, sizeof *s);
    if (s == NULL || (s->state_dir = strdup(place->state_dir)) == NULL) {
        free(s);
        return NULL;
    }
    s->place = *place;
    s->place.state_dir = s->state_dir;
    s->tokenizer_verify = TOKENIZER_VERIFY;
    (void)pthread_mutex_init(&s->opening, NULL);
    (void)pthread_mutex_init(&s->loading, NULL);
    (void)pthread_mutex_init(&s->lock, NULL);
    STAILQ_INIT(&s->corpora);
    STAILQ_INIT(&s->tokenizers);
    return s;
}

void stock_set_tokenizers(struct stock *s, enum tokenizer_path path, uint32_t verify)
{
    s->tokenizer_path = path;
    s->tokenizer_verify = verify;
}

static void free_corpus(struct stocked_corpus *k)
{
    corpus_close(k->corpus);
    free(k);
}

static void free_special(struct conf_special *special, uint32_t n)
{
    for (uint32_t i = 0; special != NULL && i < n; i++)
        free(special[i].piece);
    free(special);
}

static void free_tokenizer(struct stocked_tokenizer *k)
{
    if (k == NULL)
        return;
    tokenizer_unref(k->tokenizer);
    free_special(k->special, k->n_special);
    free(k);
}

void stock_free(struct stock *s)
{
    if (s == NULL)
        return;
    stock_end_ahead(s);
    for (struct stocked_corpus *k; (k = STAILQ_FIRST(&s->corpora)) != NULL;) {
        STAILQ_REMOVE_HEAD(&s->corpora, next);
        free_corpus(k);
    }
    for (struct stocked_tokenizer *k; (k = STAILQ_FIRST(&s->tokenizers)) != NULL;) {
        STAILQ_REMOVE_HEAD(&s->tokenizers, next);
        free_tokenizer(k);
    }
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->loading);
    (void)pthread_mutex_destroy(&s->opening);
    free(s->state_dir);
    free(s);
}

/* ---- corpora ---- */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_records(const struct conf_corpus *a, const struct conf_corpus *b)
{
    bool same = strcmp(a->name, b->name) == 0 && a->format == b->format && a->duplicates == b->duplicates &&
                a->not_text == b->not_text;
    for (int i = 0; i < FIELD__COUNT; i++)
        same = same && same_text(a->fields[i], b->fields[i]);
    return same;
}

static bool same_corpus(const struct conf_corpus *a, const struct conf_corpus *b)
{
    bool same = same_records(a, b) && a->n_paths == b->n_paths;
    for (uint32_t i = 0; same && i < a->n_paths; i++)
        same = strcmp(a->paths[i], b->paths[i]) == 0;
    return same;
}

/* A reference to the newest version; with wanted, to that version, wherever its files lie. NULL: not here. */
static struct corpus *find_corpus(struct stock *s, const struct conf_corpus *conf, const uint64_t *wanted)
{
    struct corpus *found = NULL;
    struct stocked_corpus *k;
    (void)pthread_mutex_lock(&s->lock);
    STAILQ_FOREACH(k, &s->corpora, next)
    if (wanted == NULL
            ? same_corpus(corpus_conf(k->corpus), conf)
            : corpus_fingerprint(k->corpus) == *wanted && same_records(corpus_conf(k->corpus), conf)) {
        found = corpus_ref(k->corpus);
        break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

struct opening {
    const struct stock_progress *progress;
    const char *corpus;
};

static int tell_opening(void *arg, const char *doing, uint64_t done, uint64_t all)
{
    const struct opening *o = arg;
    char what[128];
    (void)snprintf(what, sizeof what, "%s corpus '%s'", doing, o->corpus);
    return o->progress->tell(o->progress->arg, what, done, all);
}

static bool cancelled(const struct stock_progress *p, const char *what)
{
    return p != NULL && p->tell != NULL && p->tell(p->arg, what, 0, 0) != 0;
}

static int open_corpus(struct stock *s, const struct conf_corpus *conf, const uint64_t *wanted,
                       const struct stock_progress *progress, struct corpus **ret, struct err *reterr)
{
    struct opening opening = {progress, conf->name};
    const bool told = progress != NULL && progress->tell != NULL;
    struct stocked_corpus *k = malloc(sizeof *k);
    if (k == NULL)
        return err_sys(reterr, -ENOMEM, "corpus '%s'", conf->name);
    const struct corpus_progress tell = {told ? tell_opening : NULL, &opening};
    int rc = wanted != NULL ? corpus_open_version(conf, s->state_dir, *wanted, &k->corpus, reterr)
                            : corpus_open(conf, &s->place, &tell, &k->corpus, reterr);
    if (rc != 0) {
        free(k);
        return rc;
    }
    *ret = corpus_ref(k->corpus);
    (void)pthread_mutex_lock(&s->lock);
    if (wanted != NULL)
        STAILQ_INSERT_TAIL(&s->corpora, k, next);
    else
        STAILQ_INSERT_HEAD(&s->corpora, k, next);
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

/* One that is here and is what is wanted. */
static struct corpus *take_corpus(struct stock *s, const struct conf_corpus *conf, enum stock_choice choice,
                                  const uint64_t *wanted)
{
    struct corpus *c = find_corpus(s, conf, wanted);
    if (c == NULL || wanted != NULL || (choice == STOCK_HELD ? !corpus_lost(c) : !corpus_news(c, NULL, 0)))
        return c;
    corpus_close(c);
    return NULL;
}

static int get_corpus(struct stock *s, const struct conf_corpus *conf, enum stock_choice choice,
                      const uint64_t *wanted, const struct stock_progress *progress, struct corpus **ret,
                      struct err *reterr)
{
    int rc = 0;
    struct corpus *c = take_corpus(s, conf, choice, wanted);
    if (c == NULL) {
        (void)pthread_mutex_lock(&s->opening);
        c = take_corpus(s, conf, choice, wanted);
        if (c == NULL)
            rc = open_corpus(s, conf, wanted, progress, &c, reterr);
        (void)pthread_mutex_unlock(&s->opening);
    }
    if (rc == 0)
        *ret = c;
    return rc;
}

int stock_corpus(struct stock *s, const struct conf_corpus *conf, enum stock_choice choice,
                 const struct stock_progress *progress, struct err *reterr)
{
    struct corpus *c = NULL;
    int rc = get_corpus(s, conf, choice, NULL, progress, &c, reterr);
    corpus_close(c);
    return rc;
}

struct corpus *stock_find_corpus(struct stock *s, const struct conf_corpus *conf)
{
    struct corpus *c = find_corpus(s, conf, NULL);
    corpus_close(c); /* the stock's own reference stays */
    return c;
}

/* ---- tokenizers ---- */

static bool same_special(const struct conf_special *a, uint32_t n_a, const struct conf_special *b,
                         uint32_t n_b)
{
    bool same = n_a == n_b;
    for (uint32_t i = 0; same && i < n_a; i++)
        same = a[i].id == b[i].id && strcmp(a[i].piece, b[i].piece) == 0;
    return same;
}

/* A file that is not there looks like no other. */
static struct file_look look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct file_look){0};
    return (struct file_look){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
}

static bool same_look(const struct file_look *a, const struct file_look *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static bool fits(const struct stocked_tokenizer *k, const struct conf_stream *conf, enum stock_choice choice,
                 const char *wanted)
{
    if (!same_special(k->special, k->n_special, conf->special_tokens, conf->n_special_tokens))
        return false;
    if (wanted != NULL) /* wherever it lies */
        return strcmp(tokenizer_sha256(k->tokenizer), wanted) == 0;
    if (strcmp(tokenizer_path(k->tokenizer), conf->tokenizer) != 0)
        return false;
    const struct file_look now = look_at(conf->tokenizer);
    return choice == STOCK_HELD || same_look(&k->look, &now);
}

static struct tokenizer *find_tokenizer(struct stock *s, const struct conf_stream *conf,
                                        enum stock_choice choice, const char *wanted)
{
    struct tokenizer *found = NULL;
    struct stocked_tokenizer *k;
    (void)pthread_mutex_lock(&s->lock);
    STAILQ_FOREACH(k, &s->tokenizers, next)
    if (fits(k, conf, choice, wanted)) {
        found = tokenizer_ref(k->tokenizer);
        break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

static struct stocked_tokenizer *new_stocked(const struct conf_stream *conf)
{
    struct stocked_tokenizer *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->n_special = conf->n_special_tokens;
    k->special = calloc((size_t)k->n_special + 1, sizeof k->special[0]);
    bool whole = k->special != NULL;
    for (uint32_t i = 0; whole && i < k->n_special; i++) {
        k->special[i] =
            (struct conf_special){strdup(conf->special_tokens[i].piece), conf->special_tokens[i].id};
        whole = k->special[i].piece != NULL;
    }
    if (whole)
        return k;
    free_tokenizer(k);
    return NULL;
}

static int load_tokenizer(struct stock *s, const struct conf_stream *conf, const char *wanted,
                          struct tokenizer **ret, struct err *reterr)
{
    struct stocked_tokenizer *k = new_stocked(conf);
    if (k == NULL)
        return err_sys(reterr, -ENOMEM, "stream '%s'", conf->name);
    k->look = look_at(conf->tokenizer); /* before it is read: what changes meanwhile is seen the next time */
    int rc =
        tokenizer_load(conf->tokenizer, conf->special_tokens, conf->n_special_tokens, &k->tokenizer, reterr);
    if (rc != 0)
        (void)err_wrap(reterr, rc, "stream '%s'", conf->name);
    else if (wanted != NULL && strcmp(tokenizer_sha256(k->tokenizer), wanted) != 0)
        rc = err_set(reterr, ERR_CHANGED,
                     "%s is another model than it was (SHA-256 %.12s..., then %.12s...); put that one back",
                     conf->tokenizer, tokenizer_sha256(k->tokenizer), wanted);
    if (rc != 0) {
        free_tokenizer(k);
        return rc;
    }
    tokenizer_set(k->tokenizer, s->tokenizer_path, s->tokenizer_verify);
    if (doubt_model_known(s->state_dir, tokenizer_sha256(k->tokenizer)))
        tokenizer_doubt(k->tokenizer, true);
    *ret = tokenizer_ref(k->tokenizer);
    (void)pthread_mutex_lock(&s->lock);
    STAILQ_INSERT_HEAD(&s->tokenizers, k, next);
    (void)pthread_mutex_unlock(&s->lock);
    return 0;
}

static int get_tokenizer(struct stock *s, const struct conf_stream *conf, enum stock_choice choice,
                         const char *wanted, const struct stock_progress *progress, struct tokenizer **ret,
                         struct err *reterr)
{
    char what[128];
    int rc = 0;
    struct tokenizer *t = find_tokenizer(s, conf, choice, wanted);
    if (t == NULL) {
        (void)snprintf(what, sizeof what, "loading the tokenizer of '%s'", conf->name);
        (void)pthread_mutex_lock(&s->loading);
        t = find_tokenizer(s, conf, choice, wanted);
        if (t == NULL && cancelled(progress, what))
            rc = err_set(reterr, ERR_CANCELLED, "stream '%s': cancelled", conf->name);
        else if (t == NULL)
            rc = load_tokenizer(s, conf, wanted, &t, reterr);
        (void)pthread_mutex_unlock(&s->loading);
    }
    if (rc == 0)
        *ret = t;
    return rc;
}

static void *load_ahead(void *arg)
{
    struct stock *s = arg;
    for (uint32_t i = 0; i < s->ahead->n_streams && !atomic_load(&s->ahead_stops); i++) {
        struct tokenizer *t = NULL;
        struct err err;
        if (get_tokenizer(s, &s->ahead->streams[i], STOCK_NEWEST, NULL, NULL, &t, &err) == 0)
            tokenizer_unref(t); /* the stock's own reference stays */
    }
    return NULL;
}

void stock_load_ahead(struct stock *s, const struct conf *conf)
{
    CHECK(s->ahead == NULL);
    s->ahead = conf_ref(conf);
    if (pthread_create(&s->ahead_thread, NULL, load_ahead, s) == 0)
        return;
    conf_free(s->ahead); /* whoever wants one loads it */
    s->ahead = NULL;
}

void stock_end_ahead(struct stock *s)
{
    if (s->ahead == NULL)
        return;
    atomic_store(&s->ahead_stops, true);
    (void)pthread_join(s->ahead_thread, NULL);
    conf_free(s->ahead);
    s->ahead = NULL;
    atomic_store(&s->ahead_stops, false);
}

/* ---- recipes ---- */

static int get_corpora(struct stock *s, const struct conf *conf, const struct conf_stream *stream,
                       enum stock_choice choice, const struct stock_wanted *wanted,
                       const struct stock_progress *progress, struct corpus **ret, struct err *reterr)
{
    int rc = 0;
    for (uint32_t i = 0; i < stream->n_corpora && rc == 0; i++)
        rc = get_corpus(s, conf_find_corpus(conf, stream->corpora[i].corpus), choice,
                        wanted != NULL ? &wanted->corpora[i] : NULL, progress, &ret[i], reterr);
    return rc;
}

int stock_recipe(struct stock *s, const struct conf *conf, const struct conf_stream *stream,
                 enum stock_choice choice, const struct stock_wanted *wanted,
                 const struct stock_progress *progress, struct recipe **ret, struct err *reterr)
{
    const char *sha256 = wanted != NULL ? wanted->tokenizer_sha256 : NULL;
    struct tokenizer *tokenizer = NULL;
    struct corpus **corpora = calloc(stream->n_corpora, sizeof corpora[0]);
    int rc = corpora == NULL ? err_sys(reterr, -ENOMEM, "stream '%s'", stream->name)
                             : get_corpora(s, conf, stream, choice, wanted, progress, corpora, reterr);
    if (rc == 0)
        rc = get_tokenizer(s, stream, choice, sha256, progress, &tokenizer, reterr);
    if (rc == 0)
        rc = recipe_new(conf, stream, corpora, tokenizer, ret, reterr);
    for (uint32_t i = 0; corpora != NULL && i < stream->n_corpora; i++)
        corpus_close(corpora[i]); /* the recipe has its own references */
    free(corpora);
    tokenizer_unref(tokenizer);
    return rc;
}

/* ---- what is still needed ---- */

/* Move what this recipe is made of, if it is still in `from`, to the end of `to`. */
static void move_corpora(struct stocked_corpora *from, const struct recipe *r, struct stocked_corpora *to)
{
    for (uint32_t i = 0; i < r->n_corpora; i++) {
        struct stocked_corpus *k;
        STAILQ_FOREACH(k, from, next)
        if (k->corpus == r->corpora[i]) {
            STAILQ_REMOVE(from, k, stocked_corpus, next);
            STAILQ_INSERT_TAIL(to, k, next);
            break;
        }
    }
}

static bool has_corpus(const struct stocked_corpora *list, const struct conf_corpus *conf)
{
    const struct stocked_corpus *k;
    STAILQ_FOREACH(k, list, next)
    if (same_corpus(corpus_conf(k->corpus), conf))
        return true;
    return false;
}

static void keep_corpora(struct stock *s, const struct conf *conf, struct recipe *const *recipes, uint32_t n)
{
    struct stocked_corpora kept = STAILQ_HEAD_INITIALIZER(kept);
    for (uint32_t i = 0; i < n; i++)
        if (recipes[i] != NULL)
            move_corpora(&s->corpora, recipes[i], &kept);
    for (struct stocked_corpus *k; (k = STAILQ_FIRST(&s->corpora)) != NULL;) {
        STAILQ_REMOVE_HEAD(&s->corpora, next);
        const struct conf_corpus *of = conf_find_corpus(conf, corpus_conf(k->corpus)->name);
        if (of != NULL && same_corpus(of, corpus_conf(k->corpus)) && !has_corpus(&kept, of))
            STAILQ_INSERT_TAIL(&kept, k, next);
        else
            free_corpus(k);
    }
    STAILQ_CONCAT(&s->corpora, &kept);
}

static bool is_in(struct recipe *const *recipes, uint32_t n, const struct tokenizer *t)
{
    bool in = false;
    for (uint32_t i = 0; i < n && !in; i++)
        in = recipes[i] != NULL && recipes[i]->tokenizer == t;
    return in;
}

void stock_keep(struct stock *s, const struct conf *conf, struct recipe *const *recipes, uint32_t n)
{
    (void)pthread_mutex_lock(&s->lock);
    keep_corpora(s, conf, recipes, n);
    for (struct stocked_tokenizer *k = STAILQ_FIRST(&s->tokenizers), *next; k != NULL; k = next) {
        next = STAILQ_NEXT(k, next);
        if (is_in(recipes, n, k->tokenizer))
            continue;
        STAILQ_REMOVE(&s->tokenizers, k, stocked_tokenizer, next);
        free_tokenizer(k);
    }
    (void)pthread_mutex_unlock(&s->lock);
}
