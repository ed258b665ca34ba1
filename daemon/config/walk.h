/* walk - from a YAML document to struct conf, by the table in schema.h; private to the config stage. */
#ifndef SKIPALIGN_CONFIG_WALK_H
#define SKIPALIGN_CONFIG_WALK_H

#include "config/conf.h"
#include "config/report.h"

#include <yaml.h>

/* walk_document - all values, then all checks; r may hold issues already.
 * doc:  NULL: nothing could be read, and r says why.
 * path: of the file; relative paths in the document start at its folder.
 * Errors: ERR_CONFIG with *reterrors filled; -ENOMEM.   Owner: the caller: conf_free(*ret). */
int walk_document(yaml_document_t *doc, const char *path, struct report *r, struct conf **ret,
                  struct conf_errors *reterrors);

#endif
