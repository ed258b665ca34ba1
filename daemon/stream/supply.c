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
    uint64_t bytes;    /* expected, then real */
    uint32_t pins;     /* pending steps that need it */
    bool ahead;        /* read ahead, and no step has needed it so far */
    struct held *next; /* in its bucket */
    TAILQ_ENTRY(held) in_use;
};

struct supply {
    struct workers *workers;
    struct reader *reader;
    void (*changed)(void *arg, struct step *);
    void *arg;
    struct stream *streams, **streams_tail;
    TAILQ_HEAD(steps, step) pending; /* in the order in which they were asked for */
    struct step *favoured;           /* of those: the one that may go beyond the bound; NULL: the first */
    TAILQ_HEAD(, held) in_use;       /* longest not used first */
    struct held *buckets[BUCKETS];
    uint64_t memory, used; /* bytes */
    uint32_t n_held, n_making;
    uint64_t made, made_again;
    bool running, again;
    bool full; /* a step was refused memory: those behind it get none, and nothing is read ahead */
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

static void touch(struct supply *s, struct held *h)
{
    TAILQ_REMOVE(&s->in_use, h, in_use);
    TAILQ_INSERT_TAIL(&s->in_use, h, in_use);
}

static void forget(struct supply *s, struct held *h)
{
    struct held **p = bucket_of(s, h->stream, h->number);
    while (*p != h)
        p = &(*p)->next;
    *p = h->next;
    TAILQ_REMOVE(&s->in_use, h, in_use);
    s->used -= h->bytes;
    s->n_held--;
    window_unref(h->window);
    free(h);
}

/* Who wants memory: a step that nobody has asked for yet, a pending one, or the favoured one. */
enum claim { CLAIM_AHEAD, CLAIM_STEP, CLAIM_FAVOURED };

/* Only what nobody needs and what gives memory back may go: a window that a step still holds would stay
 * anyway, and one past the ledger is still to be entered there. What was read ahead for one is not let go to
 * read ahead for another: both would be made twice. */
static bool may_go(const struct held *h, enum claim claim)
{
    return h->window != NULL && h->pins == 0 && !(h->ahead && claim == CLAIM_AHEAD) &&
           (h->number < ledger_windows(h->stream->ledger) || stream_failure(h->stream) != NULL) &&
           atomic_load_explicit(&h->window->refs, memory_order_acquire) == 1;
}

/* May a window be made now? As many are made at a time as there are workers, and one more is read: what more
 * were begun would only take memory. */
static bool may_make(const struct supply *s, enum claim claim)
{
    return claim == CLAIM_FAVOURED || (!s->full && s->n_making <= workers_count(s->workers));
}

/* Is there room for so many bytes more? If letting go of windows makes it so, the longest not used go. The
 * favoured step's room is made as far as it goes: it takes it in any case. */
static bool make_room(struct supply *s, uint64_t bytes, enum claim claim)
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

static void fail(struct supply *s, struct stream *st, const char *why)
{
    stream_fail(st, why);
    s->again = true; /* for pending steps that were looked at already */
}

static bool start_making(struct supply *s, struct stream *st, uint64_t number, uint64_t first_slot,
                         uint32_t n_slots, uint64_t bytes)
{
    struct held *h = calloc(1, sizeof *h);
    struct window_order *o =
        window_order_new(st->recipe, st->order, &st->cursor, number, first_slot, n_slots);
    if (h == NULL || o == NULL) {
        free(h);
        if (o != NULL)
            window_unref(o->window);
        window_order_free(o);
        fail(s, st, "no memory for a window");
        return false;
    }
    *h = (struct held){.supply = s,
                       .stream = st,
                       .number = number,
                       .order = o,
                       .job = {.run = make_run, .done = make_done},
                       .bytes = bytes};
    struct held **bucket = bucket_of(s, st, number);
    h->next = *bucket;
    *bucket = h;
    TAILQ_INSERT_TAIL(&s->in_use, h, in_use);
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

/* Windows that were made, in the stream's order, as far as they are there without a gap. A step past them may
 * be as far as numbers go, so each window that it is favoured with is followed by the next one's turn. */
static void enter_frontier(struct supply *s, struct stream *st)
{
    struct held *h;
    while (stream_failure(st) == NULL && (h = find(s, st, ledger_windows(st->ledger))) != NULL &&
           h->window != NULL) {
        stream_enter(st, h->window);
        if (s->favoured != NULL && s->favoured->stream == st && !s->favoured->pinned)
            s->favoured = TAILQ_NEXT(s->favoured, in_pending);
    }
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
        h->window->rc =
            err_set(&h->window->error, ERR_CHANGED,
                    "window %llu has %zu rows now and another number in the ledger; the ledger in "
                    "state_dir/streams is damaged: stop, remove it, start again",
                    (unsigned long long)h->number, h->window->n_rows);
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

static bool make_known(struct supply *s, struct stream *st, uint64_t w)
{
    uint64_t slot = ledger_first_slot(st->ledger, w);
    return start_making(s, st, w, slot, (uint32_t)(ledger_first_slot(st->ledger, w + 1) - slot),
                        ledger_window_bytes(st->ledger, w));
}

/* All windows of a step are pinned and made, or none: two half-served steps could wait for each other's
 * memory. Those that are there are the last to go all the same. */
static bool pin_windows(struct supply *s, struct step *step)
{
    struct stream *st = step->stream;
    enum claim claim = step == s->favoured ? CLAIM_FAVOURED : CLAIM_STEP;
    uint64_t missing = 0;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, st, w);
        if (h == NULL) {
            missing += ledger_window_bytes(st->ledger, w);
            continue;
        }
        h->pins++;
        touch(s, h);
    }
    bool may = missing == 0 || (may_make(s, claim) && make_room(s, missing, claim));
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, st, w);
        if (h != NULL && !may)
            h->pins--;
        else if (h == NULL && may && make_known(s, st, w))
            find(s, st, w)->pins++;
    }
    return may;
}

