/* answer - the feed's own messages but batches: opened, changed, wait, end, error. Errors are those of
 * door_send.
 */
#ifndef SKIPALIGN_FEED_ANSWER_H
#define SKIPALIGN_FEED_ANSWER_H

#include "feed/door.h"
#include "feed/tally.h"
#include "proto/message.h"

/* answer_opened - what a stream is from this step on: `opened`, or `changed`. */
int answer_opened(struct door *d, struct slice to, enum msg_type type, const struct stream *st,
                  const struct generation_info *g, uint32_t world, uint64_t step);
int answer_wait(struct door *d, struct slice to, const struct msg_wait *m);
int answer_end(struct door *d, struct slice to, uint64_t step, enum msg_reason reason, uint64_t dropped);
/* answer_error - counted in t once sent. */
int answer_error(struct door *d, struct slice to, const struct msg_error *e, struct tally *t);

/* answer_say - an error of this code and message, nothing else in it. */
void answer_say(struct msg_error *ret, enum msg_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
