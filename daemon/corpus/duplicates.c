#include "corpus/duplicates.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/slice.h"
#include "corpus/sieve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC 0x0a50554450414b53ull /* "SKAPDUP\n", little-endian */
#define VERSION 1u
#define VIEW_BYTES (1u << 20)

struct header {
    uint64_t magic, version, fingerprint, n_records, n;
    uint64_t checksum; /* of what is before, and of the bits */
};

static size_t bits_size(uint64_t n_records)
{
    return (size_t)((n_records + 7) / 8);
}

static uint64_t checksum_of(const struct header *h, const uint8_t *bits)
{
    return XXH3_64bits_withSeed(bits, bits_size(h->n_records),
                                XXH3_64bits(h, offsetof(struct header, checksum)));
}

/* ---- reading records, in order ---- */

/* What is in memory of one file. A record larger than it comes in parts. */
struct view {
    const struct catalog_file *file;
    char *data;
    uint64_t at, n; /* bytes at..at + n of the file are there */
    uint64_t done, all;
    int (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
};

static int fill(struct view *v, uint64_t at, struct err *reterr)
{
    v->at = at;
    v->n = 0;
    if (v->progress != NULL && v->progress(v->arg, v->done + at, v->all) != 0)
        return err_set(reterr, ERR_CANCELLED, "cancelled");
    while (v->n < VIEW_BYTES) {
        ssize_t n = pread(v->file->fd, v->data + v->n, VIEW_BYTES - v->n, (off_t)(at + v->n));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(reterr, -errno, "%s: read", v->file->path);
        if (n == 0)
            break;
        v->n += (uint64_t)n;
    }
    return 0;
}

/* Bytes at..at + size, at most VIEW_BYTES, of the file. */
static int look(struct view *v, uint64_t at, uint64_t size, struct slice *ret, struct err *reterr)
{
    int rc = at < v->at || at + size > v->at + v->n ? fill(v, at, reterr) : 0;
    if (rc == 0 && v->n < size)
        rc = err_set(reterr, ERR_CHANGED, "%s: has become shorter since it was indexed", v->file->path);
    *ret = rc == 0 ? (struct slice){v->data + (at - v->at), (size_t)size} : (struct slice){NULL, 0};
    return rc;
}

struct extent {
    uint64_t from, to;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int trim_start(struct view *v, struct extent *e, struct err *reterr)
{
    while (e->from < e->to) {
        struct slice s;
        int rc = look(v, e->from, smaller(e->to - e->from, VIEW_BYTES), &s, reterr);
        if (rc != 0)
            return rc;
        size_t i = 0;
        while (i < s.size && is_space(s.data[i]))
            i++;
        e->from += i;
        if (i < s.size)
            break;
    }
    return 0;
}

static int trim_end(struct view *v, struct extent *e, struct err *reterr)
{
    while (e->from < e->to) {
        struct slice s;
        const uint64_t size = smaller(e->to - e->from, VIEW_BYTES);
        int rc = look(v, e->to - size, size, &s, reterr);
        if (rc != 0)
            return rc;
        size_t n = s.size;
        while (n > 0 && is_space(s.data[n - 1]))
            n--;
        e->to -= s.size - n;
        if (n > 0)
            break;
    }
    return 0;
}

/* e ends before its last byte, where that is c. */
static int drop_last(struct view *v, struct extent *e, char c, struct err *reterr)
{
    struct slice s;
    int rc = e->from < e->to ? look(v, e->to - 1, 1, &s, reterr) : 0;
    if (rc == 0 && e->from < e->to && s.data[0] == c)
        e->to--;
    return rc;
}

static int strip_json(struct view *v, struct extent *e, struct err *reterr)
{
    int rc = trim_start(v, e, reterr);
    if (rc == 0)
        rc = trim_end(v, e, reterr);
    if (rc == 0)
        rc = drop_last(v, e, ',', reterr);
    return rc == 0 ? trim_end(v, e, reterr) : rc;
}

/* Blank lines that follow belong to the extent, not to the record. */
static int strip_line(struct view *v, struct extent *e, struct err *reterr)
{
    for (uint64_t at = e->from; at < e->to;) {
        struct slice s;
        int rc = look(v, at, smaller(e->to - at, VIEW_BYTES), &s, reterr);
        if (rc != 0)
            return rc;
        const char *newline = memchr(s.data, '\n', s.size);
        at += newline != NULL ? (uint64_t)(newline - s.data) : s.size;
        if (newline != NULL)
            e->to = at;
    }
    return drop_last(v, e, '\r', reterr);
}

static int hash_record(struct view *v, struct extent e, XXH3_state_t *state, XXH128_hash_t *ret,
                       struct err *reterr)
{
    struct slice s;
    int rc = e.to - e.from <= VIEW_BYTES ? look(v, e.from, e.to - e.from, &s, reterr) : 0; /* all at once */
    if (rc == 0)
        rc = v->file->container == CONTAINER_TEXT ? strip_line(v, &e, reterr) : strip_json(v, &e, reterr);
    (void)XXH3_128bits_reset(state);
    while (rc == 0 && e.from < e.to) {
        rc = look(v, e.from, smaller(e.to - e.from, VIEW_BYTES), &s, reterr);
        if (rc != 0)
            break;
        (void)XXH3_128bits_update(state, s.data, s.size);
        e.from += s.size;
    }
    *ret = XXH3_128bits_digest(state);
    return rc;
}

static int sieve_records(struct view *v, const struct catalog *c, const struct index *x, struct sieve *sieve,
                         XXH3_state_t *state, struct err *reterr)
{
    int rc = 0;
    for (uint64_t i = 0; i < x->n_records && rc == 0; i++) {
        struct extent e;
        XXH128_hash_t hash;
        const struct catalog_file *f = &c->files[index_get(x, i, &e.from, &e.to)];
        e.to += e.from;
        if (f != v->file) {
            v->done += v->file != NULL ? v->file->size : 0;
            v->file = f;
            v->n = 0;
            (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        }
        rc = hash_record(v, e, state, &hash, reterr);
        if (rc == 0)
            rc = sieve_add(sieve, hash.low64, hash.high64, reterr);
    }
    return rc;
}

/* ---- the file ---- */

struct found {
    uint8_t *bits;
    uint64_t n;
};

static void on_repeated(void *arg, uint64_t number)
{
    struct found *f = arg;
    f->bits[number / 8] |= (uint8_t)(1u << number % 8);
    f->n++;
}

/* Looked at after reading: had a file been rewritten meanwhile, it shows now. */
static int check_files(struct catalog *c, struct err *reterr)
{
    const uint64_t since_ns = clock_ns();
    int rc = 0;
    for (uint32_t i = 0; i < c->n_files && rc == 0; i++)
        rc = catalog_check(c, i, since_ns, reterr);
    return rc;
}

static int find(const char *temporary, struct catalog *c, const struct index *x, struct view *v,
                struct found *found, struct err *reterr)
{
    struct sieve *sieve = NULL;
    XXH3_state_t *state = XXH3_createState();
    v->data = malloc(VIEW_BYTES);
    for (uint32_t i = 0; i < c->n_files; i++)
        v->all += c->files[i].size;
    int rc = state == NULL || v->data == NULL ? err_sys(reterr, -ENOMEM, "looking for duplicates")
                                              : sieve_new(temporary, x->n_records, &sieve, reterr);
    if (rc == 0)
        rc = sieve_records(v, c, x, sieve, state, reterr);
    if (rc == 0)
        rc = check_files(c, reterr);
    if (rc == 0)
        rc = sieve_run(sieve, on_repeated, found, reterr);
    sieve_free(sieve);
    free(v->data);
    (void)XXH3_freeState(state);
    return rc;
}

/* The whole file, under its name or not at all. */
static int make(const char *path, struct catalog *c, const struct index *x, struct view *v,
                struct err *reterr)
{
    char new_path[PATH_MAX + 8], temporary[PATH_MAX + 8];
    const size_t size = sizeof(struct header) + bits_size(x->n_records);
    (void)snprintf(new_path, sizeof new_path, "%s.new", path);
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int fd = open(new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(reterr, -errno, "%s: create", new_path);
    int rc = -posix_fallocate(fd, 0, (off_t)size);
    uint8_t *map = rc == 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        rc = err_sys(reterr, rc != 0 ? rc : -errno, "%s: make room for", new_path);
        goto out_close;
    }
    struct found found = {.bits = map + sizeof(struct header)};
    rc = find(temporary, c, x, v, &found, reterr);
    if (rc == 0) {
        struct header h = {.magic = MAGIC,
                           .version = VERSION,
                           .fingerprint = index_fingerprint(x),
                           .n_records = x->n_records,
                           .n = found.n};
        h.checksum = checksum_of(&h, found.bits);
        memcpy(map, &h, sizeof h);
    }
    (void)munmap(map, size);
    if (rc == 0 && (fsync(fd) != 0 || rename(new_path, path) != 0))
        rc = err_sys(reterr, -errno, "%s: write", path);
    if (rc == 0 && (rc = file_sync_folder(path)) != 0)
        (void)err_sys(reterr, rc, "%s: its folder cannot be synced", path);
out_close:
    (void)close(fd);
    if (rc != 0)
        (void)unlink(new_path);
    return rc;
}

/* The file at path, if it is there, whole, and of these records. */
static bool open_file(const char *path, const struct index *x, struct duplicates *ret)
{
    struct duplicates d = {.map_size = sizeof(struct header) + bits_size(x->n_records)};
    struct header h;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool right = fstat(fd, &st) == 0 && st.st_size == (off_t)d.map_size;
    void *map = right ? mmap(NULL, d.map_size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    (void)close(fd);
    if (map == MAP_FAILED)
        return false;
    d.map = map;
    d.bits = (const uint8_t *)map + sizeof h;
    memcpy(&h, map, sizeof h);
    d.n = h.n;
    if (h.magic == MAGIC && h.version == VERSION && h.fingerprint == index_fingerprint(x) &&
        h.n_records == x->n_records && h.checksum == checksum_of(&h, d.bits)) {
        *ret = d;
        return true;
    }
    duplicates_close(&d);
    return false;
}

int duplicates_open(const char *state_dir, const char *name, struct catalog *c, const struct index *x,
                    bool anew, int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                    struct duplicates *ret, struct err *reterr)
{
    char path[PATH_MAX];
    struct view v = {.progress = progress, .arg = arg};
    int n = snprintf(path, sizeof path, "%s/corpora/%s.%016" PRIx64 ".duplicates", state_dir, name,
                     index_fingerprint(x));
    if (n < 0 || (size_t)n >= sizeof path)
        return err_sys(reterr, -ENAMETOOLONG, "%s/corpora/%s", state_dir, name);
    if (!anew && open_file(path, x, ret))
        return 0;
    int rc = make(path, c, x, &v, reterr);
    if (rc == 0 && !open_file(path, x, ret))
        rc = err_set(reterr, -EIO, "%s: cannot be read back after it was written; check the disk", path);
    return rc;
}

void duplicates_close(struct duplicates *d)
{
    if (d->map != NULL)
        (void)munmap(d->map, d->map_size);
    *d = (struct duplicates){.bits = NULL};
}
