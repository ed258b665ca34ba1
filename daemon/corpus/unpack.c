#include "corpus/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define IN_SIZE (256u << 10)
#define OUT_SIZE (1u << 20)
/* How much is written between two looks at the disk. What is written goes to it at once, so that the sync at
 * the end has little left to wait for. */
#define FLUSH_SIZE (32u << 20)
/* Timelines and ledgers are on that disk too, and must not find it full: so much of it stays free, and no
 * more than a part of a small one. */
#define RESERVE (256u << 20)
#define RESERVE_PART 20u
#define TICK_NS 50000000

struct unpack {
    struct unpack_job *jobs;
    uint32_t n;
    const struct unpack_limits *limits;
    uint64_t bytes_all;
    atomic_uint_fast32_t next;
    atomic_uint_fast64_t taken, written;
    atomic_bool ended; /* one has failed, or all are to end */

    pthread_mutex_t lock;
    pthread_cond_t done;
    /* Under the lock. */
    uint32_t working; /* threads */
    int rc;
    struct err err;
};

/* One thread's: the file in work. */
struct unpack_work {
    struct unpack *of;
    struct unpack_job *job;
    struct inflate *inflate;
    XXH3_state_t *hash;
    char *in, *out;
    int fd;
    uint64_t read, written, flushed; /* bytes: of the file; of its content */
};

static double gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

/* What all of it would come to, by what has come so far. */
static double gib_expected(const struct unpack *u)
{
    const double taken = (double)atomic_load(&u->taken), written = (double)atomic_load(&u->written);
    return taken > 0 ? written / taken * (double)u->bytes_all / (1 << 30) : 0;
}

static int refuse_limit(const struct unpack_work *w, struct err *reterr)
{
    const struct unpack *u = w->of;
    return err_set(
        reterr, ERR_LIMIT,
        "%s: its decompressed copy does not fit: copies may take %.3g GiB (spool), those of other files "
        "take %.3g, and this corpus needs about %.3g; raise spool",
        w->job->path, gib(u->limits->bytes_max), gib(u->limits->bytes_used), gib_expected(u));
}

static int refuse_disk(const struct unpack_work *w, uint64_t available, struct err *reterr)
{
    return err_set(
        reterr, -ENOSPC,
        "%s: no room for its decompressed copy, %s: %.3g GiB are free, and the copies of this corpus "
        "need about %.3g in all; free some space, or move state_dir",
        w->job->path, w->job->to, gib(available), gib_expected(w->of));
}

/* ---- one file ---- */

static int look_at_disk(struct unpack_work *w, struct err *reterr)
{
    struct statvfs disk;
    (void)sync_file_range(w->fd, (off_t)w->flushed, (off_t)(w->written - w->flushed), SYNC_FILE_RANGE_WRITE);
    w->flushed = w->written;
    if (fstatvfs(w->fd, &disk) != 0)
        return 0; /* then a write will tell */
    const uint64_t free = (uint64_t)disk.f_bavail * disk.f_frsize;
    const uint64_t part = (uint64_t)disk.f_blocks * disk.f_frsize / RESERVE_PART;
    return free < (part < RESERVE ? part : RESERVE) ? refuse_disk(w, free, reterr) : 0;
}

