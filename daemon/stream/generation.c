#include "stream/generation.h"

#include "base/clock.h"
#include "stream/stream.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A corpus is judged once so many of its records have been looked at (or all, if it has fewer). */
#define JUDGE_RECORDS 100

/* ---- too much that cannot be used ---- */

void generation_fail(struct generation *g, const char *why)
{
    if (g->failure.text[0] == '\0')
        (void)err_set(&g->failure, ERR_UNUSABLE, "%s", why);
}

bool generation_failed(const struct generation *g)
{
    return g->failure.text[0] != '\0';
}

/* The most frequent reason among those on record, for the error's text. */
static const char *main_reason(const struct generation *g, uint32_t corpus)
{
    uint32_t count[UNUSABLE__COUNT] = {0}, most = 0, n;
    const struct quarantined *q;
    ledger_quarantine(g->ledger, &q, &n);
    for (uint32_t i = 0; i < n; i++)
        if (q[i].corpus == corpus && q[i].reason != UNUSABLE_DUPLICATE && ++count[q[i].reason] > count[most])
            most = q[i].reason;
    return unusable_names[most];
}

/* Duplicates are left out because that was asked for: they are not judged. */
static uint64_t duplicates_of(const struct recipe *r, uint32_t corpus)
{
    return r->corpora[corpus] != NULL ? corpus_duplicates(r->corpora[corpus]) : 0;
}

static void judge_corpora(struct generation *g)
{
    const struct recipe *r = g->recipe;
    for (uint32_t c = 0; c < r->n_corpora; c++) {
        const struct corpus_use *u = &g->use[c];
        uint64_t records = r->records[c] - duplicates_of(r, c),
                 enough = records < JUDGE_RECORDS ? records : JUDGE_RECORDS;
        if (u->looked_at < enough || (double)u->unusable <= r->conf->max_unusable * (double)u->looked_at)
            continue;
        (void)err_set(
            &g->failure, ERR_UNUSABLE,
            "corpus '%s': %llu of %llu records cannot be used (mostly %s), more than "
            "max_unusable "
            "(%g) allows; see 'skipalignctl quarantine %s', check format and fields, or raise max_unusable",
            r->conf->corpora[c].corpus, (unsigned long long)u->unusable, (unsigned long long)u->looked_at,
            main_reason(g, c), r->conf->max_unusable, r->conf->name);
        return;
    }
}

/* After a restart: what the ledger remembers of each corpus, so that judgement goes on where it was. A record
 * of which several pieces cannot be used counts once, here as in generation_enter. */
static void recall_use(struct generation *g)
{
    const struct quarantined *q;
    uint32_t n;
    uint64_t turns[ORDER_CORPORA_MAX];
    ledger_quarantine(g->ledger, &q, &n);
    for (uint32_t i = 0; i < n; i++)
        if (q[i].reason != UNUSABLE_DUPLICATE &&
            (i == 0 || q[i].record != q[i - 1].record || q[i].pass != q[i - 1].pass ||
             q[i].corpus != q[i - 1].corpus))
            g->use[q[i].corpus].unusable++;
    order_turns(g->order, &g->cursor, g->planned_slot, turns);
    for (uint32_t c = 0; c < g->recipe->n_corpora; c++) { /* the order is shuffled: so many are likely */
        const double share = (double)duplicates_of(g->recipe, c) / (double)g->recipe->records[c];
        g->use[c].looked_at = turns[c] - (uint64_t)(share * (double)turns[c]);
    }
}

/* A whole epoch without a row would be followed by others for ever. A later generation may have nothing more
 * to give: the stream ends where it begins. */
static void check_end(struct generation *g)
{
    const struct recipe *r = g->recipe;
    uint64_t n = ledger_windows(g->ledger), rows = ledger_first_row(g->ledger, n),
             slots = ledger_first_slot(g->ledger, n);
    g->ended = slots >= order_slots(g->order);
    if (generation_failed(g))
        return;
    if (rows == 0 && slots >= g->start.n_left + order_epoch_slots(g->order))
        (void)err_set(&g->failure, ERR_UNUSABLE,
                      "not one record of an epoch can be used; see 'skipalignctl quarantine %s'",
                      r->conf->name);
    else if (g->ended && g->first_step == 0 && generation_steps(g) == 0)
        (void)err_set(&g->failure, ERR_UNUSABLE,
                      "its %llu rows are fewer than one global batch of %lld; lower global_batch, raise "
                      "epochs, or set last: pad",
                      (unsigned long long)rows, (long long)r->conf->global_batch);
}

