/* diff - what is different between two configurations.
 *
 * Changes come in the order of conf_visit and under its names, values as it shows them. An element of a list
 * that came or went is one change: "corpora.tulu", "chat.corpora.tulu", "streams.chat", its value in one line
 * as conf_edit takes it. Where a stream's corpora changed their order, their list is one change.
 */
#ifndef SKIPALIGN_CONFIG_DIFF_H
#define SKIPALIGN_CONFIG_DIFF_H

#include "config/conf.h"

#include <stdbool.h>
#include <stdint.h>

struct conf_change {
    char *name, *before, *after; /* before, after: NULL where absent */
    char stream[65];             /* whose key it is; "": not of one stream */
    bool restart;                /* a running daemon cannot take it */
};

/* conf_diff - Errors: -ENOMEM.   Owner: the caller: conf_changes_free(*ret, *ret_n). */
int conf_diff(const struct conf *a, const struct conf *b, struct conf_change **ret, uint32_t *ret_n);
void conf_changes_free(struct conf_change *changes, uint32_t n);

#endif