static int write_out(struct unpack_work *w, size_t size, struct err *reterr)
{
    const struct unpack_limits *l = w->of->limits;
    const uint64_t all = atomic_fetch_add(&w->of->written, size) + size;
    if (all > l->bytes_max || l->bytes_used > l->bytes_max - all)
        return refuse_limit(w, reterr);
    (void)XXH3_64bits_update(w->hash, w->out, size);
    for (size_t at = 0; at < size;) {
        ssize_t n = write(w->fd, w->out + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
            return refuse_disk(w, 0, reterr);
        if (n < 0)
            return err_sys(reterr, -errno, "%s: write", w->job->to);
        at += (size_t)n;
    }
    w->written += size;
    return w->written - w->flushed >= FLUSH_SIZE ? look_at_disk(w, reterr) : 0;
}

/* More of the file; *ret_last: what comes after it is its end. */
static int read_in(struct unpack_work *w, struct inflate_buffers *b, bool *ret_last, struct err *reterr)
{
    const struct unpack_job *j = w->job;
    const uint64_t left = j->size - w->read;
    const size_t size = left < IN_SIZE ? (size_t)left : IN_SIZE;
    size_t got = 0;
    while (got < size) {
        ssize_t n = pread(j->fd, w->in + got, size - got, (off_t)(w->read + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(reterr, -errno, "%s: read at byte %llu", j->path,
                           (unsigned long long)w->read + got);
        if (n == 0)
            return err_set(reterr, ERR_CHANGED,
                           "%s: became shorter while it was decompressed; try again when it is complete",
                           j->path);
        got += (size_t)n;
    }
    w->read += size;
    b->in = w->in;
    b->in_size = size;
    *ret_last = w->read == j->size;
    return 0;
}

static int unpack_content(struct unpack_work *w, struct err *reterr)
{
    struct inflate_buffers b = {.out = w->out, .out_size = OUT_SIZE};
    bool last = false;
    int rc;
    do {
        if (atomic_load_explicit(&w->of->ended, memory_order_relaxed))
            return ERR_CANCELLED;
        if (b.in_size == 0 && !last && (rc = read_in(w, &b, &last, reterr)) != 0)
            return rc;
        const size_t had = b.in_size;
        rc = inflate_step(w->inflate, &b, last, reterr);
        (void)atomic_fetch_add(&w->of->taken, had - b.in_size);
        if (rc < 0)
            return err_wrap(reterr, rc, "%s", w->job->path);
        if (rc == 1 || b.out_size == 0) {
            int write_rc = write_out(w, OUT_SIZE - b.out_size, reterr);
            if (write_rc != 0)
                return write_rc;
            b.out = w->out;
            b.out_size = OUT_SIZE;
        }
    } while (rc == 0);
    return 0;
}

static int unpack_file(struct unpack_work *w, struct err *reterr)
{
    struct unpack_job *j = w->job;
    int rc = 0;
    w->read = w->written = w->flushed = 0;
    (void)XXH3_64bits_reset(w->hash);
    (void)posix_fadvise(j->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    w->inflate = inflate_new(j->compression);
    if (w->inflate == NULL)
        return err_sys(reterr, -ENOMEM, "%s: decompressing", j->path);
    /* For nobody else's eyes: the file may be readable for few. */
    w->fd = open(j->to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0)
        rc = err_sys(reterr, -errno, "%s: create (a compressed file is decompressed there)", j->to);
    if (rc == 0)
        rc = look_at_disk(w, reterr);
    if (rc == 0)
        rc = unpack_content(w, reterr);
    if (rc == 0 && fsync(w->fd) != 0)
        rc = errno == ENOSPC || errno == EDQUOT ? refuse_disk(w, 0, reterr)
                                                : err_sys(reterr, -errno, "%s: flush to the disk", j->to);
    if (rc != 0 && w->fd >= 0)
        (void)unlink(j->to);
    if (w->fd >= 0)
        (void)close(w->fd);
    inflate_free(w->inflate);
    j->hash = XXH3_64bits_digest(w->hash);
    j->done = rc == 0;
    return rc;
}

/* ---- all of them ---- */

static int unpack_some(struct unpack *u, struct unpack_work *w, struct err *reterr)
{
    w->in = malloc(IN_SIZE);
    w->out = malloc(OUT_SIZE);
    w->hash = XXH3_createState();
    int rc =
        w->in == NULL || w->out == NULL || w->hash == NULL ? err_sys(reterr, -ENOMEM, "decompressing") : 0;
    for (uint32_t i;
         rc == 0 && !atomic_load(&u->ended) && (i = (uint32_t)atomic_fetch_add(&u->next, 1)) < u->n;) {
        w->job = &u->jobs[i];
        rc = unpack_file(w, reterr);
    }
    (void)XXH3_freeState(w->hash);
    free(w->out);
    free(w->in);
    return rc;
}

static void *unpack_run(void *arg)
{
    struct unpack *u = arg;
    struct unpack_work w = {.of = u, .fd = -1};
    struct err err = {""};
    int rc = unpack_some(u, &w, &err);
    if (rc != 0)
        atomic_store(&u->ended, true);
    (void)pthread_mutex_lock(&u->lock);
    if (rc != 0 && rc != ERR_CANCELLED && u->rc == 0) {
        u->rc = rc;
        u->err = err;
    }
    u->working--;
    (void)pthread_cond_signal(&u->done);
    (void)pthread_mutex_unlock(&u->lock);
    return NULL;
}

static void wait_a_tick(struct unpack *u)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&u->done, &u->lock, &until);
}

/* Until no thread works any more. */
static bool wait_for_all(struct unpack *u, int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    bool cancelled = false;
    (void)pthread_mutex_lock(&u->lock);
    while (u->working > 0) {
        wait_a_tick(u);
        (void)pthread_mutex_unlock(&u->lock);
        if (progress != NULL && !cancelled && progress(arg, atomic_load(&u->taken), u->bytes_all) != 0) {
            cancelled = true;
            atomic_store(&u->ended, true);
        }
        (void)pthread_mutex_lock(&u->lock);
    }
    (void)pthread_mutex_unlock(&u->lock);
    return cancelled;
}

/* Large ones first: they would hold up the end. */
static int compare_jobs(const void *a, const void *b)
{
    const struct unpack_job *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size) - (x->size > y->size) : strcmp(x->path, y->path);
}

int unpack_files(struct unpack_job *jobs, uint32_t n, const struct unpack_limits *limits,
                 int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct err *reterr)
{
    struct unpack u = {.jobs = jobs, .n = n, .limits = limits};
    const uint32_t threads = limits->threads < n ? limits->threads : n;
    pthread_t *started = calloc(threads, sizeof started[0]);
    pthread_condattr_t monotonic;
    uint32_t n_started = 0;
    if (started == NULL)
        return err_sys(reterr, -ENOMEM, "decompressing");
    for (uint32_t i = 0; i < n; i++)
        u.bytes_all += jobs[i].size;
    qsort(jobs, n, sizeof jobs[0], compare_jobs);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&u.done, &monotonic);
    (void)pthread_mutex_init(&u.lock, NULL);
    (void)pthread_mutex_lock(&u.lock);
    while (n_started < threads && (u.rc = -pthread_create(&started[n_started], NULL, unpack_run, &u)) == 0)
        n_started++;
    u.working = n_started;
    u.rc = n_started > 0 ? 0 : err_sys(&u.err, u.rc, "decompressing: thread"); /* fewer will do */
    (void)pthread_mutex_unlock(&u.lock);
    const bool cancelled = wait_for_all(&u, progress, arg);
    for (uint32_t i = 0; i < n_started; i++)
        (void)pthread_join(started[i], NULL);
    (void)pthread_cond_destroy(&u.done);
    (void)pthread_mutex_destroy(&u.lock);
    (void)pthread_condattr_destroy(&monotonic);
    free(started);
    if (u.rc != 0)
        return err_set(reterr, u.rc, "%s", u.err.text);
    return cancelled ? err_set(reterr, ERR_CANCELLED, "cancelled") : 0;
}
