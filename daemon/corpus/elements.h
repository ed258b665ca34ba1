/* elements - where the elements of one JSON array start, block by block.
 *
 * A small state machine over strings, escapes and depth; no part of the array is held between two blocks.
 * What lies deeper than the array itself is passed over 64 bytes at a time where the processor has AVX2, as
 * it cannot hold where an element starts: that is nearly all of it.
 *
 * Source of the bit arithmetic on strings: simdjson (Langdale, Lemire: Parsing Gigabytes of JSON per Second,
 * arXiv 1902.08318, sections 3.1.1 and 3.1.2).
 */
#ifndef SKIPALIGN_CORPUS_ELEMENTS_H
#define SKIPALIGN_CORPUS_ELEMENTS_H

#include <stdbool.h>
#include <stdint.h>

/* Where a block begins, in the state machine; all zeros before the array. */
struct elements {
    uint64_t depth; /* of brackets that are open */
    bool in_string;
    bool escaped; /* the next byte is; only in a string */
    bool wanted;  /* an element may start; only at depth 1 */
    bool closed;  /* the array is, by the byte at: */
    uint64_t end;
};

/* elements_find - the elements that start in a block.
 * offset:     of the block, in the file.
 * ret_starts: relative to it, ascending; room for size of them. *ret_n: how many.
 * Returns size, or, less than that, where something is outside of the array: nothing after it was looked at.
 * Threads: pure, any thread. */
uint32_t elements_find(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                       uint32_t *ret_starts, uint32_t *ret_n);

/* elements_find_portable - the same, on any processor. */
uint32_t elements_find_portable(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                                uint32_t *ret_starts, uint32_t *ret_n);

#endif
