/* merge - one configuration put over another. */
#ifndef SKIPALIGN_CONFIG_MERGE_H
#define SKIPALIGN_CONFIG_MERGE_H

#include "config/conf.h"
#include "config/file.h"

/* conf_merge - base, where the corpora, templates and streams of `over` take the place of those of the same
 * name, or join; record_max is that of `over`.
 * Errors: as conf_edit.   Owner: the caller: conf_free(*ret), conf_errors_fini(reterrors). */
int conf_merge(const struct conf *base, const struct conf *over, struct conf **ret,
               struct conf_errors *reterrors);

#endif
