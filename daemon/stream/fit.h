/* fit - what becomes of a rendered sample that is longer than a row, and of the pieces of one; what of it is
 * trained.
 *
 * fit_truncate - cut *d to at most seq_len tokens: after the last response that ends inside, or, where none
 * does, in the middle of one. What is cut off is context and labels that this sample no longer trains. It
 * keeps the laws of struct document (blocks cover all tokens).   Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_FIT_H
#define SKIPALIGN_STREAM_FIT_H

#include "stream/order.h"
#include "text/template.h"

#include <stdint.h>

void fit_truncate(struct document *d, uint32_t seq_len);

/* fit_last - of all responses only the last one is supervised. */
void fit_last(struct document *d);

/* fit_pairs - how many (instruction, response) pairs from block `first` on have at most seq_len tokens; at
 * least 1.   fit_last_pairs - the same of the last pairs of all. */
uint32_t fit_pairs(const uint32_t *block_tokens, uint32_t n_blocks, uint32_t first, uint32_t seq_len);
uint32_t fit_last_pairs(const uint32_t *block_tokens, uint32_t n_blocks, uint32_t seq_len);

/* fit_piece - the same piece of a record that has n parts now: of == n. Pieces that met still meet, so that
 * no part is in two and none is lost; one may become empty (from == to). */
struct piece fit_piece(struct piece p, uint32_t n);

/* fit_tokens - tokens from..to of a text, as a document that borrows them; it has one block, *ret_block. */
struct document fit_tokens(const struct document *text, uint32_t from, uint32_t to,
                           struct text_block *ret_block);

#endif
