/* door - one bound socket that consumers come to: what is the same for ROUTER and XPUB.
 *
 * A message is [prefix, map]; the prefix is a peer's routing id or a topic. Sending never waits.
 * Owner:   the feed's thread opens, uses and closes it.
 */
#ifndef SKIPALIGN_FEED_DOOR_H
#define SKIPALIGN_FEED_DOOR_H

#include "base/slice.h"
#include "feed/feed.h"
#include "feed/parcel.h"

#include <zmq.h>

struct door {
    enum consumer_door kind;
    void *socket;       /* NULL: shut */
    char endpoint[256]; /* as bound */
};

/* door_open - a socket with options for its kind, bound; endpoint NULL or "": stays shut. A stale ipc socket
 * is replaced, a live one never. What is neither ipc nor on loopback is said in the log. Errors: which key
 * and endpoint, what is wrong with it and what to do. */
int door_open(struct door *d, enum consumer_door kind, void *context, const char *endpoint,
              struct err *reterr);
/* door_close - what was sent may go out for linger_ms after it. */
void door_close(struct door *d, int linger_ms);

/* door_send - bytes, copied.   door_send_frame - a frame, not copied; added to *flight once sent.
 * Errors: -EAGAIN (full), -EHOSTUNREACH (nobody is there), -ENOMEM. Nothing was sent then. */
int door_send(struct door *d, struct slice prefix, const char *data, size_t size);
int door_send_frame(struct door *d, struct slice prefix, struct frame *f, struct flight *flight);

/* door_receive - the first cap parts of the next message; further ones are thrown away. Returns how many
 * parts it had (it may be more than cap), 0: no message is waiting.   door_release - gives those parts back.
 */
uint32_t door_receive(struct door *d, zmq_msg_t *msgs, uint32_t cap);
void door_release(zmq_msg_t *msgs, uint32_t cap, uint32_t n_parts);

/* door_fd - readable when door_pending may have changed; -1: shut.   door_pending - is a message waiting? Ask
 * it before waiting on the descriptor: sending reads the descriptor too. */
int door_fd(const struct door *d);
bool door_pending(const struct door *d);

#endif
