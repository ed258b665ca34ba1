/* cut_ascii - legal cuts between ASCII characters as eight pairs of sets: a cut is one if some pair has the
 * character before it in its first set and the one after it in its second. So a byte for each character on
 * either side says it all, and tables of 128 bytes stand for one of 16,384.
 *
 * Owner:   the caller.   Threads: pure, any.
 */
#ifndef SKIPALIGN_TEXT_CUT_ASCII_H
#define SKIPALIGN_TEXT_CUT_ASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASCII 128

struct cut_ascii {
    /* Bit k: in the first, in the second set of pair k. Sixteen characters after another lie twice in 32
     * bytes, as AVX2 looks them up. */
    _Alignas(32) uint8_t before[ASCII / 16][32], after[ASCII / 16][32];
};

/* What is known of characters: [before][after]; how often pieces of text end and begin with them, as shares
 * of 32,768. */
struct cut_legal {
    bool legal[ASCII][ASCII];
    uint16_t ends[ASCII], begins[ASCII];
};

void cut_ascii_init(struct cut_ascii *, const struct cut_legal *);

static inline bool cut_ascii_is_legal(const struct cut_ascii *c, uint8_t before, uint8_t after)
{
    return (c->before[before / 16][before % 16] & c->after[after / 16][after % 16]) != 0;
}

#endif
