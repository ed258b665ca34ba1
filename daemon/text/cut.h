/* cut - where a text may be cut so that its parts have the ids that the whole has.
 *
 * A cut between two characters is legal if no piece of the model holds them side by side: pieces come about
 * by joining neighbours, and user-defined symbols are pieces, so nothing can come to lie across it, and what
 * is joined on one side does not depend on the other. The order of joins does not matter either: those of one
 * side keep theirs.
 *
 * Owner:   the caller of cut_new.   Threads: any, at once; nothing changes after cut_new.
 */
#ifndef SKIPALIGN_TEXT_CUT_H
#define SKIPALIGN_TEXT_CUT_H

#include "text/pieces.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cut;

/* cut_new - of a model that fast.h takes.   Errors: -ENOMEM. */
int cut_new(const struct pieces *, struct cut **ret);
void cut_free(struct cut *); /* NULL is fine */

/* cut_find - starts gets where the parts of text[0..size) begin, 0 first; size >= 1, and room for size + 1.
 * Returns how many; -1: text is not valid UTF-8, or holds U+2581 itself. */
ssize_t cut_find(const struct cut *, const uint8_t *text, size_t size, uint16_t *starts);

size_t cut_memory(const struct cut *); /* bytes */

#endif
