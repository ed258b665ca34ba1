#include "stream/supply.h"

#include "stream/shelf.h"
#include "stream/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* This part of the memory may lie ready for the next windows: two or so of the largest there are. */
#define POOL_PART 8

struct supply {
    struct workers *workers;
    struct pool *pool;
    struct shelf shelf;
    void (*changed)(void *arg, struct step *);
    void *arg;
    struct stream *streams, *removed;
    TAILQ_HEAD(steps, step) pending; /* in the order in which they were asked for */
    struct step *favoured;           /* of those: the one that may go beyond the bound; NULL: the first */
    bool running, again;
};

static void run(struct supply *s);

/* ---- windows ---- */

static void fail(struct supply *s, struct generation *g, const char *why)
{
    generation_fail(g, why);
    s->again = true; /* for pending steps that were looked at already */
}

static bool make(struct supply *s, struct generation *g, uint64_t number, uint64_t first_slot,
                 uint32_t n_slots, uint64_t bytes)
{
    if (shelf_make(&s->shelf, g, number, first_slot, n_slots, bytes) != NULL)
        return true;
    fail(s, g, "no memory for a window");
    return false;
}

static struct held *find(struct supply *s, const struct generation *g, uint64_t number)
{
    return shelf_find(&s->shelf, g, number);
}

/* Windows that were made, in the stream's order, as far as they are there without a gap. A step past them may
 * be as far as numbers go, so each window that it is favoured with is followed by the next one's turn. */
static void enter_frontier(struct supply *s, struct generation *g)
{
    struct held *h;
    while (!generation_failed(g) && (h = find(s, g, ledger_windows(g->ledger))) != NULL &&
           h->window != NULL && !window_doubted(h->window)) {
        generation_enter(g, h->window);
        if (s->favoured != NULL && s->favoured->of == g && !s->favoured->pinned)
            s->favoured = TAILQ_NEXT(s->favoured, in_pending);
    }
}

static void window_made(void *arg, struct held *h)
{
    struct supply *s = arg;
    if (h == NULL) {
        run(s);
        return;
    }
    struct generation *g = h->of;
    if (h->number < ledger_windows(g->ledger) && h->window->rc == 0 &&
        h->window->n_rows !=
            ledger_first_row(g->ledger, h->number + 1) - ledger_first_row(g->ledger, h->number))
        h->window->rc =
            err_set(&h->window->error, ERR_CHANGED,
                    "window %llu has %zu rows now and another number in the ledger; the ledger in "
                    "state_dir/streams is damaged: stop, remove it, start again",
                    (unsigned long long)h->number, h->window->n_rows);
    if (h->window->rc != 0)
        generation_fail(g, h->window->error.text);
    covered_add(&g->covered, h->window);
    enter_frontier(s, g);
    run(s);
}

/* ---- steps ---- */

static bool make_known(struct supply *s, struct generation *g, uint64_t w)
{
    uint64_t slot = ledger_first_slot(g->ledger, w);
    return make(s, g, w, slot, (uint32_t)(ledger_first_slot(g->ledger, w + 1) - slot),
                ledger_window_bytes(g->ledger, w));
}

/* All windows of a step are pinned and made, or none: two half-served steps could wait for each other's
 * memory. Those that are there are the last to go all the same. */
static bool pin_windows(struct supply *s, struct step *step)
{
    struct generation *g = step->of;
    enum claim claim = step == s->favoured ? CLAIM_FAVOURED : CLAIM_STEP;
    uint64_t missing = 0;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, g, w);
        if (h == NULL) {
            missing += ledger_window_bytes(g->ledger, w);
            continue;
        }
        h->pins++;
        shelf_touch(&s->shelf, h);
    }
    bool may =
        missing == 0 || (shelf_may_make(&s->shelf, claim) && shelf_make_room(&s->shelf, missing, claim));
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct held *h = find(s, g, w);
        if (h != NULL && !may)
            h->pins--;
        else if (h == NULL && may && make_known(s, g, w))
            find(s, g, w)->pins++;
    }
    return may;
}

