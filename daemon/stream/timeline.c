#include "stream/timeline.h"

#include "base/array.h"
#include "base/file.h"
#include "base/slice.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#define FORMAT_VERSION 1
#define NAME_MAX_BYTES 64

struct timeline {
    char path[PATH_MAX], leftover[PATH_MAX];
    bool has_leftover;
    char *text; /* the file up to its last two lines, as it is on disk */
    size_t size;
    uint64_t check; /* of the last entry */
    const struct timeline_entry **entries, **effective;
    size_t entries_cap, effective_cap;
    uint32_t n, n_effective;
};

static void entry_free(struct timeline_entry *e)
{
    if (e == NULL)
        return;
    for (uint32_t c = 0; c < e->n_corpora; c++)
        free(e->corpora[c].name);
    free(e->corpora);
    free(e->who);
    free(e->cause);
    free(e->config);
    free(e);
}

/* Writing. There is one way to write an entry, so reading one is: parse it, write it again, compare. */

static void print_escaped(FILE *f, const char *key, const char *text)
{
    (void)fprintf(f, "%s ", key);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || *p == '\\')
            (void)fprintf(f, "\\x%02x", *p);
        else
            (void)fputc(*p, f);
    (void)fputc('\n', f);
}

/* All of an entry but its check. */
static int print_entry(FILE *f, const struct timeline_entry *e)
{
    struct tm tm;
    time_t seconds = e->time_s;
    char date[64];
    if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return -EOVERFLOW;
    (void)fprintf(f, "\ngeneration %" PRIu32 "\nfirst_step %" PRIu64 "\ntime %" PRId64 " %s\n", e->generation,
                  e->first_step, e->time_s, date);
    print_escaped(f, "who", e->who);
    print_escaped(f, "cause", e->cause);
    (void)fprintf(f, "fingerprint %016" PRIx64 "\nfile_hash %016" PRIx64 "\ntokenizer %.64s\n",
                  e->fingerprint, e->file_hash, e->tokenizer);
    for (uint32_t c = 0; c < e->n_corpora; c++)
        (void)fprintf(f, "corpus %s %" PRIu64 " %016" PRIx64 "\n", e->corpora[c].name, e->corpora[c].records,
                      e->corpora[c].fingerprint);
    (void)fprintf(f, "config %zu\n%s\n", strlen(e->config), e->config);
    return 0;
}

/* The text of an entry; the caller frees it.   seed: the check before it. */
static int render(const struct timeline_entry *e, uint64_t seed, struct slice *ret, uint64_t *ret_check)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return -ENOMEM;
    int rc = print_entry(f, e);
    if (rc == 0 && fflush(f) == 0) {
        *ret_check = XXH3_64bits_withSeed(text, size, seed);
        (void)fprintf(f, "check %016" PRIx64 "\n", *ret_check);
    }
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed)
        rc = -ENOMEM; /* all that can befall a stream in memory */
    if (rc != 0) {
        free(text);
        return rc;
    }
    *ret = (struct slice){text, size};
    return 0;
}

/* Reading. */

struct reader {
    const char *at, *end;
    uint32_t line;     /* of at */
    struct err *err;   /* what is wrong; not NULL */
    bool other_format; /* of another version: not damaged */
};

