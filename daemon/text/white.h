/* white - the white space that a reference's trim takes away: that of Python's str.strip, which Jinja's trim
 * is too (Unicode's, and the ASCII separators 0x1c to 0x1f).
 */
#ifndef SKIPALIGN_TEXT_WHITE_H
#define SKIPALIGN_TEXT_WHITE_H

#include "base/slice.h"

/* white_trim_start, white_trim_end - text without white space there.
 * text: UTF-8; may hold NUL bytes.   Threads: pure; any. */
struct slice white_trim_start(struct slice text);
struct slice white_trim_end(struct slice text);

#endif
