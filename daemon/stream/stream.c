#include "stream/stream.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A corpus is judged once so many of its records have been looked at (or all, if it has fewer). */
#define JUDGE_RECORDS 100

void stream_free(struct stream *st)
{
    if (st == NULL)
        return;
    ledger_close(st->ledger);
    recipe_unref(st->recipe);
    order_free(st->order);
    free(st->use);
    free(st);
}

void stream_fail(struct stream *st, const char *why)
{
    if (st->failure.text[0] == '\0')
        (void)err_set(&st->failure, ERR_UNUSABLE, "%s", why);
}

/* The most frequent reason among those on record, for the error's text. */
static const char *main_reason(const struct stream *st, uint32_t corpus)
{
    uint32_t count[UNUSABLE__COUNT] = {0}, most = 0, n;
    const struct quarantined *q;
    ledger_quarantine(st->ledger, &q, &n);
    for (uint32_t i = 0; i < n; i++)
        if (q[i].corpus == corpus && ++count[q[i].reason] > count[most])
            most = q[i].reason;
    return unusable_names[most];
}

static void judge_corpora(struct stream *st)
{
    const struct recipe *r = st->recipe;
    for (uint32_t c = 0; c < r->n_corpora; c++) {
        const struct corpus_use *u = &st->use[c];
        uint64_t records = corpus_records(r->corpora[c]),
                 enough = records < JUDGE_RECORDS ? records : JUDGE_RECORDS;
        if (u->looked_at < enough || (double)u->unusable <= r->conf->max_unusable * (double)u->looked_at)
            continue;
        (void)err_set(
            &st->failure, ERR_UNUSABLE,
            "corpus '%s': %llu of %llu records cannot be used (mostly %s), more than "
            "max_unusable "
            "(%g) allows; see 'skipalignctl quarantine %s', check format and fields, or raise max_unusable",
            r->conf->corpora[c].corpus, (unsigned long long)u->unusable, (unsigned long long)u->looked_at,
            main_reason(st, c), r->conf->max_unusable, r->conf->name);
        return;
    }
}

/* After a restart: what the ledger remembers of each corpus, so that judgement goes on where it was. A record
 * of which several pieces cannot be used counts once, here as in stream_enter. */
static void recall_use(struct stream *st)
{
    const struct quarantined *q;
    uint32_t n;
    ledger_quarantine(st->ledger, &q, &n);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || q[i].record != q[i - 1].record || q[i].pass != q[i - 1].pass ||
            q[i].corpus != q[i - 1].corpus)
            st->use[q[i].corpus].unusable++;
    uint64_t turns[ORDER_CORPORA_MAX];
    order_turns(st->order, &st->cursor, st->planned_slot, turns);
    for (uint32_t c = 0; c < st->recipe->n_corpora; c++)
        st->use[c].looked_at = turns[c];
}

static void check_end(struct stream *st)
{
    const struct recipe *r = st->recipe;
    uint64_t n = ledger_windows(st->ledger), rows = ledger_first_row(st->ledger, n);
    bool epoch_done = ledger_first_slot(st->ledger, n) >= order_epoch_slots(st->order);
    st->ended = ledger_first_slot(st->ledger, n) >= order_slots(st->order);
    if (st->failure.text[0] != '\0')
        return;
    if (epoch_done && rows == 0)
        (void)err_set(&st->failure, ERR_UNUSABLE,
                      "not one record of an epoch can be used; see 'skipalignctl quarantine %s'",
                      r->conf->name);
    else if (st->ended && stream_steps(st) == 0)
        (void)err_set(&st->failure, ERR_UNUSABLE,
                      "its %llu rows are fewer than one global batch of %lld; lower global_batch, raise "
                      "epochs, or set last: pad",
                      (unsigned long long)rows, (long long)r->conf->global_batch);
}

/* Of a stream that begins at the beginning. */
static struct order *fresh_order(const struct recipe *r)
{
    struct order_corpus corpora[ORDER_CORPORA_MAX];
    uint64_t seed = (uint64_t)r->conf->seed;
    for (uint32_t c = 0; c < r->n_corpora; c++)
        corpora[c] = (struct order_corpus){.hash = r->corpus_hash[c],
                                           .records = corpus_records(r->corpora[c]),
                                           .slots = r->epoch_slots[c],
                                           .first_slots = r->epoch_slots[c],
                                           .pass_seed = seed};
    return order_new(seed, corpora, r->n_corpora, 0, (uint64_t)r->conf->epochs, NULL, 0);
}

