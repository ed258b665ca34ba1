#include "stream/shelf.h"

#include "stream/kitchen.h"
#include "stream/stream.h"

/* ---- windows in memory ---- */

static struct held **bucket_of(struct shelf *s, const struct generation *g, uint64_t number)
{
    uint64_t h = ((uintptr_t)g >> 4) * 0x9E3779B97F4A7C15ull + number * 0xC2B2AE3D27D4EB4Full;
    return &s->buckets[(h >> 40) % SHELF_BUCKETS];
}

struct held *shelf_find(struct shelf *s, const struct generation *g, uint64_t number)
{
    struct held *h = *bucket_of(s, g, number);
    while (h != NULL && (h->of != g || h->number != number))
        h = h->next;
    return h;
}

void shelf_touch(struct shelf *s, struct held *h)
{
    TAILQ_REMOVE(&s->in_use, h, in_use);
    TAILQ_INSERT_TAIL(&s->in_use, h, in_use);
}

static void take_out(struct shelf *s, struct held *h)
{
    struct held **p = bucket_of(s, h->of, h->number);
    while (*p != h)
        p = &(*p)->next;
    *p = h->next;
    TAILQ_REMOVE(&s->in_use, h, in_use);
}

static void give_back(struct shelf *s, struct held *h)
{
    s->used -= h->bytes;
    s->n_held--;
    window_unref(h->window);
    pool_give(h);
}

static void forget(struct shelf *s, struct held *h)
{
    take_out(s, h);
    give_back(s, h);
}

/* Only what nobody needs and what gives memory back may go: a window that a step still holds would stay
 * anyway, and one past the ledger is still to be entered there. What was read ahead for one is not let go to
 * read ahead for another: both would be made twice. */
static bool may_go(const struct held *h, enum claim claim)
{
    return h->window != NULL && h->pins == 0 && !(h->ahead && claim == CLAIM_AHEAD) &&
           (h->number < ledger_windows(h->of->ledger) || generation_failed(h->of)) &&
           atomic_load_explicit(&h->window->refs, memory_order_acquire) == 1;
}

bool shelf_may_make(const struct shelf *s, enum claim claim)
{
    return claim == CLAIM_FAVOURED || (!s->full && s->n_making <= workers_count(s->workers));
}

bool shelf_make_room(struct shelf *s, uint64_t bytes, enum claim claim)
{
    uint64_t stays = s->used;
    struct held *h, *next;
    if (s->used + bytes > s->memory && claim != CLAIM_FAVOURED) {
        TAILQ_FOREACH(h, &s->in_use, in_use)
        stays -= may_go(h, claim) ? h->bytes : 0;
        if (stays + bytes > s->memory) {
            s->full |= claim == CLAIM_STEP;
            return false;
        }
    }
    for (h = TAILQ_FIRST(&s->in_use); h != NULL && s->used + bytes > s->memory; h = next) {
        next = TAILQ_NEXT(h, in_use);
        if (may_go(h, claim))
            forget(s, h);
    }
    return true;
}

/* ---- making windows ---- */

static void make_run(struct job *job, void *scratch)
{
    struct held *h = (struct held *)((char *)job - offsetof(struct held, job));
    kitchen_make(scratch, h->order);
    fetch_release(&h->order->fetch);
}

static void make_done(struct job *job)
{
    struct held *h = (struct held *)((char *)job - offsetof(struct held, job));
    struct shelf *s = h->shelf;
    h->window = h->order->window;
    window_order_free(h->order);
    h->order = NULL;
    uint64_t bytes = window_bytes(h->window);
    s->used += bytes - h->bytes;
    h->bytes = bytes;
    s->n_making--;
    s->n_made++;
    if (h->dropped) {
        give_back(s, h);
        h = NULL;
    }
    s->made(s->arg, h);
}

static void reads_done(struct fetch *f) /* on the reader's thread */
{
    struct window_order *o = (struct window_order *)((char *)f - offsetof(struct window_order, fetch));
    struct held *h = o->arg;
    workers_submit(h->shelf->workers, &h->job);
}

struct held *shelf_make(struct shelf *s, struct generation *g, uint64_t number, uint64_t first_slot,
                        uint32_t n_slots, uint64_t bytes)
{
    struct held *h = pool_take(s->pool, sizeof *h);
    struct window_order *o =
        window_order_new(s->pool, g->recipe, g->order, &g->cursor, number, first_slot, n_slots);
    if (h == NULL || o == NULL) {
        pool_give(h);
        if (o != NULL)
            window_unref(o->window);
        window_order_free(o);
        return NULL;
    }
    *h = (struct held){.shelf = s,
                       .of = g,
                       .number = number,
                       .order = o,
                       .job = {.run = make_run, .done = make_done},
                       .bytes = bytes};
    struct held **bucket = bucket_of(s, g, number);
    h->next = *bucket;
    *bucket = h;
    TAILQ_INSERT_TAIL(&s->in_use, h, in_use);
    s->used += bytes;
    s->n_held++;
    s->n_making++;
    o->as_before = number < g->doubt.windows;
    o->rows_before = o->tokens_before = UINT64_MAX;
    if (number < ledger_windows(g->ledger)) {
        s->n_made_again++;
        o->rows_before = ledger_first_row(g->ledger, number + 1) - ledger_first_row(g->ledger, number);
        o->tokens_before = ledger_tokens(g->ledger, number);
    }
    o->arg = h;
    o->fetch.done = reads_done;
    reader_submit(s->reader, &o->fetch);
    return h;
}

/* ---- the shelf as a whole ---- */

void shelf_init(struct shelf *s, struct workers *w, struct reader *r, struct pool *pool, uint64_t memory,
                void (*made)(void *arg, struct held *), void *arg)
{
    s->workers = w;
    s->reader = r;
    s->pool = pool;
    s->memory = memory;
    s->made = made;
    s->arg = arg;
    TAILQ_INIT(&s->in_use);
}

void shelf_fini(struct shelf *s)
{
    while (s->n_making > 0)
        workers_wait(s->workers);
    for (struct held *h; (h = TAILQ_FIRST(&s->in_use)) != NULL;)
        forget(s, h);
    CHECK(s->used == 0);
}

void shelf_drop(struct shelf *s, const struct generation *g)
{
    for (struct held *h = TAILQ_FIRST(&s->in_use), *next; h != NULL; h = next) {
        next = TAILQ_NEXT(h, in_use);
        if (h->of != g)
            continue;
        CHECK(h->pins == 0);
        h->dropped = true;
        take_out(s, h);
        if (h->window != NULL)
            give_back(s, h);
    }
}

bool shelf_clear(struct shelf *s, const struct stream *st)
{
    uint32_t left = 0;
    for (struct held *h = TAILQ_FIRST(&s->in_use), *next; h != NULL; h = next) {
        next = TAILQ_NEXT(h, in_use);
        if (h->of->stream != st)
            continue;
        if (h->window != NULL && h->pins == 0)
            forget(s, h);
        else
            left++;
    }
    return left == 0;
}