static int damaged(const struct reader *r, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int damaged(const struct reader *r, uint32_t line, const char *fmt, ...)
{
    struct err *e = r->err;
    va_list ap;
    int n = snprintf(e->text, sizeof e->text, "line %" PRIu32 ": ", line);
    va_start(ap, fmt);
    (void)vsnprintf(e->text + n, sizeof e->text - (size_t)n, fmt, ap);
    va_end(ap);
    return ERR_FORMAT;
}

static bool looking_at(const struct reader *r, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(r->end - r->at) >= n && memcmp(r->at, text, n) == 0;
}

/* The value of the next line, which is KEY VALUE. */
static int take_line(struct reader *r, const char *key, struct slice *ret)
{
    size_t n = strlen(key);
    const char *end = memchr(r->at, '\n', (size_t)(r->end - r->at));
    if (end == NULL)
        return damaged(r, r->line, "'%s' is wanted, and the file ends there", key);
    struct slice line = {r->at, (size_t)(end - r->at)};
    if (line.size <= n || memcmp(line.data, key, n) != 0 || line.data[n] != ' ')
        return damaged(r, r->line, "'%s' is wanted", key);
    *ret = (struct slice){line.data + n + 1, line.size - n - 1};
    r->at = end + 1;
    r->line++;
    return 0;
}

static int take_blank(struct reader *r)
{
    if (!looking_at(r, "\n"))
        return damaged(r, r->line, "an empty line is wanted");
    r->at++;
    r->line++;
    return 0;
}

/* A word up to a blank or the end of the value; the value goes on after it. */
static struct slice take_word(struct slice *value)
{
    const char *blank = memchr(value->data, ' ', value->size);
    struct slice word = {value->data, blank != NULL ? (size_t)(blank - value->data) : value->size};
    size_t used = word.size + (blank != NULL);
    *value = (struct slice){value->data + used, value->size - used};
    return word;
}

static bool to_uint(struct slice s, unsigned base, uint64_t *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t n = 0;
    if (s.size == 0 || s.size > 20)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        const char *d = memchr(digits, s.data[i], base);
        if (d == NULL || __builtin_mul_overflow(n, base, &n) ||
            __builtin_add_overflow(n, (uint64_t)(d - digits), &n))
            return false;
    }
    *ret = n;
    return true;
}

static int take_uint(struct reader *r, const char *key, unsigned base, uint64_t max, uint64_t *ret)
{
    struct slice value = {0};
    int rc = take_line(r, key, &value);
    if (rc == 0 && (!to_uint(value, base, ret) || *ret > max))
        return damaged(r, r->line - 1, "'%s' is not followed by a number that it may be", key);
    return rc;
}

/* As print_escaped writes it; what that never writes gives something that is not written so. */
static int take_escaped(struct reader *r, const char *key, char **ret)
{
    struct slice s;
    int rc = take_line(r, key, &s);
    if (rc != 0)
        return rc;
    char *text = malloc(s.size + 1), *to = text;
    if (text == NULL)
        return err_sys(r->err, -ENOMEM, "'%s'", key);
    for (size_t i = 0; i < s.size; i++) {
        uint64_t byte;
        if (s.data[i] == '\\' && s.size - i >= 4 && to_uint((struct slice){s.data + i + 2, 2}, 16, &byte)) {
            *to++ = (char)byte;
            i += 3;
        } else {
            *to++ = s.data[i];
        }
    }
    *to = '\0';
    *ret = text;
    return 0;
}

static int take_time(struct reader *r, int64_t *ret)
{
    struct slice value = {0};
    int rc = take_line(r, "time", &value);
    if (rc != 0)
        return rc;
    bool before_1970 = value.size > 0 && value.data[0] == '-';
    struct slice word = take_word(&value);
    uint64_t n;
    if (!to_uint((struct slice){word.data + before_1970, word.size - before_1970}, 10, &n) || n > INT64_MAX)
        return damaged(r, r->line - 1, "'time' is not followed by seconds since 1970");
    *ret = before_1970 ? -(int64_t)n : (int64_t)n;
    return 0;
}

static int take_corpora(struct reader *r, struct timeline_entry *e)
{
    size_t cap = 0;
    while (looking_at(r, "corpus ")) {
        struct slice value = {0};
        struct timeline_corpus c = {0};
        int rc = take_line(r, "corpus", &value);
        if (rc != 0)
            return rc;
        struct slice name = take_word(&value), records = take_word(&value);
        if (e->n_corpora == TIMELINE_CORPORA_MAX || name.size == 0 || name.size > NAME_MAX_BYTES ||
            !to_uint(records, 10, &c.records) || !to_uint(value, 16, &c.fingerprint))
            return damaged(r, r->line - 1,
                           "'corpus' is not followed by a name, a number of records and a fingerprint");
        if (array_grow(&e->corpora, &cap, e->n_corpora + 1) != 0 ||
            (c.name = strndup(name.data, name.size)) == NULL)
            return err_sys(r->err, -ENOMEM, "'corpus'");
        e->corpora[e->n_corpora++] = c;
    }
    return 0;
}

