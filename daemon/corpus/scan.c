#include "corpus/scan.h"

#include "corpus/elements.h"
#include "corpus/io.h"
#include "corpus/newline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Small enough that those of a thread stay in a level-2 cache, for a stripe is looked at right after it was
 * copied there. */
#define STRIPE_SIZE (128u << 10)
#define READ_SIZE (64u << 10)
#define READS 2u /* at a time */
/* So many may wait to be told: threads are woken up in tens of microseconds, in which they look at a stripe
 * or two, so they should not wait for each other's turns. */
#define STRIPES_EACH 4u
/* Not worth a second thread. */
#define SMALL_SIZE (16u << 20)
#define NONE UINT64_MAX

/* Some bytes of a file, and what they tell. */
struct stripe {
    uint64_t number;
    uint64_t offset; /* in the file */
    char *data;
    uint32_t file, size, error;
    bool last;  /* of its file */
    bool ready; /* to be told */

    /* Of lines: */
    bool head_blank; /* up to the first line end there is white space only */
    bool any_end;    /* there is a line end */
    uint64_t tail;   /* start of a last line that is blank so far, relative to the stripe; NONE: it is not */

    uint32_t n_starts;
    uint32_t *starts; /* of records that start in the stripe, relative to it; room for one a byte */
};

/* Where the stripes that were told end, in their file. */
struct place {
    uint64_t pending; /* start of a line that is blank so far; NONE: the line was told */
    struct elements array;
    uint64_t element; /* where the last one starts */
};

struct scan {
    const struct catalog *catalog;
    const struct scan_sink *sink;
    enum io_kind io;
    uint64_t bytes_all;
    char *memory; /* of all stripes: their bytes, then their lists */

    pthread_mutex_t lock;
    pthread_cond_t told;
    /* Under the lock. */
    uint32_t next_file, n_waiting;
    uint64_t next_offset, next_number; /* to be read */
    uint64_t next_told, bytes_done;
    bool telling; /* some thread is */
    int rc;
    struct err err;
    /* The one's that is telling. */
    struct place place;

    uint32_t n_stripes, stripe_size;
    struct stripe
        stripes[SCAN_THREADS_MAX * STRIPES_EACH]; /* number n is in [n % n_stripes], until it is told */
};

struct worker {
    struct scan *scan;
    pthread_t thread;
    bool is_caller;
};

static bool is_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p == end;
}

static void find_lines(struct stripe *s)
{
    /* The list first holds where lines end, and then, never faster, where those that are not blank start. */
    uint32_t n_ends = newline_find(s->data, s->size, s->starts), end = n_ends > 0 ? s->starts[0] : s->size;
    s->n_starts = 0;
    s->tail = NONE;
    s->any_end = n_ends > 0;
    s->head_blank = is_blank(s->data, s->data + end);
    for (uint32_t i = 1; i <= n_ends; i++) {
        uint32_t start = end + 1;
        end = i < n_ends ? s->starts[i] : s->size;
        if (!is_blank(s->data + start, s->data + end))
            s->starts[s->n_starts++] = start;
        else if (i == n_ends)
            s->tail = start;
    }
}

/* ---- telling, in the order of the stripes ---- */

static int tell_lines(struct scan *sc, const struct stripe *s, struct err *reterr)
{
    int rc = 0;
    if (!s->head_blank && sc->place.pending != NONE) {
        rc = sc->sink->records(sc->sink->arg, sc->place.pending, &(uint32_t){0}, 1, reterr);
        sc->place.pending = NONE;
    }
    if (rc == 0)
        rc = sc->sink->records(sc->sink->arg, s->offset, s->starts, s->n_starts, reterr);
    if (s->any_end)
        sc->place.pending = s->tail == NONE ? NONE : s->offset + s->tail;
    return rc;
}

static int tell_array(struct scan *sc, struct stripe *s, struct err *reterr)
{
    struct place *p = &sc->place;
    const char *path = sc->catalog->files[s->file].path;
    uint32_t end = elements_find(&p->array, s->data, s->size, s->offset, s->starts, &s->n_starts);
    if (end < s->size && !p->array.closed)
        return err_set(reterr, ERR_CHANGED, "%s: was changed while it was indexed", path);
    if (end < s->size)
        return err_set(
            reterr, ERR_FORMAT,
            "%s: byte %llu: there is more after the end of the JSON array; one array, or one record a line "
            "(JSONL), is wanted",
            path, (unsigned long long)(s->offset + end));
    if (s->n_starts > 0)
        p->element = s->offset + s->starts[s->n_starts - 1];
    return sc->sink->records(sc->sink->arg, s->offset, s->starts, s->n_starts, reterr);
}

