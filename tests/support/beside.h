/* beside - a tokenizer and libsentencepiece on the same model: are their ids the same?   Errors fail the
 * test. */
#ifndef SKIPALIGN_TESTS_BESIDE_H
#define SKIPALIGN_TESTS_BESIDE_H

#include "text/tokenizer.h"

struct sp;

struct beside {
    struct tokenizer *ours;
    struct sp *theirs;
    int32_t *our_ids, *their_ids;
    size_t our_cap, their_cap;
    uint64_t texts, bytes; /* compared so far */
    const char *why_not;   /* our own code does not tokenise with this model; NULL: it does */
    uint64_t before;       /* texts that were tokenised while the model was loaded */
};

void beside_open(struct beside *b, const char *model);
/* beside_compare - prints the text and fails the test where the ids, or the errors, differ. */
void beside_compare(struct beside *b, struct slice text);
/* beside_by_us - how many of the texts our own code did, so far; a difference that it found out by itself
 * fails the test. */
uint64_t beside_by_us(const struct beside *b);
void beside_close(struct beside *b);

#endif
