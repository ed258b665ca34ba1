/* utf8 - one code point at a time, valid where libsentencepiece takes it for valid: shortest form, no
 * surrogates, at most U+10FFFF.
 */
#ifndef SKIPALIGN_TEXT_UTF8_H
#define SKIPALIGN_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_POINTS 0x110000u
#define UTF8_SPACE_MARK 0x2581u /* what libsentencepiece makes of a space before it looks for pieces */

static inline int utf8_is_trail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* utf8_take - *ret is the code point that s[0..size) begins with; returns its bytes, 0 if it is not valid. */
static inline size_t utf8_take(const uint8_t *s, size_t size, uint32_t *ret)
{
    if (size >= 1 && s[0] < 0x80) {
        *ret = s[0];
        return 1;
    }
    if (size >= 2 && s[0] >= 0xc2 && s[0] < 0xe0 && utf8_is_trail(s[1])) {
        *ret = (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
        return 2;
    }
    if (size >= 3 && (s[0] & 0xf0) == 0xe0 && utf8_is_trail(s[1]) && utf8_is_trail(s[2])) {
        *ret = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
        return *ret >= 0x800 && (*ret < 0xd800 || *ret > 0xdfff) ? 3 : 0;
    }
    if (size >= 4 && (s[0] & 0xf8) == 0xf0 && utf8_is_trail(s[1]) && utf8_is_trail(s[2]) &&
        utf8_is_trail(s[3])) {
        *ret = (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
        return *ret >= 0x10000 && *ret <= 0x10ffff ? 4 : 0;
    }
    return 0;
}

/* utf8_put - to[4] gets the bytes of a code point; returns how many. */
static inline size_t utf8_put(uint32_t point, uint8_t *to)
{
    if (point < 0x80) {
        to[0] = (uint8_t)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; point >>= 6)
        to[i] = (uint8_t)(0x80 | (point & 0x3f));
    to[0] = (uint8_t)(0xf00u >> n | point);
    return n;
}

#endif
