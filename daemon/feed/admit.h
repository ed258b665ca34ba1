/* admit - may this consumer have that? The checks of `open`, the same for both doors, and those of a change
 * that comes to one that is open. The feed's thread. */
#ifndef SKIPALIGN_FEED_ADMIT_H
#define SKIPALIGN_FEED_ADMIT_H

#include "proto/message.h"
#include "stream/supply.h"

/* A refusal and what its message points into. */
struct refusal {
    struct msg_error error;
    uint32_t
        worlds[256]; /* a number up to 2^20 has at most 240 divisors; of a larger one some are left out */
};

/* admit_open - the stream that an `open` names, if it may have what it asks for; NULL: refused. */
struct stream *admit_open(struct supply *s, const struct msg_open *open, struct refusal *ret);

/* admit_world - can this world read a stream of that configuration? It divides the global batch, and its
 * batches fit a message.   admit_say_world - why it cannot, from first_step on. */
bool admit_world(const struct conf_stream *c, uint64_t world);
void admit_say_world(const struct conf_stream *c, uint64_t first_step, uint32_t world, struct refusal *ret);

/* admit_say_failure - that a generation's steps cannot be had, and why. */
void admit_say_failure(const char *stream, const struct generation_info *g, uint64_t step, const char *why,
                       struct msg_error *ret);

#endif
