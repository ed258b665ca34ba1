/* link - a connection to one of several feeders, and the signs that it is dead.
 *
 * One connection at a time, each on a socket of its own: what is still on its way to an earlier one cannot
 * come here. libzmq's monitor tells at once that a feeder's process or host said goodbye, its heartbeats that
 * one is stopped or cut off. Times are milliseconds of the monotonic clock. Threads: the feed's.
 */
#ifndef SKIPALIGN_CLIENT_LINK_H
#define SKIPALIGN_CLIENT_LINK_H

#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

enum { LINK_NOTHING = 1, LINK_GONE };

struct link {
    char *list, *names; /* the endpoints as they were given; and parted, for `endpoints` to point into */
    const char **endpoints;
    uint32_t n, at;
    void *ctx, *socket, *monitor;
    uint32_t n_sockets; /* made so far: no two monitors have one name */
};

/* link_init - endpoints parted by commas or spaces.
 * Errors:  -EINVAL: none, or one that is no endpoint, which why[n_why] names; -ENOMEM. */
int link_init(struct link *l, const char *endpoints, char *why, size_t n_why);
void link_fini(struct link *l);

const char *link_where(const struct link *l); /* the endpoint whose turn it is */
void link_turn(struct link *l);               /* to the next one; nothing is connected then */

/* link_connect - a new connection to it. In flight may be `credit` messages; the peer counts as dead after
 * dead_ms in which it does not answer heartbeats. Errors: -errno. */
int link_connect(struct link *l, uint64_t credit, uint32_t dead_ms);
void link_close(struct link *l, int linger_ms);

/* link_send - 0 too where the peer takes nothing: it will have to be connected again. Errors: -errno. */
int link_send(struct link *l, const char *data, size_t size);

/* link_receive - a message into *ret, which is initialised. Returns 0, LINK_NOTHING at until_ms, LINK_GONE
 * when all that the feeder had sent is received and it is gone; -errno, -EINTR too. */
int link_receive(struct link *l, zmq_msg_t *ret, uint64_t until_ms);

uint64_t link_now_ms(void);

#endif
