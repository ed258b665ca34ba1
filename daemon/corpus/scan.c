#include "corpus/scan.h"

#include "corpus/io.h"
#include "corpus/newline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Small enough for a level-2 cache, for a stripe is looked at right after it was copied there; smaller ones
 * cost more in taking turns. While a thread looks at its stripe, the disk is kept busy by the others and by
 * reading ahead. */
#define STRIPE_SIZE (256u << 10)
#define READ_SIZE (64u << 10)
#define READS (STRIPE_SIZE / READ_SIZE)
/* More threads than this only wait for memory. */
#define THREADS_MAX 4u
/* Not worth a second thread. */
#define SMALL_SIZE (16u << 20)
#define NONE UINT64_MAX

struct stripe {
    uint64_t number; /* turn */
    uint64_t offset; /* in the file */
    char *data;
    uint32_t file, size, error;
    bool last; /* of its file */
};

/* What one stripe tells. */
struct starts {
    /* Of lines: */
    bool head_blank; /* up to the first line end there is white space only */
    bool any_end;    /* there is a line end */
    uint64_t tail;   /* start of a last line that is blank so far, relative to the stripe; NONE: it is not */
    uint32_t n;
    uint32_t *list; /* of records that start in the stripe, relative to it; room for one a byte */
};

/* Where the turns stand in a file. */
struct place {
    uint64_t pending; /* start of a line that is blank so far; NONE: the line was told */
    /* arrays */
    uint64_t element, end, depth;    /* start of the last element; offset of the closing bracket */
    bool in_string, escaped, wanted; /* escaped: the next byte is; wanted: an element may start */
    bool closed;
};

struct scan {
    const struct catalog *catalog;
    const struct scan_sink *sink;
    enum io_kind io;
    uint64_t bytes_all;

    pthread_mutex_t lock;
    pthread_cond_t turned;
    /* Under the lock. */
    uint32_t next_file;
    uint64_t next_offset, next_number, turn, bytes_done;
    int rc;
    struct err err;
    /* Its whose turn it is. */
    struct place place;
};