static int end_file(struct scan *sc, const struct stripe *s, struct err *reterr)
{
    const struct catalog_file *f = &sc->catalog->files[s->file];
    const struct place *p = &sc->place;
    if (f->container == CONTAINER_ARRAY && !p->array.closed && p->element != NONE)
        return err_set(
            reterr, ERR_FORMAT,
            "%s: the JSON array is cut short: the file ends at byte %llu, inside or after the element that "
            "starts at byte %llu; get the whole file",
            f->path, (unsigned long long)f->size, (unsigned long long)p->element);
    if (f->container == CONTAINER_ARRAY && !p->array.closed)
        return err_set(reterr, ERR_FORMAT, "%s: the JSON array is cut short at byte %llu; get the whole file",
                       f->path, (unsigned long long)f->size);
    return sc->sink->file_end(sc->sink->arg, s->file,
                              f->container == CONTAINER_ARRAY ? p->array.end : f->size, reterr);
}

static int tell(struct scan *sc, struct stripe *s, struct err *reterr)
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
    int rc = f->container == CONTAINER_ARRAY ? tell_array(sc, s, reterr) : tell_lines(sc, s, reterr);
    return rc == 0 && s->last ? end_file(sc, s, reterr) : rc;
}

/* With the lock. */
static void fail(struct scan *sc, int rc, const struct err *err)
{
    if (sc->rc == 0) {
        sc->rc = rc;
        sc->err = *err;
    }
    (void)pthread_cond_broadcast(&sc->told);
}

/* A stripe is ready. Whoever finds that nobody is telling tells all that are ready in a row; the others go
 * on. False: the scan is over. */
static bool hand_in(struct scan *sc, struct stripe *s)
{
    struct err err;
    (void)pthread_mutex_lock(&sc->lock);
    s->ready = true;
    while (sc->rc == 0 && !sc->telling && (s = &sc->stripes[sc->next_told % sc->n_stripes])->ready) {
        sc->telling = true;
        (void)pthread_mutex_unlock(&sc->lock);
        int rc = tell(sc, s, &err);
        (void)pthread_mutex_lock(&sc->lock);
        sc->telling = s->ready = false;
        sc->next_told++;
        sc->bytes_done += s->size;
        if (rc != 0)
            fail(sc, rc, &err);
        else if (sc->n_waiting > 0)
            (void)pthread_cond_signal(&sc->told);
    }
    bool more = sc->rc == 0;
    (void)pthread_mutex_unlock(&sc->lock);
    return more;
}

/* ---- reading ---- */

/* The next stripe to read, once there is room for it; NULL when there is none left or the scan has failed. */
static struct stripe *take_stripe(struct scan *sc)
{
    struct stripe *s = NULL;
    (void)pthread_mutex_lock(&sc->lock);
    sc->n_waiting++;
    while (sc->rc == 0 && sc->next_file < sc->catalog->n_files &&
           sc->next_number - sc->next_told == sc->n_stripes)
        (void)pthread_cond_wait(&sc->told, &sc->lock);
    sc->n_waiting--;
    if (sc->rc == 0 && sc->next_file < sc->catalog->n_files) {
        const struct catalog_file *f = &sc->catalog->files[sc->next_file];
        uint64_t left = f->size - sc->next_offset;
        s = &sc->stripes[sc->next_number++ % sc->n_stripes];
        s->file = sc->next_file;
        s->offset = sc->next_offset;
        s->size = left < sc->stripe_size ? (uint32_t)left : sc->stripe_size;
        s->last = s->size == left;
        sc->next_offset += s->size;
        if (s->last && ++sc->next_file < sc->catalog->n_files)
            sc->next_offset = sc->catalog->files[sc->next_file].start;
    }
    (void)pthread_mutex_unlock(&sc->lock);
    return s;
}

static void read_stripe(struct io *io, int fd, struct stripe *s)
{
    struct io_done done[READS];
    uint32_t at = 0;
    s->error = 0;
    while (at < s->size || io_in_flight(io) > 0) {
        for (; at < s->size && !io_full(io); at += READ_SIZE) {
            uint32_t size = s->size - at < READ_SIZE ? s->size - at : READ_SIZE;
            io_queue(io, &(struct io_read){
                             .fd = fd, .size = size, .offset = s->offset + at, .data = s->data + at});
        }
        uint32_t n = io_collect(io, done, READS);
        for (uint32_t i = 0; i < n; i++)
            if (done[i].error != 0)
                s->error = done[i].error;
    }
}

