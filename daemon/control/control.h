/* control - the socket on which a running daemon is asked and told: skipalignctl's other end.
 *
 * A ROUTER, so that one request that has to wait (a preview's step being made) does not hold up the others.
 * Who may connect is who may open the socket's file: it is made with mode 0660.
 *
 * Owner:   the main thread calls everything here; control_close before feed_stop.
 */
#ifndef SKIPALIGN_CONTROL_CONTROL_H
#define SKIPALIGN_CONTROL_CONTROL_H

#include "base/err.h"
#include "base/workers.h"
#include "control/roster.h"
#include "corpus/reader.h"
#include "feed/feed.h"

#include <stdint.h>

/* What commands look at; all borrowed until control_close. */
struct control_context {
    struct roster *roster; /* what is served; commands change it */
    struct feed *feed;
    struct workers *workers;
    struct reader *reader;
    enum io_kind io;   /* what the reader became */
    uint64_t start_ns; /* clock_ns, of the daemon's start */
};

struct control;

/* control_open - binds control.listen of what is running; with "" there is nobody to serve, and control_wait
 * only waits. context:  borrowed, and read at each request: it may be completed until the first control_wait.
 * Errors:   the folder does not exist, another daemon answers there, something that is no socket is in the
 * way, not an endpoint; each says what to do. A socket that a killed daemon left behind is replaced. */
int control_open(const struct control_context *context, struct control **ret, struct err *reterr);

enum control_event {
    CONTROL_TIMEOUT,
    CONTROL_FD,    /* fd is readable */
    CONTROL_STOP,  /* a client asks for the end; its answer is on its way */
    CONTROL_DRAIN, /* the same, when consumers have what they gave credit for */
};

/* control_wait - answers requests until fd (-1: none) is readable, timeout_ms (-1: for ever) are over, or a
 * client asks for the end. */
enum control_event control_wait(struct control *c, int fd, int timeout_ms);

/* control_reload - as if a client had asked for `reload`; what comes of it is in the log. */
void control_reload(struct control *c);

/* control_close - lets answers go out for at most a second; waiting requests are told. NULL is fine. */
void control_close(struct control *c);

#endif
