/* deliver - what one consumer gets next: `opened`, `changed`, its batches, `end`, or the reason why there are
 * none.
 *
 * A consumer reads across a change of its stream without a pause, if it can: its world divides the new global
 * batch, and it takes another shape. If not, that is what it is told when its turn comes, and it is at its
 * end.
 *
 * Owner:   the feed's thread.
 */
#ifndef SKIPALIGN_FEED_DELIVER_H
#define SKIPALIGN_FEED_DELIVER_H

#include "feed/consumer.h"

enum { DELIVER_SENT = 0, DELIVER_WAITING = 1 };

/* deliver_next - one message more, or none: c->wait says for what. Or an error of door_send. */
int deliver_next(struct consumer *c);

/* deliver_forget - nothing from this step on is wanted any more. */
void deliver_forget(struct consumer *c, uint64_t from_step);

/* deliver_frame_bytes - of a batch, about. */
uint64_t deliver_frame_bytes(const struct conf_stream *conf, uint32_t world);

#endif
