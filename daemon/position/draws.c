#include "base/array.h"
#include "base/sort.h"
#include "position/strategy.h"

#include <stdbool.h>
#include <string.h>

/* A set of numbers below m as one bit each, where that is at most four words of bits for each of them and 1
 * MiB in all: below that it is faster than sorting, many times for some hundreds of numbers. */
#define DENSE 256
#define BITS_MAX (1u << 23)

static int make_room(struct pos_scratch *s, uint32_t k)
{
    if (array_grow(&s->draws, &s->draws_cap, k) != 0 || array_grow(&s->spare, &s->spare_cap, k) != 0)
        return -ENOMEM;
    return 0;
}

int strategy_sorted(struct pos_job *j, uint32_t m, uint32_t k)
{
    struct pos_scratch *s = j->scratch;
    if (make_room(s, k) != 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < k; i++)
        s->draws[i] = rng_below(&j->rng, m);
    sort_u32(s->draws, k, s->spare);
    return 0;
}

/* The first k distinct of draws below m, as bits; left_out: all others instead, m - k of them, into draws. */
static int draw_bits(struct pos_job *j, uint32_t m, uint32_t k, bool left_out)
{
    struct pos_scratch *s = j->scratch;
    size_t n_words = (size_t)m / 64 + 1;
    if (array_grow(&s->bits, &s->bits_cap, n_words) != 0)
        return -ENOMEM;
    memset(s->bits, 0, n_words * sizeof s->bits[0]);
    for (uint32_t have = 0; have < k;) {
        uint32_t v = rng_below(&j->rng, m);
        uint64_t *word = &s->bits[v / 64], is = *word >> v % 64 & 1;
        *word |= UINT64_C(1) << v % 64;
        have += is == 0;
    }
    size_t n = 0;
    for (size_t w = 0; w < n_words; w++) {
        uint64_t word = left_out ? ~s->bits[w] : s->bits[w];
        if (left_out && w == n_words - 1)
            word &= (UINT64_C(1) << m % 64) - 1;
        for (; word != 0; word &= word - 1)
            s->draws[n++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(word);
    }
    return 0;
}

/* The first k distinct of draws below m, where few are drawn twice. */
static void draw_sparse(struct pos_job *j, uint32_t m, uint32_t k)
{
    struct pos_scratch *s = j->scratch;
    for (uint32_t have = 0; have < k;) {
        for (uint32_t i = have; i < k; i++)
            s->draws[i] = rng_below(&j->rng, m);
        sort_u32(s->draws, k, s->spare);
        have = 1;
        for (uint32_t i = 1; i < k; i++)
            if (s->draws[i] != s->draws[have - 1])
                s->draws[have++] = s->draws[i];
    }
}

/* Values are drawn until so many are distinct, of which the set is what counts: so bits and sorting give the
 * same. Of more than half, those are drawn that are left out: no more than 1.4 draws for each on average. */
int strategy_subset(struct pos_job *j, uint32_t m, uint32_t k)
{
    if (make_room(j->scratch, k) != 0)
        return -ENOMEM;
    if (k > m - k)
        return draw_bits(j, m, m - k, true);
    if (m / DENSE <= k && m <= BITS_MAX)
        return draw_bits(j, m, k, false);
    draw_sparse(j, m, k);
    return 0;
}
