#include "base/workers.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

struct fifo {
    struct job *head, **tail;
};

struct thread {
    struct workers *pool;
    pthread_t id;
    void *scratch;
    bool only_urgent;
    /* Under the pool's lock. */
    pthread_cond_t called;
    bool rests; /* and nobody has called it yet */
    TAILQ_ENTRY(thread) in_resting;
};

struct workers {
    pthread_mutex_t lock;         /* what follows, and what threads say */
    TAILQ_HEAD(, thread) resting; /* of the n threads, the next to be called first */
    struct fifo urgent, todo, finished;
    bool stopping;
    int fd;
    void (*scratch_free)(void *);
    atomic_uint_fast64_t busy_ns;
    uint32_t n;
    struct thread threads[]; /* [n + 1]: the last one takes urgent jobs only */
};

static void fifo_put(struct fifo *f, struct job *j)
{
    j->next = NULL;
    *f->tail = j;
    f->tail = &j->next;
}

static struct job *fifo_take(struct fifo *f)
{
    struct job *j = f->head;
    if (j != NULL && (f->head = j->next) == NULL)
        f->tail = &f->head;
    return j;
}

static struct job *take_next(struct thread *t)
{
    struct job *j = fifo_take(&t->pool->urgent);
    return j != NULL || t->only_urgent ? j : fifo_take(&t->pool->todo);
}

static void rest(struct thread *t, bool has_worked)
{
    struct workers *w = t->pool;
    t->rests = true;
    if (!t->only_urgent && has_worked)
        TAILQ_INSERT_HEAD(&w->resting, t, in_resting);
    else if (!t->only_urgent)
        TAILQ_INSERT_TAIL(&w->resting, t, in_resting);
    while (t->rests)
        (void)pthread_cond_wait(&t->called, &w->lock);
}

/* Some thread that rests is to look for a job. */
static void call_one(struct workers *w, bool urgent)
{
    struct thread *t = &w->threads[w->n];
    if (!urgent || !t->rests) {
        t = TAILQ_FIRST(&w->resting);
        if (t == NULL)
            return;
        TAILQ_REMOVE(&w->resting, t, in_resting);
    }
    t->rests = false;
    (void)pthread_cond_signal(&t->called);
}

static void call_all(struct workers *w)
{
    TAILQ_INIT(&w->resting);
    for (uint32_t i = 0; i <= w->n; i++) {
        w->threads[i].rests = false;
        (void)pthread_cond_signal(&w->threads[i].called);
    }
}

void workers_signal(struct workers *w)
{
    uint64_t one = 1;
    (void)!write(w->fd, &one, sizeof one); /* fails only when the counter is full: readable all the same */
}

static void *work(void *arg)
{
    struct thread *t = arg;
    struct workers *w = t->pool;
    (void)pthread_mutex_lock(&w->lock);
    for (bool has_worked = false;; has_worked = true) {
        struct job *j;
        while ((j = take_next(t)) == NULL && !w->stopping)
            rest(t, has_worked);
        if (j == NULL)
            break;
        (void)pthread_mutex_unlock(&w->lock);
        uint64_t start = clock_ns();
        j->run(j, j->urgent ? NULL : t->scratch);
        if (!t->only_urgent)
            atomic_fetch_add_explicit(&w->busy_ns, clock_ns() - start, memory_order_relaxed);
        (void)pthread_mutex_lock(&w->lock);
        bool first = w->finished.head == NULL;
        fifo_put(&w->finished, j);
        if (first)
            workers_signal(w);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void join_and_free(struct workers *w, uint32_t n_started)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    call_all(w);
    (void)pthread_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < n_started; i++)
        (void)pthread_join(w->threads[i].id, NULL);
    (void)workers_collect(w);
    for (uint32_t i = 0; i <= w->n; i++) {
        if (w->scratch_free != NULL)
            w->scratch_free(w->threads[i].scratch);
        (void)pthread_cond_destroy(&w->threads[i].called);
    }
    (void)pthread_mutex_destroy(&w->lock);
    (void)close(w->fd);
    free(w);
}

int workers_start(uint32_t n, void *(*scratch_new)(void), void (*scratch_free)(void *), struct workers **ret,
                  struct err *reterr)
{
    struct workers *w = calloc(1, sizeof *w + (n + 1) * sizeof w->threads[0]);
    if (w == NULL)
        return err_sys(reterr, -ENOMEM, "workers");
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->fd < 0) {
        int rc = -errno;
        free(w);
        return err_sys(reterr, rc, "workers: eventfd");
    }
    (void)pthread_mutex_init(&w->lock, NULL);
    for (uint32_t i = 0; i <= n; i++)
        (void)pthread_cond_init(&w->threads[i].called, NULL);
    TAILQ_INIT(&w->resting);
    w->urgent.tail = &w->urgent.head;
    w->todo.tail = &w->todo.head;
    w->finished.tail = &w->finished.head;
    w->scratch_free = scratch_free;
    w->n = n;

    sigset_t all, old; /* signals are the main thread's */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    uint32_t started = 0;
    for (; started <= n && rc == 0; started += rc == 0) {
        struct thread *t = &w->threads[started];
        t->pool = w;
        t->only_urgent = started == n;
        if (!t->only_urgent && scratch_new != NULL && (t->scratch = scratch_new()) == NULL)
            rc = -ENOMEM;
        else
            rc = -pthread_create(&t->id, NULL, work, t);
        char name[16];
        (void)snprintf(name, sizeof name, t->only_urgent ? "writer" : "worker-%u", started);
        if (rc == 0)
            (void)pthread_setname_np(t->id, name);
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        join_and_free(w, started);
        return err_sys(reterr, rc, "workers: starting thread %u of %u", started + 1, n + 1);
    }
    *ret = w;
    return 0;
}

void workers_submit(struct workers *w, struct job *j)
{
    (void)pthread_mutex_lock(&w->lock);
    fifo_put(j->urgent ? &w->urgent : &w->todo, j);
    call_one(w, j->urgent);
    (void)pthread_mutex_unlock(&w->lock);
}

int workers_fd(const struct workers *w)
{
    return w->fd;
}

uint32_t workers_collect(struct workers *w)
{
    uint64_t ignored;
    (void)!read(w->fd, &ignored, sizeof ignored);
    (void)pthread_mutex_lock(&w->lock);
    struct job *j = w->finished.head;
    w->finished.head = NULL;
    w->finished.tail = &w->finished.head;
    (void)pthread_mutex_unlock(&w->lock);
    uint32_t n = 0;
    for (struct job *next; j != NULL; j = next, n++) {
        next = j->next;
        j->done(j);
    }
    return n;
}

uint32_t workers_wait(struct workers *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    uint32_t n;
    while ((n = workers_collect(w)) == 0)
        (void)poll(&p, 1, -1);
    return n;
}

uint32_t workers_count(const struct workers *w)
{
    return w->n;
}

uint64_t workers_busy_ns(const struct workers *w)
{
    return atomic_load_explicit(&w->busy_ns, memory_order_relaxed);
}

void workers_stop(struct workers *w)
{
    if (w != NULL)
        join_and_free(w, w->n + 1);
}
