/* fast - libsentencepiece's ids without libsentencepiece, for models that are known to allow it: the text is
 * normalised (normal.h) and cut where no piece can lie (cut.h), parts met before are looked up (cache.h),
 * others are encoded (bpe.h).
 *
 * Each thread that tokenises holds a cache for the time of a text; it comes back to the one it had last. So
 * there are as many as threads were at it at once, at most FAST_THREADS.
 *
 * Owner:   the caller of fast_new.   Threads: any, at once; no locks.
 */
#ifndef SKIPALIGN_TEXT_FAST_H
#define SKIPALIGN_TEXT_FAST_H

#include "text/spm_file.h"
#include "text/tokenizer_sp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAST_THREADS 256 /* as many as there may be workers */

struct fast;

/* fast_new - *ret is NULL if this model is the library's job, with *ret_why in words: a rule of the model
 * that cut.h and bpe.h do not know.
 * file:    stays where it is until fast_check.
 * Errors:  -ENOMEM. */
int fast_new(const struct spm_file *file, struct fast **ret, const char **ret_why, struct err *reterr);
/* fast_check - against the library's reading of the same model, once, before any other call: *ret_why is NULL
 * if they agree on its pieces, and on the ids of some text; else it is the library's job, and in words why.
 * Errors: -ENOMEM; what the library says. */
int fast_check(struct fast *, const struct sp *sp, const char **ret_why, struct err *reterr);
void fast_free(struct fast *); /* NULL is fine; no thread is at it */

/* fast_verify - one text in so many is to be compared with the library (0: none); before the first one. */
void fast_verify(struct fast *, uint32_t one_in);

/* fast_encode - ids as tokenizer_encode gives them.
 * due:     set for a text that is to be compared with the library.
 * Returns  0; 1: this text is the library's job, *n is as it was;  -ENOMEM. */
int fast_encode(struct fast *, struct slice text, int32_t **ids, size_t *cap, size_t *n, bool *ret_due);

/* fast_compared - a text that was due: were the ids the same? If not, it is doubted from now on.
 * fast_doubt - the same, found elsewhere.   fast_doubted - is it? Then nobody should ask it for ids to use.
 */
void fast_compared(struct fast *, bool same);
void fast_doubt(struct fast *);
bool fast_doubted(const struct fast *);

struct fast_counts {
    uint64_t texts;
    uint64_t refused;  /* of them: the library's job */
    uint64_t compared; /* with the library's ids, */
    uint64_t differed; /* and not the same */
    size_t memory;     /* of tables and caches, bytes */
};
void fast_count(const struct fast *, struct fast_counts *ret);

#endif
