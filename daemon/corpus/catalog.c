#include "corpus/catalog.h"

#include "base/array.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define SAMPLES 16u
#define SAMPLE_SIZE 4096u

struct paths {
    char **list;
    size_t n, cap;
};

static void paths_fini(struct paths *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i]);
    free(p->list);
}

static int paths_add(struct paths *p, const char *path)
{
    if (array_grow(&p->list, &p->cap, p->n + 1) != 0)
        return -ENOMEM;
    p->list[p->n] = strdup(path);
    return p->list[p->n] == NULL ? -ENOMEM : (p->n++, 0);
}

/* Asked by glob: a folder that is not there matches nothing; one that does not open may hide files. */
static int folder_unreadable(const char *folder, int error)
{
    (void)folder;
    return error != ENOENT && error != ENOTDIR;
}

static int paths_expand(struct paths *p, const char *pattern, struct err *reterr)
{
    struct stat st;
    /* A file whose own name looks like a pattern ("data[1].jsonl") is that file. */
    if (lstat(pattern, &st) == 0)
        return paths_add(p, pattern) == 0 ? 0 : err_sys(reterr, -ENOMEM, "%s", pattern);
    if (errno != ENOENT && errno != ENOTDIR)
        return err_sys(reterr, -errno, "%s: a folder of it cannot be searched", pattern);
    glob_t g;
    int rc = glob(pattern, GLOB_NOSORT, folder_unreadable, &g);
    if (rc == GLOB_NOMATCH)
        return err_set(reterr, -ENOENT,
                       "%s: no such file, or nothing matches; check the path and its spelling", pattern);
    if (rc == GLOB_ABORTED)
        return err_sys(reterr, -EACCES, "%s: a folder of it cannot be read", pattern);
    if (rc != 0)
        return err_sys(reterr, -ENOMEM, "%s", pattern);
    for (size_t i = 0; i < g.gl_pathc && rc == 0; i++)
        rc = paths_add(p, g.gl_pathv[i]);
    globfree(&g);
    return rc == 0 ? 0 : err_sys(reterr, rc, "%s", pattern);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void paths_sort_unique(struct paths *p)
{
    size_t n = 0;
    qsort(p->list, p->n, sizeof p->list[0], compare_paths);
    for (size_t i = 0; i < p->n; i++) {
        if (n > 0 && strcmp(p->list[n - 1], p->list[i]) == 0)
            free(p->list[i]);
        else
            p->list[n++] = p->list[i];
    }
    p->n = n;
}

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

static int open_file(struct catalog_file *f, enum corpus_format format, struct err *reterr)
{
    struct stat st;
    /* Not blocking: a FIFO among the files must be refused, not waited for. */
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 && errno == EMFILE)
        return err_set(
            reterr, -EMFILE,
            "%s: too many open files: raise the limit (ulimit -n; systemd: LimitNOFILE=) or join small files",
            f->path);
    if (f->fd < 0)
        return err_sys(reterr, -errno, "%s: open", f->path);
    if (fstat(f->fd, &st) != 0)
        return err_sys(reterr, -errno, "%s", f->path);
    if (S_ISDIR(st.st_mode))
        return err_set(reterr, -EISDIR, "%s: is a directory; name the files in it, e.g. %s/*.jsonl", f->path,
                       f->path);
    if (!S_ISREG(st.st_mode))
        return err_set(reterr, -EINVAL, "%s: is not a regular file", f->path);
    if (st.st_size == 0)
        return err_set(reterr, ERR_FORMAT, "%s: is empty; remove it from the corpus", f->path);
    /* From here on a read may wait: io_uring of older kernels answers EAGAIN instead for a file that says
     * otherwise. */
    if (fcntl(f->fd, F_SETFL, 0) != 0)
        return err_sys(reterr, -errno, "%s", f->path);
    f->size = f->seen_size = (uint64_t)st.st_size;
    f->mtime_ns = f->seen_mtime_ns = mtime_ns(&st);
    f->inode = (uint64_t)st.st_ino;
    int rc = find_container(f, format, reterr);
    if (rc != 0)
        return rc;
    rc = sample_hash(f->fd, f->size, &f->hash);
    return rc == 0 ? 0 : err_sys(reterr, rc, "%s: read", f->path);
}

int catalog_open(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr)
{
    struct paths paths = {0};
    struct catalog c = {0};
    int rc = 0;
    for (uint32_t i = 0; i < conf->n_paths; i++) {
        rc = paths_expand(&paths, conf->paths[i], reterr);
        if (rc != 0)
            goto out_paths;
    }
    if (paths.n == 0 || paths.n > UINT32_MAX) {
        rc = err_set(reterr, -ENOENT, "no files are named in paths");
        goto out_paths;
    }
    paths_sort_unique(&paths);
    c.files = calloc(paths.n, sizeof c.files[0]);
    if (c.files == NULL) {
        rc = err_sys(reterr, -ENOMEM, "%zu files", paths.n);
        goto out_paths;
    }
    for (; c.n_files < paths.n; c.n_files++) {
        struct catalog_file *f = &c.files[c.n_files];
        f->path = paths.list[c.n_files];
        rc = open_file(f, conf->format, reterr);
        if (rc != 0) {
            if (f->fd >= 0)
                (void)close(f->fd);
            goto out_files;
        }
    }
    free(paths.list); /* the strings are the files' now */
    *ret = c;
    return 0;

out_files:
    for (uint32_t i = 0; i < c.n_files; i++)
        (void)close(c.files[i].fd);
    free(c.files);
out_paths:
    paths_fini(&paths);
    return rc;
}

void catalog_close(struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_files; i++) {
        (void)close(c->files[i].fd);
        free(c->files[i].path);
    }
    free(c->files);
    *c = (struct catalog){0};
}

int catalog_check(struct catalog *c, struct err *reterr)
{
    for (uint32_t i = 0; i < c->n_files; i++) {
        struct catalog_file *f = &c->files[i];
        struct stat st;
        uint64_t hash = 0;
        if (fstat(f->fd, &st) != 0)
            return err_sys(reterr, -errno, "%s", f->path);
        uint64_t size = (uint64_t)st.st_size;
        if (size == f->seen_size && mtime_ns(&st) == f->seen_mtime_ns)
            continue;
        if (size < f->size)
            return err_set(
                reterr, ERR_CHANGED,
                "%s: was %llu bytes when it was indexed and is %llu now; put it back, or restart to read "
                "what it holds now",
                f->path, (unsigned long long)f->size, (unsigned long long)size);
        int rc = sample_hash(f->fd, f->size, &hash);
        if (rc != 0)
            return err_sys(reterr, rc, "%s: read", f->path);
        if (hash != f->hash)
            return err_set(
                reterr, ERR_CHANGED,
                "%s: its content is not what was indexed; put it back, or restart to read what it holds now",
                f->path);
        f->seen_size = size;
        f->seen_mtime_ns = mtime_ns(&st);
    }
    return 0;
}
