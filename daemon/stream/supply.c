#include "stream/supply.h"

#include "stream/kitchen.h"
#include "stream/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024u

/* A window in memory, or on its way there. */
struct held {
    struct supply *supply;
    struct stream *stream;
    uint64_t number;
    struct window *window;      /* NULL while it is being made */
    struct window_order *order; /* NULL once it is made */
    struct job job;
    uint64_t bytes;     /* expected, then real */
    uint64_t last_used; /* supply's clock */
    uint32_t pins;      /* pending steps that need it */
    struct held *next;  /* in its bucket */
};

struct supply {
    struct workers *workers;
    struct reader *reader;
    void (*changed)(void *arg, struct step *);
    void *arg;
    struct stream *streams, **streams_tail;
    struct step *pending, **pending_tail;
    struct step *fresh; /* on its way out of supply_step: its asker looks at the state himself */
    struct held *buckets[BUCKETS];
    uint64_t memory, used, clock;
    uint32_t n_held, n_making;
    uint64_t made, made_again;
    bool running, again;
};

/* ---- windows in memory ---- */

static struct held **bucket_of(struct supply *s, const struct stream *st, uint64_t number)
{
    uint64_t h = ((uintptr_t)st >> 4) * 0x9E3779B97F4A7C15ull + number * 0xC2B2AE3D27D4EB4Full;
    return &s->buckets[(h >> 40) % BUCKETS];
}

static struct held *find(struct supply *s, const struct stream *st, uint64_t number)
{
    struct held *h = *bucket_of(s, st, number);
    while (h != NULL && (h->stream != st || h->number != number))
        h = h->next;
    return h;
}

static void forget(struct supply *s, struct held *h)
{
    struct held **p = bucket_of(s, h->stream, h->number);
    while (*p != h)
        p = &(*p)->next;
    *p = h->next;
    s->used -= h->bytes;
    s->n_held--;
    window_unref(h->window);
    free(h);
}

/* Only what nobody needs and what gives memory back may go: a window that a step still holds would stay
 * anyway. */
static bool may_go(const struct held *h)
{
    return h->window != NULL && h->pins == 0 && h->number < ledger_windows(h->stream->ledger) &&
           atomic_load_explicit(&h->window->refs, memory_order_acquire) == 1;
}

static struct held *least_recently_used(struct supply *s)
{
    struct held *oldest = NULL;
    for (uint32_t b = 0; b < BUCKETS; b++)
        for (struct held *h = s->buckets[b]; h != NULL; h = h->next)
            if (may_go(h) && (oldest == NULL || h->last_used < oldest->last_used))
                oldest = h;
    return oldest;
}

/* Is there room for so many bytes more? Lets go of old windows as far as that makes it so. */
static bool make_room(struct supply *s, uint64_t bytes)
{
    while (s->used + bytes > s->memory) {
        struct held *h = least_recently_used(s);
        if (h == NULL)
            return false;
        forget(s, h);
    }
    return true;
}

/* ---- making windows ---- */

static void run(struct supply *s);

static void make_done(struct job *job);

static void make_run(struct job *job, void *scratch)
{
    struct held *h = (struct held *)((char *)job - offsetof(struct held, job));
    kitchen_make(scratch, h->order);
    fetch_release(h->supply->reader, &h->order->fetch);
}

static void reads_done(struct fetch *f) /* on the reader's thread */
{
    struct window_order *o = (struct window_order *)((char *)f - offsetof(struct window_order, fetch));
    struct held *h = o->arg;
    workers_submit(h->supply->workers, &h->job);
}