static int take_config(struct reader *r, struct timeline_entry *e)
{
    uint64_t size = 0;
    int rc = take_uint(r, "config", 10, UINT64_MAX, &size);
    if (rc != 0)
        return rc;
    if ((uint64_t)(r->end - r->at) <= size)
        return damaged(r, r->line - 1,
                       "a configuration of %" PRIu64 " bytes is wanted, and the file ends in it", size);
    e->config = strndup(r->at, size);
    if (e->config == NULL)
        return err_sys(r->err, -ENOMEM, "'config'");
    for (const char *end = r->at + size; r->at < end; r->at++)
        r->line += *r->at == '\n';
    if (*r->at != '\n')
        return damaged(r, r->line, "the configuration goes on beyond its %" PRIu64 " bytes", size);
    r->at++;
    r->line++;
    return 0;
}

static int take_fields(struct reader *r, struct timeline_entry *e)
{
    uint64_t generation, check;
    struct slice tokenizer;
    int rc;
    if ((rc = take_blank(r)) != 0 || (rc = take_uint(r, "generation", 10, UINT32_MAX, &generation)) != 0 ||
        (rc = take_uint(r, "first_step", 10, UINT64_MAX, &e->first_step)) != 0 ||
        (rc = take_time(r, &e->time_s)) != 0 || (rc = take_escaped(r, "who", &e->who)) != 0 ||
        (rc = take_escaped(r, "cause", &e->cause)) != 0 ||
        (rc = take_uint(r, "fingerprint", 16, UINT64_MAX, &e->fingerprint)) != 0 ||
        (rc = take_uint(r, "file_hash", 16, UINT64_MAX, &e->file_hash)) != 0 ||
        (rc = take_line(r, "tokenizer", &tokenizer)) != 0)
        return rc;
    if (tokenizer.size != sizeof e->tokenizer - 1)
        return damaged(r, r->line - 1, "'tokenizer' is not followed by 64 hexadecimal digits");
    memcpy(e->tokenizer, tokenizer.data, tokenizer.size);
    e->generation = (uint32_t)generation;
    if ((rc = take_corpora(r, e)) != 0 || (rc = take_config(r, e)) != 0)
        return rc;
    return take_uint(r, "check", 16, UINT64_MAX, &check);
}

/* The next entry, which is of this generation.   seed: the check before it. */
static int take_entry(struct reader *r, uint32_t generation, uint64_t seed, struct timeline_entry **ret,
                      uint64_t *ret_check)
{
    const char *text = r->at;
    const uint32_t line = r->line + 1; /* that of "generation" */
    struct slice again;
    struct timeline_entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return err_sys(r->err, -ENOMEM, "generation %" PRIu32, generation);
    int rc = take_fields(r, e);
    if (rc != 0)
        goto out_fail;
    rc = render(e, seed, &again, ret_check);
    if (rc == -ENOMEM) {
        (void)err_sys(r->err, rc, "generation %" PRIu32, generation);
        goto out_fail;
    }
    bool same = rc == 0 && again.size == (size_t)(r->at - text) && memcmp(again.data, text, again.size) == 0;
    if (rc == 0)
        free((char *)again.data);
    if (!same)
        rc = damaged(r, line, "the check of this entry is not that of what is written there");
    else if (e->generation != generation)
        rc = damaged(r, line, "it is generation %" PRIu32 " where %" PRIu32 " is wanted", e->generation,
                     generation);
    else if (generation == 1 && e->first_step != 0)
        rc = damaged(r, line + 1, "the first generation begins with step 0");
    if (rc != 0)
        goto out_fail;
    *ret = e;
    return 0;
out_fail:
    entry_free(e);
    return rc;
}

/* The two lines at the top: "skipalign timeline 1" and "stream NAME". */
static int take_head(struct reader *r, const char *head)
{
    struct slice version;
    uint64_t n = 0;
    if (looking_at(r, head)) {
        r->at += strlen(head);
        r->line = 3;
        return 0;
    }
    int rc = take_line(r, "skipalign timeline", &version);
    if (rc != 0)
        return rc;
    r->other_format = to_uint(version, 10, &n) && n != FORMAT_VERSION;
    if (r->other_format)
        return damaged(r, 1, "it is of version %" PRIu64 " of the format, this release knows %d", n,
                       FORMAT_VERSION);
    return damaged(r, 2, "it is not of this stream");
}

