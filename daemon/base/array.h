/* array - growing a heap array.
 *
 * array_grow - make room for `need` elements of `size` bytes; *p and *cap change only on success. Capacity
 * doubles. Errors:  -ENOMEM, also where need * size would overflow.   Owner: the caller frees *p.
 */
#ifndef SKIPALIGN_BASE_ARRAY_H
#define SKIPALIGN_BASE_ARRAY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static inline int array_grow_bytes(void **p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return 0;
    size_t n = *cap < 8 ? 8 : *cap;
    while (n < need) {
        if (n > SIZE_MAX / 2)
            return -ENOMEM;
        n *= 2;
    }
    if (n > SIZE_MAX / size)
        return -ENOMEM;
    void *q = realloc(*p, n * size);
    if (q == NULL)
        return -ENOMEM;
    *p = q;
    *cap = n;
    return 0;
}

#define array_grow(p, cap, need) array_grow_bytes((void **)(p), (cap), (need), sizeof **(p))

#endif
