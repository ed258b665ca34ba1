#include "corpus/index.h"

#include "corpus/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC 0x0a58444941504b53ull /* "SKPAIDX\n", little-endian: another byte order is another magic */
#define VERSION 2u
/* Records are counted by 32 bits wherever they are drawn or shuffled. */
#define RECORDS_MAX UINT32_MAX
#define BUFFER_OFFSETS 32768u

struct header {
    uint64_t magic;
    uint32_t version, n_files;
    uint64_t n_records;
    uint64_t boundaries; /* of the offsets; an edit between the sampled blocks is likely to move one */
    uint64_t offsets_at; /* header, files and paths are what is before */
    uint64_t checksum;   /* XXH3 of what is before offsets_at, with this field 0 */
};

struct writer {
    const struct catalog *catalog;
    const char *path; /* of the file being written */
    int fd;
    uint64_t n_records, first_record; /* of all, and of the file being scanned */
    uint64_t at;                      /* where the buffer goes */
    uint64_t boundaries;              /* hash so far */
    uint32_t n_buffered;
    uint64_t *buffer;
    char *head; /* struct header, files, paths: written last */
    size_t head_size;
};

static struct index_file *head_files(char *head)
{
    return (struct index_file *)(head + sizeof(struct header));
}

static uint64_t head_checksum(const char *head, size_t size)
{
    struct header h;
    memcpy(&h, head, sizeof h);
    h.checksum = 0;
    return XXH3_64bits_withSeed(head + sizeof h, size - sizeof h, XXH3_64bits(&h, sizeof h));
}

/* A file's container and compression: 8 bits each. */
static uint32_t kind_of(const struct catalog_file *f)
{
    return (uint32_t)f->container | (uint32_t)f->compression << 8;
}

/* The hash goes on over the next offsets: BUFFER_OFFSETS of them, or the last, which may be none. */
static uint64_t hash_offsets(uint64_t hash, const uint64_t *offsets, uint64_t n)
{
    return XXH3_64bits_withSeed(offsets, n * sizeof offsets[0], hash);
}

/* ---- reading ---- */

static bool is_of_catalog(const struct index *x, const struct catalog *c)
{
    const char *path = x->paths;
    if (x->n_files != c->n_files)
        return false;
    for (uint32_t i = 0; i < c->n_files; i++) {
        const struct index_file *a = &x->files[i];
        const struct catalog_file *b = &c->files[i];
        if (a->path_size != strlen(b->path) || memcmp(path, b->path, a->path_size) != 0)
            return false;
        if (a->size != b->size || a->mtime_ns != b->mtime_ns || a->inode != b->inode || a->hash != b->hash ||
            a->start != b->start || a->kind != kind_of(b))
            return false;
        path += a->path_size;
    }
    return true;
}

/* Do the paths of all files fit into room bytes? */
static bool paths_fit(const struct index *x, uint64_t room)
{
    for (uint32_t i = 0; i < x->n_files; room -= x->files[i++].path_size)
        if (x->files[i].path_size > room)
            return false;
    return true;
}

/* Every record is found through its offset, so all are looked at: 0.2 s for 1 GB of them. */
static bool has_boundaries(const uint64_t *offsets, uint64_t n, uint64_t boundaries)
{
    uint64_t hash = 0;
    for (uint64_t at = 0; at <= n; at += BUFFER_OFFSETS)
        hash = hash_offsets(hash, offsets + at, n - at < BUFFER_OFFSETS ? n - at : BUFFER_OFFSETS);
    return hash == boundaries;
}

static bool is_whole(const char *map, size_t size, struct index *x)
{
    struct header h;
    if (size < sizeof h)
        return false;
    memcpy(&h, map, sizeof h);
    if (h.magic != MAGIC || h.version != VERSION || h.n_files == 0 || h.n_records == 0 ||
        h.n_records > RECORDS_MAX)
        return false;
    if (h.offsets_at > size || h.offsets_at % 8 != 0 || size - h.offsets_at != h.n_records * 8)
        return false;
    uint64_t paths_at = sizeof h + (uint64_t)h.n_files * sizeof(struct index_file);
    if (paths_at > h.offsets_at || head_checksum(map, h.offsets_at) != h.checksum)
        return false;
    x->files = (const struct index_file *)(map + sizeof h);
    x->paths = map + paths_at;
    x->offsets = (const uint64_t *)(map + h.offsets_at);
    x->n_records = h.n_records;
    x->boundaries = h.boundaries;
    x->n_files = h.n_files;
    return paths_fit(x, h.offsets_at - paths_at) && has_boundaries(x->offsets, x->n_records, x->boundaries);
}

