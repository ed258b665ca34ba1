#include "proto/text.h"

#include "proto/utf8.h"

#include <string.h>

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

bool text_is_name(const char *s, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t point = 0;
        len = utf8_next(s + i, n - i, &point);
        if (len == 0 || is_control(point))
            return false;
    }
    return true;
}

void text_clean(const char *s, size_t n, char *ret, size_t cap)
{
    size_t used = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t point = 0;
        len = utf8_next(s + i, n - i, &point);
        const bool ok = len > 0 && (!is_control(point) || point == '\n' || point == '\t');
        const size_t out = ok ? len : 1;
        if (used + out >= cap)
            break;
        memcpy(ret + used, ok ? s + i : "?", out);
        used += out;
        len = len > 0 ? len : 1;
    }
    ret[used] = '\0';
}
