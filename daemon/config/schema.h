/* schema - the one table of configuration keys. The parser, the checks, `skipalignctl config`, the example
 * file and the documentation all read it: a new key is one row.
 *
 * A table is the rows of one group, ended by a row without a name. Where a list's elements have a `name`, it
 * is their first row; names are unique in their list.
 */
#ifndef SKIPALIGN_CONFIG_SCHEMA_H
#define SKIPALIGN_CONFIG_SCHEMA_H

#include "config/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum key_type {           /* what is in the struct */
                KEY_TEXT, /* char * */
                KEY_NAME, /* char *: letters, digits, '.', '_', '-': it becomes part of topics and file names
                           */
                KEY_PATH, /* char *: a relative one is joined to the configuration file's folder */
                KEY_ENDPOINT, /* char *: tcp://HOST:PORT or ipc://PATH; "" shuts the door */
                KEY_INT,      /* int64_t */
                KEY_BYTES,    /* int64_t, written with KiB, MiB or GiB if one likes */
                KEY_REAL,     /* double */
                KEY_BOOL,     /* bool */
                KEY_CHOICE,   /* an enum, or int32_t */
                KEY_PATHS,    /* char **, counted */
                KEY_IDS,      /* struct conf_special *, counted: texts and their token ids */
                KEY_STAGES,   /* struct conf_stage *, counted: epochs and what max_position is from them on */
                KEY_GROUP,    /* a struct, or part of the one around it (offset 0) */
                KEY_LIST,     /* a pointer to structs, counted */
                KEY__COUNT,
};

struct key {
    const char *name; /* in its group */
    enum key_type type;
    bool optional; /* absent is fine and leaves NULL or 0, where there is no default either */
    bool batches;  /* what a stream sends depends on it */
    bool restart;  /* a running daemon cannot take a change of it */
    bool lone;     /* KEY_LIST: one element may stand as a group without the list; it has no name then */
    bool shown;    /* the example file sets it; the others stand there as comments */
    size_t offset; /* in the struct of its group */
    size_t count_offset; /* counted types: where the uint32_t count is */
    size_t size;         /* KEY_LIST: of an element */
    int64_t min, max; /* numbers: their range; texts: of their length in bytes; counted types: of the count */
    double real_min, real_max;
    const char *dflt;           /* as one would write it in the file */
    const char *const *choices; /* KEY_CHOICE: n_choices names, in the order of the enum */
    uint32_t n_choices;
    const char *unit, *help;
    const char *example;  /* YAML; NULL: the default is one */
    const struct key *of; /* KEY_GROUP, KEY_LIST: the table inside */
};

extern const struct key schema_keys[];          /* the root */
const struct key *schema_row(const char *name); /* of the root, by a name that is there */

/* schema_visit - every row, depth first, with its full name ("streams[].positions.sampler"). */
void schema_visit(void (*visit)(void *arg, const char *full_name, const struct key *k), void *arg);

/* schema_type, schema_range - for people: "whole number", "1..256". ret of at least SCHEMA_RANGE bytes. */
#define SCHEMA_RANGE 256
const char *schema_type(const struct key *k);
const char *schema_range(const struct key *k, char ret[SCHEMA_RANGE]);
void schema_print_bytes(int64_t bytes, FILE *f); /* in the largest unit that leaves a whole number */

/* schema_print_example - a commented configuration file.   schema_print_keys - a table of all keys, for
 * people. Errors: -errno of the write. */
int schema_print_example(FILE *f);
int schema_print_keys(FILE *f);
int schema_print_keys_json(
    FILE *f); /* [{key, type, range, default, unit, help, required, batches, restart}] */

#endif