/* False: cancelled. */
static bool tell_progress(struct scan *sc)
{
    (void)pthread_mutex_lock(&sc->lock);
    uint64_t done = sc->bytes_done;
    (void)pthread_mutex_unlock(&sc->lock);
    if (sc->sink->progress(sc->sink->progress_arg, done, sc->bytes_all) == 0)
        return true;
    struct err err;
    int rc = err_set(&err, ERR_CANCELLED, "cancelled");
    (void)pthread_mutex_lock(&sc->lock);
    fail(sc, rc, &err);
    (void)pthread_mutex_unlock(&sc->lock);
    return false;
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct scan *sc = w->scan;
    struct io *io;
    enum io_kind kind;
    struct err err;
    int rc = io_open(sc->io, READS, &io, &kind, &err);
    if (rc != 0) {
        (void)pthread_mutex_lock(&sc->lock);
        fail(sc, rc, &err);
        (void)pthread_mutex_unlock(&sc->lock);
        return NULL;
    }
    bool more = true;
    for (struct stripe *s; more && (s = take_stripe(sc)) != NULL;) {
        const struct catalog_file *f = &sc->catalog->files[s->file];
        read_stripe(io, f->fd, s);
        if (s->error == 0 && f->container != CONTAINER_ARRAY)
            find_lines(s);
        more = hand_in(sc, s);
        if (more && w->is_caller && sc->sink->progress != NULL)
            more = tell_progress(sc);
    }
    io_close(io);
    return NULL;
}

/* ---- all of it ---- */

static uint32_t thread_count(uint64_t bytes)
{
    cpu_set_t cpus;
    if (bytes < SMALL_SIZE || sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    uint32_t n = (uint32_t)CPU_COUNT(&cpus);
    return n < 1 ? 1 : n < SCAN_THREADS_MAX ? n : SCAN_THREADS_MAX;
}

/* Of the lists only what is used ever takes memory. */
static int make_stripes(struct scan *sc, uint32_t n, uint32_t size)
{
    const size_t bytes = (size_t)n * size, all = bytes + bytes * sizeof(uint32_t);
    char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    sc->memory = memory;
    sc->stripe_size = size;
    sc->n_stripes = n;
    for (uint32_t i = 0; i < n; i++) {
        sc->stripes[i].data = memory + (size_t)i * size;
        sc->stripes[i].starts = (uint32_t *)(memory + bytes) + (size_t)i * size;
    }
    return 0;
}

static void run_threads(struct scan *sc, uint32_t n)
{
    struct worker workers[SCAN_THREADS_MAX] = {{.scan = sc, .is_caller = true}};
    uint32_t n_started = 1;
    for (; n_started < n; n_started++) {
        workers[n_started] = (struct worker){.scan = sc};
        if (pthread_create(&workers[n_started].thread, NULL, worker_run, &workers[n_started]) != 0)
            break; /* fewer will do */
    }
    (void)worker_run(&workers[0]);
    for (uint32_t i = 1; i < n_started; i++)
        (void)pthread_join(workers[i].thread, NULL);
}

int scan_files(const struct catalog *c, enum io_kind io, const struct scan_shape *shape,
               const struct scan_sink *sink, struct err *reterr)
{
    struct scan sc = {.catalog = c, .sink = sink, .io = io, .next_offset = c->files[0].start};
    for (uint32_t i = 0; i < c->n_files; i++) {
        sc.bytes_all += c->files[i].size - c->files[i].start;
        (void)posix_fadvise(c->files[i].fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    const struct scan_shape usual = {thread_count(sc.bytes_all), STRIPE_SIZE};
    if (shape == NULL)
        shape = &usual;
    CHECK(shape->threads >= 1 && shape->threads <= SCAN_THREADS_MAX && shape->stripe_size >= 1);
    int rc = make_stripes(&sc, shape->threads * STRIPES_EACH, shape->stripe_size);
    if (rc != 0)
        return err_sys(reterr, rc, "reading files");
    (void)pthread_mutex_init(&sc.lock, NULL);
    (void)pthread_cond_init(&sc.told, NULL);
    run_threads(&sc, shape->threads);
    (void)pthread_cond_destroy(&sc.told);
    (void)pthread_mutex_destroy(&sc.lock);
    (void)munmap(sc.memory, (size_t)sc.n_stripes * sc.stripe_size * (1 + sizeof(uint32_t)));
    return sc.rc == 0 ? 0 : err_set(reterr, sc.rc, "%s", sc.err.text);
}
