/* admit - may this consumer have that? The checks of `open`, the same for both doors. The feed's thread. */
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

/* admit_stream - the stream of that name that can be read from; NULL: refused (unknown-stream,
 * stream-failed). admit_open - all of `open`. */
struct stream *admit_stream(struct supply *s, const char *name, struct refusal *ret);
struct stream *admit_open(struct supply *s, const struct msg_open *open, struct refusal *ret);

#endif
