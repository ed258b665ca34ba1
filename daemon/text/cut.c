#include "text/cut.h"

#include "base/array.h"
#include "base/err.h"
#include "text/cut_ascii.h"
#include "text/filter.h"
#include "text/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Bits of the filter for each pair in it: one in sixteen other pairs is taken for one of them. */
#define FILTER_BITS 16

/* The n-th piece of a model is met in text as often as 1 / (n + PIECE_OFFSET), or so; characters and longer
 * pieces each have their own order. */
#define PIECE_OFFSET 5

struct cut {
    struct cut_ascii ascii;
    uint8_t bits[256][8]; /* numbers of the bits that are set in a byte, in order */
    bool simd;
    struct filter held; /* hashes of the pairs, not both ASCII, that a piece holds */
};

/* ---- at load time ---- */

static uint64_t pair_hash(uint32_t first, uint32_t second)
{
    return ((uint64_t)first << 32 | second) * 0x9e3779b97f4a7c15u;
}

/* No cut between neighbours in a piece; returns how many pairs of them are not both ASCII. */
static size_t each_pair(struct slice piece, struct cut *c, struct cut_legal *legal)
{
    uint32_t last = 0, point;
    size_t others = 0;
    for (size_t i = 0, n; i < piece.size; i += n, last = point) {
        n = utf8_take((const uint8_t *)piece.data + i, piece.size - i, &point);
        CHECK(n > 0);
        if (i == 0)
            continue;
        if ((last | point) < ASCII) {
            legal->legal[last][point] = false;
            continue;
        }
        others++;
        if (c->held.bits != NULL)
            filter_add(&c->held, pair_hash(last, point));
    }
    return others;
}

/* How often pieces of text end and begin with a character. */
static void weigh(const struct pieces *p, struct cut_legal *legal)
{
    double ends[ASCII] = {0}, begins[ASCII] = {0}, all_ends = 1e-9, all_begins = 1e-9;
    unsigned n_characters = 0, n_longer = 0;
    for (int32_t id = 0; id < p->n; id++) {
        struct slice text = p->texts[id];
        if (!pieces_in_text(p, id))
            continue;
        double often = 1.0 / ((text.size == 1 ? n_characters++ : n_longer++) + PIECE_OFFSET);
        uint8_t first = (uint8_t)text.data[0], last = (uint8_t)text.data[text.size - 1];
        if (first < ASCII) {
            begins[first] += often;
            all_begins += often;
        }
        if (last < ASCII) {
            ends[last] += often;
            all_ends += often;
        }
    }
    for (int i = 0; i < ASCII; i++) {
        legal->ends[i] = (uint16_t)(1 + ends[i] / all_ends * 32000);
        legal->begins[i] = (uint16_t)(1 + begins[i] / all_begins * 32000);
    }
}

static int make_filter(struct cut *c, const struct pieces *p, struct cut_legal *legal)
{
    size_t pairs = 0;
    for (int32_t id = 0; id < p->n; id++)
        if (pieces_in_text(p, id))
            pairs += each_pair(p->texts[id], c, legal);
    if (filter_init(&c->held, pairs, FILTER_BITS) != 0)
        return -ENOMEM;
    for (int32_t id = 0; id < p->n; id++)
        if (pieces_in_text(p, id))
            (void)each_pair(p->texts[id], c, legal);
    return 0;
}