static void unpin_windows(struct supply *s, struct step *step)
{
    for (uint64_t w = step->first_window; step->pinned && w <= step->last_window; w++) {
        struct held *h = find(s, step->of, w);
        if (h == NULL)
            continue; /* the generation failed while they were being pinned */
        h->pins--;
        h->ahead = false;
        shelf_touch(&s->shelf, h);
    }
    step->pinned = false;
}

static bool windows_there(struct supply *s, const struct step *step)
{
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        const struct held *h = find(s, step->of, w);
        if (h == NULL || h->window == NULL)
            return false;
    }
    return true;
}

static bool take_rows(struct supply *s, struct step *step)
{
    struct generation *g = step->of;
    uint64_t batch = (uint64_t)g->recipe->conf->global_batch;
    if ((step->rows = pool_take(s->pool, batch * sizeof step->rows[0])) == NULL)
        return false;
    memset(step->rows, 0, batch * sizeof step->rows[0]); /* a last step may have padding */
    uint64_t n = 0, row = (step->number - g->first_step) * batch;
    for (uint64_t w = step->first_window; w <= step->last_window; w++) {
        struct window *window = find(s, g, w)->window;
        if (n == 0)
            step->epoch = window->epoch;
        step->own |= window->own;
        for (uint64_t r = row - ledger_first_row(g->ledger, w); n < batch && r < window->n_rows;
             r++, n++, row++) {
            step->rows[n] = (struct step_row){window_ref(window), (uint32_t)r};
            step->supervised += window->rows[r].n_supervised;
        }
    }
    return true;
}

/* Of a generation: up to its end, or to where it is about to end. */
static uint64_t rows_wanted(const struct generation *g)
{
    uint64_t rows = generation_rows(g), held = g->stream->held_from;
    uint64_t until = held > g->first_step ? generation_rows_to(g, held) : UINT64_MAX;
    return until < rows ? until : rows;
}

/* The next window past the ledger. */
static bool make_next(struct supply *s, struct generation *g, enum claim claim)
{
    uint64_t bytes, ahead = g->planned - ledger_windows(g->ledger);
    if (ahead > workers_count(s->workers))
        return false;
    if (ahead > 0 && generation_planned_rows(g) >= rows_wanted(g))
        return false; /* the next generation's are wanted then */
    if (claim == CLAIM_FAVOURED && ahead > 0)
        claim = CLAIM_STEP; /* the one that the ledger waits for is on its way */
    if (!shelf_may_make(&s->shelf, claim))
        return false;
    uint32_t n = window_plan(g->recipe, g->order, &g->cursor, g->planned_slot, &bytes);
    if (n == 0 || !shelf_make_room(&s->shelf, bytes, claim) ||
        !make(s, g, g->planned, g->planned_slot, n, bytes))
        return false;
    g->planned++;
    g->planned_slot += n;
    return true;
}

static bool make_ahead(struct supply *s, struct generation *g, uint64_t w)
{
    if (w >= ledger_windows(g->ledger))
        return make_next(s, g, CLAIM_AHEAD);
    return shelf_may_make(&s->shelf, CLAIM_AHEAD) &&
           shelf_make_room(&s->shelf, ledger_window_bytes(g->ledger, w), CLAIM_AHEAD) && make_known(s, g, w);
}

/* The start of a generation, from the last step before it. Is it known now? */
static bool begin(struct supply *s, struct generation *g)
{
    struct stream *st = g->stream;
    if (g->order != NULL || generation_failed(g))
        return g->order != NULL;
    if (g->origin == NULL) {
        g->origin = supply_step(s, st, g->first_step - 1);
        if (g->origin == NULL) {
            fail(s, g, "no memory for a step");
            return false;
        }
        g->origin->inside = true;
    }
    struct step *origin = g->origin;
    if (origin->state == STEP_PENDING)
        return false;
    g->origin = NULL;
    if (origin->state != STEP_END) /* else the stream ends before */
        generation_begin(g, stream_before(st, g), origin);
    supply_step_unref(s, origin);
    s->again = true;
    return g->order != NULL;
}