static bool start_making(struct supply *s, struct stream *st, uint64_t number, uint64_t first_slot,
                         uint32_t n_slots, uint64_t bytes)
{
    struct held *h = calloc(1, sizeof *h);
    struct window_order *o = window_order_new(st->recipe, &st->cursor, number, first_slot, n_slots);
    if (h == NULL || o == NULL) {
        free(h);
        if (o != NULL)
            window_unref(o->window);
        window_order_free(o);
        stream_fail(st, "no memory for a window");
        return false;
    }
    *h = (struct held){.supply = s,
                       .stream = st,
                       .number = number,
                       .order = o,
                       .job = {.run = make_run, .done = make_done},
                       .bytes = bytes,
                       .last_used = ++s->clock};
    struct held **bucket = bucket_of(s, st, number);
    h->next = *bucket;
    *bucket = h;
    s->used += bytes;
    s->n_held++;
    s->n_making++;
    if (number < ledger_windows(st->ledger))
        s->made_again++;
    o->arg = h;
    o->fetch.done = reads_done;
    reader_submit(s->reader, &o->fetch);
    return true;
}

/* Windows that were made, in the stream's order, as far as they are there without a gap. */
static void enter_frontier(struct supply *s, struct stream *st)
{
    struct held *h;
    while (stream_failure(st) == NULL && (h = find(s, st, ledger_windows(st->ledger))) != NULL &&
           h->window != NULL)
        stream_enter(st, h->window);
}

static void make_done(struct job *job)
{
    struct held *h = (struct held *)((char *)job - offsetof(struct held, job));
    struct supply *s = h->supply;
    struct stream *st = h->stream;
    struct err error = {""};
    h->window = h->order->window;
    window_order_free(h->order);
    h->order = NULL;
    uint64_t bytes = window_bytes(h->window);
    s->used += bytes - h->bytes;
    h->bytes = bytes;
    s->n_making--;
    s->made++;
    if (h->number < ledger_windows(st->ledger) && h->window->rc == 0 &&
        h->window->n_rows !=
            ledger_first_row(st->ledger, h->number + 1) - ledger_first_row(st->ledger, h->number))
        h->window->rc = err_set(
            &h->window->error, ERR_CHANGED,
            "stream '%s': window %llu has %zu rows now and another number in the ledger; the ledger in "
            "state_dir/streams is damaged: stop, remove it, start again",
            st->recipe->conf->name, (unsigned long long)h->number, h->window->n_rows);
    /* Looked at after reading: had a file been rewritten before or meanwhile, it shows now. */
    for (uint32_t c = 0; c < st->recipe->n_corpora && h->window->rc == 0; c++)
        if ((h->window->rc = corpus_check(st->recipe->corpora[c], &error)) != 0)
            h->window->error = error;
    if (h->window->rc != 0)
        stream_fail(st, h->window->error.text);
    enter_frontier(s, st);
    run(s);
}

/* ---- steps ---- */

static bool known_window_bytes(struct stream *st, uint64_t w, uint64_t *ret_bytes)
{
    return window_plan(st->recipe, &st->cursor, ledger_first_slot(st->ledger, w), ret_bytes) > 0;
}

static bool make_known(struct supply *s, struct stream *st, uint64_t w, uint64_t bytes)
{
    uint64_t slot = ledger_first_slot(st->ledger, w);
    return start_making(s, st, w, slot, (uint32_t)(ledger_first_slot(st->ledger, w + 1) - slot), bytes);
}

/* All windows of a step are pinned and made, or none: two half-served steps could wait for each other's
 * memory. The step that has waited longest gets its memory in any case (config checks that it is not beyond
 * all bounds). */
static bool pin_windows(struct supply *s, struct step *step, bool longest)
{
    struct stream *st = step->stream;
    uint64_t missing = 0, bytes;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, st, w);
        if (h != NULL)
            h->pins++;
        else if (known_window_bytes(st, w, &bytes))
            missing += bytes;
    }
    bool room = missing == 0 || make_room(s, missing) || longest;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, st, w);
        if (h != NULL && !room)
            h->pins--;
        else if (h == NULL && room && known_window_bytes(st, w, &bytes) && make_known(s, st, w, bytes))
            find(s, st, w)->pins++;
    }
    return room;
}

static void unpin_windows(struct supply *s, struct step *step)
{
    for (uint64_t w = step->first_window; step->pinned && w <= step->last_window; w++) {
        struct held *h = find(s, step->stream, w);
        if (h == NULL)
            continue; /* the stream failed while they were being pinned */
        h->pins--;
        h->last_used = ++s->clock;
    }
    step->pinned = false;
}