static bool has_simd(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

int cut_new(const struct pieces *p, struct cut **ret)
{
    struct cut_legal legal;
    struct cut *c = aligned_alloc(_Alignof(struct cut), sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    memset(c, 0, sizeof *c);
    memset(legal.legal, true, sizeof legal.legal);
    int rc = make_filter(c, p, &legal);
    if (rc != 0) {
        cut_free(c);
        return rc;
    }
    weigh(p, &legal);
    cut_ascii_init(&c->ascii, &legal);
    for (unsigned byte = 0; byte < 256; byte++)
        for (unsigned bit = 0, n = 0; bit < 8; bit++)
            if ((byte >> bit & 1) != 0)
                c->bits[byte][n++] = (uint8_t)bit;
    c->simd = has_simd();
    *ret = c;
    return 0;
}

void cut_free(struct cut *c)
{
    if (c == NULL)
        return;
    filter_fini(&c->held);
    free(c);
}

size_t cut_memory(const struct cut *c)
{
    return sizeof *c + filter_memory(&c->held);
}

/* ---- text ---- */

/* A legal cut may be missed: a hash may be that of another pair. */
static bool is_legal(const struct cut *c, uint32_t first, uint32_t second)
{
    if ((first | second) < ASCII)
        return cut_ascii_is_legal(&c->ascii, (uint8_t)first, (uint8_t)second);
    return !filter_may_have(&c->held, pair_hash(first, second));
}

/* Finds the cuts before text[from] and what follows as long as that is ASCII; text[from - 1] is. Returns
 * where it ended, which need not be where ASCII ends. */
typedef size_t ascii_run(const struct cut *c, const uint8_t *text, size_t from, size_t size, uint16_t *starts,
                         size_t *n);

static bool all_ascii(const uint8_t *text)
{
    uint64_t eight;
    memcpy(&eight, text, sizeof eight);
    return (eight & 0x8080808080808080u) == 0;
}

static size_t ascii_run_portable(const struct cut *c, const uint8_t *text, size_t from, size_t size,
                                 uint16_t *starts, size_t *n)
{
    size_t k = *n, i = from;
    for (; size - i >= 8 && all_ascii(text + i); i += 8)
        for (size_t at = i; at < i + 8; at++) {
            /* Each place is written down, and stays if it is a cut: no branch has to guess. */
            starts[k] = (uint16_t)at;
            k += cut_ascii_is_legal(&c->ascii, text[at - 1], text[at]);
        }
    *n = k;
    return i;
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,popcnt")))

/* table[x] for 32 characters. A shuffle looks up the lower four bits in each sixteen of the table; then the
 * upper three say which of them, each as the top bit of its byte. */
AVX2 static inline __m256i look_up(const uint8_t table[ASCII / 16][32], __m256i x)
{
    const __m256i *t = (const __m256i *)(const void *)table;
    __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(15)), at[ASCII / 16];
    for (int i = 0; i < ASCII / 16; i++)
        at[i] = _mm256_shuffle_epi8(t[i], low);
    for (int i = 0; i < 4; i++)
        at[i] = _mm256_blendv_epi8(at[2 * i], at[2 * i + 1], _mm256_slli_epi16(x, 3));
    for (int i = 0; i < 2; i++)
        at[i] = _mm256_blendv_epi8(at[2 * i], at[2 * i + 1], _mm256_slli_epi16(x, 2));
    return _mm256_blendv_epi8(at[0], at[1], _mm256_slli_epi16(x, 1));
}

/* Bits of mask, from `at` on, as starts; writes eight for each eighth of it, whatever there are. */
AVX2 static inline size_t write_starts(const struct cut *c, uint32_t mask, size_t at, uint16_t *starts)
{
    size_t n = 0;
    for (int i = 0; i < 4; i++, mask >>= 8, at += 8) {
        __m128i bits = _mm_loadl_epi64((const __m128i *)(const void *)c->bits[mask & 0xff]);
        __m128i all = _mm_add_epi16(_mm_cvtepu8_epi16(bits), _mm_set1_epi16((short)at));
        _mm_storeu_si128((__m128i *)(void *)(starts + n), all);
        n += (unsigned)__builtin_popcount(mask & 0xff);
    }
    return n;
}

AVX2 static size_t ascii_run_avx2(const struct cut *c, const uint8_t *text, size_t from, size_t size,
                                  uint16_t *starts, size_t *n)
{
    size_t i = from;
    __m256i last = look_up(c->ascii.before, _mm256_set1_epi8((char)text[from - 1]));
    for (; i < size; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(text + i));
        uint32_t valid = size - i >= 32 ? UINT32_MAX : (1u << (size - i)) - 1;
        if (((uint32_t)_mm256_movemask_epi8(x) & valid) != 0)
            return i;
        __m256i before = look_up(c->ascii.before, x), after = look_up(c->ascii.after, x);
        __m256i shifted = _mm256_alignr_epi8(before, _mm256_permute2x128_si256(last, before, 0x21), 15);
        __m256i illegal = _mm256_cmpeq_epi8(_mm256_and_si256(shifted, after), _mm256_setzero_si256());
        *n += write_starts(c, ~(uint32_t)_mm256_movemask_epi8(illegal) & valid, i, starts + *n);
        last = before;
    }
    return size;
}
#else
#define ascii_run_avx2 ascii_run_portable
#endif

static inline ssize_t find(const struct cut *c, const uint8_t *text, size_t size, uint16_t *starts,
                           ascii_run *run)
{
    uint32_t last, point;
    size_t n = 1, i = utf8_take(text, size, &last);
    starts[0] = 0;
    if (i == 0 || last == UTF8_SPACE_MARK)
        return -1;
    while (i < size) {
        if (last < ASCII) {
            i = run(c, text, i, size, starts, &n);
            if (i == size)
                break;
            last = text[i - 1];
        }
        size_t bytes = utf8_take(text + i, size - i, &point);
        if (bytes == 0 || point == UTF8_SPACE_MARK)
            return -1;
        starts[n] = (uint16_t)i;
        n += is_legal(c, last, point);
        last = point;
        i += bytes;
    }
    return (ssize_t)n;
}

ssize_t cut_find(const struct cut *c, const uint8_t *text, size_t size, uint16_t *starts)
{
    return c->simd ? find(c, text, size, starts, ascii_run_avx2) : cut_find_portable(c, text, size, starts);
}

ssize_t cut_find_portable(const struct cut *c, const uint8_t *text, size_t size, uint16_t *starts)
{
    return find(c, text, size, starts, ascii_run_portable);
}