/* ---- a start ---- */

static uint64_t ledger_fingerprint(const struct generation *g)
{
    const uint64_t depends[] = {g->fingerprint, start_hash(&g->start)};
    return XXH3_64bits(depends, sizeof depends);
}

/* Windows of which something was handed out, or that another generation begins after. */
static uint64_t windows_that_stay(const struct generation *g, uint64_t handed_out)
{
    uint64_t all = ledger_windows(g->ledger), rows = ledger_first_row(g->ledger, all);
    if (g->end_step != STREAM_UNKNOWN || all == 0)
        return all;
    uint64_t sent = handed_out > g->first_step ? generation_rows_to(g, handed_out) : 0;
    return sent == 0 ? 0 : sent >= rows ? all : ledger_find(g->ledger, sent - 1) + 1;
}

/* From what the ledger has. */
static void take_stock(struct generation *g)
{
    g->planned = ledger_windows(g->ledger);
    g->planned_slot = ledger_first_slot(g->ledger, g->planned);
    memset(g->use, 0, g->recipe->n_corpora * sizeof g->use[0]);
    recall_use(g);
    if (g->planned > 0)
        judge_corpora(g);
    check_end(g);
}

/* Not yet taken stock of. */
static int doubt(struct generation *g, uint64_t handed_out, struct err *reterr)
{
    uint64_t end = handed_out < g->end_step ? handed_out : g->end_step;
    g->doubted = true;
    g->doubt = (struct doubt){.windows = windows_that_stay(g, handed_out),
                              .first_step = g->first_step,
                              .end_step = end > g->first_step ? end : g->first_step};
    /* First, so that a kill in between leaves a ledger that only lacks windows. */
    if (g->doubt.windows < ledger_windows(g->ledger) && ledger_cut(g->ledger, g->doubt.windows) != 0)
        generation_fail(g, "its ledger cannot be read");
    return doubt_write(g->folder, g->number, ledger_fingerprint(g), &g->doubt, reterr);
}

int generation_doubt(struct generation *g, uint64_t handed_out, struct err *reterr)
{
    int rc = doubt(g, handed_out, reterr);
    take_stock(g);
    return rc;
}

/* After a restart. Where nothing says how far it had been made by then, it is told as if it were found now.
 */
static void recall_doubt(struct generation *g)
{
    struct err e;
    if (g->recipe->tokenizer == NULL || !tokenizer_doubted(g->recipe->tokenizer))
        return; /* of a lost one nothing is made */
    g->doubted = true;
    if (doubt_read(g->folder, g->number, ledger_fingerprint(g), &g->doubt) == 0)
        (void)doubt(g, sent_read(g->folder), &e);
}

/* With its start known. */
static int open_ledger(struct generation *g, struct err *reterr)
{
    enum ledger_found found;
    if ((g->order = start_order(&g->start, g->recipe)) == NULL)
        return err_sys(reterr, -ENOMEM, "generation %u", g->number);
    int rc = ledger_open(g->folder, g->number, ledger_fingerprint(g), &g->ledger, &found, reterr);
    if (rc != 0) {
        order_free(g->order);
        g->order = NULL;
        return rc;
    }
    recall_doubt(g);
    take_stock(g);
    return 0;
}

static void start_path(const struct generation *g, char ret[PATH_MAX])
{
    (void)snprintf(ret, PATH_MAX, "%s/%u.start", g->folder, g->number);
}

