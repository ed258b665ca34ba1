#include "position/position.h"

#include <stdbool.h>
#include <string.h>

static const char *const closers[] = {
    "\"",
    "'",
    ")",
    "]",
    "}",
    "\xe2\x80\x99",
    "\xe2\x80\x9d",
    "\xc2\xbb",
    "\xe3\x80\x8d",
    "\xe3\x80\x8f",
    "\xef\xbc\x89",
    NULL,
}; /* " ' ) ] } and U+2019 U+201D U+00BB U+300D U+300F U+FF09 */
static const char *const ends[] = {".", "!", "?", "\xe2\x80\xa6", NULL}; /* and U+2026 */
static const char *const breaks[] = {"\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f",
                                     NULL};                      /* U+3002 U+FF01 U+FF1F */
static const char *const spaces[] = {" ", "\xe2\x96\x81", NULL}; /* and U+2581 */

/* How many bytes of one of these the text ends with, or begins with; 0: of none. */
static size_t ends_with(struct slice s, const char *const *which)
{
    for (; *which != NULL; which++) {
        size_t n = strlen(*which);
        if (n <= s.size && memcmp(s.data + s.size - n, *which, n) == 0)
            return n;
    }
    return 0;
}

static bool begins_with(struct slice s, const char *const *which)
{
    for (; *which != NULL; which++)
        if (strlen(*which) <= s.size && memcmp(s.data, *which, strlen(*which)) == 0)
            return true;
    return false;
}

uint8_t pos_mark(struct slice piece)
{
    uint8_t mark = begins_with(piece, spaces) ? POS_MARK_BEGINS : 0;
    size_t n;
    if (piece.size > 0 && memchr(piece.data, '\n', piece.size) != NULL)
        return mark | POS_MARK_BREAKS;
    while ((n = ends_with(piece, spaces)) > 0)
        piece.size -= n;
    size_t before = piece.size;
    while ((n = ends_with(piece, closers)) > 0)
        piece.size -= n;
    if (ends_with(piece, breaks) > 0)
        return mark | POS_MARK_BREAKS;
    if (ends_with(piece, ends) > 0)
        return mark | POS_MARK_ENDS;
    return piece.size == 0 && before > 0 && mark == 0 ? POS_MARK_CLOSES : mark;
}
