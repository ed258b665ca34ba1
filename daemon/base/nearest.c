#include "base/nearest.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

enum { LEN_MAX = 63 }; /* no name of ours is longer; what is, has no neighbour */

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The distance of Damerau, restricted: no substring is edited twice. Three rows of the matrix are alive. */
static size_t edits(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[3][LEN_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            now[j] = min_of(min_of(up[j], now[j - 1]) + 1, up[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]))
                now[j] = min_of(now[j], up2[j - 2] + 1);
        }
    }
    return row[a_len % 3][b_len];
}

const char *nearest(const char *word, const char *const *choices, size_t n)
{
    size_t word_len = strlen(word), best = SIZE_MAX;
    const char *found = NULL;
    if (word_len > LEN_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (choices[i] == NULL)
            continue;
        size_t len = strlen(choices[i]);
        if (len > LEN_MAX)
            continue;
        size_t d = edits(word, word_len, choices[i], len);
        if (d < best && d * 3 <= len) {
            best = d;
            found = choices[i];
        }
    }
    return found;
}