int stream_new(struct recipe *r, const char *state_dir, struct stream **ret, struct err *reterr)
{
    struct stream *st = calloc(1, sizeof *st);
    if (st == NULL || (st->use = calloc(r->n_corpora, sizeof st->use[0])) == NULL ||
        (st->order = fresh_order(r)) == NULL) {
        stream_free(st);
        return err_sys(reterr, -ENOMEM, "stream '%s'", r->conf->name);
    }
    char folder[PATH_MAX];
    enum ledger_found found;
    int rc;
    if (snprintf(folder, sizeof folder, "%s/streams/%s", state_dir, r->conf->name) >= (int)sizeof folder)
        rc = err_sys(reterr, -ENAMETOOLONG, "state_dir %s", state_dir);
    else
        rc = ledger_open(folder, 1, r->fingerprint, &st->ledger, &found, reterr);
    if (rc != 0) {
        stream_free(st);
        return err_wrap(reterr, rc, "stream '%s'", r->conf->name);
    }
    st->ledger_replaced = found == LEDGER_OTHER;
    st->recipe = recipe_ref(r);
    st->planned = ledger_windows(st->ledger);
    st->planned_slot = ledger_first_slot(st->ledger, st->planned);
    recall_use(st);
    if (st->planned > 0) {
        judge_corpora(st);
        check_end(st);
    }
    *ret = st;
    return 0;
}

void stream_enter(struct stream *st, const struct window *w)
{
    if (w->rc != 0) {
        stream_fail(st, w->error.text);
        return;
    }
    if (ledger_append(st->ledger, w) != 0) {
        stream_fail(st, "no memory for the ledger");
        return;
    }
    for (uint32_t i = 0; i < w->n_slots; i++) {
        struct slot s;
        order_get(st->order, &st->cursor, w->first_slot + i, &s);
        st->use[s.corpus].looked_at++;
    }
    for (size_t i = 0; i < w->n_unusable; i++) {
        const struct window_unusable *u = &w->unusable[i];
        if (i == 0 || u->record != u[-1].record || u->pass != u[-1].pass || u->corpus != u[-1].corpus)
            st->use[u->corpus].unusable++;
    }
    judge_corpora(st);
    check_end(st);
}

enum stream_place stream_place(const struct stream *st, uint64_t step, uint64_t *ret_first,
                               uint64_t *ret_last)
{
    uint64_t batch = (uint64_t)st->recipe->conf->global_batch;
    uint64_t known = ledger_first_row(st->ledger, ledger_windows(st->ledger));
    if (st->ended && step >= stream_steps(st))
        return PLACE_PAST_END;
    if (step >= UINT64_MAX / batch - 1)
        return PLACE_BEYOND;
    uint64_t first = step * batch, last = first + batch - 1;
    if (st->ended && last >= known)
        last = known - 1; /* last: pad */
    if (last >= known)
        return PLACE_BEYOND;
    *ret_first = ledger_find(st->ledger, first);
    *ret_last = ledger_find(st->ledger, last);
    return PLACE_KNOWN;
}

const struct recipe *stream_recipe(const struct stream *st)
{
    return st->recipe;
}

uint64_t stream_slots(const struct stream *st)
{
    return order_slots(st->order);
}

uint64_t stream_epoch_slots(const struct stream *st)
{
    return order_epoch_slots(st->order);
}

uint64_t stream_known_steps(const struct stream *st)
{
    uint64_t rows = ledger_first_row(st->ledger, ledger_windows(st->ledger));
    uint64_t batch = (uint64_t)st->recipe->conf->global_batch;
    bool pads = st->ended && st->recipe->conf->last == LAST_PAD;
    return rows / batch + (pads && rows % batch != 0);
}

uint64_t stream_steps(const struct stream *st)
{
    return st->ended ? stream_known_steps(st) : STREAM_UNKNOWN;
}

uint64_t stream_dropped(const struct stream *st)
{
    if (!st->ended || st->recipe->conf->last == LAST_PAD)
        return 0;
    return ledger_first_row(st->ledger, ledger_windows(st->ledger)) %
           (uint64_t)st->recipe->conf->global_batch;
}

const char *stream_failure(const struct stream *st)
{
    return st->failure.text[0] != '\0' ? st->failure.text : NULL;
}

const char *stream_ledger_failure(const struct stream *st)
{
    return ledger_failure(st->ledger);
}

bool stream_ledger_replaced(const struct stream *st)
{
    return st->ledger_replaced;
}

void stream_get_counts(const struct stream *st, struct stream_counts *ret)
{
    *ret = *ledger_counts(st->ledger);
    ret->row_tokens = ret->rows * (uint64_t)st->recipe->conf->seq_len;
}

void stream_get_quarantine(const struct stream *st, const struct quarantined **ret, uint32_t *ret_n)
{
    ledger_quarantine(st->ledger, ret, ret_n);
}
