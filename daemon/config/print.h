/* print - the configuration as text that conf_parse reads back to the same configuration: every key with its
 * value, defaults written out, what is absent left out. Paths are as they are in it, and those are absolute
 * where conf_load read it.
 *
 * Errors: -EIO where the file could not be written.   Threads: pure; any.
 */
#ifndef SKIPALIGN_CONFIG_PRINT_H
#define SKIPALIGN_CONFIG_PRINT_H

#include "config/conf.h"

#include <stdio.h>

int conf_print(const struct conf *c, FILE *f);

/* conf_print_stream - only what a stream needs: record_max, the corpora that it is mixed from, its template
 * if that is one of the list, the stream. Where other keys differ the text is the same: memory is the most
 * that may be, so that the text can be read whatever the daemon has. */
int conf_print_stream(const struct conf *c, const struct conf_stream *s, FILE *f);

#endif
