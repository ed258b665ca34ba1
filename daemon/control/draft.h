/* draft - a configuration that somebody wants to be served: the file as it is now, the running one with
 * edits, or with what a stream was in an older generation. Checked as far as can be without opening anything.
 *
 * All:     ERR_CONFIG with every error, one a line, in *reterrors; -ENOMEM; -errno where the file cannot be
 *          read, told in *reterrors, too.
 * Owner:   the caller: conf_free(*ret), conf_errors_fini(reterrors).   Threads: pure; any.
 */
#ifndef SKIPALIGN_CONTROL_DRAFT_H
#define SKIPALIGN_CONTROL_DRAFT_H

#include "config/conf.h"
#include "config/edit.h"
#include "config/file.h"
#include "stream/timeline.h"

#include <stdint.h>

/* draft_load - state_dir: in place of the file's; NULL: none is given. */
int draft_load(const char *path, const char *state_dir, struct conf **ret, struct conf_errors *reterrors);

int draft_edit(const struct conf *running, const struct conf_edit *edits, uint32_t n, struct conf **ret,
               struct conf_errors *reterrors);

/* draft_entry - a generation's own configuration: its stream and what that needs, nothing else.
 * draft_revert - the running one, with that in the place of what has its names. */
int draft_entry(const struct timeline_entry *e, struct conf **ret, struct conf_errors *reterrors);
int draft_revert(const struct conf *running, const struct timeline_entry *e, struct conf **ret,
                 struct conf_errors *reterrors);

#endif
