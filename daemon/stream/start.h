/* start - where a generation of a stream begins in its corpora: a cursor in each, how much of the epoch that
 * it falls into is left, and the documents that the generation before had planned but not sent.
 *
 * It is a pure function of the generations before, so its file (state_dir/streams/NAME/N.start) only saves
 * computing it again: one that is lost, torn, or of another fingerprint counts as missing.
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_START_H
#define SKIPALIGN_STREAM_START_H

#include "base/err.h"
#include "stream/order.h"
#include "stream/recipe.h"

#include <stdbool.h>
#include <stdint.h>

struct start {
    uint64_t epoch;
    struct start_corpus {
        char name[65];
        uint64_t records, fingerprint;
        uint32_t pass;
        uint64_t at, pass_seed, first_slots; /* as in struct order_corpus */
    } * corpora;                             /* heap */
    uint32_t n_corpora;
    struct slot *left; /* heap; each slot's corpus is an index into corpora */
    uint32_t n_left;
    uint64_t lost; /* documents that could not be carried over */
};

void start_fini(struct start *s); /* a zeroed one is fine */

/* start_hash - of all that is in it; the same on every machine. */
uint64_t start_hash(const struct start *s);

/* start_order - the order of a stream that begins so.   NULL: no memory.   Owner: the caller. */
struct order *start_order(const struct start *s, const struct recipe *r);

/* start_write - the file becomes this one or stays what it was. fingerprint: the generation's.
 * sync: onto the disk, too.
 * Errors:  -errno; ERR_LIMIT: larger than start_read takes. */
int start_write(const char *path, uint64_t fingerprint, const struct start *s, bool sync, struct err *reterr);

/* start_read
 * Result:  1: found; the caller has *ret to fini. 0: missing, not whole, or of another fingerprint.
 * Errors:  -errno, where the system fails. */
int start_read(const char *path, uint64_t fingerprint, struct start *ret, struct err *reterr);

#endif