/* At step 0 nothing was before; later, the file may know. */
static int try_to_begin(struct generation *g, struct err *reterr)
{
    char path[PATH_MAX];
    struct err error;
    start_path(g, path);
    int found = g->first_step == 0 ? carry_begin(g->recipe, &g->start)
                                   : start_read(path, g->fingerprint, &g->start, &error);
    if (g->first_step == 0 && found != 0)
        return err_sys(reterr, found, "generation %u", g->number);
    return found == 1 || g->first_step == 0 ? open_ledger(g, reterr) : 0;
}

int generation_new(struct stream *st, const char *folder, const struct generation_setup *setup,
                   const struct generation *before, struct generation **ret, struct err *reterr)
{
    struct generation *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_sys(reterr, -ENOMEM, "generation %u", setup->number);
    const uint64_t depends[] = {before != NULL ? before->fingerprint : 0, setup->first_step,
                                setup->recipe != NULL ? setup->recipe->fingerprint : setup->fingerprint};
    g->stream = st;
    g->folder = (char *)folder;
    g->number = setup->number;
    g->first_step = setup->first_step;
    g->end_step = STREAM_UNKNOWN;
    g->fingerprint = XXH3_64bits(depends, sizeof depends);
    int rc = 0;
    if (setup->recipe == NULL) {
        struct generation_setup lost = *setup;
        lost.recipe = setup->lost;
        generation_fail(g, setup->why);
        if (setup->lost != NULL)
            rc = generation_new(st, folder, &lost, before, &g->lost, reterr);
    } else {
        g->recipe = recipe_ref(setup->recipe);
        g->use = calloc(g->recipe->n_corpora, sizeof g->use[0]);
        rc = g->use == NULL ? err_sys(reterr, -ENOMEM, "generation %u", g->number) : try_to_begin(g, reterr);
    }
    if (rc == 0)
        *ret = g;
    else
        generation_free(g);
    return rc;
}

void generation_free(struct generation *g)
{
    if (g == NULL)
        return;
    generation_free(g->lost);
    ledger_close(g->ledger);
    order_free(g->order);
    start_fini(&g->start);
    covered_fini(&g->covered);
    recipe_unref(g->recipe);
    free(g->use);
    free(g);
}

/* Where a generation is lost: the first slot after the window that holds the last row before step `end`;
 * where windows were never planned as far as that, the first one after those that were. UINT64_MAX: not
 * known. */
static uint64_t slots_before(const struct generation *before, uint64_t end, uint64_t sent)
{
    const struct ledger *l = before->ledger;
    uint64_t n = ledger_windows(l), batch = (uint64_t)before->recipe->conf->global_batch,
             rows = (end - before->first_step) * batch;
    if (rows <= ledger_first_row(l, n))
        return rows == 0 ? 0 : ledger_first_slot(l, ledger_find(l, rows - 1) + 1);
    bool holds_sent = sent <= before->first_step + ledger_first_row(l, n) / batch;
    return before->ended || holds_sent ? ledger_first_slot(l, n) : UINT64_MAX;
}

/* What was before g, where the step before it cannot be made any more. One of which nothing was handed out
 * and of which nothing is known is passed over: nobody misses it. Once a step of g itself has been handed
 * out, only what g began with then will do, documents left over included, and that is not known. */
static const struct generation *find_lost(const struct generation *g, const struct generation *before,
                                          uint64_t *ret_slots)
{
    uint64_t end = g->first_step, sent = stream_sent(g->stream);
    while (before != NULL && before->order == NULL && (before->lost == NULL || before->lost->order == NULL) &&
           sent <= before->first_step) {
        end = before->first_step;
        before = stream_before(g->stream, before);
    }
    if (before == NULL || sent > g->first_step)
        return NULL;
    const struct generation *was = before->lost != NULL ? before->lost : before;
    if (was->order == NULL || (*ret_slots = slots_before(was, end, sent)) == UINT64_MAX)
        return NULL;
    return was;
}

