/* rng - counter-based random numbers: a draw never depends on order, worker or restart.
 *
 * Philox4x32-10. The key is the stream's seed; the counter is (pass, corpus, record, block) and each block
 * gives four 32-bit words, x0 first. Block numbers of part p (the p-th document of a record that was split)
 * start at p << 20. After 2^20 blocks it goes on at the part's first block, with 0x9E3779B97F4A7C15 added to
 * the key.
 *
 * Threads: pure; a struct rng belongs to one thread.
 * Source:  Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Bounded draws: Lemire,
 * "Fast random integer generation in an interval", TOMACS 2019 (multiply and reject, unbiased).
 */
#ifndef SKIPALIGN_BASE_RNG_H
#define SKIPALIGN_BASE_RNG_H

#include <stdint.h>

struct rng_key {
    uint64_t seed;                 /* of the stream */
    uint32_t pass, corpus, record; /* corpus: low 32 bits of rng_name_hash(its name) */
    uint32_t part;                 /* < 4096 */
};

struct rng {
    uint32_t key[2], counter[4], word[4];
    uint32_t n_left; /* words of word[] not yet given */
};

/* rng_philox - the bare function: ret[4] from counter[4] and key[2]. */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4]);

void rng_init(struct rng *r, struct rng_key key);
/* rng_word - the next 32-bit word.   rng_below - unbiased in 0..n-1, n >= 1; n == 1 draws nothing. */
uint32_t rng_word(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);

/* rng_name_hash - XXH3-64 of a name: what stands for a corpus in counters, so that adding one shifts nothing.
 */
uint64_t rng_name_hash(const char *name);

#endif
