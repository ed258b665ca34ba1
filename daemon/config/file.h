/* file - the configuration file: YAML (libyaml's document tree) to struct conf, by the table in schema.h.
 *
 * A wrong file is refused whole, with every error at once: "file:line:column: key: what, and what is
 * allowed", one a line; a misspelt key or value names its neighbour.
 */
#ifndef SKIPALIGN_CONFIG_FILE_H
#define SKIPALIGN_CONFIG_FILE_H

#include "base/err.h"
#include "config/conf.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct conf_errors {
    char *text; /* lines, each ended by \n; NULL: none */
    uint32_t n;
};
void conf_errors_fini(struct conf_errors *e);
/* conf_errors_print_json - {file, good, errors: [line, ...]}. Errors: -errno of the write. */
int conf_errors_print_json(const struct conf_errors *e, const char *path, FILE *f);

/* conf_load - read, parse, check.
 * Errors: ERR_CONFIG with *reterrors filled; -errno (also told in *reterrors) if the file cannot be read;
 * -ENOMEM. Owner:  the caller: conf_free(*ret), conf_errors_fini(reterrors). */
int conf_load(const char *path, struct conf **ret, struct conf_errors *reterrors);

/* conf_parse - the same from memory; path is what errors name and relative paths start from. */
int conf_parse(const char *path, const char *text, size_t size, struct conf **ret,
               struct conf_errors *reterrors);

#endif
