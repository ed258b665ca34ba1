#include "stream/carry.h"

#include "base/array.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_THERE UINT32_MAX

/* ---- documents left over ---- */

struct left {
    struct slot *slots;
    size_t n, cap;
};

static int add_slot(struct left *l, const struct slot *s)
{
    if (array_grow(&l->slots, &l->cap, l->n + 1) != 0)
        return -ENOMEM;
    l->slots[l->n++] = *s;
    return 0;
}

/* Pieces of one record that follow each other are one again: the next generation may have room for it. */
static bool join(struct slot *s, const struct window_doc *d)
{
    if (s->corpus != d->corpus || s->pass != d->pass || s->record != d->record || s->piece.to == 0 ||
        s->piece.to != d->piece.from)
        return false;
    s->piece.to = d->piece.to;
    if (s->piece.from == 0 && s->piece.to == s->piece.of)
        s->piece = (struct piece){.part = s->piece.part};
    return true;
}

/* The documents of a window's rows after row `last`, in the order of their slots. */
static int add_rows_after(struct left *l, const struct window *w, uint32_t last)
{
    bool *unsent = calloc(w->n_docs, sizeof unsent[0]);
    int rc = unsent == NULL ? -ENOMEM : 0;
    for (size_t r = last + 1; rc == 0 && r < w->n_rows; r++)
        for (uint32_t i = 0; i < w->rows[r].n_docs; i++)
            unsent[w->row_docs[w->rows[r].first_doc + i]] = true;
    for (size_t i = 0; rc == 0 && i < w->n_docs; i++) {
        const struct window_doc *d = &w->docs[i];
        if (!unsent[i] || (i > 0 && unsent[i - 1] && l->n > 0 && join(&l->slots[l->n - 1], d)))
            continue;
        rc = add_slot(
            l, &(struct slot){.corpus = d->corpus, .pass = d->pass, .record = d->record, .piece = d->piece});
    }
    free(unsent);
    return rc;
}

/* ---- corpora ---- */

/* In proportion, to the nearest. */
static uint64_t part_of(uint64_t all, uint64_t part, uint64_t whole)
{
    return (uint64_t)(((unsigned __int128)all * part * 2 + whole) / ((unsigned __int128)whole * 2));
}

static uint32_t find_corpus(const struct start *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_corpora; i++)
        if (strcmp(s->corpora[i].name, name) == 0)
            return i;
    return NOT_THERE;
}

static void set_fresh(struct start_corpus *c, const struct recipe *to, uint32_t i)
{
    (void)snprintf(c->name, sizeof c->name, "%s", to->conf->corpora[i].corpus);
    c->records = to->records[i];
    c->fingerprint = to->versions[i];
    c->pass_seed = (uint64_t)to->conf->seed;
    c->first_slots = to->epoch_slots[i];
}

int carry_begin(const struct recipe *to, struct start *ret)
{
    *ret =
        (struct start){.corpora = calloc(to->n_corpora, sizeof ret->corpora[0]), .n_corpora = to->n_corpora};
    if (ret->corpora == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < to->n_corpora; i++)
        set_fresh(&ret->corpora[i], to, i);
    return 0;
}

/* The corpora of the generation before as they stand now: those it reads, then those it remembers. */
static int stand(const struct carry_from *from, uint64_t slot, struct start *ret)
{
    struct order_place *place = calloc(from->recipe->n_corpora, sizeof place[0]);
    struct order_cursor *cursor = calloc(1, sizeof *cursor);
    *ret = (struct start){.corpora = calloc(from->start->n_corpora, sizeof ret->corpora[0]),
                          .n_corpora = from->start->n_corpora};
    int rc = place == NULL || cursor == NULL || ret->corpora == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        order_where(from->order, cursor, slot, &ret->epoch, place);
        for (uint32_t i = 0; i < ret->n_corpora; i++) {
            struct start_corpus *c = &ret->corpora[i];
            *c = from->start->corpora[i];
            c->first_slots = 0;
            if (i >= from->recipe->n_corpora)
                continue;
            c->pass = place[i].pass;
            c->at = place[i].at;
            c->pass_seed = place[i].pass_seed;
            c->first_slots = place[i].left;
        }
    } else {
        start_fini(ret);
    }
    free(cursor);
    free(place);
    return rc;
}

