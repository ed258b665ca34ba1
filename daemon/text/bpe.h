/* bpe - byte pair encoding of a short run of text, as libsentencepiece does it: of all neighbours whose join
 * is a piece, join those whose piece has the highest score, the first of them where scores are equal, until
 * there are none; user-defined symbols are found first, the longest at each place, and join with nothing;
 * what is no piece in the end becomes byte pieces, or the unknown; unused pieces come apart again.
 *
 * Owner:   the caller of bpe_new.   Threads: any, at once; nothing changes after bpe_new.
 * Source:  sentencepiece 0.1.97, src/bpe_model.cc, Model::SampleEncode without sampling. Differs: pairs of
 * ids lead to pieces by a table made at load time, not by hashing their text; no priority queue.
 */
#ifndef SKIPALIGN_TEXT_BPE_H
#define SKIPALIGN_TEXT_BPE_H

#include "text/pieces.h"

#include <stddef.h>
#include <stdint.h>

/* The cost of a run grows with the square of its length; libsentencepiece is faster from somewhere here on.
 */
#define BPE_BYTES_MAX 256

#define BPE_PIECES_MAX 900000 /* of a model */

struct bpe;

/* bpe_new - of a model that fast.h takes.
 * bytes:   ids of the byte pieces, for characters that are no piece; NULL: each such character is unk.
 * Returns  0; 1: an unused piece of it comes about in two ways, and how the library takes it apart depends on
 *          what else is in a text; -ENOMEM. */
int bpe_new(const struct pieces *, const int32_t *bytes, int32_t unk, struct bpe **ret);
void bpe_free(struct bpe *); /* NULL is fine */

/* bpe_encode - ids of text[0..size), valid UTF-8 of at most BPE_BYTES_MAX bytes; room for one id a byte.
 * Returns how many; without byte pieces, unk may come after unk. */
size_t bpe_encode(const struct bpe *, const uint8_t *text, size_t size, int32_t *ids);

size_t bpe_memory(const struct bpe *); /* bytes */

#endif
