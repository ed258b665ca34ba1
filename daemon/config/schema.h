/* schema - the one table of configuration keys. The parser, the checks, `skipalignctl config`, the example file and
 * the documentation all read it: a new key is one row.
 */
#ifndef SKIPALIGN_CONFIG_SCHEMA_H
#define SKIPALIGN_CONFIG_SCHEMA_H

#include "config/conf.h"

#include <stddef.h>
#include <stdint.h>

enum key_type { KEY_TEXT, KEY_INT, KEY_BYTES, KEY_REAL, KEY_BOOL, KEY_CHOICE, KEY_TEXTS, KEY_MAP, KEY_GROUP, KEY_LIST };
enum key_apply { APPLY_LIVE, APPLY_GENERATION, APPLY_RESTART };

struct key {
    const char *name; /* in its group; groups and lists are rows whose `of` is the table inside */
    enum key_type type;
    size_t offset; /* in the struct of its group */
    int64_t min, max; /* KEY_INT, KEY_BYTES */
    double real_min, real_max;
    const char *dflt; /* as text, as one would write it; NULL: required, or absent is fine (see optional) */
    bool optional;
    const char *const *choices; /* NULL-terminated or n_choices */
    uint32_t n_choices;
    const char *unit, *help, *example;
    enum key_apply apply;
    const struct key *of; /* KEY_GROUP, KEY_LIST: rows, ended by a NULL name */
    size_t size;          /* KEY_LIST: of an element's struct; its count follows the pointer's field by convention of the row */
    size_t count_offset;  /* KEY_LIST, KEY_TEXTS, KEY_MAP: where the uint32_t count is */
};

extern const struct key schema_keys[]; /* the root group, ended by a NULL name */

/* schema_visit - every row, depth first, with its full name ("streams[].positions.sampler"). */
void schema_visit(void (*visit)(void *arg, const char *full_name, const struct key *k), void *arg);

#endif