/* Room for one more entry, so that take_in cannot fail. */
static int make_room(struct timeline *t)
{
    if (array_grow(&t->entries, &t->entries_cap, t->n + 1) != 0 ||
        array_grow(&t->effective, &t->effective_cap, t->n + 1) != 0)
        return -ENOMEM;
    return 0;
}

static void take_in(struct timeline *t, const struct timeline_entry *e, uint64_t check)
{
    t->entries[t->n++] = e;
    while (t->n_effective > 0 && t->effective[t->n_effective - 1]->first_step >= e->first_step)
        t->n_effective--;
    t->effective[t->n_effective++] = e;
    t->check = check;
}

static int tail(char *text, size_t size, uint32_t n)
{
    return snprintf(text, size, "\nend %" PRIu32 "\n", n);
}

/* Everything in t->text, of which the tail is taken off. */
static int read_all(struct timeline *t, struct reader *r, const char *head)
{
    char end[32];
    int rc = take_head(r, head);
    while (rc == 0 && !looking_at(r, "\nend ")) {
        struct timeline_entry *e;
        uint64_t check;
        if ((rc = take_entry(r, t->n + 1, t->check, &e, &check)) != 0)
            break;
        if ((rc = make_room(t)) != 0) {
            entry_free(e);
            return err_sys(r->err, rc, "generation %" PRIu32, t->n + 1);
        }
        take_in(t, e, check);
    }
    if (rc != 0)
        return rc;
    size_t n = (size_t)tail(end, sizeof end, t->n);
    if ((size_t)(r->end - r->at) != n || memcmp(r->at, end, n) != 0)
        return damaged(r, r->line + 1, "'end %" PRIu32 "' is wanted, and nothing after it", t->n);
    t->size -= n;
    return 0;
}

/* What is wrong, and what to do about it. */
static int refuse(const struct timeline *t, int rc, const struct reader *r, const char *stream,
                  struct err *reterr)
{
    if (rc != ERR_FORMAT)
        return err_set(reterr, rc, "%s: %s", t->path, r->err->text);
    if (r->other_format)
        return err_set(reterr, rc, "%s: %s; use the release that wrote it", t->path, r->err->text);
    return err_set(
        reterr, rc,
        "%s: damaged after %" PRIu32 " whole entries, %s; what a stream was is not guessed at: put "
        "the file back from a copy (another feeder of the job has one), or move its folder away to "
        "begin stream '%s' anew with step 0",
        t->path, t->n, r->err->text, stream);
}

static int make_paths(struct timeline *t, const char *state_dir, const char *stream)
{
    struct stat st;
    if (snprintf(t->path, sizeof t->path, "%s/streams/%s/timeline", state_dir, stream) >=
            (int)sizeof t->path ||
        snprintf(t->leftover, sizeof t->leftover, "%s.new", t->path) >= (int)sizeof t->leftover)
        return -ENAMETOOLONG;
    t->has_leftover = lstat(t->leftover, &st) == 0;
    return 0;
}

int timeline_open(const char *state_dir, const char *stream, struct timeline **ret, struct err *reterr)
{
    struct err why = {""};
    char *head = NULL;
    struct timeline *t = calloc(1, sizeof *t);
    if (t == NULL || asprintf(&head, "skipalign timeline %d\nstream %s\n", FORMAT_VERSION, stream) < 0) {
        free(t);
        return err_sys(reterr, -ENOMEM, "timeline of stream '%s'", stream);
    }
    t->check = XXH3_64bits(head, strlen(head));
    int rc = make_paths(t, state_dir, stream);
    if (rc != 0) {
        (void)err_sys(reterr, rc, "state_dir %s", state_dir);
        goto out_fail;
    }
    rc = file_read(t->path, TIMELINE_BYTES_MAX, &t->text, &t->size, reterr);
    if (rc == -ENOENT) {
        t->text = head;
        t->size = strlen(head);
        *ret = t;
        return 0;
    }
    if (rc != 0)
        goto out_fail;
    struct reader r = {.at = t->text, .end = t->text + t->size, .line = 1, .err = &why};
    rc = read_all(t, &r, head);
    if (rc != 0) {
        (void)refuse(t, rc, &r, stream, reterr);
        goto out_fail;
    }
    free(head);
    *ret = t;
    return 0;
out_fail:
    free(head);
    timeline_close(t);
    return rc;
}

