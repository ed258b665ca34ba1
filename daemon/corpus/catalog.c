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

int catalog_hash(int fd, uint64_t size, uint64_t whole_hash, uint64_t *ret)
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
    *ret = XXH3_64bits_withSeed(buffer, used, whole_hash);
    return 0;
}

static const struct {
    const char *magic;
    size_t size;
    const char *what;
} refused[] = {
    {"BZh", 3, "compressed (bzip2), which is not read; make it gzip or zstd: bunzip2 -c OLD | zstd -o NEW"},
    {"\xfd"
     "7zXZ",
     5, "compressed (xz), which is not read; make it gzip or zstd: xz -dc OLD | zstd -o NEW"},
    {"\x04\x22\x4d\x18", 4,
     "compressed (lz4), which is not read; make it gzip or zstd: lz4 -dc OLD | zstd -o NEW"},
    {"PK\x03\x04", 4, "an archive (zip); unpack it first: unzip"},
    {"PAR1", 4,
     "a Parquet file; make it JSONL first, e.g. with pandas: read_parquet(OLD).to_json(NEW, "
     "orient='records', "
     "lines=True)"},
    {"ARROW1", 6, "an Arrow file; make it JSONL first"},
    {"\xff\xfe", 2, "UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8"},
    {"\xfe\xff", 2, "UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8"},
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* "a.txt", "a.txt.gz" */
static bool is_named_text(const struct catalog_file *f)
{
    static const char *const endings[] = {".gz", ".bgz", ".zst", ".zstd"};
    size_t length = strlen(f->path);
    for (size_t i = 0; f->compression != COMPRESSION_NONE && i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (length > n && memcmp(f->path + length - n, endings[i], n) == 0) {
            length -= n;
            break;
        }
    }
    return length > 4 && memcmp(f->path + length - 4, ".txt", 4) == 0;
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
    if (inflate_recognise(head, (size_t)n) != COMPRESSION_NONE)
        return err_set(reterr, ERR_FORMAT, "%s: its content is compressed once more; decompress it once",
                       f->path);
    f->start = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (is_named_text(f) && (format == FORMAT_TEXT || format == FORMAT_AUTO)) {
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
static void remember(atomic_uint_fast64_t *seen, const struct stat *st, time_t looked)
{
    if (looked > st->st_ctim.tv_sec + 1)
        atomic_store_explicit(seen, stamp(st), memory_order_relaxed);
}

/* Not blocking: a FIFO among the files must be refused, not waited for. Reading leaves no mark in the file's
 * times where we may say so: its owner may. */
static int open_to_read(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path, flags | O_NOATIME);
    return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

/* *ret_fd: -1, or the caller's to close, after an error too. */
static int open_regular(const char *path, int *ret_fd, struct stat *ret, struct err *reterr)
{
    *ret_fd = open_to_read(path);
    if (*ret_fd < 0 && errno == EMFILE)
        return err_set(
            reterr, -EMFILE,
            "%s: too many open files: raise the limit (ulimit -n; systemd: LimitNOFILE=) or join small files",
            path);
    if (*ret_fd < 0)
        return err_sys(reterr, -errno, "%s: open", path);
    if (fstat(*ret_fd, ret) != 0)
        return err_sys(reterr, -errno, "%s", path);
    if (S_ISDIR(ret->st_mode))
        return err_set(reterr, -EISDIR, "%s: is a directory; name the files in it, e.g. %s/*.jsonl", path,
                       path);
    if (!S_ISREG(ret->st_mode))
        return err_set(reterr, -EINVAL, "%s: is not a regular file", path);
    /* From here on a read may wait: io_uring of older kernels answers EAGAIN instead for a file that says
     * otherwise. */
    int flags = fcntl(*ret_fd, F_GETFL);
    if (flags < 0 || fcntl(*ret_fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return err_sys(reterr, -errno, "%s", path);
    return 0;
}

static int recognise(struct catalog_file *f, struct err *reterr)
{
    char head[4];
    ssize_t n = read_at(f->fd, head, sizeof head, 0);
    if (n < 0)
        return err_sys(reterr, (int)n, "%s: read", f->path);
    f->compression = inflate_recognise(head, (size_t)n);
    return 0;
}

static uint64_t packed_id(const struct catalog_file *f, uint64_t size, uint64_t hash)
{
    const uint64_t of_file[] = {size, f->mtime_ns, f->inode, hash};
    return XXH3_64bits(of_file, sizeof of_file);
}

static int open_file(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    const time_t looked = time(NULL);
    struct stat st;
    int rc = open_regular(f->path, &f->fd, &st, reterr);
    if (rc != 0)
        return rc;
    if (st.st_size == 0)
        return err_set(reterr, ERR_FORMAT, "%s: is empty; remove it from the corpus", f->path);
    f->size = (uint64_t)st.st_size;
    f->mtime_ns = mtime_ns(&st);
    f->inode = (uint64_t)st.st_ino;
    rc = recognise(f, reterr);
    const bool packed = f->compression != COMPRESSION_NONE;
    if (rc == 0 && !packed)
        rc = find_container(f, format, reterr);
    if (rc != 0)
        return rc;
    rc = catalog_hash(f->fd, f->size, 0, &f->hash);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", f->path);
    f->packed_id = packed ? packed_id(f, f->size, f->hash) : 0;
    remember(packed ? &f->packed_seen : &f->seen, &st, looked);
    return 0;
}

bool catalog_is_changing(const struct catalog_file *f)
{
    struct stat st;
    return fstat(f->fd, &st) != 0 || (uint64_t)st.st_size != f->size || mtime_ns(&st) != f->mtime_ns;
}

int catalog_use_copy(struct catalog_file *f, const char *path, uint64_t hash, uint64_t whole_hash,
                     enum corpus_format format, struct err *reterr)
{
    const time_t looked = time(NULL);
    struct stat st;
    uint64_t found = 0;
    int fd;
    int rc = open_regular(path, &fd, &st, reterr);
    char *copy = rc == 0 ? strdup(path) : NULL;
    if (rc == 0 && copy == NULL)
        rc = err_sys(reterr, -ENOMEM, "%s", path);
    if (rc == 0 && (rc = catalog_hash(fd, (uint64_t)st.st_size, whole_hash, &found)) != 0)
        (void)err_sys(reterr, rc, "%s: read", path);
    if (rc == 0 && found != hash)
        rc = err_set(reterr, ERR_CHANGED, "%s: is damaged; remove it, and it is made anew", path);
    if (rc != 0) {
        if (fd >= 0)
            (void)close(fd);
        free(copy);
        return rc;
    }
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = fd;
    f->copy = copy;
    f->size = (uint64_t)st.st_size;
    f->hash = hash;
    f->whole_hash = whole_hash;
    remember(&f->seen, &st, looked);
    if (f->size == 0)
        return err_set(reterr, ERR_FORMAT, "%s: there is nothing in it; remove it from the corpus", f->path);
    return find_container(f, format, reterr);
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
        free(c->files[i].copy);
    }
    free(c->files);
    *c = (struct catalog){0};
}

/* ---- what became of the files ---- */

/* Does the content behind fd still begin with what was indexed? */
static int compare(const struct catalog_file *f, int fd, const struct stat *st, const char *advice,
                   struct err *reterr)
{
    const char *path = f->copy != NULL ? f->copy : f->path;
    const unsigned long long was = f->size, now = (unsigned long long)st->st_size;
    uint64_t hash;
    if (now < was)
        return err_set(reterr, ERR_CHANGED, "%s: was %llu bytes when it was indexed and is %llu now; %s",
                       path, was, now, advice);
    int rc = catalog_hash(fd, f->size, f->whole_hash, &hash);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", path);
    if (hash == f->hash)
        return 0;
    if (f->container == CONTAINER_ARRAY && now > was)
        return err_set(
            reterr, ERR_CHANGED,
            "%s: a JSON array that grew from %llu to %llu bytes: its end was written over, so what "
            "was indexed is not there as it was (JSONL files may grow); %s",
            path, was, now, advice);
    return err_set(reterr, ERR_CHANGED, "%s: its content is not what was indexed; %s", path, advice);
}

static int reopen_file(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    const time_t looked = time(NULL);
    struct stat st;
    int rc = open_regular(f->path, &f->fd, &st, reterr);
    if (rc == -ENOENT || rc == -ENOTDIR)
        return err_set(reterr, ERR_CHANGED, "%s: is gone; put it back", f->path);
    if (rc == 0)
        rc = compare(f, f->fd, &st, "put it back", reterr);
    if (rc == 0)
        rc = find_container(f, format, reterr);
    if (rc != 0)
        return rc;
    f->inode = (uint64_t)st.st_ino;
    remember(&f->seen, &st, looked);
    return 0;
}

int catalog_reopen(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr)
{
    for (uint32_t i = 0; i < ret->n_files; i++) {
        if (ret->files[i].compression != COMPRESSION_NONE)
            continue;
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
            compare(f, f->fd, &st, "put it back, or take in what is there now: skipalignctl reload", reterr);
        if (rc != 0)
            return rc;
        remember(&f->seen, &st, looked);
    }
    atomic_store_explicit(&f->checked_ns, looked_ns, memory_order_release);
    return 0;
}

/* Is what lies at path the content that was indexed? It may have grown. 0, or as compare. */
static int look_at_content(const struct catalog_file *f, const char *path, struct stat *ret)
{
    int fd, rc = open_regular(path, &fd, ret, NULL);
    if (rc == 0)
        rc = compare(f, fd, ret, "", NULL);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* The bytes of the compressed file that has this packed_id: 0; ERR_CHANGED: others. */
static int look_at_packed(const struct catalog_file *f, uint64_t id)
{
    struct stat st;
    uint64_t hash;
    int fd, rc = open_regular(f->path, &fd, &st, NULL);
    if (rc == 0)
        rc = catalog_hash(fd, (uint64_t)st.st_size, 0, &hash);
    if (rc == 0 && packed_id(f, (uint64_t)st.st_size, hash) != id)
        rc = ERR_CHANGED;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

bool catalog_is_packed(const struct catalog_file *f, uint64_t id)
{
    return look_at_packed(f, id) == 0;
}

bool catalog_lost(const struct catalog_file *f)
{
    struct stat st;
    uint64_t size;
    if (f->copy == NULL)
        return catalog_look(f, &size) >= FATE_SHORTER;
    if (stat(f->copy, &st) == 0 && stamp(&st) == atomic_load_explicit(&f->seen, memory_order_relaxed))
        return false;
    return look_at_content(f, f->copy, &st) != 0;
}

enum catalog_fate catalog_look(const struct catalog_file *f, uint64_t *ret_size)
{
    struct stat st;
    const bool packed = f->copy != NULL;
    if (stat(f->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? FATE_GONE : FATE_HIDDEN;
    int rc = 0;
    if (stamp(&st) != atomic_load_explicit(packed ? &f->packed_seen : &f->seen, memory_order_relaxed))
        rc = packed ? look_at_packed(f, f->packed_id) : look_at_content(f, f->path, &st);
    *ret_size = (uint64_t)st.st_size;
    if (rc == 0 && packed)
        return catalog_lost(f) ? FATE_COPY : FATE_SAME;
    if (rc == 0)
        return *ret_size > f->size ? FATE_GREW : FATE_SAME;
    if (rc != ERR_CHANGED && S_ISREG(st.st_mode))
        return FATE_HIDDEN;
    if ((uint64_t)st.st_ino != f->inode)
        return FATE_REPLACED;
    return !packed && *ret_size < f->size ? FATE_SHORTER : FATE_EDITED;
}
