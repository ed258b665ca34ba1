/* text - the two kinds of text in messages. Threads: pure; any. */
#ifndef SKIPALIGN_PROTO_TEXT_H
#define SKIPALIGN_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* text_is_name - names are shown on terminals and in tables: UTF-8 without control characters. */
bool text_is_name(const char *s, size_t n);

/* text_clean - an error's message may hold what came from a path or a file: what is not text becomes '?'
 * (newline and tab stay), what is longer than cap - 1 bytes is cut between characters. ret[cap] ends in a
 * NUL. */
void text_clean(const char *s, size_t n, char *ret, size_t cap);

#endif
