/* inspect - what a model file is, who tokenises for it, and how fast: for people and programs that ask before
 * they train with it. Takes a second or two, and memory as the daemon would.   Threads: the caller's.
 */
#ifndef SKIPALIGN_TEXT_INSPECT_H
#define SKIPALIGN_TEXT_INSPECT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct inspection; /* of one model */

/* inspect_model - reads the model, and tokenises some text by our own code, twice, and by libsentencepiece,
 * on this thread. text:    a file, of which the first INSPECT_TEXT bytes serve; NULL: text drawn from the
 * model's own pieces. Errors:  those of tokenizer_load; -errno for the text; ERR_LIMIT: there is nothing in
 * it. */
#define INSPECT_TEXT (4u << 20)
int inspect_model(const char *path, const char *text, struct inspection **ret, struct err *reterr);
void inspect_free(struct inspection *i); /* NULL is fine */

/* inspect_differs - was a text given other ids by our own code than by the library? */
bool inspect_differs(const struct inspection *i);
/* inspect_print - a page for people, inspect_print_json - one object.   Errors: -errno of the write. */
int inspect_print(const struct inspection *i, FILE *f);
int inspect_print_json(const struct inspection *i, FILE *f);

#endif
