/* sieve - which of many hashes came before: out of core, in bounded memory however many they are.
 *
 * Hashes are dealt by their first bits to partitions of about half a million, 24 bytes each in one temporary
 * file, and each partition goes through a table of its own afterwards. In memory are a buffer for each
 * partition (16 MiB in all, 32 MiB for more than two thousand million hashes) and then one table (16 MiB).
 *
 * Owner:   the caller of sieve_new.   Threads: one.
 */
#ifndef SKIPALIGN_CORPUS_SIEVE_H
#define SKIPALIGN_CORPUS_SIEVE_H

#include "base/err.h"

#include <stdint.h>

struct sieve;

/* sieve_new - for at most n hashes.
 * path:    of the temporary file, which has no name any more once this returns.
 * Errors:  it cannot be made; -ENOMEM. */
int sieve_new(const char *path, uint64_t n, struct sieve **ret, struct err *reterr);
void sieve_free(struct sieve *); /* NULL is fine */

/* sieve_add - the next hash, of 128 bits; they are numbered from 0.   Errors: the file cannot be written. */
int sieve_add(struct sieve *, uint64_t low, uint64_t high, struct err *reterr);

/* sieve_run - no more will come: tells repeated() of each number whose hash an earlier one has, in any order.
 * Once.   Errors: the file cannot be written or read; ERR_LIMIT: too many hashes begin alike, which those of
 * records do not; -ENOMEM. */
int sieve_run(struct sieve *, void (*repeated)(void *arg, uint64_t number), void *arg, struct err *reterr);

#endif
