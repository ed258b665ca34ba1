/* cache - ids of short parts of text that were met before, and the tokenising of whole texts with it.
 *
 * Memory:  CACHE_BYTES or so each, all of it from cache_new on.
 * Owner:   the caller of cache_new.   Threads: one at a time.
 */
#ifndef SKIPALIGN_TEXT_CACHE_H
#define SKIPALIGN_TEXT_CACHE_H

#include "text/bpe.h"
#include "text/cut.h"
#include "text/normal.h"

#include <stdbool.h>

struct cache;

struct cache *cache_new(void);   /* NULL: no memory */
void cache_free(struct cache *); /* NULL is fine */

/* cache_encode - ids of text.
 * ids:     as tokenizer_encode does; *n changes only if all went well.
 * Returns  0; 1: this text is not for us (no valid UTF-8, U+2581 in it, a part over BPE_BYTES_MAX, what
 *          normal.h does not know); -ENOMEM. */
int cache_encode(struct cache *, const struct normal *, const struct cut *, const struct bpe *,
                 struct slice text, int32_t **ids, size_t *cap, size_t *n);

size_t cache_memory(void); /* of one, bytes */

#endif
