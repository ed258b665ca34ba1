/* signals - SIGTERM, SIGINT and SIGHUP as something to poll.
 *
 * signals_open - blocks them and returns a descriptor that is readable when one came. Call it before the
 * first thread starts, so that every thread inherits the mask.   Errors: -errno.   Owner: the caller closes
 * it. signals_read - the number of one signal that came; 0: none.
 */
#ifndef SKIPALIGN_SERVICE_SIGNALS_H
#define SKIPALIGN_SERVICE_SIGNALS_H

#include "base/err.h"

int signals_open(struct err *reterr);
int signals_read(int fd);

#endif
