/* utf8 - one code point at a time, from bytes that anyone may have sent. Threads: pure; any. */
#ifndef SKIPALIGN_PROTO_UTF8_H
#define SKIPALIGN_PROTO_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* utf8_next - how many bytes the code point at s takes (1..4), and which it is; 0 where there is none: the
 * end, a stray or missing continuation byte, an overlong form, a surrogate, or more than U+10FFFF. */
static inline unsigned utf8_next(const char *s, size_t size, uint32_t *ret)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (size == 0)
        return 0;
    const uint8_t head = (uint8_t)s[0];
    const unsigned n = head < 0x80   ? 1
                       : head < 0xc0 ? 0
                       : head < 0xe0 ? 2
                       : head < 0xf0 ? 3
                       : head < 0xf8 ? 4
                                     : 0;
    if (n == 0 || n > size)
        return 0;
    uint32_t point = n == 1 ? head : head & (0x7fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | ((uint8_t)s[i] & 0x3f);
    }
    if (point < least[n] || (point >= 0xd800 && point < 0xe000) || point > 0x10ffff)
        return 0;
    *ret = point;
    return n;
}

#endif
