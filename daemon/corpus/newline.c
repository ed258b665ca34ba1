#include "corpus/newline.h"

#include <stddef.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

uint32_t newline_find_portable(const char *data, uint32_t size, uint32_t *ret)
{
    uint32_t n = 0;
    const char *end = data + size, *p = data;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL)
        ret[n++] = (uint32_t)(p++ - data);
    return n;
}

#ifdef __x86_64__

__attribute__((target("avx2"))) static uint32_t find_avx2(const char *data, uint32_t size, uint32_t *ret)
{
    const __m256i newline = _mm256_set1_epi8('\n');
    uint32_t n = 0, at = 0;
    for (; size - at >= 64; at += 64) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(data + at));
        __m256i high = _mm256_loadu_si256((const __m256i *)(data + at + 32));
        uint64_t ends = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, newline)) |
                        (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, newline)) << 32;
        for (; ends != 0; ends &= ends - 1)
            ret[n++] = at + (uint32_t)__builtin_ctzll(ends);
    }
    for (; at < size; at++)
        if (data[at] == '\n')
            ret[n++] = at;
    return n;
}

uint32_t newline_find(const char *data, uint32_t size, uint32_t *ret)
{
    return __builtin_cpu_supports("avx2") ? find_avx2(data, size, ret)
                                          : newline_find_portable(data, size, ret);
}

#else

uint32_t newline_find(const char *data, uint32_t size, uint32_t *ret)
{
    return newline_find_portable(data, size, ret);
}

#endif