/* What comes after a step that is being served is likely to be wanted next: windows of its generation, then
 * of the one after. All workers may be at them, and one more is read. */
static void read_ahead(struct supply *s, const struct step *step)
{
    struct generation *g = step->of;
    struct depth *d = &step->stream->depth;
    uint64_t w = step->last_window + 1;
    depth_count(d, step->last_window, step->waited, workers_count(s->workers) + 1);
    for (uint32_t n = 0; n < d->windows; n++, w++) {
        while (g->order != NULL && generation_first_row(g, w) >= generation_rows(g)) {
            g = stream_after(g->stream, g);
            w = 0;
        }
        if (stream_is_held(g->stream, g->first_step) || !begin(s, g) || generation_failed(g))
            return; /* after a failure its windows past the ledger may be gone, so the next to be planned need
                       not be the next one */
        if (find(s, g, w) != NULL)
            continue;
        if (!make_ahead(s, g, w))
            return;
        find(s, g, w)->ahead = true;
    }
}

/* Of a step past the ledger: do the windows that are being made hardly reach it? */
static bool falls_short(const struct step *step)
{
    const struct generation *g = step->of;
    return g->planned == ledger_windows(g->ledger) ||
           generation_planned_rows(g) < generation_rows_to(g, step->number + 1);
}

/* Where it belongs, as things are now: a change may have come before it. */
static enum stream_place place(struct step *step)
{
    enum stream_place p =
        stream_place(step->stream, step->number, &step->of, &step->first_window, &step->last_window);
    step->generation = step->of->number;
    step->recipe = step->of->recipe;
    return p;
}

