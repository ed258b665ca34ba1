/* nearest - the name that a misspelt one was probably meant to be.
 *
 * Returns the choice with the fewest edits (insert, delete, replace, swap two neighbours; case does not
 * count), or NULL where even that one is not close: more than a third of its letters differ. Equal ones: the
 * first. NULL choices are skipped.   Owner: the result is one of choices.   Threads: pure, any.
 */
#ifndef SKIPALIGN_BASE_NEAREST_H
#define SKIPALIGN_BASE_NEAREST_H

#include <stddef.h>

const char *nearest(const char *word, const char *const *choices, size_t n);

#endif
