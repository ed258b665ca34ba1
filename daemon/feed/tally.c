#include "feed/tally.h"

#include "base/clock.h"

void tally_sent(struct tally *t, struct feed_event *e)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    e->time_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    e->number = t->n_events + 1;
    t->events[t->n_events++ % FEED_EVENTS] = *e;
    t->stats.batches++;
    t->stats.bytes += e->bytes;
    t->stats.tokens += e->tokens;
}

uint32_t tally_events(const struct tally *t, uint64_t after, struct feed_event *ret, uint32_t cap)
{
    uint64_t oldest = t->n_events > FEED_EVENTS ? t->n_events - FEED_EVENTS : 0;
    uint32_t n = 0;
    for (uint64_t i = after > oldest ? after : oldest; i < t->n_events && n < cap; i++)
        ret[n++] = t->events[i % FEED_EVENTS];
    return n;
}