/* Corpus i of `to`, which stands at `was` (NULL: nobody has read it). */
static void go_on(struct start_corpus *c, const struct start_corpus *was, const struct recipe *to, uint32_t i)
{
    set_fresh(c, to, i);
    if (was == NULL)
        return;
    c->pass = was->pass;
    if (was->fingerprint != c->fingerprint) {
        c->pass += was->at > 0;
    } else if (was->at > 0) { /* a pass that has not begun takes the seed of today */
        c->at = was->at;
        c->pass_seed = was->pass_seed;
    }
}

static int take_corpora(const struct carry_from *from, const struct start *now, const struct recipe *to,
                        struct start *ret)
{
    const uint32_t n_read = from->recipe->n_corpora;
    uint64_t left = 0, slots = 0;
    ret->corpora = calloc((size_t)to->n_corpora + now->n_corpora, sizeof ret->corpora[0]);
    if (ret->corpora == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_read; i++) {
        left += now->corpora[i].first_slots;
        slots += from->recipe->epoch_slots[i];
    }
    for (uint32_t i = 0; i < to->n_corpora; i++) {
        uint32_t was = find_corpus(now, to->conf->corpora[i].corpus);
        struct start_corpus *c = &ret->corpora[i];
        go_on(c, was != NOT_THERE ? &now->corpora[was] : NULL, to, i);
        c->first_slots = was < n_read ? part_of(to->epoch_slots[i], now->corpora[was].first_slots,
                                                from->recipe->epoch_slots[was])
                                      : part_of(to->epoch_slots[i], left, slots);
    }
    ret->n_corpora = to->n_corpora;
    for (uint32_t i = 0; i < now->n_corpora; i++) {
        if (find_corpus(ret, now->corpora[i].name) != NOT_THERE)
            continue;
        ret->corpora[ret->n_corpora] = now->corpora[i];
        ret->corpora[ret->n_corpora++].first_slots = 0;
    }
    return 0;
}

/* Those whose record is still the same one. */
static int take_left(const struct left *left, const struct start *now, const struct recipe *to,
                     struct start *ret)
{
    ret->left = calloc(left->n + 1, sizeof ret->left[0]);
    if (ret->left == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < left->n; i++) {
        const struct start_corpus *c = &now->corpora[left->slots[i].corpus];
        uint32_t is = find_corpus(ret, c->name);
        if (is >= to->n_corpora || ret->corpora[is].fingerprint != c->fingerprint) {
            ret->lost++;
            continue;
        }
        ret->left[ret->n_left] = left->slots[i];
        ret->left[ret->n_left++].corpus = is;
    }
    return 0;
}

static int carry(const struct carry_from *from, uint64_t slot, struct left *left, const struct recipe *to,
                 struct start *ret)
{
    struct start now;
    int rc = 0;
    for (uint64_t i = slot; rc == 0 && i < from->start->n_left; i++)
        rc = add_slot(left, &from->start->left[i]);
    if (rc == 0)
        rc = stand(from, slot, &now);
    if (rc != 0)
        return rc;
    *ret = (struct start){.epoch = now.epoch};
    rc = take_corpora(from, &now, to, ret);
    if (rc == 0)
        rc = take_left(left, &now, to, ret);
    if (rc != 0)
        start_fini(ret);
    start_fini(&now);
    return rc;
}

int carry_past(const struct carry_from *from, uint64_t slots, const struct recipe *to, struct start *ret)
{
    struct left left = {0};
    int rc = carry(from, slots, &left, to, ret);
    free(left.slots);
    return rc;
}

int carry_on(const struct carry_from *from, const struct step *last, const struct recipe *to,
             struct start *ret)
{
    struct left left = {0};
    uint32_t i = (uint32_t)from->recipe->conf->global_batch;
    while (last->rows[i - 1].window == NULL) /* padding */
        i--;
    const struct window *w = last->rows[i - 1].window;
    int rc = add_rows_after(&left, w, last->rows[i - 1].row);
    if (rc == 0)
        rc = carry(from, w->first_slot + w->n_slots, &left, to, ret);
    free(left.slots);
    return rc;
}
