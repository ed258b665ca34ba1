#include "feed/share.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct batch {
    struct job job;
    struct share *share;
    struct stream *stream;
    uint64_t number, epoch;
    uint32_t world, rank;
    enum batch_state state;
    bool queued, writing;
    int rc;               /* of frame_write */
    struct tokenizer *by; /* whose own code may have made ids of it; NULL: none has */
    struct step *step;    /* held until the frame is written */
    struct frame *frame;
    LIST_HEAD(, want) wants;
    LIST_ENTRY(batch) in_bucket;
    TAILQ_ENTRY(batch) in_todo;
};

#define BUCKETS 4096 /* chains stay short: a few steps a consumer, and consumers are bounded */

struct share {
    struct workers *workers;
    struct supply *supply;
    struct pool *pool;
    uint32_t n_making;
    TAILQ_HEAD(, batch) todo;                  /* their steps left STEP_PENDING */
    LIST_HEAD(bucket, batch) buckets[BUCKETS]; /* by stream and step */
};

static struct bucket *bucket_of(struct share *s, const struct stream *st, uint64_t number)
{
    uint64_t h = ((uintptr_t)st >> 4) * 0x9E3779B97F4A7C15u + number;
    return &s->buckets[h * 0x9E3779B97F4A7C15u >> 52];
}
_Static_assert(BUCKETS == 1 << (64 - 52), "bucket_of takes the upper bits");

struct share *share_new(struct workers *w, struct pool *pool)
{
    struct share *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->workers = w;
    s->pool = pool;
    TAILQ_INIT(&s->todo);
    return s;
}

void share_set_supply(struct share *s, struct supply *supply)
{
    s->supply = supply;
}

void share_free(struct share *s)
{
    CHECK(s == NULL || s->n_making == 0);
    free(s);
}

uint32_t share_n_making(const struct share *s)
{
    return s->n_making;
}

static void batch_free(struct batch *b)
{
    LIST_REMOVE(b, in_bucket);
    if (b->queued)
        TAILQ_REMOVE(&b->share->todo, b, in_todo);
    if (b->step != NULL)
        supply_step_unref(b->share->supply, b->step);
    frame_unref(b->frame);
    tokenizer_unref(b->by);
    pool_give(b);
}

static bool is_doubted(const struct batch *b)
{
    return b->by != NULL && tokenizer_doubted(b->by);
}

static void settle(struct batch *b, enum batch_state state)
{
    struct want *w;
    b->state = state;
    LIST_FOREACH(w, &b->wants, link)
    w->settled(w);
}

/* The supply calls this from within its functions: only note it. */
static void queue_if_changed(struct batch *b)
{
    if (b->queued || b->writing || b->state != BATCH_MAKING || b->step->state == STEP_PENDING)
        return;
    b->queued = true;
    TAILQ_INSERT_TAIL(&b->share->todo, b, in_todo);
}

void share_step_changed(struct share *s, struct step *step)
{
    struct batch *b;
    LIST_FOREACH(b, bucket_of(s, step->stream, step->number), in_bucket)
    if (b->step == step)
        queue_if_changed(b);
}

static void write_frame(struct job *job, void *scratch)
{
    struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, job));
    (void)scratch;
    b->rc = frame_write(b->share->pool, b->step, b->world, b->rank, &b->frame);
}

static void frame_written(struct job *job)
{
    struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, job));
    struct step *step = b->step;
    b->share->n_making--;
    b->writing = false;
    b->step = NULL;
    supply_step_unref(b->share->supply, step);
    if (LIST_EMPTY(&b->wants))
        batch_free(b);
    else
        settle(b, b->rc == 0 ? BATCH_READY : BATCH_REFUSED);
}

void share_run(struct share *s)
{
    for (struct batch *b; (b = TAILQ_FIRST(&s->todo)) != NULL;) {
        TAILQ_REMOVE(&s->todo, b, in_todo);
        b->queued = false;
        if (b->step->state != STEP_READY) {
            settle(b, b->step->state == STEP_END ? BATCH_END : BATCH_FAILED);
            continue;
        }
        if (b->step->own)
            b->by = tokenizer_ref(b->step->recipe->tokenizer);
        if (is_doubted(b))
            continue; /* whoever wants it leaves it soon */
        b->epoch = b->step->epoch;
        b->writing = true;
        b->job = (struct job){.run = write_frame, .done = frame_written, .urgent = true};
        s->n_making++;
        workers_submit(s->workers, &b->job);
    }
}

static struct batch *find(struct share *s, struct stream *st, uint64_t number, uint32_t world, uint32_t rank)
{
    struct batch *b;
    LIST_FOREACH(b, bucket_of(s, st, number), in_bucket)
    if (b->stream == st && b->number == number && b->world == world && b->rank == rank && !is_doubted(b))
        return b;
    return NULL;
}

static struct batch *batch_new(struct share *s, struct stream *st, uint64_t number, uint32_t world,
                               uint32_t rank)
{
    struct batch *b = pool_take(s->pool, sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (struct batch){.share = s, .stream = st, .number = number, .world = world, .rank = rank};
    b->step = supply_step(s->supply, st, number);
    if (b->step == NULL) {
        pool_give(b);
        return NULL;
    }
    LIST_INSERT_HEAD(bucket_of(s, st, number), b, in_bucket);
    queue_if_changed(b);
    return b;
}

int share_want(struct share *s, struct stream *st, uint64_t step, uint32_t world, uint32_t rank,
               struct want *w)
{
    struct batch *b = find(s, st, step, world, rank);
    if (b == NULL)
        b = batch_new(s, st, step, world, rank);
    if (b == NULL)
        return -ENOMEM;
    w->batch = b;
    LIST_INSERT_HEAD(&b->wants, w, link);
    return 0;
}

void share_leave(struct want *w)
{
    struct batch *b = w->batch;
    if (b == NULL)
        return;
    LIST_REMOVE(w, link);
    w->batch = NULL;
    if (LIST_EMPTY(&b->wants) && !b->writing)
        batch_free(b);
}

enum batch_state want_state(const struct want *w)
{
    return w->batch->state;
}

struct frame *want_frame(const struct want *w)
{
    return w->batch->frame;
}

const char *want_failure(const struct want *w)
{
    return step_failure(w->batch->step);
}

bool want_doubted(const struct want *w)
{
    return is_doubted(w->batch);
}

uint64_t want_epoch(const struct want *w)
{
    return w->batch->epoch;
}

uint64_t share_made(const struct share *s, const struct stream *st)
{
    const struct batch *b;
    uint64_t made = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        LIST_FOREACH(b, &s->buckets[i], in_bucket)
    if (b->stream == st && b->number >= made && (b->step == NULL || b->step->state == STEP_READY))
        made = b->number + 1;
    return made;
}
