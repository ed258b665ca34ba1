#include "corpus/catalog.h"

#include "base/clock.h"
#include "corpus/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define SAMPLES 16u
#define SAMPLE_SIZE 4096u

/* Up to size bytes at offset; how many there were, or -errno. */
static ssize_t read_at(int fd, char *data, size_t size, uint64_t offset)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = pread(fd, data + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static int sample_hash(int fd, uint64_t size, uint64_t *ret)
{
    /* One buffer for all blocks: the one-shot hash needs no state of its own. */
    char buffer[sizeof size + (size_t)SAMPLES * SAMPLE_SIZE];
    size_t used = sizeof size;
    bool whole = size <= (uint64_t)SAMPLES * SAMPLE_SIZE;
    memcpy(buffer, &size, sizeof size);
    for (uint32_t i = 0; i < (whole ? 1 : SAMPLES); i++) {
        uint64_t last = whole ? 0 : size - SAMPLE_SIZE;
        uint64_t offset = last / (SAMPLES - 1) * i + last % (SAMPLES - 1) * i / (SAMPLES - 1);
        ssize_t n = read_at(fd, buffer + used, whole ? (size_t)size : SAMPLE_SIZE, offset);
        if (n < 0)
            return (int)n;
        used += (size_t)n;
    }
    *ret = XXH3_64bits(buffer, used);
    return 0;
}

static const struct {
    const char *magic;
    size_t size;
    const char *what;
} refused[] = {
    {"\x1f\x8b", 2, "compressed (gzip); decompress it first: gunzip"},
    {"\x28\xb5\x2f\xfd", 4, "compressed (zstd); decompress it first: unzstd"},
    {"BZh", 3, "compressed (bzip2); decompress it first: bunzip2"},
    {"\xfd"
     "7zXZ",
     5, "compressed (xz); decompress it first: unxz"},
    {"PK\x03\x04", 4, "an archive (zip); unpack it first: unzip"},
    {"PAR1", 4, "a Parquet file; convert it to JSONL first"},
    {"\xff\xfe", 2, "UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8"},
    {"\xfe\xff", 2, "UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8"},
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* How records stand in a file: by its first byte that is not white space, unless its lines are text. */
static int find_container(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    char head[SAMPLE_SIZE];
    ssize_t n = read_at(f->fd, head, sizeof head, 0);
    if (n < 0)
        return err_sys(reterr, (int)n, "%s: read", f->path);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if ((size_t)n >= refused[i].size && memcmp(head, refused[i].magic, refused[i].size) == 0)
            return err_set(reterr, ERR_FORMAT, "%s: %s", f->path, refused[i].what);
    }
    f->start = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    size_t length = strlen(f->path);
    bool text_name = length > 4 && strcmp(f->path + length - 4, ".txt") == 0;
    if (text_name && (format == FORMAT_TEXT || format == FORMAT_AUTO)) {
        f->container = CONTAINER_TEXT;
        return 0;
    }
    f->container = CONTAINER_LINES;
    for (uint64_t offset = f->start; offset < f->size; offset += (uint64_t)n) {
        n = read_at(f->fd, head, sizeof head, offset);
        if (n < 0)
            return err_sys(reterr, (int)n, "%s: read", f->path);
        ssize_t i = 0;
        while (i < n && is_space(head[i]))
            i++;
        if (i < n && head[i] == '[')
            f->container = CONTAINER_ARRAY;
        if (i < n || n == 0)
            return 0;
    }
    return 0;
}

static uint64_t mtime_ns(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* What moves when somebody writes to the file. The time of change cannot be set back, as that of modification
 * can. */
static uint64_t stamp(const struct stat *st)
{
    const uint64_t of_file[] = {(uint64_t)st->st_dev,         (uint64_t)st->st_ino,
                                (uint64_t)st->st_size,        mtime_ns(st),
                                (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec};
    return XXH3_64bits(of_file, sizeof of_file);
}

/* File systems tell times in ticks of up to a second: what is written within the tick of the last change
 * would not show. So a file that had changed just before it was looked at is looked at again the next time.
 * looked: time() before the look. */
static void remember(struct catalog_file *f, const struct stat *st, time_t looked)
{
    if (looked > st->st_ctim.tv_sec + 1)
        atomic_store_explicit(&f->seen, stamp(st), memory_order_relaxed);
}

static int open_regular(struct catalog_file *f, struct stat *ret, struct err *reterr)
{
    /* Not blocking: a FIFO among the files must be refused, not waited for. */
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 && errno == EMFILE)
        return err_set(
            reterr, -EMFILE,
            "%s: too many open files: raise the limit (ulimit -n; systemd: LimitNOFILE=) or join small files",
            f->path);
    if (f->fd < 0)
        return err_sys(reterr, -errno, "%s: open", f->path);
    if (fstat(f->fd, ret) != 0)
        return err_sys(reterr, -errno, "%s", f->path);
    if (S_ISDIR(ret->st_mode))
        return err_set(reterr, -EISDIR, "%s: is a directory; name the files in it, e.g. %s/*.jsonl", f->path,
                       f->path);
    if (!S_ISREG(ret->st_mode))
        return err_set(reterr, -EINVAL, "%s: is not a regular file", f->path);
    /* From here on a read may wait: io_uring of older kernels answers EAGAIN instead for a file that says
     * otherwise. */
    return fcntl(f->fd, F_SETFL, 0) == 0 ? 0 : err_sys(reterr, -errno, "%s", f->path);
}

static int open_file(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    const time_t looked = time(NULL);
    struct stat st;
    int rc = open_regular(f, &st, reterr);
    if (rc != 0)
        return rc;
    if (st.st_size == 0)
        return err_set(reterr, ERR_FORMAT, "%s: is empty; remove it from the corpus", f->path);
    f->size = (uint64_t)st.st_size;
    f->mtime_ns = mtime_ns(&st);
    f->inode = (uint64_t)st.st_ino;
    rc = find_container(f, format, reterr);
    if (rc != 0)
        return rc;
    rc = sample_hash(f->fd, f->size, &f->hash);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", f->path);
    remember(f, &st, looked);
    return 0;
}

int catalog_open(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr)
{
    struct paths paths = {0};
    struct catalog c = {0};
    int rc = 0;
    for (uint32_t i = 0; i < conf->n_paths && rc == 0; i++)
        rc = paths_expand(&paths, conf->paths[i], reterr);
    if (rc == 0 && (paths.n == 0 || paths.n > UINT32_MAX))
        rc = err_set(reterr, -ENOENT, "no files are named in paths");
    if (rc != 0)
        goto out_paths;
    paths_sort_unique(&paths);
    c.files = calloc(paths.n, sizeof c.files[0]);
    if (c.files == NULL) {
        rc = err_sys(reterr, -ENOMEM, "%zu files", paths.n);
        goto out_paths;
    }
    while (c.n_files < paths.n && rc == 0) {
        struct catalog_file *f = &c.files[c.n_files];
        f->path = paths.list[c.n_files];
        paths.list[c.n_files++] = NULL; /* the string is the file's now */
        rc = open_file(f, conf->format, reterr);
    }
    if (rc == 0)
        *ret = c;
    else
        catalog_close(&c);
out_paths:
    paths_fini(&paths);
    return rc;
}

void catalog_close(struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_files; i++) {
        if (c->files[i].fd >= 0)
            (void)close(c->files[i].fd);
        free(c->files[i].path);
    }
    free(c->files);
    *c = (struct catalog){0};
}

/* ---- what became of the files ---- */

/* Does the file behind fd still begin with what was indexed? */
static int compare(const struct catalog_file *f, int fd, const struct stat *st, const char *advice,
                   struct err *reterr)
{
    const unsigned long long was = f->size, now = (unsigned long long)st->st_size;
    uint64_t hash;
    if (now < was)
        return err_set(reterr, ERR_CHANGED, "%s: was %llu bytes when it was indexed and is %llu now; %s",
                       f->path, was, now, advice);
    int rc = sample_hash(fd, f->size, &hash);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", f->path);
    if (hash == f->hash)
        return 0;
    if (f->container == CONTAINER_ARRAY && now > was)
        return err_set(
            reterr, ERR_CHANGED,
            "%s: a JSON array that grew from %llu to %llu bytes: its end was written over, so what "
            "was indexed is not there as it was (JSONL files may grow); %s",
            f->path, was, now, advice);
    return err_set(reterr, ERR_CHANGED, "%s: its content is not what was indexed; %s", f->path, advice);
}

static int reopen_file(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    const time_t looked = time(NULL);
    struct stat st;
    int rc = open_regular(f, &st, reterr);
    if (rc == -ENOENT || rc == -ENOTDIR)
        return err_set(reterr, ERR_CHANGED, "%s: is gone; put it back", f->path);
    if (rc == 0)
        rc = compare(f, f->fd, &st, "put it back", reterr);
    if (rc == 0)
        rc = find_container(f, format, reterr);
    if (rc != 0)
        return rc;
    f->inode = (uint64_t)st.st_ino;
    remember(f, &st, looked);
    return 0;
}

int catalog_reopen(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr)
{
    for (uint32_t i = 0; i < ret->n_files; i++) {
        int rc = reopen_file(&ret->files[i], conf->format, reterr);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int catalog_check(struct catalog *c, uint32_t file, uint64_t since_ns, struct err *reterr)
{
    struct catalog_file *f = &c->files[file];
    struct stat st;
    if (atomic_load_explicit(&f->checked_ns, memory_order_acquire) >= since_ns)
        return 0;
    /* Both before the look, which says nothing of what comes after it. */
    const uint64_t looked_ns = clock_ns();
    const time_t looked = time(NULL);
    if (fstat(f->fd, &st) != 0)
        return err_sys(reterr, -errno, "%s", f->path);
    if (stamp(&st) != atomic_load_explicit(&f->seen, memory_order_relaxed)) {
        int rc =
            compare(f, f->fd, &st, "put it back, or take in what it holds now: skipalignctl reload", reterr);
        if (rc != 0)
            return rc;
        remember(f, &st, looked);
    }
    atomic_store_explicit(&f->checked_ns, looked_ns, memory_order_release);
    return 0;
}

enum catalog_fate catalog_look(const struct catalog_file *f, uint64_t *ret_size)
{
    struct stat st;
    struct catalog_file now = {.path = f->path, .fd = -1};
    if (stat(f->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? FATE_GONE : FATE_HIDDEN;
    *ret_size = (uint64_t)st.st_size;
    if (stamp(&st) == atomic_load_explicit(&f->seen, memory_order_relaxed))
        return *ret_size > f->size ? FATE_GREW : FATE_SAME;
    int rc = open_regular(&now, &st, NULL);
    if (rc == 0) {
        *ret_size = (uint64_t)st.st_size;
        rc = compare(f, now.fd, &st, "", NULL);
    }
    if (now.fd >= 0)
        (void)close(now.fd);
    if (rc == 0)
        return *ret_size > f->size ? FATE_GREW : FATE_SAME;
    if (rc != ERR_CHANGED && S_ISREG(st.st_mode))
        return FATE_HIDDEN;
    if ((uint64_t)st.st_ino != f->inode)
        return FATE_REPLACED;
    return *ret_size < f->size ? FATE_SHORTER : FATE_EDITED;
}