static void unpin_windows(struct supply *s, struct step *step)
{
    for (uint64_t w = step->first_window; step->pinned && w <= step->last_window; w++) {
        struct held *h = find(s, step->stream, w);
        if (h == NULL)
            continue; /* the stream failed while they were being pinned */
        h->pins--;
        h->ahead = false;
        touch(s, h);
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

/* The next window past the ledger. */
static bool make_next(struct supply *s, struct stream *st, enum claim claim)
{
    uint64_t bytes, ahead = st->planned - ledger_windows(st->ledger);
    if (ahead > workers_count(s->workers))
        return false;
    if (claim == CLAIM_FAVOURED && ahead > 0)
        claim = CLAIM_STEP; /* the one that the ledger waits for is on its way */
    if (!may_make(s, claim))
        return false;
    uint32_t n = window_plan(st->recipe, st->order, &st->cursor, st->planned_slot, &bytes);
    if (n == 0 || !make_room(s, bytes, claim) ||
        !start_making(s, st, st->planned, st->planned_slot, n, bytes))
        return false;
    st->planned++;
    st->planned_slot += n;
    return true;
}

static bool make_ahead(struct supply *s, struct stream *st, uint64_t w)
{
    if (w >= ledger_windows(st->ledger))
        return make_next(s, st, CLAIM_AHEAD);
    return may_make(s, CLAIM_AHEAD) && make_room(s, ledger_window_bytes(st->ledger, w), CLAIM_AHEAD) &&
           make_known(s, st, w);
}

/* What comes after a step that is being served is likely to be wanted next. */
static void read_ahead(struct supply *s, struct stream *st, uint64_t last_window)
{
    if (stream_failure(st) != NULL)
        return; /* its windows past the ledger may be gone, so the next to be planned need not be the next one
                 */
    for (uint64_t w = last_window + 1; w <= last_window + 1 + workers_count(s->workers); w++) {
        if (find(s, st, w) != NULL)
            continue;
        if (!make_ahead(s, st, w))
            return;
        find(s, st, w)->ahead = true;
    }
}

static enum step_state advance(struct supply *s, struct step *step)
{
    struct stream *st = step->stream;
    if (stream_failure(st) == NULL && !step->pinned) {
        switch (stream_place(st, step->number, &step->first_window, &step->last_window)) {
        case PLACE_PAST_END:
            return STEP_END;
        case PLACE_BEYOND:
            while (make_next(s, st, step == s->favoured ? CLAIM_FAVOURED : CLAIM_STEP))
                ;
            break;
        case PLACE_KNOWN:
            step->pinned = pin_windows(s, step);
            break;
        }
    }
    if (stream_failure(st) != NULL)
        return STEP_FAILED;
    if (!step->pinned || !windows_there(s, step))
        return STEP_PENDING;
    if (!take_rows(s, step)) {
        fail(s, st, "no memory for a step");
        return STEP_FAILED;
    }
    return STEP_READY;
}

static void leave_pending(struct supply *s, struct step *step)
{
    if (step == s->favoured)
        s->favoured = TAILQ_NEXT(step, in_pending);
    TAILQ_REMOVE(&s->pending, step, in_pending);
    unpin_windows(s, step);
}

/* Bring every pending step as far as it goes now. Those that change are put into ret_changed, with a
 * reference. */
static void advance_all(struct supply *s, struct steps *ret_changed)
{
    struct step *step = TAILQ_FIRST(&s->pending);
    if (s->favoured == NULL)
        s->favoured = step;
    for (struct step *next; step != NULL; step = next) {
        next = TAILQ_NEXT(step, in_pending);
        enum step_state state = advance(s, step);
        if (state == STEP_PENDING)
            continue;
        leave_pending(s, step);
        step->state = state;
        step->refs++;
        TAILQ_INSERT_TAIL(ret_changed, step, in_pending);
    }
    if (s->favoured == NULL && !TAILQ_EMPTY(&s->pending))
        s->again = true; /* the first one's turn */
}

/* ... then tell what changed. What is told may ask for more. */
static void run(struct supply *s)
{
    s->again = true;
    if (s->running)
        return;
    s->running = true;
    while (s->again) {
        struct steps changed = TAILQ_HEAD_INITIALIZER(changed);
        s->again = s->full = false;
        advance_all(s, &changed);
        for (struct step *step; (step = TAILQ_FIRST(&changed)) != NULL;) {
            TAILQ_REMOVE(&changed, step, in_pending);
            if (step->state == STEP_READY)
                read_ahead(s, step->stream, step->last_window);
            if (step->refs > 1)
                s->changed(s->arg, step);
            supply_step_unref(s, step);
        }
    }
    s->running = false;
}

struct step *supply_step(struct supply *s, struct stream *st, uint64_t number)
{
    struct step *step;
    LIST_FOREACH(step, &st->live, in_live)
    if (step->number == number) {
        step->refs++;
        return step;
    }
    step = calloc(1, sizeof *step);
    if (step == NULL)
        return NULL;
    *step = (struct step){.stream = st, .number = number, .refs = 1};
    LIST_INSERT_HEAD(&st->live, step, in_live);
    TAILQ_INSERT_TAIL(&s->pending, step, in_pending);
    run(s);
    return step;
}

void supply_step_unref(struct supply *s, struct step *step)
{
    if (step == NULL || --step->refs > 0)
        return;
    if (step->state == STEP_PENDING)
        leave_pending(s, step);
    LIST_REMOVE(step, in_live);
    for (int64_t i = 0; step->rows != NULL && i < step->stream->recipe->conf->global_batch; i++)
        window_unref(step->rows[i].window);
    free(step->rows);
    free(step);
    if (!TAILQ_EMPTY(&s->pending))
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
    TAILQ_INIT(&s->pending);
    TAILQ_INIT(&s->in_use);
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
    CHECK(TAILQ_EMPTY(&s->pending));
    while (s->n_making > 0)
        workers_wait(s->workers);
    for (struct held *h; (h = TAILQ_FIRST(&s->in_use)) != NULL;)
        forget(s, h);
    CHECK(s->used == 0);
    for (struct stream *st = s->streams, *next; st != NULL; st = next) {
        next = st->next;
        CHECK(LIST_EMPTY(&st->live));
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
    const struct step *step;
    TAILQ_FOREACH(step, &s->pending, in_pending)
    ret->steps_pending++;
}
