#include "corpus/reader.h"

#include "base/pool.h"
#include "corpus/io.h"
#include "corpus/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_SIZE (128u << 10)
#define SLABS_SIZE (4u << 20) /* of those that lie ready for the next fetches */
#define DEPTH 256u

struct slab {
    struct slab *next;
    size_t size, used;
    alignas(POOL_ALIGN) char data[];
};

struct reader {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;

    /* Under the lock. */
    struct fetch *inbox, **inbox_end;
    bool stopping, started;
    int start_rc;
    struct err start_err;

    /* The reader thread's own. */
    struct io *io;
    struct fetch *waiting, **waiting_end; /* reads not all started, oldest first */

    enum io_kind wanted, kind;
    struct pool *pool; /* of slabs */

    atomic_uint_fast64_t reads, bytes, resubmitted;
    atomic_uint_fast32_t in_flight;
};

static struct slab *slab_get(struct reader *r, size_t need)
{
    size_t size = need <= SLAB_SIZE ? SLAB_SIZE : need;
    struct slab *s = pool_take(r->pool, sizeof *s + size);
    if (s != NULL)
        *s = (struct slab){.size = size};
    return s;
}

/* Memory for one read of a fetch; NULL: none left. */
static char *fetch_alloc(struct reader *r, struct fetch *f, uint32_t size)
{
    size_t need = ((size_t)size + RECORD_PADDING + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    struct slab *s = f->slabs;
    if (s == NULL || s->size - s->used < need) {
        s = slab_get(r, need);
        if (s == NULL)
            return NULL;
        /* A record with a slab of its own goes behind the one that is being filled. */
        struct slab **place = need > SLAB_SIZE && f->slabs != NULL ? &f->slabs->next : &f->slabs;
        s->next = *place;
        *place = s;
    }
    char *data = s->data + s->used;
    s->used += need;
    memset(data + size, 0, RECORD_PADDING);
    return data;
}

void fetch_release(struct fetch *f)
{
    for (struct slab *s; (s = f->slabs) != NULL;) {
        f->slabs = s->next;
        pool_give(s);
    }
}

static void read_ended(struct reader *r, struct fetch *f, uint32_t index, uint32_t error)
{
    struct fetch_read *read = &f->reads[index];
    read->error = error;
    (void)atomic_fetch_add_explicit(&r->reads, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&r->bytes, error == 0 ? read->size : 0, memory_order_relaxed);
    f->n_ended++;
}

/* Start reads, oldest fetch first, until the ring is full. A fetch whose last read needed no I/O is done
 * here. */
static void start_reads(struct reader *r)
{
    while (r->waiting != NULL) {
        struct fetch *f = r->waiting;
        for (; f->n_started < f->n_reads && !io_full(r->io); f->n_started++) {
            struct fetch_read *read = &f->reads[f->n_started];
            read->data = fetch_alloc(r, f, read->size);
            if (read->data == NULL || read->size == 0)
                read_ended(r, f, f->n_started, read->data == NULL ? ENOMEM : 0);
            else
                io_queue(r->io, &(struct io_read){.fd = read->fd,
                                                  .size = read->size,
                                                  .offset = read->offset,
                                                  .data = read->data,
                                                  .owner = f,
                                                  .index = f->n_started});
        }
        if (f->n_started < f->n_reads)
            return;
        r->waiting = f->next;
        if (r->waiting == NULL)
            r->waiting_end = &r->waiting;
        if (f->n_ended == f->n_reads)
            f->done(f);
    }
}

static void collect_reads(struct reader *r)
{
    struct io_done done[64];
    uint32_t n = io_collect(r->io, done, 64);
    for (uint32_t i = 0; i < n; i++) {
        struct fetch *f = done[i].owner;
        read_ended(r, f, done[i].index, done[i].error);
        if (f->n_ended == f->n_reads)
            f->done(f);
    }
    atomic_store_explicit(&r->resubmitted, io_resubmitted(r->io), memory_order_relaxed);
    atomic_store_explicit(&r->in_flight, io_in_flight(r->io), memory_order_relaxed);
}

/* Take over what was submitted; wait for some when there is nothing else to do. False: stopped, and all is
 * done. */
static bool take_submitted(struct reader *r)
{
    bool idle = r->waiting == NULL && io_in_flight(r->io) == 0;
    (void)pthread_mutex_lock(&r->lock);
    while (idle && r->inbox == NULL && !r->stopping)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    bool more = !idle || r->inbox != NULL;
    if (r->inbox != NULL) {
        *r->waiting_end = r->inbox;
        r->waiting_end = r->inbox_end;
        r->inbox = NULL;
        r->inbox_end = &r->inbox;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return more;
}

static void *reader_run(void *arg)
{
    struct reader *r = arg;
    struct err err = {""};
    int rc = io_open(r->wanted, DEPTH, &r->io, &r->kind, &err);
    (void)pthread_mutex_lock(&r->lock);
    r->start_rc = rc;
    r->start_err = err;
    r->started = true;
    (void)pthread_cond_signal(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    if (rc != 0)
        return NULL;
    /* A fetch that comes while reads are in flight is started when the next of them ends, which is soon. */
    while (take_submitted(r)) {
        start_reads(r);
        if (io_in_flight(r->io) > 0)
            collect_reads(r);
    }
    CHECK(r->waiting == NULL && io_in_flight(r->io) == 0);
    io_close(r->io);
    return NULL;
}

static void reader_free(struct reader *r)
{
    pool_free(r->pool);
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

int reader_start(enum io_kind io, struct reader **ret, enum io_kind *ret_kind, struct err *reterr)
{
    struct reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_sys(reterr, -ENOMEM, "reader");
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->wake, NULL);
    r->wanted = io;
    r->inbox_end = &r->inbox;
    r->waiting_end = &r->waiting;
    int rc = -ENOMEM;
    r->pool = pool_new(SLABS_SIZE);
    if (r->pool == NULL) {
        (void)err_sys(reterr, rc, "reader");
        goto out_free;
    }
    rc = -pthread_create(&r->thread, NULL, reader_run, r);
    if (rc != 0) {
        rc = err_sys(reterr, rc, "reader: thread");
        goto out_free;
    }
    (void)pthread_mutex_lock(&r->lock);
    while (!r->started)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    (void)pthread_mutex_unlock(&r->lock);
    rc = err_set(reterr, r->start_rc, "%s", r->start_err.text);
    if (rc != 0) {
        (void)pthread_join(r->thread, NULL);
        goto out_free;
    }
    *ret = r;
    *ret_kind = r->kind;
    return 0;

out_free:
    reader_free(r);
    return rc;
}

void reader_submit(struct reader *r, struct fetch *f)
{
    f->next = NULL;
    f->slabs = NULL;
    f->n_started = f->n_ended = 0;
    (void)pthread_mutex_lock(&r->lock);
    CHECK(!r->stopping);
    *r->inbox_end = f;
    r->inbox_end = &f->next;
    (void)pthread_cond_signal(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
}

void reader_get_stats(const struct reader *r, struct reader_stats *ret)
{
    *ret = (struct reader_stats){
        .reads = atomic_load_explicit(&r->reads, memory_order_relaxed),
        .bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed),
        .resubmitted = atomic_load_explicit(&r->resubmitted, memory_order_relaxed),
        .in_flight = (uint32_t)atomic_load_explicit(&r->in_flight, memory_order_relaxed),
    };
}

void reader_stop(struct reader *r)
{
    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->stopping = true;
    (void)pthread_cond_signal(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    (void)pthread_join(r->thread, NULL);
    reader_free(r);
}
