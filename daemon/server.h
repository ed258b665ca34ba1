/* server - the daemon's parts, started in order and stopped in reverse.
 *
 * Owner:   the main thread.
 */
#ifndef SKIPALIGN_SERVER_H
#define SKIPALIGN_SERVER_H

#include "base/err.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stdint.h>

struct server_options {
    const char *state_dir;     /* in place of the file's; NULL: that one */
    bool standby;              /* wait until state_dir is free */
    bool reload;               /* see control/recall.h */
    const char *const *forget; /* [n_forget] */
    uint32_t n_forget;
};

/* server_run - from opening state_dir to the orderly end. signal_fd: see service/signals.h.
 * Returns: 0 after a stop that was asked for (a signal, or skipalignctl stop), or why the daemon could not
 * start. */
int server_run(const struct conf *conf, const struct server_options *options, int signal_fd,
               struct err *reterr);

#endif
