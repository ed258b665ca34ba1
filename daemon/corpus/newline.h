/* newline - where the lines of a block end.
 *
 * newline_find - the offsets of all '\n' in data, ascending; ret has room for size of them. Returns how many.
 * Threads: pure, any thread. With AVX2, where the processor has it: a memchr a line costs more than the lines
 * themselves when they are short (54 bytes: 7 ns each against 1.5).
 */
#ifndef SKIPALIGN_CORPUS_NEWLINE_H
#define SKIPALIGN_CORPUS_NEWLINE_H

#include <stdint.h>

uint32_t newline_find(const char *data, uint32_t size, uint32_t *ret);

/* newline_find_portable - the same, on any processor. */
uint32_t newline_find_portable(const char *data, uint32_t size, uint32_t *ret);

#endif