void timeline_close(struct timeline *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        entry_free((struct timeline_entry *)t->entries[i]);
    free(t->entries);
    free(t->effective);
    free(t->text);
    free(t);
}

const char *timeline_leftover(const struct timeline *t)
{
    return t->has_leftover ? t->leftover : NULL;
}

const struct timeline_entry *const *timeline_entries(const struct timeline *t, uint32_t *ret_n)
{
    *ret_n = t->n;
    return t->entries;
}

const struct timeline_entry *const *timeline_effective(const struct timeline *t, uint32_t *ret_n)
{
    *ret_n = t->n_effective;
    return t->effective;
}

/* The stream's folder, and that it is there after a power cut. */
static int make_folder(const struct timeline *t, struct err *reterr)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", t->path);
    *strrchr(folder, '/') = '\0';
    int rc = file_make_dir(folder, reterr);
    for (int i = 0; rc == 0 && i < 2; i++) { /* in streams, and that in state_dir */
        if ((rc = file_sync_folder(folder)) != 0)
            return err_sys(reterr, rc, "%s: flush its folder to the disk", folder);
        *strrchr(folder, '/') = '\0';
    }
    return rc;
}

/* The text of one more entry, and the entry as it will be read again: nothing is committed that could not
 * be. */
static int make_entry(const struct timeline *t, const struct timeline_entry *e, struct slice *ret_text,
                      struct timeline_entry **ret, uint64_t *ret_check, struct err *reterr)
{
    struct slice text;
    int rc = render(e, t->check, &text, ret_check);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: generation %" PRIu32, t->path, e->generation);
    struct reader r = {.at = text.data, .end = text.data + text.size, .line = 1, .err = reterr};
    rc = take_entry(&r, t->n + 1, t->check, ret, ret_check);
    if (rc != 0) {
        free((char *)text.data);
        return err_wrap(reterr, rc, "%s: the new entry is not one that could be read again", t->path);
    }
    CHECK(r.at == r.end && (*ret)->n_corpora == e->n_corpora);
    *ret_text = text;
    return 0;
}

int timeline_append(struct timeline *t, const struct timeline_entry *e, struct err *reterr)
{
    char end[32], *all = NULL;
    struct slice text = {0};
    struct timeline_entry *entry = NULL;
    uint64_t check;
    int rc = make_entry(t, e, &text, &entry, &check, reterr);
    if (rc != 0)
        return rc;
    size_t n_end = (size_t)tail(end, sizeof end, t->n + 1), size = t->size + text.size;
    if (size + n_end > TIMELINE_BYTES_MAX) {
        rc =
            err_set(reterr, ERR_LIMIT,
                    "%s: would have %zu bytes with this change, at most %u are taken; go on with a stream of "
                    "another name",
                    t->path, size + n_end, TIMELINE_BYTES_MAX);
        goto out_fail;
    }
    all = malloc(size + n_end);
    if (all == NULL || make_room(t) != 0) {
        rc = err_sys(reterr, -ENOMEM, "%s", t->path);
        goto out_fail;
    }
    memcpy(all, t->text, t->size);
    memcpy(all + t->size, text.data, text.size);
    memcpy(all + size, end, n_end);
    if (t->n == 0 && (rc = make_folder(t, reterr)) != 0)
        goto out_fail;
    reterr->text[0] = '\0'; /* what it says at the end is a warning */
    rc = file_replace(t->path, all, size + n_end, true, reterr);
    if (rc < 0)
        goto out_fail;
    take_in(t, entry, check);
    free(t->text);
    free((char *)text.data);
    t->text = all;
    t->size = size;
    t->has_leftover = false;
    return 0;
out_fail:
    free(all);
    free((char *)text.data);
    entry_free(entry);
    return rc;
}
