/* cut - where a text may be cut so that its parts have the ids that the whole has.
 *
 * A cut between two characters is legal if no piece of the model holds them side by side: pieces come about
 * by joining neighbours, and user-defined symbols are pieces, so nothing can come to lie across it, and what
 * is joined on one side does not depend on the other. The order of joins does not matter either: those of one
 * side keep theirs.
 *
 * Of legal cuts most are found, not all: between two ASCII characters those that lie in one of eight sets of
 * characters times another (cut_ascii.h), which a CPU looks up for 32 characters at once.
 *
 * Owner:   the caller of cut_new.   Threads: any, at once; nothing changes after cut_new.
 */
#ifndef SKIPALIGN_TEXT_CUT_H
#define SKIPALIGN_TEXT_CUT_H

#include "text/pieces.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes after a text that can be read, and starts after the last that can be written; they mean nothing. */
#define CUT_SLACK 32

struct cut;

/* cut_new - of a model that fast.h takes.   Errors: -ENOMEM. */
int cut_new(const struct pieces *, struct cut **ret);
void cut_free(struct cut *); /* NULL is fine */

/* cut_find - starts gets where the parts of text[0..size) begin, 0 first; size >= 1 and at most UINT16_MAX,
 * room for size + CUT_SLACK. Returns how many; -1: text is not valid UTF-8, or holds U+2581 itself.
 * cut_find_portable - the same without instructions that only some CPUs have. */
ssize_t cut_find(const struct cut *, const uint8_t *text, size_t size, uint16_t *starts);
ssize_t cut_find_portable(const struct cut *, const uint8_t *text, size_t size, uint16_t *starts);

size_t cut_memory(const struct cut *); /* bytes */

#endif
