/* edit - a configuration with some of its values changed, checked as a whole file is.
 *
 * Names are those of conf_visit: "workers", "feed.listen", "corpora.tulu.format",
 * "chat.positions.max_position"; also of whole elements ("corpora.tulu", "chat.corpora.tulu", "streams.chat",
 * "templates.mine") and of whole lists and groups. An element that is not there yet is added; a whole one
 * that is there is replaced. An element's own name is not among its keys. Values are YAML, in flow style
 * where they are lists or groups ("{paths: [a.jsonl], format: messages}"), without anchors. A text may go
 * without quotes: one that begins with neither ' nor " is taken as it is. Relative paths start at the
 * configuration file's folder, as in the file.
 */
#ifndef SKIPALIGN_CONFIG_EDIT_H
#define SKIPALIGN_CONFIG_EDIT_H

#include "config/conf.h"
#include "config/file.h"

#include <stdint.h>

struct conf_edit {
    const char *name, *value; /* value NULL: an element goes; a key has its default again */
};

/* conf_edit - what c is with the edits, in their order; c stays as it is.
 * Errors: ERR_CONFIG with every error at once, "NAME: what, and what is allowed", one a line, those of the
 * edits first; a misspelt name names its neighbour. -ENOMEM.
 * Owner:  the caller: conf_free(*ret), conf_errors_fini(reterrors). */
int conf_edit(const struct conf *c, const struct conf_edit *edits, uint32_t n, struct conf **ret,
              struct conf_errors *reterrors);

#endif
