/* tally - what the feed has sent: counters since the start, and the last steps one by one. The feed's
 * thread's own. */
#ifndef SKIPALIGN_FEED_TALLY_H
#define SKIPALIGN_FEED_TALLY_H

#include "feed/feed.h"

struct tally {
    struct feed_stats stats;
    uint64_t n_events; /* since the start */
    struct feed_event events[FEED_EVENTS];
};

/* tally_sent - one more batch; number and time_ns of e are set here. */
void tally_sent(struct tally *t, struct feed_event *e);
uint32_t tally_events(const struct tally *t, uint64_t after, struct feed_event *ret, uint32_t cap);

#endif
