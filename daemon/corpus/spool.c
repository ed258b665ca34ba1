#include "corpus/spool.h"

#include "base/array.h"
#include "base/file.h"
#include "corpus/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".spool" /* of a corpus's folder */
#define DIGITS 16u
#define NAME_SIZE (3 * DIGITS + 2)

/* What a copy's name says. */
struct copy {
    uint64_t source, content, whole;
};

/* The copies of one corpus. */
struct folder {
    char path[PATH_MAX];
    struct copy *copies;
    size_t n, cap;
};

/* ---- names ---- */

static bool parse_digits(const char *text, uint64_t *ret)
{
    if (strspn(text, "0123456789abcdef") != DIGITS)
        return false;
    *ret = strtoull(text, NULL, 16);
    return true;
}

static bool parse_copy(const char *name, struct copy *ret)
{
    return strlen(name) == NAME_SIZE && name[DIGITS] == '.' && name[2 * DIGITS + 1] == '.' &&
           parse_digits(name, &ret->source) && parse_digits(name + DIGITS + 1, &ret->content) &&
           parse_digits(name + 2 * DIGITS + 2, &ret->whole);
}

static bool is_half_made(const char *name)
{
    uint64_t source;
    return parse_digits(name, &source) && strcmp(name + DIGITS, ".new") == 0;
}

/* state_dir/corpora/NAME.spool */
static int folder_path(const char *state_dir, const char *name, char ret[PATH_MAX], struct err *reterr)
{
    int n = snprintf(ret, PATH_MAX, "%s/corpora/%s" SUFFIX, state_dir, name);
    return n < PATH_MAX ? 0 : err_sys(reterr, -ENAMETOOLONG, "%s/corpora/%s" SUFFIX, state_dir, name);
}

static int copy_path(const struct folder *f, const struct copy *c, char ret[PATH_MAX], struct err *reterr)
{
    int n = snprintf(ret, PATH_MAX, "%s/%016" PRIx64 ".%016" PRIx64 ".%016" PRIx64, f->path, c->source,
                     c->content, c->whole);
    return n < PATH_MAX ? 0 : err_sys(reterr, -ENAMETOOLONG, "%s", f->path);
}

/* ---- a corpus's folder ---- */

static void folder_close(struct folder *f)
{
    free(f->copies);
}

