/* value - one value of the configuration: from text to its field by its row of the table, and back.
 *
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_CONFIG_VALUE_H
#define SKIPALIGN_CONFIG_VALUE_H

#include "base/err.h"
#include "base/slice.h"
#include "config/schema.h"

#include <stdint.h>
#include <stdio.h>

/* value_set - for the types of one scalar (KEY_TEXT to KEY_CHOICE).
 * text:   has a NUL after it.
 * folder: what relative paths are joined to; NULL or "": nothing.
 * Errors: ERR_CONFIG with what is wrong and what is allowed, the field untouched; -ENOMEM.
 * Owner:  texts are allocated; the field's owner frees them. */
int value_set(const struct key *k, struct slice text, const char *folder, void *field, struct err *reterr);

/* value_print - of any type but groups and lists, as it may stand in the file, in one line unless a text has
 * more. group:  what the row's offsets count from. quoted: texts stand in double quotes, so that their end is
 * never in doubt. */
void value_print(const struct key *k, const void *group, bool quoted, FILE *f);
/* value_print_quoted - as YAML and JSON write a text. */
void value_print_quoted(struct slice text, FILE *f);

/* value_escape - bytes from outside as they may stand in a message: what is not printable escaped, cut when
 * long. */
#define VALUE_ESCAPE 320
const char *value_escape(struct slice text, char ret[VALUE_ESCAPE]);

#endif
