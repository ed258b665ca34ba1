#include "corpus/corpus.h"

#include "base/file.h"
#include "corpus/catalog.h"
#include "corpus/index.h"
#include "corpus/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* How many records are looked at for the format, and how large they may be for that. */
#define DETECT_RECORDS 100u
#define DETECT_SIZE_MAX (1u << 20)

struct corpus {
    const struct conf_corpus *conf;
    enum corpus_format format;
    struct catalog catalog;
    struct index index;
    uint64_t bytes;
    bool scanned;
};

static int index_path(const struct conf_corpus *conf, const char *state_dir, char ret[PATH_MAX],
                      struct err *reterr)
{
    int n = snprintf(ret, PATH_MAX, "%s/corpora", state_dir);
    if (n > 0 && n < PATH_MAX) {
        int rc = file_make_dir(ret, reterr);
        if (rc != 0)
            return err_wrap(reterr, rc, "state_dir");
        n = snprintf(ret, PATH_MAX, "%s/corpora/%s.index", state_dir, conf->name);
    }
    return n > 0 && n < PATH_MAX
               ? 0
               : err_sys(reterr, -ENAMETOOLONG, "%s/corpora/%s.index", state_dir, conf->name);
}

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
            format = record_detect(parser, c->conf, (struct slice){data, e.size});
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
    c->format = c->conf->format;
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

int corpus_open(const struct conf_corpus *conf, const char *state_dir, enum io_kind io,
                int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct corpus **ret,
                struct err *reterr)
{
    char path[PATH_MAX];
    struct corpus *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_sys(reterr, -ENOMEM, "corpus '%s'", conf->name);
    c->conf = conf;
    int rc = catalog_open(conf, &c->catalog, reterr);
    if (rc != 0)
        goto out_close;
    rc = index_path(conf, state_dir, path, reterr);
    if (rc != 0)
        goto out_close;
    if (index_open(path, &c->catalog, &c->index) != 1) {
        c->scanned = true;
        rc = index_build(path, &c->catalog, io, progress, arg, &c->index, reterr);
        if (rc != 0)
            goto out_close;
    }
    for (uint32_t i = 0; i < c->catalog.n_files; i++) {
        c->bytes += c->catalog.files[i].size;
        /* From now on records are read in shuffled order: reading ahead would only waste the disk's time. */
        (void)posix_fadvise(c->catalog.files[i].fd, 0, 0, POSIX_FADV_RANDOM);
    }
    rc = detect(c, reterr);
    if (rc != 0)
        goto out_close;
    *ret = c;
    return 0;

out_close:
    corpus_close(c);
    return err_wrap(reterr, rc, "corpus '%s'", conf->name);
}

void corpus_close(struct corpus *c)
{
    if (c == NULL)
        return;
    index_close(&c->index);
    catalog_close(&c->catalog);
    free(c);
}

const struct conf_corpus *corpus_conf(const struct corpus *c)
{
    return c->conf;
}

enum corpus_format corpus_format(const struct corpus *c)
{
    return c->format;
}

uint64_t corpus_records(const struct corpus *c)
{
    return c->index.n_records;
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

bool corpus_scanned(const struct corpus *c)
{
    return c->scanned;
}

uint64_t corpus_fingerprint(const struct corpus *c)
{
    uint64_t hash = XXH3_64bits_withSeed(&c->index.n_records, sizeof c->index.n_records, c->index.boundaries);
    for (uint32_t i = 0; i < c->index.n_files; i++) {
        const struct index_file *f = &c->index.files[i];
        uint64_t of_file[] = {f->size, f->hash, f->first_record, f->content_end};
        hash = XXH3_64bits_withSeed(of_file, sizeof of_file, hash);
    }
    return hash;
}

void corpus_get(const struct corpus *c, uint64_t i, struct corpus_extent *ret)
{
    CHECK(i < c->index.n_records);
    ret->file = index_get(&c->index, i, &ret->offset, &ret->size);
    ret->fd = c->catalog.files[ret->file].fd;
    ret->plain = c->catalog.files[ret->file].container == CONTAINER_TEXT;
}

int corpus_check(struct corpus *c, struct err *reterr)
{
    int rc = catalog_check(&c->catalog, reterr);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "corpus '%s'", c->conf->name);
}
