/* fit - what becomes of a rendered sample that is longer than a row.
 *
 * fit_truncate - cut *d to at most seq_len tokens: after the last response that ends inside, or, where none
 * does, in the middle of one. What is cut off is context and labels that this sample no longer trains. It
 * keeps the laws of struct document (blocks cover all tokens).   Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_FIT_H
#define SKIPALIGN_STREAM_FIT_H

#include "text/template.h"

#include <stdint.h>

void fit_truncate(struct document *d, uint32_t seq_len);

/* fit_pairs - how many (instruction, response) pairs from block `first` on have at most seq_len tokens; at
 * least 1. */
uint32_t fit_pairs(const uint32_t *block_tokens, uint32_t n_blocks, uint32_t first, uint32_t seq_len);

#endif
