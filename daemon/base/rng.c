#include "base/rng.h"

#include <string.h>
#include <xxhash.h>

#define BLOCKS (1u << 20) /* of a part */

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    ret[0] = c0;
    ret[1] = c1;
    ret[2] = c2;
    ret[3] = c3;
}

void rng_init(struct rng *r, struct rng_key key)
{
    *r = (struct rng){.key = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)},
                      .counter = {key.pass, key.corpus, key.record, key.part << 20}};
}

/* Blocks of a part are numbered in 20 bits of the counter; beyond them, which 4 million words take, each
 * 2^20 have a key of their own, so that no part runs into the numbers of the next. */
static void next_block(struct rng *r)
{
    rng_philox(r->counter, r->key, r->word);
    r->n_left = 4;
    r->counter[3]++;
    if ((r->counter[3] & (BLOCKS - 1)) != 0)
        return;
    r->counter[3] -= BLOCKS;
    uint64_t key = (uint64_t)r->key[1] << 32 | r->key[0];
    key += 0x9E3779B97F4A7C15u;
    r->key[0] = (uint32_t)key;
    r->key[1] = (uint32_t)(key >> 32);
}

uint32_t rng_word(struct rng *r)
{
    if (r->n_left == 0)
        next_block(r);
    return r->word[4 - r->n_left--];
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    if (n <= 1)
        return 0;
    uint64_t m = (uint64_t)rng_word(r) * n;
    if ((uint32_t)m < n) {
        uint32_t reject = -n % n;
        while ((uint32_t)m < reject)
            m = (uint64_t)rng_word(r) * n;
    }
    return (uint32_t)(m >> 32);
}

uint64_t rng_name_hash(const char *name)
{
    return XXH3_64bits(name, strlen(name));
}