static bool windows_there(struct supply *s, const struct step *step)
{
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        const struct held *h = find(s, step->stream, w);
        if (h == NULL || h->window == NULL)
            return false;
    }
    return true;
}

static bool take_rows(struct supply *s, struct step *step)
{
    struct stream *st = step->stream;
    uint64_t batch = (uint64_t)st->recipe->conf->global_batch;
    if ((step->rows = calloc(batch, sizeof step->rows[0])) == NULL)
        return false;
    uint64_t n = 0, row = step->number * batch;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct window *window = find(s, st, w)->window;
        if (n == 0)
            step->epoch = window->epoch;
        for (uint64_t r = row - ledger_first_row(st->ledger, w); n < batch && r < window->n_rows;
             r++, n++, row++) {
            step->rows[n] = (struct step_row){window_ref(window), (uint32_t)r};
            step->supervised += window->rows[r].n_supervised;
        }
    }
    return true;
}

/* Windows past the ledger, as many at a time as there are workers and one more being read; the next one that
 * the ledger waits for may always be made when the longest waiting step needs it. */
static void push_frontier(struct supply *s, struct stream *st, uint64_t up_to, bool longest)
{
    uint64_t number, slot, bytes;
    while (st->planned - ledger_windows(st->ledger) <= workers_count(s->workers) && st->planned <= up_to) {
        uint32_t n = stream_plan_next(st, &number, &slot, &bytes);
        bool first = number == ledger_windows(st->ledger);
        if (n == 0 || !(make_room(s, bytes) || (longest && first)) ||
            !start_making(s, st, number, slot, n, bytes))
            return;
        st->planned++;
        st->planned_slot += n;
    }
}

/* What comes after a step that is being served is likely to be wanted next. */
static void read_ahead(struct supply *s, struct stream *st, uint64_t last_window)
{
    uint64_t bytes, end = last_window + 1 + workers_count(s->workers);
    for (uint64_t w = last_window + 1; w <= end && w < ledger_windows(st->ledger); w++)
        if (find(s, st, w) == NULL &&
            !(known_window_bytes(st, w, &bytes) && make_room(s, bytes) && make_known(s, st, w, bytes)))
            return;
    push_frontier(s, st, end, false);
}

static enum step_state advance(struct supply *s, struct step *step, bool longest)
{
    struct stream *st = step->stream;
    if (stream_failure(st) != NULL)
        return STEP_FAILED;
    if (!step->pinned) {
        switch (stream_place(st, step->number, &step->first_window, &step->last_window)) {
        case PLACE_PAST_END:
            return STEP_END;
        case PLACE_BEYOND:
            push_frontier(s, st, UINT64_MAX, longest);
            return stream_failure(st) != NULL ? STEP_FAILED : STEP_PENDING;
        case PLACE_KNOWN:
            step->pinned = pin_windows(s, step, longest);
            break;
        }
    }
    if (stream_failure(st) != NULL)
        return STEP_FAILED;
    if (!step->pinned || !windows_there(s, step))
        return STEP_PENDING;
    if (!take_rows(s, step)) {
        stream_fail(st, "no memory for a step");
        return STEP_FAILED;
    }
    return STEP_READY;
}

static struct step **unlink_pending(struct supply *s, struct step **at)
{
    struct step *step = *at;
    *at = step->next_pending;
    step->next_pending = NULL;
    if (*at == NULL)
        s->pending_tail = at;
    return at;
}

