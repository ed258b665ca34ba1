/* normal - what libsentencepiece's normaliser makes of text, where that is simple: each character becomes one
 * character, whatever comes after it; runs of spaces become one, and those at either end go.
 *
 * With rules for characters (NFKC and the like) this is known for text of ASCII alone, and of it for those
 * characters that no rule of ASCII characters makes longer or more than one of.
 *
 * Owner:   the caller.   Threads: any, at once; nothing changes after normal_init.
 * Source:  sentencepiece 0.1.97, src/normalizer.cc, Normalize and NormalizePrefix; the rules are a double
 * array of darts-clone (third_party/darts_clone/darts.h, class DoubleArrayUnit) and texts, each ended by NUL.
 */
#ifndef SKIPALIGN_TEXT_NORMAL_H
#define SKIPALIGN_TEXT_NORMAL_H

#include "text/spm_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct normal {
    int16_t to[256]; /* what a byte becomes; -1: not known */
    bool is_plain;   /* text stays as it is */
    bool prefix;     /* a space comes before it */
    bool collapse;   /* spaces: see above */
};

/* normal_init - false: no rule can be told from the model. */
bool normal_init(struct normal *, const struct spm_spec *);

/* One text, in parts: what comes before the next character that is no space. Starts as {normal->prefix}. */
struct normal_state {
    bool space, begun;
};

/* normal_take - text[0..size) as it goes on, to[0..size + 1]; returns how many bytes, -1: not known. */
ptrdiff_t normal_take(const struct normal *, struct normal_state *, const uint8_t *text, size_t size,
                      uint8_t *to);

#endif
