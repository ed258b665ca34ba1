/* check - what the rows of the table cannot see alone: how values of different keys go together.
 *
 * check_conf also settles what follows from other keys: max_position where nothing skips, the lines of
 * templates. A value that is wrong by itself is NULL or 0 here, and is not reported twice.
 */
#ifndef SKIPALIGN_CONFIG_CHECK_H
#define SKIPALIGN_CONFIG_CHECK_H

#include "config/conf.h"
#include "config/report.h"

void check_conf(struct conf *c, struct report *r);

#endif
