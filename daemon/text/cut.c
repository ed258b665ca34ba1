#include "text/cut.h"

#include "base/array.h"
#include "base/err.h"
#include "text/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ASCII 128

/* Bits of the filter for each pair in it: one in sixteen other pairs is taken for one of them. */
#define FILTER_BITS 16

struct cut {
    uint8_t legal[ASCII * ASCII]; /* [first * ASCII + second] */
    uint64_t *held;               /* a bit for each hash of a pair, not both ASCII, that a piece holds */
    size_t words;
    unsigned shift; /* of a hash, to one of `words` times 64 bits */
};

static uint64_t filter_bit(const struct cut *c, uint32_t first, uint32_t second)
{
    return (((uint64_t)first << 32 | second) * 0x9e3779b97f4a7c15u) >> c->shift;
}

/* A legal cut may be missed: a hash may be that of another pair. */
static bool is_legal(const struct cut *c, uint32_t first, uint32_t second)
{
    if ((first | second) < ASCII)
        return c->legal[first * ASCII + second];
    uint64_t bit = filter_bit(c, first, second);
    return (c->held[bit / 64] >> bit % 64 & 1) == 0;
}

static void hold(struct cut *c, uint32_t first, uint32_t second)
{
    uint64_t bit = filter_bit(c, first, second);
    if ((first | second) < ASCII)
        c->legal[first * ASCII + second] = 0;
    else
        c->held[bit / 64] |= 1ull << bit % 64;
}

static void hold_pairs(struct cut *c, struct slice piece)
{
    uint32_t last = 0, point;
    for (size_t i = 0, n; i < piece.size; i += n, last = point) {
        n = utf8_take((const uint8_t *)piece.data + i, piece.size - i, &point);
        CHECK(n > 0);
        if (i > 0)
            hold(c, last, point);
    }
}

int cut_new(const struct pieces *p, struct cut **ret)
{
    size_t pairs = 0;
    for (int32_t id = 0; id < p->n; id++)
        pairs += p->texts[id].size;
    struct cut *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->shift = 58;
    for (c->words = 1; c->words * 64 < pairs * FILTER_BITS; c->words *= 2)
        c->shift--;
    c->held = calloc(c->words, sizeof *c->held);
    if (c->held == NULL) {
        cut_free(c);
        return -ENOMEM;
    }
    memset(c->legal, 1, sizeof c->legal);
    for (int32_t id = 0; id < p->n; id++)
        if (pieces_in_text(p, id))
            hold_pairs(c, p->texts[id]);
    *ret = c;
    return 0;
}

void cut_free(struct cut *c)
{
    if (c == NULL)
        return;
    free(c->held);
    free(c);
}

size_t cut_memory(const struct cut *c)
{
    return sizeof *c + c->words * sizeof *c->held;
}

static bool all_ascii(const uint8_t *text)
{
    uint64_t eight;
    memcpy(&eight, text, sizeof eight);
    return (eight & 0x8080808080808080u) == 0;
}

ssize_t cut_find(const struct cut *c, const uint8_t *text, size_t size, uint16_t *starts)
{
    uint32_t last, point;
    size_t n = 1, i = utf8_take(text, size, &last);
    starts[0] = 0;
    if (i == 0 || last == UTF8_SPACE_MARK)
        return -1;
    while (i < size) {
        /* Each place is written down, and stays if it is a cut: no branch has to guess. */
        for (; last < ASCII && size - i >= 8 && all_ascii(text + i); i += 8)
            for (size_t k = i; k < i + 8; k++) {
                starts[n] = (uint16_t)k;
                n += c->legal[last * ASCII + text[k]];
                last = text[k];
            }
        if (i == size)
            break;
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
