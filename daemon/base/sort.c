#include "base/sort.h"

#include <string.h>

#define FEW 48 /* below, insertion is faster than counting */

static void insert_all(uint32_t *a, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t x = a[i];
        size_t j = i;
        for (; j > 0 && a[j - 1] > x; j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

/* Least significant byte first; bytes that all have alike are left out. */
static void count_all(uint32_t *a, size_t n, uint32_t *scratch)
{
    size_t count[4][256] = {{0}};
    uint32_t *from = a, *to = scratch;
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < 4; b++)
            count[b][a[i] >> 8 * b & 255]++;
    for (unsigned b = 0; b < 4; b++) {
        if (count[b][a[0] >> 8 * b & 255] == n)
            continue;
        for (size_t v = 0, at = 0; v < 256; v++) {
            size_t here = count[b][v];
            count[b][v] = at;
            at += here;
        }
        for (size_t i = 0; i < n; i++)
            to[count[b][from[i] >> 8 * b & 255]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != a)
        memcpy(a, from, n * sizeof a[0]);
}

void sort_u32(uint32_t *a, size_t n, uint32_t *scratch)
{
    if (n < FEW)
        insert_all(a, n);
    else
        count_all(a, n, scratch);
}