/* Bring every pending step as far as it goes now, then tell what changed. What is told may ask for more. */
static void run(struct supply *s)
{
    s->again = true;
    if (s->running)
        return;
    s->running = true;
    while (s->again) {
        s->again = false;
        struct step *ready = NULL, **ready_tail = &ready;
        for (struct step **at = &s->pending; *at != NULL;) {
            struct step *step = *at;
            step->state = advance(s, step, at == &s->pending);
            if (step->state == STEP_PENDING) {
                at = &step->next_pending;
                continue;
            }
            at = unlink_pending(s, at);
            unpin_windows(s, step);
            if (step->state == STEP_READY)
                read_ahead(s, step->stream, step->last_window);
            step->refs++;
            *ready_tail = step;
            ready_tail = &step->next_pending;
        }
        for (struct step *step = ready, *next; step != NULL; step = next) {
            next = step->next_pending;
            step->next_pending = NULL;
            if (step->refs > 1 && step != s->fresh)
                s->changed(s->arg, step);
            supply_step_unref(s, step);
        }
    }
    s->running = false;
}

struct step *supply_step(struct supply *s, struct stream *st, uint64_t number)
{
    for (struct step *step = st->live; step != NULL; step = step->next_live)
        if (step->number == number) {
            step->refs++;
            return step;
        }
    struct step *step = calloc(1, sizeof *step);
    if (step == NULL)
        return NULL;
    *step = (struct step){.stream = st, .number = number, .refs = 1, .next_live = st->live};
    st->live = step;
    *s->pending_tail = step;
    s->pending_tail = &step->next_pending;
    if (!s->running)
        s->fresh = step;
    run(s);
    s->fresh = NULL;
    return step;
}

void supply_step_unref(struct supply *s, struct step *step)
{
    if (step == NULL || --step->refs > 0)
        return;
    for (struct step **at = &s->pending; *at != NULL; at = &(*at)->next_pending)
        if (*at == step) {
            (void)unlink_pending(s, at);
            unpin_windows(s, step);
            break;
        }
    struct step **live = &step->stream->live;
    while (*live != step)
        live = &(*live)->next_live;
    *live = step->next_live;
    for (int64_t i = 0; step->rows != NULL && i < step->stream->recipe->conf->global_batch; i++)
        window_unref(step->rows[i].window);
    free(step->rows);
    free(step);
    if (s->pending != NULL)
        run(s); /* memory may have come free */
}

/* ---- the supply as a whole ---- */

int supply_new(struct workers *w, struct reader *r, uint64_t memory,
               void (*changed)(void *arg, struct step *), void *arg, struct supply **ret)
{
    struct supply *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->workers = w;
    s->reader = r;
    s->memory = memory;
    s->changed = changed;
    s->arg = arg;
    s->streams_tail = &s->streams;
    s->pending_tail = &s->pending;
    *ret = s;
    return 0;
}

int supply_add(struct supply *s, struct recipe *r, const char *state_dir, struct stream **ret,
               struct err *reterr)
{
    struct stream *st;
    int rc = stream_new(r, state_dir, &st, reterr);
    if (rc != 0)
        return rc;
    *s->streams_tail = st;
    s->streams_tail = &st->next;
    *ret = st;
    return 0;
}

void supply_stop(struct supply *s)
{
    if (s == NULL)
        return;
    CHECK(s->pending == NULL);
    while (s->n_making > 0)
        workers_wait(s->workers);
    for (uint32_t b = 0; b < BUCKETS; b++)
        while (s->buckets[b] != NULL)
            forget(s, s->buckets[b]);
    for (struct stream *st = s->streams, *next; st != NULL; st = next) {
        next = st->next;
        CHECK(st->live == NULL);
        stream_free(st);
    }
    free(s);
}

struct stream *supply_find(struct supply *s, const char *name)
{
    struct stream *st = s->streams;
    while (st != NULL && strcmp(st->recipe->conf->name, name) != 0)
        st = st->next;
    return st;
}

struct stream *supply_next(struct supply *s, struct stream *after)
{
    return after != NULL ? after->next : s->streams;
}

void supply_get_stats(const struct supply *s, struct supply_stats *ret)
{
    *ret = (struct supply_stats){.memory = s->memory,
                                 .memory_used = s->used,
                                 .windows_held = s->n_held - s->n_making,
                                 .windows_making = s->n_making,
                                 .windows_made = s->made,
                                 .windows_made_again = s->made_again};
    for (const struct step *step = s->pending; step != NULL; step = step->next_pending)
        ret->steps_pending++;
}