int index_open(const char *path, const struct catalog *c, struct index *ret)
{
    struct index x = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        x.map_size = (size_t)st.st_size;
        x.map = mmap(NULL, x.map_size, PROT_READ, MAP_SHARED, fd, 0);
    }
    (void)close(fd);
    if (x.map_size == 0 || x.map == MAP_FAILED)
        return 0;
    if (!is_whole(x.map, x.map_size, &x) || (c != NULL && !is_of_catalog(&x, c))) {
        index_close(&x);
        return 0;
    }
    *ret = x;
    return 1;
}

void index_close(struct index *x)
{
    if (x->map != NULL)
        (void)munmap(x->map, x->map_size);
    *x = (struct index){0};
}

uint64_t index_fingerprint(const struct index *x)
{
    uint64_t hash = XXH3_64bits_withSeed(&x->n_records, sizeof x->n_records, x->boundaries);
    for (uint32_t i = 0; i < x->n_files; i++) {
        const struct index_file *f = &x->files[i];
        uint64_t of_file[] = {f->size, f->hash, f->first_record, f->content_end};
        hash = XXH3_64bits_withSeed(of_file, sizeof of_file, hash);
    }
    return hash;
}

int index_catalog(const struct index *x, struct catalog *ret)
{
    struct catalog c = {.files = calloc(x->n_files, sizeof c.files[0])};
    const char *path = x->paths;
    if (c.files == NULL)
        return -ENOMEM;
    for (; c.n_files < x->n_files; c.n_files++) {
        const struct index_file *from = &x->files[c.n_files];
        struct catalog_file *f = &c.files[c.n_files];
        f->fd = -1;
        f->container = (enum container)(from->kind & 0xff);
        f->compression = (enum compression)(from->kind >> 8);
        f->size = from->size;
        f->hash = from->hash;
        f->mtime_ns = from->mtime_ns;
        f->inode = from->inode;
        f->path = strndup(path, from->path_size);
        if (f->path == NULL) {
            catalog_close(&c);
            return -ENOMEM;
        }
        path += from->path_size;
    }
    *ret = c;
    return 0;
}

uint32_t index_file(const struct index *x, uint64_t i)
{
    uint32_t low = 0, high = x->n_files;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (x->files[mid].first_record <= i)
            low = mid;
        else
            high = mid;
    }
    return low;
}

uint32_t index_get(const struct index *x, uint64_t i, uint64_t *ret_offset, uint64_t *ret_size)
{
    uint32_t file = index_file(x, i);
    bool last = i + 1 == (file + 1 < x->n_files ? x->files[file + 1].first_record : x->n_records);
    uint64_t offset = x->offsets[i], end = last ? x->files[file].content_end : x->offsets[i + 1];
    *ret_offset = offset;
    *ret_size = end > offset ? end - offset : 0;
    return file;
}

/* ---- writing ---- */

static int write_failed(const struct writer *w, int rc, struct err *reterr)
{
    if (rc == -ENOSPC || rc == -EDQUOT)
        return err_set(reterr, rc,
                       "%s: %s: an index takes 8 bytes a record; free some space, or move state_dir", w->path,
                       err_str(rc));
    return err_sys(reterr, rc, "%s: write", w->path);
}

