#include "proto/token.h"

#include <string.h>

/* How a first byte of 0xc0 to 0xdf goes on: so many bytes of a big-endian number, which is the value itself,
 * or the size of what follows, or a count. */
static const struct {
    int8_t kind; /* -1: never used by msgpack */
    uint8_t width;
    uint8_t extra; /* ext: the type's byte, and the sizes that the first byte says by itself */
} heads[32] = {
    {TOKEN_NIL, 0, 0},      {-1, 0, 0},
    {TOKEN_BOOL, 0, 0},     {TOKEN_BOOL, 0, 0},
    {TOKEN_BIN, 1, 0},      {TOKEN_BIN, 2, 0},
    {TOKEN_BIN, 4, 0},      {TOKEN_EXT, 1, 1},
    {TOKEN_EXT, 2, 1},      {TOKEN_EXT, 4, 1},
    {TOKEN_FLOAT, 4, 0},    {TOKEN_FLOAT, 8, 0},
    {TOKEN_UINT, 1, 0},     {TOKEN_UINT, 2, 0},
    {TOKEN_UINT, 4, 0},     {TOKEN_UINT, 8, 0},
    {TOKEN_NEGATIVE, 1, 0}, {TOKEN_NEGATIVE, 2, 0},
    {TOKEN_NEGATIVE, 4, 0}, {TOKEN_NEGATIVE, 8, 0},
    {TOKEN_EXT, 0, 2},      {TOKEN_EXT, 0, 3},
    {TOKEN_EXT, 0, 5},      {TOKEN_EXT, 0, 9},
    {TOKEN_EXT, 0, 17},     {TOKEN_STR, 1, 0},
    {TOKEN_STR, 2, 0},      {TOKEN_STR, 4, 0},
    {TOKEN_ARRAY, 2, 0},    {TOKEN_ARRAY, 4, 0},
    {TOKEN_MAP, 2, 0},      {TOKEN_MAP, 4, 0},
};

/* The first byte, and the number behind it where there is one; *at is moved past both. */
static bool read_head(const char **at, const char *end, struct token *t, uint64_t *ret_extra)
{
    if (*at == end)
        return false;
    const uint8_t head = (uint8_t) * *at;
    ++*at;
    *ret_extra = 0;
    if (head < 0x80 || head >= 0xe0) {
        t->kind = head < 0x80 ? TOKEN_UINT : TOKEN_NEGATIVE;
        t->number = (uint64_t)(int64_t)(int8_t)head;
        return true;
    }
    if (head < 0xc0) {
        t->kind = head < 0x90 ? TOKEN_MAP : head < 0xa0 ? TOKEN_ARRAY : TOKEN_STR;
        t->number = head & (head < 0xa0 ? 15 : 31);
        return true;
    }
    const unsigned width = heads[head - 0xc0].width;
    if (heads[head - 0xc0].kind < 0 || (size_t)(end - *at) < width)
        return false;
    t->kind = (enum token_kind)heads[head - 0xc0].kind;
    t->number = t->kind == TOKEN_BOOL ? head & 1 : 0;
    for (unsigned i = 0; i < width; i++)
        t->number = t->number << 8 | (uint8_t)(*at)[i];
    *at += width;
    *ret_extra = heads[head - 0xc0].extra;
    if (t->kind == TOKEN_NEGATIVE &&
        width < 8) { /* a signed number: spread its sign; it may be positive after all */
        const uint64_t sign = (uint64_t)1 << (8 * width - 1);
        t->number = (t->number ^ sign) - sign;
    }
    if (t->kind == TOKEN_NEGATIVE && t->number <= INT64_MAX)
        t->kind = TOKEN_UINT;
    return true;
}

bool token_next(struct token_cursor *c, struct token *ret)
{
    const char *at = c->at;
    struct token t = {.kind = TOKEN_NIL};
    uint64_t extra;
    if (!read_head(&at, c->end, &t, &extra))
        return false;
    const uint64_t left = (uint64_t)(c->end - at);
    if (t.kind == TOKEN_STR || t.kind == TOKEN_BIN || t.kind == TOKEN_EXT) {
        if (t.number + extra > left)
            return false;
        t.data = at;
        t.size = (size_t)(t.number + extra);
        at += t.size;
    }
    /* Each member takes a byte at least. */
    if ((t.kind == TOKEN_ARRAY && t.number > left) || (t.kind == TOKEN_MAP && t.number > left / 2))
        return false;
    c->at = at;
    *ret = t;
    return true;
}

bool token_skip(struct token_cursor *c)
{
    struct token t;
    for (uint64_t todo = 1; todo > 0; todo--) {
        if (!token_next(c, &t))
            return false;
        if (t.kind == TOKEN_ARRAY)
            todo += t.number;
        else if (t.kind == TOKEN_MAP)
            todo += 2 * t.number;
    }
    return true;
}

bool token_is(const struct token *t, const char *str)
{
    return t->kind == TOKEN_STR && t->size == strlen(str) && memcmp(t->data, str, t->size) == 0;
}
