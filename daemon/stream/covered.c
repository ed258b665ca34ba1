#include "stream/covered.h"

#include "base/array.h"
#include "base/pool.h"

#include <string.h>
#include <time.h>

/* Is it the first time? From now on it is not. */
static bool mark(struct covered *c, uint64_t window)
{
    const size_t word = window / 64, had = c->seen_cap;
    const uint64_t bit = UINT64_C(1) << window % 64;
    if (array_grow(&c->seen, &c->seen_cap, word + 1) != 0)
        return false;
    memset(c->seen + had, 0, (c->seen_cap - had) * sizeof c->seen[0]);
    const bool first = (c->seen[word] & bit) == 0;
    c->seen[word] |= bit;
    return first;
}

static void add(struct stream_distances *to, const struct coverage *from)
{
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++)
        to->pairs[b] += (double)from->pairs[b];
    to->documents += from->documents;
    to->sampled += from->sampled;
    to->largest = from->largest > to->largest ? from->largest : to->largest;
}

void covered_add(struct covered *c, struct window *w)
{
    struct window_distances *d = w->distances;
    w->distances = NULL;
    if (d != NULL && c->sum == NULL && (c->sum = calloc(1, sizeof *c->sum)) != NULL)
        c->sum->since_s = (int64_t)time(NULL);
    if (d != NULL && c->sum != NULL && mark(c, w->number)) {
        c->sum->windows++;
        add(&c->sum->ordinary, &d->ordinary);
        for (int s = 0; s < POS__COUNT; s++)
            add(&c->sum->here[s], &d->here[s]);
    }
    pool_give(d);
}

void covered_fini(struct covered *c)
{
    free(c->sum);
    free(c->seen);
}