static int write_at(struct writer *w, const void *data, size_t size, uint64_t offset, struct err *reterr)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = pwrite(w->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return write_failed(w, -errno, reterr);
        p += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int flush(struct writer *w, struct err *reterr)
{
    size_t size = w->n_buffered * sizeof w->buffer[0];
    int rc = write_at(w, w->buffer, size, w->at, reterr);
    if (rc != 0)
        return rc;
    w->boundaries = hash_offsets(w->boundaries, w->buffer, w->n_buffered);
    /* The disk starts now, so that the sync at the end has little left to wait for. */
    (void)sync_file_range(w->fd, (off_t)w->at, (off_t)size, SYNC_FILE_RANGE_WRITE);
    w->at += size;
    w->n_buffered = 0;
    return 0;
}

static int on_records(void *arg, uint64_t base, const uint32_t *starts, uint32_t n, struct err *reterr)
{
    struct writer *w = arg;
    if (n > RECORDS_MAX - w->n_records)
        return err_set(reterr, ERR_LIMIT, "more than %u records; divide the corpus", RECORDS_MAX);
    w->n_records += n;
    while (n > 0) {
        uint32_t room = BUFFER_OFFSETS - w->n_buffered, k = n < room ? n : room;
        for (uint32_t i = 0; i < k; i++)
            w->buffer[w->n_buffered + i] = base + starts[i];
        w->n_buffered += k;
        starts += k;
        n -= k;
        int rc = w->n_buffered < BUFFER_OFFSETS ? 0 : flush(w, reterr);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int on_file_end(void *arg, uint32_t file, uint64_t content_end, struct err *reterr)
{
    struct writer *w = arg;
    struct index_file *f = &head_files(w->head)[file];
    if (w->n_records == w->first_record)
        return err_set(reterr, ERR_FORMAT, "%s: holds no records; remove it from the corpus",
                       w->catalog->files[file].path);
    f->first_record = w->first_record;
    f->content_end = content_end;
    w->first_record = w->n_records;
    return 0;
}

/* The header's bytes, but for what only the scan can tell. */
static int writer_init(struct writer *w, const struct catalog *c)
{
    size_t size = sizeof(struct header) + c->n_files * sizeof(struct index_file);
    for (uint32_t i = 0; i < c->n_files; i++)
        size += strlen(c->files[i].path);
    w->catalog = c;
    w->head_size = (size + 7) / 8 * 8;
    w->at = w->head_size;
    w->head = calloc(1, w->head_size);
    w->buffer = malloc(BUFFER_OFFSETS * sizeof w->buffer[0]);
    if (w->head == NULL || w->buffer == NULL)
        return -ENOMEM;
    struct index_file *files = head_files(w->head);
    char *paths = (char *)(files + c->n_files);
    for (uint32_t i = 0; i < c->n_files; i++) {
        const struct catalog_file *f = &c->files[i];
        files[i] = (struct index_file){.size = f->size,
                                       .mtime_ns = f->mtime_ns,
                                       .inode = f->inode,
                                       .hash = f->hash,
                                       .start = f->start,
                                       .kind = kind_of(f),
                                       .path_size = (uint32_t)strlen(f->path)};
        memcpy(paths, f->path, files[i].path_size);
        paths += files[i].path_size;
    }
    return 0;
}

/* Offsets, then the header, then to the disk. */
static int writer_finish(struct writer *w, struct err *reterr)
{
    int rc = flush(w, reterr);
    if (rc != 0)
        return rc;
    struct header h = {.magic = MAGIC,
                       .version = VERSION,
                       .n_files = w->catalog->n_files,
                       .n_records = w->n_records,
                       .boundaries = w->boundaries,
                       .offsets_at = w->head_size};
    memcpy(w->head, &h, sizeof h);
    h.checksum = head_checksum(w->head, w->head_size);
    memcpy(w->head, &h, sizeof h);
    rc = write_at(w, w->head, w->head_size, 0, reterr);
    if (rc != 0)
        return rc;
    return fsync(w->fd) == 0 ? 0 : write_failed(w, -errno, reterr);
}

int index_build(const char *path, const struct catalog *c, enum io_kind io,
                int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct index *ret,
                struct err *reterr)
{
    struct writer w = {.path = path, .fd = -1};
    int rc;
    if (writer_init(&w, c) != 0) {
        rc = err_sys(reterr, -ENOMEM, "%s", path);
        goto out_free;
    }
    w.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (w.fd < 0) {
        rc = err_sys(reterr, -errno, "%s: create (the index of a corpus is kept in state_dir)", path);
        goto out_free;
    }
    rc = scan_files(c, io, NULL,
                    &(struct scan_sink){.records = on_records,
                                        .file_end = on_file_end,
                                        .progress = progress,
                                        .arg = &w,
                                        .progress_arg = arg},
                    reterr);
    if (rc == 0)
        rc = writer_finish(&w, reterr);
    if (rc == 0 && index_open(path, c, ret) != 1)
        rc = err_set(reterr, -EIO, "%s: cannot be read back after it was written; check the disk", path);
    if (rc != 0)
        (void)unlink(path);
    (void)close(w.fd);
out_free:
    free(w.buffer);
    free(w.head);
    return rc;
}
