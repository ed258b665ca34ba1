#include "text/white.h"

#include "text/utf8.h"

#include <stdbool.h>

static bool is_white(uint32_t point)
{
    if (point < 0x80)
        return (point >= 0x09 && point <= 0x0d) || (point >= 0x1c && point <= 0x20);
    return point == 0x85 || point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) ||
           point == 0x2028 || point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

/* How many bytes the white space has that s[0..size) begins with, one code point; 0: it is none. */
static size_t white_at(const char *s, size_t size)
{
    uint32_t point;
    size_t n = utf8_take((const uint8_t *)s, size, &point);
    return n > 0 && is_white(point) ? n : 0;
}

struct slice white_trim_start(struct slice text)
{
    for (size_t n; (n = white_at(text.data, text.size)) > 0;)
        text = (struct slice){text.data + n, text.size - n};
    return text;
}

struct slice white_trim_end(struct slice text)
{
    while (text.size > 0) {
        size_t last = text.size - 1;
        while (last > 0 && text.size - last < 4 && utf8_is_trail((uint8_t)text.data[last]))
            last--;
        if (white_at(text.data + last, text.size - last) != text.size - last)
            break;
        text.size = last;
    }
    return text;
}
