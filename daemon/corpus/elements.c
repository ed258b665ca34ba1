#include "corpus/elements.h"

#include <stddef.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

struct block {
    const char *data;
    uint64_t offset;
    uint32_t *starts, n;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* A byte outside of strings that is not white space; false: one outside of the array. */
static bool take_byte(struct elements *a, struct block *b, uint32_t at)
{
    const char c = b->data[at];
    if (a->depth == 0 && (a->closed || c != '['))
        return false;
    if (a->depth == 1 && a->wanted && c != ',' && c != ']') {
        a->wanted = false;
        b->starts[b->n++] = at;
    }
    switch (c) {
    case '"':
        a->in_string = true;
        break;
    case '[':
    case '{':
        a->wanted = a->depth++ == 0;
        break;
    case ']':
    case '}':
        a->closed = --a->depth == 0;
        a->end = b->offset + at;
        break;
    case ',':
        a->wanted = a->depth == 1;
        break;
    default:
        break;
    }
    return true;
}

/* The end of the string that data[at] is inside of; size if it is not in the block. */
static uint32_t string_end(struct elements *a, const char *data, uint32_t at, uint32_t size)
{
    if (a->escaped && at < size) {
        at++;
        a->escaped = false;
    }
    for (const char *from = data + at, *end = data + size;;) {
        const char *q = memchr(data + at, '"', size - at), *stop = q != NULL ? q : end, *back = stop;
        while (back > from && back[-1] == '\\')
            back--;
        bool odd = (stop - back) % 2 != 0;
        if (q == NULL)
            a->escaped = odd;
        if (q == NULL || !odd)
            return (uint32_t)(stop - data);
        at = (uint32_t)(q - data) + 1;
    }
}

/* Up to size; returns as elements_find does. */
static uint32_t take_bytes(struct elements *a, struct block *b, uint32_t at, uint32_t size)
{
    for (; at < size; at++) {
        if (a->in_string) {
            at = string_end(a, b->data, at, size);
            a->in_string = at == size;
        } else if (!is_space(b->data[at]) && !take_byte(a, b, at)) {
            return at;
        }
    }
    return size;
}

uint32_t elements_find_portable(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                                uint32_t *ret_starts, uint32_t *ret_n)
{
    struct block b = {.data = data, .offset = offset, .starts = ret_starts};
    uint32_t at = take_bytes(a, &b, 0, size);
    *ret_n = b.n;
    return at;
}

#ifdef __x86_64__

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define WORD 64u

struct word {
    __m256i low, high;
};

/* A bit a byte. */
AVX2 static uint64_t equal(struct word w, char c)
{
    const __m256i wanted = _mm256_set1_epi8(c);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(w.low, wanted)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(w.high, wanted)) << 32;
}

AVX2 static uint64_t spaces(struct word w)
{
    return equal(w, ' ') | equal(w, '\n') | equal(w, '\r') | equal(w, '\t');
}

/* '{' and '[', '}' and ']' differ in this bit alone. */
AVX2 static struct word braces(struct word w)
{
    const __m256i bit = _mm256_set1_epi8('{' ^ '[');
    return (struct word){_mm256_or_si256(w.low, bit), _mm256_or_si256(w.high, bit)};
}

/* Which bytes an odd run of backslashes stands before; *escaped: the first one, and then the one after the
 * last.
 */
static uint64_t find_escaped(uint64_t backslash, bool *escaped)
{
    const uint64_t even = 0x5555555555555555u, first = *escaped;
    if (backslash == 0) {
        *escaped = false;
        return first;
    }
    uint64_t runs = backslash & ~first, follows = runs << 1 | first, on_even;
    /* Adding a run's start carries through it, to the byte after it. */
    *escaped = __builtin_add_overflow(runs & ~even & ~follows, runs, &on_even);
    return (even ^ on_even << 1) & follows;
}

/* From each set bit to the next one: between quotes, the first of them included. */
static uint64_t between(uint64_t quotes)
{
    for (unsigned n = 1; n < WORD; n *= 2)
        quotes ^= quotes << n;
    return quotes;
}

/* What is outside of strings, and the quotes that begin them. */
AVX2 static bool take_outside(struct elements *a, struct block *b, uint32_t at, uint64_t outside)
{
    const struct elements before = *a;
    const uint32_t n = b->n;
    for (; outside != 0; outside &= outside - 1) {
        if (!take_byte(a, b, at + (uint32_t)__builtin_ctzll(outside))) {
            *a = before;
            b->n = n;
            return false;
        }
    }
    return true;
}

/* 64 bytes. False: there is something outside of the array in them, or a backslash outside of strings, and
 * nothing was done. */
AVX2 static bool take_word(struct elements *a, struct block *b, uint32_t at)
{
    const struct word w = {_mm256_loadu_si256((const __m256i *)(b->data + at)),
                           _mm256_loadu_si256((const __m256i *)(b->data + at + 32))};
    const uint64_t backslash = equal(w, '\\'), quote = equal(w, '"');
    bool escaped = a->escaped;
    const uint64_t quotes = quote & ~find_escaped(backslash, &escaped);
    uint64_t strings = a->in_string ? UINT64_MAX : 0;
    if (quotes != 0)
        strings ^= between(quotes);
    if ((backslash & ~strings) != 0)
        return false;
    const uint64_t outside = ~(strings ^ quotes); /* and the quotes that begin strings */
    if (outside != 0) {
        const struct word braced = braces(w);
        const uint64_t n_open = (uint64_t)__builtin_popcountll(equal(braced, '{') & ~strings),
                       n_close = (uint64_t)__builtin_popcountll(equal(braced, '}') & ~strings);
        if (a->depth >= n_close + 2)
            a->depth += n_open - n_close;
        else if (!take_outside(a, b, at, outside & ~spaces(w)))
            return false;
    }
    a->in_string = strings >> (WORD - 1) != 0;
    a->escaped = escaped;
    return true;
}

AVX2 static uint32_t find_avx2(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                               uint32_t *ret_starts, uint32_t *ret_n)
{
    struct block b = {.data = data, .offset = offset, .starts = ret_starts};
    uint32_t at = 0, end = 0; /* of what was taken, and of what was to be */
    while (at == end && at < size) {
        end = size - at < WORD ? size : at + WORD;
        at = end - at == WORD && take_word(a, &b, at) ? end : take_bytes(a, &b, at, end);
    }
    *ret_n = b.n;
    return at;
}

uint32_t elements_find(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                       uint32_t *ret_starts, uint32_t *ret_n)
{
    return __builtin_cpu_supports("avx2") ? find_avx2(a, data, size, offset, ret_starts, ret_n)
                                          : elements_find_portable(a, data, size, offset, ret_starts, ret_n);
}

#else

uint32_t elements_find(struct elements *a, const char *data, uint32_t size, uint64_t offset,
                       uint32_t *ret_starts, uint32_t *ret_n)
{
    return elements_find_portable(a, data, size, offset, ret_starts, ret_n);
}

#endif