static enum step_state advance(struct supply *s, struct step *step)
{
    if (stream_is_held(step->stream, step->number))
        return STEP_PENDING;
    if (!step->pinned) {
        switch (place(step)) {
        case PLACE_PAST_END:
            return STEP_END;
        case PLACE_FAILED:
            return STEP_FAILED;
        case PLACE_UNBEGUN:
            (void)begin(s, step->of);
            if (step == s->favoured && step->of->origin != NULL)
                s->favoured = step->of->origin;
            break;
        case PLACE_BEYOND:
            while (falls_short(step) &&
                   make_next(s, step->of, step == s->favoured ? CLAIM_FAVOURED : CLAIM_STEP))
                ;
            break;
        case PLACE_KNOWN:
            step->pinned = pin_windows(s, step);
            break;
        }
    }
    if (generation_failed(step->of))
        return STEP_FAILED;
    if (!step->pinned || !windows_there(s, step))
        return STEP_PENDING;
    if (!take_rows(s, step)) {
        fail(s, step->of, "no memory for a step");
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
        step->waited |= state == STEP_PENDING;
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

static void let_goal_go(struct supply *s, struct stream *st)
{
    struct step *goal = st->goal;
    st->goal = NULL;
    supply_step_unref(s, goal);
}

static void reach_goal(struct supply *s, struct step *step)
{
    if (step->stream->goal == step)
        let_goal_go(s, step->stream);
}

static void free_removed(struct supply *s);

/* ... then tell what changed. What is told may ask for more. */
static void run(struct supply *s)
{
    s->again = true;
    if (s->running)
        return;
    s->running = true;
    while (s->again) {
        struct steps changed = TAILQ_HEAD_INITIALIZER(changed);
        s->again = s->shelf.full = false;
        advance_all(s, &changed);
        for (struct step *step; (step = TAILQ_FIRST(&changed)) != NULL;) {
            TAILQ_REMOVE(&changed, step, in_pending);
            if (step->state == STEP_READY && !step->inside)
                read_ahead(s, step);
            s->again |= step->inside;
            reach_goal(s, step);
            if (step->refs > 1)
                s->changed(s->arg, step);
            supply_step_unref(s, step);
        }
    }
    s->running = false;
    free_removed(s);
}

struct step *supply_step(struct supply *s, struct stream *st, uint64_t number)
{
    struct step *step;
    LIST_FOREACH(step, &st->live, in_live)
    if (step->number == number && !step->past) {
        step->refs++;
        return step;
    }
    step = pool_take(s->pool, sizeof *step);
    if (step == NULL)
        return NULL;
    *step = (struct step){.stream = st, .number = number, .refs = 1};
    (void)place(step);
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
    for (int64_t i = 0; step->rows != NULL && i < step->recipe->conf->global_batch; i++)
        window_unref(step->rows[i].window);
    pool_give(step->rows);
    pool_give(step);
    run(s); /* memory may have come free, or a stream's last step */
}

/* ---- changes ---- */

/* Windows on their way may give fewer rows than expected by this part. Few records are left over then; where
 * one more window is made for the last rows of an old generation, nearly all of its records are. */
#define ESTIMATE_PART 32

/* Rows up to where windows are made for who reads at this step; those beyond were made for somebody else, or
 * for nobody yet. */
static uint64_t rows_ahead(const struct stream *st, const struct generation *g, uint64_t step)
{
    uint64_t rows = generation_planned_rows(g), first, last;
    struct generation *of;
    if (stream_place(st, step, &of, &first, &last) != PLACE_KNOWN || of != g)
        return rows;
    const uint64_t after = last + 1 + st->depth.windows;
    return after <= ledger_windows(g->ledger) ? ledger_first_row(g->ledger, after) : rows;
}

/* As soon as can be: after all that was handed out. With somebody at the frontier, after the windows that are
 * made for him, or on their way, too, as far as can be told. */
static uint64_t earliest(const struct stream *st, uint64_t made, bool busy)
{
    uint64_t step = stream_sent(st) > made ? stream_sent(st) : made, total = stream_steps(st);
    const struct generation *g = stream_at(st, step);
    if (busy && g->order != NULL && !generation_failed(g)) {
        uint64_t rows = rows_ahead(st, g, step),
                 known = ledger_first_row(g->ledger, ledger_windows(g->ledger)),
                 sure = rows > known ? rows - (rows - known) / ESTIMATE_PART : rows,
                 planned = g->first_step + sure / (uint64_t)g->recipe->conf->global_batch;
        planned = planned < g->end_step ? planned : g->end_step;
        step = step > planned ? step : planned;
    }
    return step < total ? step : total;
}

int stream_hold(struct supply *s, struct stream *st, uint64_t at, uint64_t made, bool busy, uint64_t *ret,
                struct err *reterr)
{
    (void)s;
    uint64_t total = stream_steps(st), first = earliest(st, made, busy && at == STREAM_UNKNOWN);
    if (st->held_from != STREAM_UNKNOWN)
        return err_set(reterr, -EBUSY, "it is being changed already");
    if (stream_make_room(st) != 0)
        return err_sys(reterr, -ENOMEM, "changing it");
    if (at != STREAM_UNKNOWN && at < first) {
        *ret = first;
        return err_set(
            reterr, ERR_CHANGED,
            "steps below %llu have been handed out, so step %llu is too early; take %llu or a later one",
            (unsigned long long)first, (unsigned long long)at, (unsigned long long)first);
    }
    if (at != STREAM_UNKNOWN && at > total)
        return err_set(reterr, ERR_LIMIT, "it ends before step %llu: it has %llu steps",
                       (unsigned long long)at, (unsigned long long)total);
    *ret = st->held_from = at != STREAM_UNKNOWN ? at : first;
    return 0;
}

void stream_release(struct supply *s, struct stream *st)
{
    st->held_from = STREAM_UNKNOWN;
    run(s);
}

/* Steps from there on are no longer what they were: those that wait find their new places, the others are
 * only for those who hold them. */
static void displace(struct supply *s, struct stream *st, uint64_t first)
{
    struct step *step;
    LIST_FOREACH(step, &st->live, in_live)
    if (step->number >= first && step->state == STEP_PENDING)
        unpin_windows(s, step);
    else if (step->number >= first)
        step->past = true;
}

static void let_origin_go(struct supply *s, struct generation *g)
{
    struct step *origin = g->origin;
    g->origin = NULL;
    supply_step_unref(s, origin);
}

void supply_change(struct supply *s, struct stream *st, const struct generation_setup *setup)
{
    struct err error = {""};
    struct generation *g, *before = setup->first_step > 0 ? stream_at(st, setup->first_step - 1) : NULL;
    CHECK(st->held_from == setup->first_step);
    int rc = generation_new(st, st->folder, setup, before, &g, &error);
    if (rc != 0) { /* committed all the same: it is there once the daemon was started again */
        const struct generation_setup failed = {.number = setup->number,
                                                .first_step = setup->first_step,
                                                .why = error.text,
                                                .fingerprint = setup->recipe->fingerprint};
        rc = generation_new(st, st->folder, &failed, before, &g, &error);
        CHECK(rc == 0);
        g->recipe = recipe_ref(setup->recipe);
    }
    displace(s, st, setup->first_step);
    stream_put(st, g);
    st->held_from = STREAM_UNKNOWN;
    for (uint32_t i = 0; i < st->n_gone; i++)
        let_origin_go(s, st->gone[i]);
    run(s);
}

/* ---- a tokenizer that was found wrong ---- */

/* Nothing that it made is found any more. */
static void throw_away(struct supply *s, struct stream *st, struct generation *g)
{
    struct step *step;
    LIST_FOREACH(step, &st->live, in_live)
    if (step->of == g && step->state == STEP_PENDING)
        unpin_windows(s, step);
    else if (step->of == g && step->state == STEP_READY)
        step->past = true;
    shelf_drop(&s->shelf, g);
}

/* Others may have the same model, with other special tokens. */
static void doubt_model(struct supply *s, const struct tokenizer *t)
{
    for (struct stream *st = s->streams; st != NULL; st = st->next)
        for (uint32_t i = 0; i < st->n_generations; i++) {
            const struct recipe *r = st->generations[i]->recipe;
            if (r != NULL && r->tokenizer != NULL &&
                strcmp(tokenizer_sha256(r->tokenizer), tokenizer_sha256(t)) == 0)
                tokenizer_doubt(r->tokenizer, false);
        }
}

static bool is_news(const struct generation *g)
{
    return g->order != NULL && !g->doubted && g->recipe->tokenizer != NULL &&
           tokenizer_doubted(g->recipe->tokenizer);
}

bool supply_doubt(struct supply *s, struct stream *st, struct supply_doubt *ret)
{
    uint32_t i = 0;
    while (i < st->n_generations && !is_news(st->generations[i]))
        i++;
    if (i == st->n_generations)
        return false;
    struct generation *g = st->generations[i];
    *ret = (struct supply_doubt){.tokenizer = g->recipe->tokenizer};
    doubt_model(s, g->recipe->tokenizer);
    (void)generation_doubt(g, stream_sent(st), &ret->error);
    ret->first_step = g->doubt.first_step;
    ret->end_step = g->doubt.end_step;
    throw_away(s, st, g);
    run(s);
    return true;
}

/* ---- the supply as a whole ---- */

int supply_new(struct workers *w, struct reader *r, uint64_t memory,
               void (*changed)(void *arg, struct step *), void *arg, struct supply **ret)
{
    struct supply *s = calloc(1, sizeof *s);
    if (s == NULL || (s->pool = pool_new(memory / POOL_PART)) == NULL) {
        free(s);
        return -ENOMEM;
    }
    s->workers = w;
    s->changed = changed;
    s->arg = arg;
    TAILQ_INIT(&s->pending);
    shelf_init(&s->shelf, w, r, s->pool, memory, window_made, s);
    *ret = s;
    return 0;
}

/* What was handed out before can be looked up soon, even if the ledger was lost. */
static void set_goal(struct supply *s, struct stream *st)
{
    uint64_t sent = stream_sent(st);
    if (sent <= stream_known_steps(st) || sent <= stream_newest(st)->first_step)
        return;
    st->goal = supply_step(s, st, sent - 1);
    if (st->goal != NULL && st->goal->state != STEP_PENDING)
        reach_goal(s, st->goal);
}

int supply_add(struct supply *s, const char *name, const char *state_dir, const struct generation_setup *g,
               uint32_t n, struct stream **ret, struct err *reterr)
{
    struct stream *st;
    for (st = s->removed; st != NULL; st = st->next)
        if (strcmp(st->name, name) == 0)
            return err_set(
                reterr, -EBUSY,
                "stream '%s' was removed a moment ago and is still in use; try again when its last "
                "batches have gone out",
                name);
    int rc = stream_new(name, state_dir, g, n, &st, reterr);
    if (rc != 0)
        return rc;
    struct stream **tail = &s->streams;
    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = st;
    *ret = st;
    set_goal(s, st);
    return 0;
}

static void free_removed(struct supply *s)
{
    for (struct stream **p = &s->removed, *st; (st = *p) != NULL;) {
        if (LIST_EMPTY(&st->live) && shelf_clear(&s->shelf, st)) {
            *p = st->next;
            stream_free(st);
        } else {
            p = &st->next;
        }
    }
}

void supply_remove(struct supply *s, struct stream *st)
{
    struct stream **p = &s->streams;
    while (*p != st)
        p = &(*p)->next;
    *p = st->next;
    st->next = s->removed;
    s->removed = st;
    st->removed = true;
    st->held_from = STREAM_UNKNOWN;
    for (uint32_t i = 0; i < st->n_generations; i++)
        generation_fail(st->generations[i], "it was taken out of the configuration");
    s->running = true; /* not freed before this is through */
    for (uint32_t i = 0; i < st->n_generations; i++)
        let_origin_go(s, st->generations[i]);
    let_goal_go(s, st);
    s->running = false;
    run(s);
}

void supply_stop(struct supply *s)
{
    if (s == NULL)
        return;
    s->running = true; /* nothing more is begun */
    for (struct stream *st = s->streams; st != NULL; st = st->next) {
        let_goal_go(s, st);
        for (uint32_t i = 0; i < st->n_generations; i++)
            let_origin_go(s, st->generations[i]);
    }
    CHECK(TAILQ_EMPTY(&s->pending));
    shelf_fini(&s->shelf);
    while (s->streams != NULL || s->removed != NULL) {
        struct stream **from = s->streams != NULL ? &s->streams : &s->removed, *st = *from;
        *from = st->next;
        CHECK(LIST_EMPTY(&st->live));
        stream_free(st);
    }
    pool_free(s->pool);
    free(s);
}

struct stream *supply_find(struct supply *s, const char *name)
{
    struct stream *st = s->streams;
    while (st != NULL && strcmp(st->name, name) != 0)
        st = st->next;
    return st;
}

struct stream *supply_next(struct supply *s, struct stream *after)
{
    return after != NULL ? after->next : s->streams;
}

void supply_get_stats(const struct supply *s, struct supply_stats *ret)
{
    *ret = (struct supply_stats){.memory = s->shelf.memory,
                                 .memory_used = s->shelf.used,
                                 .windows_held = s->shelf.n_held - s->shelf.n_making,
                                 .windows_making = s->shelf.n_making,
                                 .windows_made = s->shelf.n_made,
                                 .windows_made_again = s->shelf.n_made_again};
    const struct step *step;
    TAILQ_FOREACH(step, &s->pending, in_pending)
    ret->steps_pending++;
}
