/* sort - numbers in order without a comparison or an allocation.   Threads: pure; any. */
#ifndef SKIPALIGN_BASE_SORT_H
#define SKIPALIGN_BASE_SORT_H

#include <stddef.h>
#include <stdint.h>

/* sort_u32 - a[n], smallest first.   scratch: [n], any content before and after. */
void sort_u32(uint32_t *a, size_t n, uint32_t *scratch);

#endif
