#include "corpus/corpus.h"

#include "base/array.h"
#include "base/clock.h"
#include "corpus/catalog.h"
#include "corpus/duplicates.h"
#include "corpus/news.h"
#include "corpus/record.h"
#include "corpus/spool.h"
#include "corpus/versions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many records are looked at for the format, and how large they may be for that. */
#define DETECT_RECORDS 100u
#define DETECT_SIZE_MAX (1u << 20)

struct corpus {
    struct conf_corpus conf; /* its own */
    enum corpus_format format;
    struct catalog catalog;
    struct index index;
    struct duplicates duplicates;
    uint64_t bytes, copied;
    bool scanned;
    atomic_uint refs;
};

/* The bytes of a record, for a look at its format; false if they cannot be had. */
static bool detect_read(const struct corpus_extent *e, char *data)
{
    if (e->size > DETECT_SIZE_MAX)
        return false;
    for (uint64_t got = 0; got < e->size;) {
        ssize_t n = pread(e->fd, data + got, e->size - got, (off_t)(e->offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (uint64_t)n;
    }
    memset(data + e->size, 0, RECORD_PADDING);
    return true;
}

static int detect_in(struct corpus *c, struct record_parser *parser, char *data, struct err *reterr)
{
    struct corpus_extent e;
    for (uint64_t i = 0; i < corpus_records(c) && i < DETECT_RECORDS; i++) {
        corpus_get(c, i, &e);
        enum corpus_format format = FORMAT_AUTO;
        if (detect_read(&e, data))
            format = record_detect(parser, &c->conf, (struct slice){data, e.size});
        if (e.plain && format != FORMAT_AUTO)
            return err_set(
                reterr, ERR_FORMAT,
                "%s: holds JSON records (%s, it seems), but its name says lines of text; say which with "
                "format: %s or format: text",
                corpus_path(c, e.file), corpus_format_names[format], corpus_format_names[format]);
        if (e.plain)
            format = FORMAT_TEXT;
        if (format != FORMAT_AUTO) {
            c->format = format;
            return 0;
        }
    }
    return err_set(
        reterr, ERR_FORMAT,
        "%s: format not recognised: none of the first %llu records has the fields of a known one (messages, "
        "sharegpt, alpaca, prompt_completion, text); set format, and fields if they go by other names",
        corpus_path(c, 0),
        (unsigned long long)(corpus_records(c) < DETECT_RECORDS ? corpus_records(c) : DETECT_RECORDS));
}

static int detect(struct corpus *c, struct err *reterr)
{
    c->format = c->conf.format;
    if (c->format != FORMAT_AUTO)
        return 0;
    struct record_parser *parser = record_parser_new();
    char *data = malloc(DETECT_SIZE_MAX + RECORD_PADDING);
    int rc = parser == NULL || data == NULL ? err_sys(reterr, -ENOMEM, "looking for the format")
                                            : detect_in(c, parser, data, reterr);
    free(data);
    record_parser_free(parser);
    return rc;
}

static struct corpus *new_corpus(const struct conf_corpus *conf)
{
    struct corpus *c = calloc(1, sizeof *c);
    if (c == NULL || conf_corpus_copy(conf, &c->conf) != 0) {
        free(c);
        return NULL;
    }
    atomic_init(&c->refs, 1);
    return c;
}

/* What is left to do once catalog and index are there, if they are. */
static int finish_open(struct corpus *c, int rc, struct corpus **ret, struct err *reterr)
{
    for (uint32_t i = 0; i < c->catalog.n_files && rc == 0; i++) {
        c->bytes += c->catalog.files[i].size;
        c->copied += c->catalog.files[i].copy != NULL ? c->catalog.files[i].size : 0;
        /* From now on records are read in shuffled order: reading ahead would only waste the disk's time. */
        (void)posix_fadvise(c->catalog.files[i].fd, 0, 0, POSIX_FADV_RANDOM);
    }
    if (rc == 0)
        rc = detect(c, reterr);
    if (rc == 0) {
        *ret = c;
        return 0;
    }
    (void)err_wrap(reterr, rc, "corpus '%s'", c->conf.name);
    corpus_close(c);
    return rc;
}

struct doing {
    const struct corpus_progress *progress;
    const char *what;
};

static int tell(void *arg, uint64_t done, uint64_t all)
{
    const struct doing *d = arg;
    return d->progress->tell(d->progress->arg, d->what, done, all);
}

static int find_duplicates(struct corpus *c, const char *state_dir, const struct corpus_progress *progress,
                           struct err *reterr)
{
    struct doing finding = {progress, "finding duplicates in"};
    if (c->conf.duplicates == DUPLICATES_KEEP)
        return 0;
    return duplicates_open(state_dir, c->conf.name, &c->catalog, &c->index, c->scanned,
                           progress != NULL && progress->tell != NULL ? tell : NULL, &finding, &c->duplicates,
                           reterr);
}

int corpus_open(const struct conf_corpus *conf, const struct corpus_place *place,
                const struct corpus_progress *progress, struct corpus **ret, struct err *reterr)
{
    struct doing decompressing = {progress, "decompressing"}, indexing = {progress, "indexing"};
    int (*const told)(void *, uint64_t, uint64_t) = progress != NULL && progress->tell != NULL ? tell : NULL;
    struct corpus *c = new_corpus(conf);
    if (c == NULL)
        return err_sys(reterr, -ENOMEM, "corpus '%s'", conf->name);
    int rc = catalog_open(conf, &c->catalog, reterr);
    if (rc == 0)
        rc = spool_fill(&c->catalog, conf, place, told, &decompressing, reterr);
    if (rc == 0)
        rc = versions_open_newest(place->state_dir, conf->name, &c->catalog, place->io, told, &indexing,
                                  &c->index, &c->scanned, reterr);
    if (rc == 0)
        rc = find_duplicates(c, place->state_dir, progress, reterr);
    return finish_open(c, rc, ret, reterr);
}

int corpus_open_version(const struct conf_corpus *conf, const char *state_dir, uint64_t fingerprint,
                        struct corpus **ret, struct err *reterr)
{
    struct corpus *c = new_corpus(conf);
    if (c == NULL)
        return err_sys(reterr, -ENOMEM, "corpus '%s'", conf->name);
    int rc = versions_find(state_dir, conf->name, fingerprint, &c->index, reterr);
    if (rc == 0 && (rc = index_catalog(&c->index, &c->catalog)) != 0)
        (void)err_sys(reterr, rc, "%u files", c->index.n_files);
    if (rc == 0)
        rc = catalog_reopen(conf, &c->catalog, reterr);
    if (rc == 0)
        rc = spool_reopen(&c->catalog, conf, state_dir, reterr);
    if (rc == 0)
        rc = find_duplicates(c, state_dir, NULL, reterr);
    return finish_open(c, rc, ret, reterr);
}

struct corpus *corpus_ref(struct corpus *c)
{
    (void)atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void corpus_close(struct corpus *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    duplicates_close(&c->duplicates);
    index_close(&c->index);
    catalog_close(&c->catalog);
    conf_corpus_fini(&c->conf);
    free(c);
}

/* The contents of compressed files that indexes name. */
struct contents {
    uint64_t *list;
    size_t n, cap;
};

static int add_contents(void *arg, const struct index *x)
{
    struct contents *c = arg;
    struct catalog files;
    int rc = index_catalog(x, &files);
    if (rc != 0)
        return rc;
    rc = array_grow(&c->list, &c->cap, c->n + files.n_files);
    for (uint32_t i = 0; i < files.n_files && rc == 0; i++)
        if (files.files[i].compression != COMPRESSION_NONE)
            c->list[c->n++] = files.files[i].hash;
    catalog_close(&files);
    return rc;
}

int corpus_prune(const char *state_dir, const char *name, const uint64_t *keep, uint32_t n,
                 struct err *reterr)
{
    struct contents contents = {.list = NULL};
    int rc = versions_prune(state_dir, name, keep, n, reterr);
    const bool copies = rc == 0 && spool_exists(state_dir, name); /* else the indexes need not be read */
    if (copies)
        rc = versions_visit(state_dir, name, add_contents, &contents, reterr);
    if (copies && rc == 0)
        rc = spool_prune(state_dir, name, contents.list, contents.n, reterr);
    free(contents.list);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "corpus '%s'", name);
}

int corpus_visit_spooled(const char *state_dir, int (*visit)(void *arg, const char *name), void *arg,
                         struct err *reterr)
{
    return spool_visit(state_dir, visit, arg, reterr);
}

int corpus_drop_copies(const char *state_dir, const char *name, struct err *reterr)
{
    int rc = spool_prune(state_dir, name, NULL, 0, reterr);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "corpus '%s'", name);
}

const struct conf_corpus *corpus_conf(const struct corpus *c)
{
    return &c->conf;
}

enum corpus_format corpus_format(const struct corpus *c)
{
    return c->format;
}

uint64_t corpus_records(const struct corpus *c)
{
    return c->index.n_records;
}

uint64_t corpus_duplicates(const struct corpus *c)
{
    return c->duplicates.n;
}

bool corpus_is_duplicate(const struct corpus *c, uint64_t i)
{
    CHECK(i < c->index.n_records);
    return duplicates_has(&c->duplicates, i);
}

uint32_t corpus_files(const struct corpus *c)
{
    return c->catalog.n_files;
}

const char *corpus_path(const struct corpus *c, uint32_t file)
{
    CHECK(file < c->catalog.n_files);
    return c->catalog.files[file].path;
}

uint64_t corpus_bytes(const struct corpus *c)
{
    return c->bytes;
}

uint64_t corpus_copied(const struct corpus *c)
{
    return c->copied;
}

bool corpus_scanned(const struct corpus *c)
{
    return c->scanned;
}

uint64_t corpus_fingerprint(const struct corpus *c)
{
    return index_fingerprint(&c->index);
}

void corpus_get(const struct corpus *c, uint64_t i, struct corpus_extent *ret)
{
    CHECK(i < c->index.n_records);
    ret->file = index_get(&c->index, i, &ret->offset, &ret->size);
    ret->fd = c->catalog.files[ret->file].fd;
    ret->plain = c->catalog.files[ret->file].container == CONTAINER_TEXT;
}

void corpus_expect(const struct corpus *c, uint64_t i)
{
    CHECK(i < c->index.n_records);
    index_expect(&c->index, i);
}

static int check_file(struct corpus *c, uint32_t file, uint64_t since_ns, struct err *reterr)
{
    int rc = catalog_check(&c->catalog, file, since_ns, reterr);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "corpus '%s'", c->conf.name);
}

int corpus_check(struct corpus *c, struct err *reterr)
{
    const uint64_t since_ns = clock_ns();
    int rc = 0;
    for (uint32_t i = 0; i < c->catalog.n_files && rc == 0; i++)
        rc = check_file(c, i, since_ns, reterr);
    return rc;
}

int corpus_check_record(struct corpus *c, uint64_t i, uint64_t since_ns, struct err *reterr)
{
    CHECK(i < c->index.n_records);
    return check_file(c, index_file(&c->index, i), since_ns, reterr);
}

bool corpus_news(const struct corpus *c, char *text, size_t cap)
{
    return news_tell(&c->catalog, &c->conf, text, cap);
}

bool corpus_lost(const struct corpus *c)
{
    return news_lost(&c->catalog);
}
