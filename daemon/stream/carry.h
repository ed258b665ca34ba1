/* carry - what one generation of a stream hands to the next: how far each corpus has been read, what is left
 * of the epoch, and the documents that were planned and not sent.
 *
 * A corpus that both have goes on where it was, in the pass it was in, and gets as much of the epoch as it
 * still had (in proportion, where its share of an epoch changes). One whose records are others starts a new
 * pass. One that is new gets of the epoch what is left of it. One that goes is remembered, for the day it
 * comes back.
 *
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_CARRY_H
#define SKIPALIGN_STREAM_CARRY_H

#include "stream/recipe.h"
#include "stream/start.h"
#include "stream/supply.h"

/* carry_begin - where a stream begins that has no generation before. Errors: -ENOMEM. */
int carry_begin(const struct recipe *to, struct start *ret);

/* What the generation before was. */
struct carry_from {
    const struct recipe *recipe;
    const struct start *start;
    const struct order *order;
};

/* carry_on - after a step that is READY, the last of that generation.
 * carry_past - after its first `slots` slots, with nothing left over: where the step cannot be made any more.
 * Errors: -ENOMEM. */
int carry_on(const struct carry_from *from, const struct step *last, const struct recipe *to,
             struct start *ret);
int carry_past(const struct carry_from *from, uint64_t slots, const struct recipe *to, struct start *ret);

#endif
