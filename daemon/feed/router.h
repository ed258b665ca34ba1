/* router - the exact door: trainers open, give credit, close; each message is answered or refused with the
 * reason. */
#ifndef SKIPALIGN_FEED_ROUTER_H
#define SKIPALIGN_FEED_ROUTER_H

#include "base/log.h"
#include "feed/consumer.h"

struct router {
    struct door door;
    struct consumers *consumers;
    struct supply *supply;
    struct tally *tally;
    bool draining; /* no more is opened, no more credit is taken */
    struct log_gate gate;
};

/* router_receive - a few of the messages that wait. */
void router_receive(struct router *r);

#endif
