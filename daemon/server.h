/* server - the daemon's parts, started in order and stopped in reverse.
 *
 * Owner:   the main thread.
 */
#ifndef SKIPALIGN_SERVER_H
#define SKIPALIGN_SERVER_H

#include "base/err.h"
#include "config/conf.h"

/* server_run - from opening state_dir to the orderly end. signal_fd: see service/signals.h.
 * Returns: 0 after a stop that was asked for (a signal, or skipalignctl stop), or why the daemon could not
 * start. */
int server_run(const struct conf *conf, int signal_fd, struct err *reterr);

#endif