void generation_begin(struct generation *g, const struct generation *before, const struct step *last)
{
    char path[PATH_MAX];
    struct err error = {""};
    uint64_t slots = 0;
    bool lost = last->state != STEP_READY;
    const struct generation *was = lost ? find_lost(g, before, &slots) : before;
    if (was == NULL) {
        (void)err_set(&g->failure, ERR_CHANGED,
                      "where it begins cannot be found, as generation %u cannot be made any more: %s",
                      before->number, before->failure.text);
        return;
    }
    const struct carry_from from = {was->recipe, &was->start, was->order};
    int rc =
        lost ? carry_past(&from, slots, g->recipe, &g->start) : carry_on(&from, last, g->recipe, &g->start);
    if (rc != 0) {
        generation_fail(g, "no memory for its start");
        return;
    }
    start_path(g, path);
    /* Without the file it is computed again; but not where what it came from is gone. */
    rc = start_write(path, g->fingerprint, &g->start, lost, &error);
    if ((lost && rc != 0) || open_ledger(g, &error) != 0)
        generation_fail(g, error.text);
}

/* ---- going on ---- */

void generation_enter(struct generation *g, const struct window *w)
{
    if (w->rc != 0) {
        generation_fail(g, w->error.text);
        return;
    }
    if (ledger_append(g->ledger, w) != 0) {
        generation_fail(g, "no memory for the ledger");
        return;
    }
    for (uint32_t i = 0; i < w->n_slots; i++) {
        struct slot s;
        order_get(g->order, &g->cursor, w->first_slot + i, &s);
        g->use[s.corpus].looked_at += !corpus_is_duplicate(g->recipe->corpora[s.corpus], s.record);
    }
    for (size_t i = 0; i < w->n_unusable; i++) {
        const struct window_unusable *u = &w->unusable[i];
        if (u->reason != UNUSABLE_DUPLICATE &&
            (i == 0 || u->record != u[-1].record || u->pass != u[-1].pass || u->corpus != u[-1].corpus))
            g->use[u->corpus].unusable++;
    }
    g->pace[g->n_entered % GENERATION_PACE].time_ns = clock_ns();
    g->pace[g->n_entered % GENERATION_PACE].rows = ledger_first_row(g->ledger, ledger_windows(g->ledger));
    g->n_entered++;
    judge_corpora(g);
    check_end(g);
}

uint64_t generation_steps(const struct generation *g)
{
    uint64_t rows = ledger_first_row(g->ledger, ledger_windows(g->ledger));
    uint64_t batch = (uint64_t)g->recipe->conf->global_batch;
    bool pads = g->ended && g->recipe->conf->last == LAST_PAD;
    return rows / batch + (pads && rows % batch != 0);
}

uint64_t generation_first_row(const struct generation *g, uint64_t w)
{
    uint64_t n = ledger_windows(g->ledger);
    if (w <= n)
        return ledger_first_row(g->ledger, w);
    uint64_t rows = ledger_first_row(g->ledger, n), each = n > 0 ? rows / n : 0;
    return rows + (w - n) * each;
}

uint64_t generation_planned_rows(const struct generation *g)
{
    uint64_t n = ledger_windows(g->ledger), rows = ledger_first_row(g->ledger, n),
             slots = ledger_first_slot(g->ledger, n);
    double each = slots > 0 ? (double)rows / (double)slots : 0;
    return rows + (uint64_t)(each * (double)(g->planned_slot - slots));
}

uint64_t generation_rows_to(const struct generation *g, uint64_t step)
{
    uint64_t rows;
    return __builtin_mul_overflow(step - g->first_step, (uint64_t)g->recipe->conf->global_batch, &rows)
               ? UINT64_MAX
               : rows;
}

uint64_t generation_rows(const struct generation *g)
{
    return g->end_step == STREAM_UNKNOWN ? UINT64_MAX : generation_rows_to(g, g->end_step);
}

double generation_rows_a_second(const struct generation *g)
{
    if (g->n_entered < 2)
        return 0;
    uint32_t n = g->n_entered < GENERATION_PACE ? g->n_entered : GENERATION_PACE;
    uint32_t oldest = (g->n_entered - n) % GENERATION_PACE, newest = (g->n_entered - 1) % GENERATION_PACE;
    uint64_t ns = g->pace[newest].time_ns - g->pace[oldest].time_ns;
    return ns == 0 ? 0 : (double)(g->pace[newest].rows - g->pace[oldest].rows) / ((double)ns / NS_PER_S);
}