struct worker {
    struct scan *scan;
    pthread_t thread;
    bool is_caller;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_blank(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p == end;
}

static void find_lines(const struct stripe *s, struct starts *l)
{
    /* The list first holds where lines end, and then, never faster, where those that are not blank start. */
    uint32_t n_ends = newline_find(s->data, s->size, l->list), end = n_ends > 0 ? l->list[0] : s->size;
    l->n = 0;
    l->tail = NONE;
    l->any_end = n_ends > 0;
    l->head_blank = is_blank(s->data, s->data + end);
    for (uint32_t i = 1; i <= n_ends; i++) {
        uint32_t start = end + 1;
        end = i < n_ends ? l->list[i] : s->size;
        if (!is_blank(s->data + start, s->data + end))
            l->list[l->n++] = start;
        else if (i == n_ends)
            l->tail = start;
    }
}

static int tell_lines(struct scan *sc, const struct stripe *s, const struct starts *l, struct err *reterr)
{
    int rc = 0;
    if (!l->head_blank && sc->place.pending != NONE) {
        rc = sc->sink->records(sc->sink->arg, sc->place.pending, &(uint32_t){0}, 1, reterr);
        sc->place.pending = NONE;
    }
    if (rc == 0)
        rc = sc->sink->records(sc->sink->arg, s->offset, l->list, l->n, reterr);
    if (l->any_end)
        sc->place.pending = l->tail == NONE ? NONE : s->offset + l->tail;
    return rc;
}

/* The end of the string that p is inside of, or NULL if it is not in the stripe. */
static const char *string_end(struct place *a, const char *p, const char *end)
{
    if (a->escaped && p < end) {
        p++;
        a->escaped = false;
    }
    for (const char *from = p;;) {
        const char *q = memchr(p, '"', (size_t)(end - p)), *stop = q != NULL ? q : end, *back = stop;
        while (back > from && back[-1] == '\\')
            back--;
        bool odd = (stop - back) % 2 != 0;
        if (q == NULL)
            a->escaped = odd;
        if (q == NULL || !odd)
            return q;
        p = q + 1;
    }
}

/* A byte outside of strings that is not white space; false: one after the end of the array. */
static bool array_byte(struct place *a, const struct stripe *s, const char *p, struct starts *l)
{
    if (a->closed)
        return false;
    if (a->depth == 1 && a->wanted && *p != ',' && *p != ']') {
        a->wanted = false;
        a->element = s->offset + (uint64_t)(p - s->data);
        l->list[l->n++] = (uint32_t)(p - s->data);
    }
    switch (*p) {
    case '"':
        a->in_string = true;
        break;
    case '[':
    case '{':
        a->wanted = a->depth++ == 0;
        break;
    case ']':
    case '}':
        a->closed = --a->depth == 0;
        a->end = s->offset + (uint64_t)(p - s->data);
        break;
    case ',':
        a->wanted = a->depth == 1;
        break;
    default:
        break;
    }
    return true;
}

static int tell_array(struct scan *sc, const struct stripe *s, struct starts *l, struct err *reterr)
{
    struct place *a = &sc->place;
    const char *p = s->data, *end = p + s->size;
    l->n = 0;
    while (p < end) {
        if (a->in_string) {
            p = string_end(a, p, end);
            if (p == NULL)
                break;
            a->in_string = false;
        } else if (!is_space(*p) && !array_byte(a, s, p, l)) {
            return err_set(
                reterr, ERR_FORMAT,
                "%s: byte %llu: there is more after the end of the JSON array; one array, or one record a "
                "line (JSONL), is wanted",
                sc->catalog->files[s->file].path, (unsigned long long)(s->offset + (uint64_t)(p - s->data)));
        }
        p++;
    }
    return sc->sink->records(sc->sink->arg, s->offset, l->list, l->n, reterr);
}

static int end_file(struct scan *sc, const struct stripe *s, struct err *reterr)
{
    const struct catalog_file *f = &sc->catalog->files[s->file];
    const struct place *a = &sc->place;
    if (f->container == CONTAINER_ARRAY && !a->closed && a->element != NONE)
        return err_set(
            reterr, ERR_FORMAT,
            "%s: the JSON array is cut short: the file ends at byte %llu, inside or after the element that "
            "starts at byte %llu; get the whole file",
            f->path, (unsigned long long)f->size, (unsigned long long)a->element);
    if (f->container == CONTAINER_ARRAY && !a->closed)
        return err_set(reterr, ERR_FORMAT, "%s: the JSON array is cut short at byte %llu; get the whole file",
                       f->path, (unsigned long long)f->size);
    return sc->sink->file_end(sc->sink->arg, s->file, f->container == CONTAINER_ARRAY ? a->end : f->size,
                              reterr);
}

static int tell(struct scan *sc, const struct stripe *s, struct starts *l, struct err *reterr)
{
    const struct catalog_file *f = &sc->catalog->files[s->file];
    if (s->error == ENODATA)
        return err_set(reterr, ERR_CHANGED,
                       "%s: became shorter while it was indexed; try again when it is complete", f->path);
    if (s->error != 0)
        return err_sys(reterr, -(int)s->error, "%s: read at byte %llu", f->path,
                       (unsigned long long)s->offset);
    if (s->offset == f->start)
        sc->place = (struct place){.pending = f->start, .element = NONE};
    int rc = f->container == CONTAINER_ARRAY ? tell_array(sc, s, l, reterr) : tell_lines(sc, s, l, reterr);
    return rc == 0 && s->last ? end_file(sc, s, reterr) : rc;
}

/* The next stripe to read; false when there is none left or the scan has failed. */
static bool take_stripe(struct scan *sc, struct stripe *s)
{
    (void)pthread_mutex_lock(&sc->lock);
    bool any = sc->rc == 0 && sc->next_file < sc->catalog->n_files;
    if (any) {
        const struct catalog_file *f = &sc->catalog->files[sc->next_file];
        uint64_t left = f->size - sc->next_offset;
        s->number = sc->next_number++;
        s->file = sc->next_file;
        s->offset = sc->next_offset;
        s->size = left < STRIPE_SIZE ? (uint32_t)left : STRIPE_SIZE;
        s->last = s->size == left;
        sc->next_offset += s->size;
        if (s->last && ++sc->next_file < sc->catalog->n_files)
            sc->next_offset = sc->catalog->files[sc->next_file].start;
    }
    (void)pthread_mutex_unlock(&sc->lock);
    return any;
}

static void read_stripe(struct io *io, int fd, struct stripe *s)
{
    struct io_done done[READS];
    s->error = 0;
    for (uint32_t at = 0; at < s->size; at += READ_SIZE) {
        uint32_t size = s->size - at < READ_SIZE ? s->size - at : READ_SIZE;
        io_queue(io,
                 &(struct io_read){.fd = fd, .size = size, .offset = s->offset + at, .data = s->data + at});
    }
    while (io_in_flight(io) > 0) {
        uint32_t n = io_collect(io, done, READS);
        for (uint32_t i = 0; i < n; i++)
            if (done[i].error != 0)
                s->error = done[i].error;
    }
}

/* Wait for the stripe's turn, tell what is in it, and pass the turn on. False: the scan is over. */
static bool take_turn(struct worker *w, const struct stripe *s, struct starts *l)
{
    struct scan *sc = w->scan;
    struct err err;
    (void)pthread_mutex_lock(&sc->lock);
    while (sc->turn != s->number && sc->rc == 0)
        (void)pthread_cond_wait(&sc->turned, &sc->lock);
    int rc = sc->rc;
    (void)pthread_mutex_unlock(&sc->lock);
    if (rc != 0)
        return false;
    rc = tell(sc, s, l, &err);
    (void)pthread_mutex_lock(&sc->lock);
    if (rc != 0) {
        sc->rc = rc;
        sc->err = err;
    }
    sc->turn++;
    sc->bytes_done += s->size;
    uint64_t done = sc->bytes_done;
    (void)pthread_cond_broadcast(&sc->turned);
    (void)pthread_mutex_unlock(&sc->lock);
    if (rc != 0 || !w->is_caller || sc->sink->progress == NULL)
        return rc == 0;
    if (sc->sink->progress(sc->sink->progress_arg, done, sc->bytes_all) == 0)
        return true;
    (void)pthread_mutex_lock(&sc->lock);
    if (sc->rc == 0)
        sc->rc = err_set(&sc->err, ERR_CANCELLED, "cancelled");
    (void)pthread_cond_broadcast(&sc->turned);
    (void)pthread_mutex_unlock(&sc->lock);
    return false;
}

static void scan_stripes(struct worker *w, struct io *io, char *memory, uint32_t *list)
{
    const struct catalog *c = w->scan->catalog;
    struct stripe s = {.data = memory};
    struct starts starts = {.list = list};
    bool more = true;
    while (more && take_stripe(w->scan, &s)) {
        read_stripe(io, c->files[s.file].fd, &s);
        if (s.error == 0 && c->files[s.file].container != CONTAINER_ARRAY)
            find_lines(&s, &starts);
        more = take_turn(w, &s, &starts);
    }
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct scan *sc = w->scan;
    struct io *io = NULL;
    enum io_kind kind;
    struct err err;
    int rc = 0;
    uint32_t *list = malloc(STRIPE_SIZE * sizeof *list);
    char *memory = mmap(NULL, STRIPE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (list == NULL || memory == MAP_FAILED) {
        rc = err_sys(&err, -ENOMEM, "reading files");
        goto out;
    }
    rc = io_open(sc->io, READS, &io, &kind, &err);
    if (rc != 0)
        goto out;
    io_register(io, memory, STRIPE_SIZE);
    scan_stripes(w, io, memory, list);
out:
    io_close(io);
    if (memory != MAP_FAILED)
        (void)munmap(memory, STRIPE_SIZE);
    free(list);
    if (rc != 0) {
        (void)pthread_mutex_lock(&sc->lock);
        if (sc->rc == 0) {
            sc->rc = rc;
            sc->err = err;
        }
        (void)pthread_cond_broadcast(&sc->turned);
        (void)pthread_mutex_unlock(&sc->lock);
    }
    return NULL;
}

static uint32_t thread_count(uint64_t bytes)
{
    cpu_set_t cpus;
    if (bytes < SMALL_SIZE || sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    uint32_t n = (uint32_t)CPU_COUNT(&cpus);
    return n < 1 ? 1 : n < THREADS_MAX ? n : THREADS_MAX;
}

int scan_files(const struct catalog *c, enum io_kind io, const struct scan_sink *sink, struct err *reterr)
{
    struct scan sc = {.catalog = c, .sink = sink, .io = io, .next_offset = c->files[0].start};
    struct worker workers[THREADS_MAX];
    uint32_t n_started = 1;
    for (uint32_t i = 0; i < c->n_files; i++) {
        sc.bytes_all += c->files[i].size - c->files[i].start;
        (void)posix_fadvise(c->files[i].fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    (void)pthread_mutex_init(&sc.lock, NULL);
    (void)pthread_cond_init(&sc.turned, NULL);
    uint32_t n = thread_count(sc.bytes_all);
    workers[0] = (struct worker){.scan = &sc, .is_caller = true};
    for (; n_started < n; n_started++) {
        workers[n_started] = (struct worker){.scan = &sc};
        if (pthread_create(&workers[n_started].thread, NULL, worker_run, &workers[n_started]) != 0)
            break; /* fewer will do */
    }
    (void)worker_run(&workers[0]);
    for (uint32_t i = 1; i < n_started; i++)
        (void)pthread_join(workers[i].thread, NULL);
    (void)pthread_cond_destroy(&sc.turned);
    (void)pthread_mutex_destroy(&sc.lock);
    return sc.rc == 0 ? 0 : err_set(reterr, sc.rc, "%s", sc.err.text);
}