/* visit each entry that is not hidden, as long as it returns 0. A folder that is not there has none. */
static int visit_entries(const char *path, int (*visit)(void *arg, int folder_fd, const char *name),
                         void *arg, struct err *reterr)
{
    const struct dirent *e;
    int rc = 0;
    DIR *d = opendir(path);
    if (d == NULL)
        return errno == ENOENT ? 0 : err_sys(reterr, -errno, "%s", path);
    while (rc == 0 && (errno = 0, e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            rc = visit(arg, dirfd(d), e->d_name);
    if (rc == 0 && errno != 0)
        rc = -errno;
    (void)closedir(d);
    return rc == 0 ? 0 : err_sys(reterr, rc, "%s", path);
}

static int add_copy(void *arg, int folder_fd, const char *name)
{
    struct folder *f = arg;
    struct copy copy;
    (void)folder_fd;
    if (!parse_copy(name, &copy))
        return 0;
    if (array_grow(&f->copies, &f->cap, f->n + 1) != 0)
        return -ENOMEM;
    f->copies[f->n++] = copy;
    return 0;
}

/* What is there of corpus name. Owner: the caller, folder_close, after an error too. */
static int folder_open(const char *state_dir, const char *name, struct folder *ret, struct err *reterr)
{
    *ret = (struct folder){.copies = NULL};
    int rc = folder_path(state_dir, name, ret->path, reterr);
    return rc != 0 ? rc : visit_entries(ret->path, add_copy, ret, reterr);
}

/* ---- finding copies ---- */

static bool any_compressed(const struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_files; i++)
        if (c->files[i].compression != COMPRESSION_NONE)
            return true;
    return false;
}

/* Use a copy: 0; 1: it is damaged. */
static int use_copy(struct catalog_file *file, const struct folder *f, const struct copy *c,
                    const struct conf_corpus *conf, struct err *reterr)
{
    char path[PATH_MAX];
    struct err e = {""};
    int rc = copy_path(f, c, path, &e);
    if (rc == 0)
        rc = catalog_use_copy(file, path, c->content, c->whole, conf->format, &e);
    if (rc == 0)
        file->packed_id = c->source;
    else if (rc != ERR_CHANGED && reterr != NULL)
        *reterr = e;
    return rc == ERR_CHANGED ? 1 : rc;
}

/* The copy of this file: 0; 1: there is none. */
static int find_of_file(struct catalog_file *file, const struct folder *f, const struct conf_corpus *conf,
                        struct err *reterr)
{
    int rc = 1;
    for (size_t i = 0; i < f->n && rc == 1; i++)
        if (f->copies[i].source == file->packed_id)
            rc = use_copy(file, f, &f->copies[i], conf, reterr);
    return rc;
}

/* The copy of this content. Of several, that of the file as it is now, if one is. */
static int find_of_content(struct catalog_file *file, const struct folder *f, const struct conf_corpus *conf,
                           struct err *reterr)
{
    int rc = 1;
    for (int any = 0; any <= 1 && rc == 1; any++)
        for (size_t i = 0; i < f->n && rc == 1; i++)
            if (f->copies[i].content == file->hash && (any || catalog_is_packed(file, f->copies[i].source)))
                rc = use_copy(file, f, &f->copies[i], conf, reterr);
    return rc;
}

int spool_reopen(struct catalog *c, const struct conf_corpus *conf, const char *state_dir, struct err *reterr)
{
    struct folder f;
    if (!any_compressed(c))
        return 0;
    int rc = folder_open(state_dir, conf->name, &f, reterr);
    for (uint32_t i = 0; i < c->n_files && rc == 0; i++) {
        if (c->files[i].compression == COMPRESSION_NONE)
            continue;
        rc = find_of_content(&c->files[i], &f, conf, reterr);
        if (rc == 1)
            rc = err_set(reterr, ERR_CHANGED,
                         "%s: the copy of what was in it is not in %s any more; put the file back as it was",
                         c->files[i].path, f.path);
    }
    folder_close(&f);
    return rc;
}

/* ---- making them ---- */

static int remove_half_made(void *arg, int folder_fd, const char *name)
{
    (void)arg;
    return !is_half_made(name) || unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

static int make_folder(const struct folder *f, const char *state_dir, struct err *reterr)
{
    char corpora[PATH_MAX];
    (void)snprintf(corpora, sizeof corpora, "%s/corpora", state_dir);
    int rc = file_make_dir(corpora, reterr);
    if (rc != 0)
        return err_wrap(reterr, rc, "state_dir");
    if (mkdir(f->path, 0700) != 0 && errno != EEXIST)
        return err_sys(reterr, -errno, "%s: make directory", f->path);
    return visit_entries(f->path, remove_half_made, NULL, reterr);
}

struct usage {
    const char *state_dir;
    uint64_t bytes;
};

static int add_size(void *arg, int folder_fd, const char *name)
{
    struct usage *u = arg;
    struct stat st;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        u->bytes += (uint64_t)st.st_size / st.st_nlink; /* see name_copy */
    return 0;
}

static int add_corpus(void *arg, const char *name)
{
    struct usage *u = arg;
    char path[PATH_MAX];
    int rc = folder_path(u->state_dir, name, path, NULL);
    return rc == 0 ? visit_entries(path, add_size, u, NULL) : rc;
}

/* Before anything is made of what is sure not to fit: a file's content is hardly ever smaller than the file.
 */
static int check_room(const struct unpack_job *jobs, uint32_t n, const struct unpack_limits *l,
                      struct err *reterr)
{
    uint64_t packed = 0;
    for (uint32_t i = 0; i < n; i++)
        packed += jobs[i].size;
    if (l->bytes_max == 0)
        return err_set(reterr, ERR_LIMIT,
                       "%s: is compressed, and spool is 0, which allows no decompressed copies; raise it, or "
                       "decompress the file",
                       jobs[0].path);
    if (l->bytes_used <= l->bytes_max && packed <= l->bytes_max - l->bytes_used)
        return 0;
    return err_set(
        reterr, ERR_LIMIT,
        "decompressed copies may take %.3g GiB (spool), those that are there take %.3g, and the files to "
        "be decompressed have %.3g as they are; raise spool",
        (double)l->bytes_max / (1 << 30), (double)l->bytes_used / (1 << 30), (double)packed / (1 << 30));
}

/* One that is not damaged, of the same bytes, made of another file or of this one at another time. */
static bool is_same_copy(const struct folder *f, const struct copy *c, const struct copy *other)
{
    char path[PATH_MAX];
    struct stat st;
    uint64_t hash = ~c->content;
    if (other->content != c->content || other->whole != c->whole || copy_path(f, other, path, NULL) != 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || catalog_hash(fd, (uint64_t)st.st_size, other->whole, &hash) != 0)
        hash = ~c->content;
    (void)close(fd);
    return hash == c->content;
}

/* From its temporary name to its own. The same bytes under several names take their room once. */
static int name_copy(const struct folder *f, const struct copy *c, const char *new, struct err *reterr)
{
    char path[PATH_MAX], same[PATH_MAX];
    int rc = copy_path(f, c, path, reterr);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < f->n; i++)
        if (f->copies[i].source != c->source && is_same_copy(f, c, &f->copies[i]) &&
            copy_path(f, &f->copies[i], same, NULL) == 0 && (unlink(path) == 0 || errno == ENOENT) &&
            link(same, path) == 0) {
            (void)unlink(new);
            return 0;
        }
    return rename(new, path) == 0 ? 0 : err_sys(reterr, -errno, "%s: rename to %s", new, path);
}

/* What was decompressed gets its name and is used. */
static int put_copy(struct catalog_file *file, struct folder *f, const struct conf_corpus *conf,
                    const struct unpack_job *j, struct err *reterr)
{
    struct copy c = {.source = file->packed_id, .whole = j->hash};
    struct stat st;
    int fd = open(j->to, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(reterr, -errno, "%s: open", j->to);
    int rc = fstat(fd, &st) == 0 ? catalog_hash(fd, (uint64_t)st.st_size, c.whole, &c.content) : -errno;
    (void)close(fd);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", j->to);
    if (catalog_is_changing(file)) {
        (void)unlink(j->to);
        return err_set(reterr, ERR_CHANGED,
                       "%s: changed while it was decompressed; try again when it is complete", file->path);
    }
    rc = name_copy(f, &c, j->to, reterr);
    if (rc == 0 && array_grow(&f->copies, &f->cap, f->n + 1) != 0)
        rc = err_sys(reterr, -ENOMEM, "%s", f->path);
    if (rc != 0)
        return rc;
    f->copies[f->n++] = c;
    rc = use_copy(file, f, &c, conf, reterr);
    return rc == 1 ? err_set(reterr, -EIO, "%s: cannot be read back after it was written; check the disk",
                             f->path)
                   : rc;
}

/* jobs[n] and files[n] are those to be made; with room for all. */
static int find_or_order(struct catalog *c, const struct folder *f, const struct conf_corpus *conf,
                         struct unpack_job *jobs, uint32_t *ret_n, struct err *reterr)
{
    int rc = 0;
    for (uint32_t i = 0; i < c->n_files && rc >= 0; i++) {
        struct catalog_file *file = &c->files[i];
        if (file->compression == COMPRESSION_NONE || (rc = find_of_file(file, f, conf, reterr)) != 1)
            continue;
        struct unpack_job *j = &jobs[(*ret_n)++];
        *j = (struct unpack_job){.path = file->path,
                                 .owner = file,
                                 .fd = file->fd,
                                 .size = file->size,
                                 .compression = file->compression};
        if (asprintf(&j->to, "%s/%016" PRIx64 ".new", f->path, file->packed_id) < 0)
            return err_sys(reterr, -ENOMEM, "%s", file->path);
    }
    return rc < 0 ? rc : 0;
}

static int make(struct folder *f, const struct conf_corpus *conf, const struct corpus_place *place,
                struct unpack_job *jobs, uint32_t n, int (*progress)(void *arg, uint64_t done, uint64_t all),
                void *arg, struct err *reterr)
{
    struct usage usage = {.state_dir = place->state_dir};
    int rc = make_folder(f, place->state_dir, reterr);
    if (rc == 0)
        rc = spool_visit(place->state_dir, add_corpus, &usage, reterr);
    const struct unpack_limits limits = {place->threads, place->spool, usage.bytes};
    if (rc == 0)
        rc = check_room(jobs, n, &limits, reterr);
    if (rc != 0)
        return rc;
    rc = unpack_files(jobs, n, &limits, progress, arg, reterr);
    /* What is done is kept, also where something else is wrong: it need not be made again then. */
    for (uint32_t i = 0; i < n; i++) {
        struct err e;
        int put_rc = jobs[i].done ? put_copy(jobs[i].owner, f, conf, &jobs[i], &e) : 0;
        if (put_rc != 0 && rc == 0) {
            rc = put_rc;
            if (reterr != NULL)
                *reterr = e;
        }
    }
    char any[PATH_MAX + 2];
    (void)snprintf(any, sizeof any, "%s/.", f->path);
    int sync_rc = rc == 0 ? file_sync_folder(any) : 0;
    return sync_rc == 0 ? rc : err_sys(reterr, sync_rc, "%s: cannot be synced", f->path);
}

int spool_fill(struct catalog *c, const struct conf_corpus *conf, const struct corpus_place *place,
               int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct err *reterr)
{
    struct folder f;
    uint32_t n = 0;
    if (!any_compressed(c))
        return 0;
    struct unpack_job *jobs = calloc((size_t)c->n_files, sizeof jobs[0]);
    int rc = folder_open(place->state_dir, conf->name, &f, reterr);
    if (rc == 0 && jobs == NULL)
        rc = err_sys(reterr, -ENOMEM, "%u files", c->n_files);
    if (rc == 0)
        rc = find_or_order(c, &f, conf, jobs, &n, reterr);
    if (rc == 0 && n > 0)
        rc = make(&f, conf, place, jobs, n, progress, arg, reterr);
    for (uint32_t i = 0; i < n; i++)
        free(jobs[i].to);
    free(jobs);
    folder_close(&f);
    return rc;
}

/* ---- what is not needed any more ---- */

bool spool_exists(const char *state_dir, const char *name)
{
    char path[PATH_MAX];
    return folder_path(state_dir, name, path, NULL) == 0 && access(path, F_OK) == 0;
}

struct pruning {
    const uint64_t *keep;
    size_t n;
};

static int prune_entry(void *arg, int folder_fd, const char *name)
{
    const struct pruning *p = arg;
    struct copy copy;
    if (parse_copy(name, &copy)) {
        for (size_t i = 0; i < p->n; i++)
            if (p->keep[i] == copy.content)
                return 0;
    } else if (!is_half_made(name)) {
        return 0; /* not ours */
    }
    return unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int spool_prune(const char *state_dir, const char *name, const uint64_t *keep, size_t n, struct err *reterr)
{
    struct pruning pruning = {keep, n};
    char path[PATH_MAX];
    int rc = folder_path(state_dir, name, path, reterr);
    if (rc != 0)
        return rc;
    rc = visit_entries(path, prune_entry, &pruning, reterr);
    if (rc == 0)
        (void)rmdir(path); /* where nothing is left */
    return rc;
}

struct visitor {
    int (*visit)(void *arg, const char *name);
    void *arg;
};

static int visit_corpus(void *arg, int folder_fd, const char *name)
{
    const struct visitor *v = arg;
    char corpus[NAME_MAX + 1];
    const size_t n = strlen(name), suffix = sizeof SUFFIX - 1;
    (void)folder_fd;
    if (n <= suffix || n - suffix > NAME_MAX || strcmp(name + n - suffix, SUFFIX) != 0)
        return 0;
    memcpy(corpus, name, n - suffix);
    corpus[n - suffix] = '\0';
    return v->visit(v->arg, corpus);
}

int spool_visit(const char *state_dir, int (*visit)(void *arg, const char *name), void *arg,
                struct err *reterr)
{
    struct visitor v = {visit, arg};
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/corpora", state_dir) >= (int)sizeof path)
        return err_sys(reterr, -ENAMETOOLONG, "%s/corpora", state_dir);
    return visit_entries(path, visit_corpus, &v, reterr);
}
