/* parcel - a frame handed to ZeroMQ, and how much of it a consumer has on its way.
 *
 * A parcel has two holders: ZeroMQ, until the message is gone, and the flight of the consumer it was sent to.
 * So a flight sees what has landed by looking at the count alone, and either side may end first. Threads: a
 * flight belongs to the feed's; ZeroMQ lets go on any.
 */
#ifndef SKIPALIGN_FEED_PARCEL_H
#define SKIPALIGN_FEED_PARCEL_H

#include "feed/frame.h"

#include <stdbool.h>
#include <stdint.h>
#include <zmq.h>

struct parcel;

#define FLIGHT_MAX 256 /* parcels on their way to one consumer; a power of two */

/* In the order of sending, which is the order of landing. Zero it before use. */
struct flight {
    struct parcel *ring[FLIGHT_MAX];
    uint32_t first, n;
    uint64_t bytes;
};

/* parcel_new - a reference to f is taken; the caller holds the parcel. NULL: no memory. */
struct parcel *parcel_new(struct frame *f);
void parcel_unref(struct parcel *p); /* NULL is fine */

/* parcel_wrap - a message of the frame's bytes, without a copy; it holds the parcel until ZeroMQ frees it.
 * -ENOMEM. */
int parcel_wrap(struct parcel *p, zmq_msg_t *ret);
/* parcel_returned - was the message freed by this very thread since parcel_wrap? Then nobody was there to
 * take it. */
bool parcel_returned(const struct parcel *p);

void flight_add(struct flight *f, struct parcel *p); /* takes the caller's hold; f->n < FLIGHT_MAX */
void flight_land(struct flight *f);                  /* forgets what ZeroMQ has let go */
/* flight_has_room - for n more frames of that many bytes each, where `part` bytes may be on their way? One
 * frame always may, or nothing would ever go out. */
bool flight_has_room(const struct flight *f, uint32_t n, uint64_t bytes, uint64_t part);
void flight_fini(struct flight *f); /* forgets all */

#endif
