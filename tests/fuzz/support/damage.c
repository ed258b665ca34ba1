#include "fuzz/support/damage.h"

#include <string.h>

#define BLOCK 128

size_t damage(char *data, size_t n, size_t cap, const uint8_t *strokes, size_t size)
{
    for (; size >= 4; strokes += 4, size -= 4) {
        const size_t at = n > 0 ? (strokes[1] | (size_t)strokes[2] << 8) % n : 0, left = n - at;
        const size_t block = left < BLOCK ? left : BLOCK,
                     from = n > block ? strokes[3] * 8u % (n - block) : 0;
        switch (strokes[0] % 5) {
        case 0:
            if (n > 0)
                data[at] ^= (char)strokes[3];
            break;
        case 1:
            n = at;
            break;
        case 2:
            memset(data + at, 0, block);
            break;
        case 3:
            memmove(data + at, data + from, block);
            break;
        default:
            if (n + BLOCK <= cap) {
                memset(data + n, strokes[3], BLOCK);
                n += BLOCK;
            }
        }
    }
    return n;
}
