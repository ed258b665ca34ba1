/* xpub - the open door: a topic names a stream, a world, a rank and a step, and whoever subscribes gets its
 * batches.
 *
 * Each topic that is subscribed to is one consumer (consumer.h) without credit; its peer is the topic. Who
 * else has subscribed is known to ZeroMQ alone: cancellations are passed to it, and a topic is given up when
 * a batch finds nobody.
 */
#ifndef SKIPALIGN_FEED_XPUB_H
#define SKIPALIGN_FEED_XPUB_H

#include "base/log.h"
#include "feed/consumer.h"
#include "feed/tap.h"

struct xpub {
    struct door door;
    struct consumers *consumers;
    struct taps *taps;
    struct supply *supply;
    struct tally *tally;
    bool draining; /* no more topics */
    struct log_gate gate;
};

/* xpub_receive - a few of the subscriptions and cancellations that wait. */
void xpub_receive(struct xpub *x);

#endif
