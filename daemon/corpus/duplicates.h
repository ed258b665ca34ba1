/* duplicates - which records of a corpus have the same bytes as an earlier one: a bit a record, in
 * state_dir/corpora/NAME.FP16.duplicates beside the index with this fingerprint, mapped read-only.
 *
 * The bytes of a record are those that it is read from (record.h): without white space and the comma around a
 * JSON value, without the end of a line of text. The first in the order of records stays; the others are its
 * duplicates. Records are compared by 128 bits of hash (XXH3), which tell all apart that were not made to be
 * mistaken. So the bits are a function of the corpus's bytes; a file that is lost or damaged is made again.
 *
 * Cost: all files are read once, from the first byte to the last; memory as in sieve.h and a bit a record;
 * for as long as that takes, 24 bytes a record in a temporary file in state_dir.
 *
 * Owner:   the caller of duplicates_open.   Threads: immutable.
 */
#ifndef SKIPALIGN_CORPUS_DUPLICATES_H
#define SKIPALIGN_CORPUS_DUPLICATES_H

#include "corpus/index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct duplicates {
    const uint8_t *bits; /* NULL: none were looked for */
    uint64_t n;          /* how many records are one */
    void *map;
    size_t map_size;
};

/* duplicates_open - those of the records that x says, in the files of c, which are open.
 * anew:     what is in state_dir is not believed: files were scanned again, so their bytes may be others.
 * progress: see corpus_open; bytes read, of all.
 * Errors:   ERR_CHANGED: a file is not what was indexed; ERR_CANCELLED; a file cannot be read, or state_dir
 *           not written; memory. */
int duplicates_open(const char *state_dir, const char *name, struct catalog *c, const struct index *x,
                    bool anew, int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                    struct duplicates *ret, struct err *reterr);
void duplicates_close(struct duplicates *); /* a zeroed one is fine */

/* duplicates_has - is record i one?   i < the index's n_records. */
static inline bool duplicates_has(const struct duplicates *d, uint64_t i)
{
    return d->bits != NULL && (d->bits[i / 8] >> i % 8 & 1) != 0;
}

#endif
