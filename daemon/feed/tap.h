/* tap - topics STREAM/tap/: a copy of each new step as rank 0 of world 1, for whoever wants to watch; lossy.
 *
 * Steps are shown as they are first sent to anyone; what would have to wait is dropped and counted.
 * Owner:   the feed's thread.
 */
#ifndef SKIPALIGN_FEED_TAP_H
#define SKIPALIGN_FEED_TAP_H

#include "feed/consumer.h"

struct tap;

struct taps {
    struct door *door;
    struct consumers *consumers; /* for a part of their memory */
    struct share *share;
    struct tally *tally;
    bool settled; /* a tap has news */
    LIST_HEAD(, tap) list;
};

/* taps_add - -ENOMEM; a stream that has its tap already keeps it. */
int taps_add(struct taps *t, struct stream *st);
/* taps_sent - a consumer was sent this step. */
void taps_sent(struct taps *t, struct stream *st, uint64_t step);
/* taps_drop_stream - its tap gets its `end`. */
/* taps_forget - what is on its way for those who watch a stream is not to be shown. */
void taps_forget(struct taps *all, const struct stream *st);
void taps_drop_stream(struct taps *t, const struct stream *st);
void taps_run(struct taps *t);
void taps_fini(struct taps *t);

#endif
