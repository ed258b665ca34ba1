/* filter - a set of hashes that may take others for its own: what it says no to is not in it.
 *
 * Owner:   the caller of filter_init.   Threads: any that look, at once; one that adds.
 */
#ifndef SKIPALIGN_TEXT_FILTER_H
#define SKIPALIGN_TEXT_FILTER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct filter {
    uint64_t *bits;
    size_t words;
    unsigned shift; /* of a hash, to one of words times 64 bits */
};

/* filter_init - for n hashes, at least bits_each bits for each: of others one in bits_each, at most, is taken
 * for one of them. Errors: -ENOMEM.   filter_fini - of a zeroed one, too. */
static inline int filter_init(struct filter *f, size_t n, unsigned bits_each)
{
    f->shift = 58;
    for (f->words = 1; f->words * 64 < n * bits_each; f->words *= 2)
        f->shift--;
    f->bits = calloc(f->words, sizeof *f->bits);
    return f->bits == NULL ? -ENOMEM : 0;
}

static inline void filter_fini(struct filter *f)
{
    free(f->bits);
}

static inline void filter_add(struct filter *f, uint64_t hash)
{
    const uint64_t bit = hash >> f->shift;
    f->bits[bit / 64] |= 1ull << bit % 64;
}

static inline bool filter_may_have(const struct filter *f, uint64_t hash)
{
    const uint64_t bit = hash >> f->shift;
    return (f->bits[bit / 64] >> bit % 64 & 1) != 0;
}

static inline size_t filter_memory(const struct filter *f)
{
    return f->words * sizeof *f->bits;
}

#endif
