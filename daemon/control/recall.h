/* recall - at the start: what the state directory remembers of each stream, against what the file says now.
 *
 * A stream goes on as what it was. Where the file was edited while nothing ran, or corpora or model are
 * others than they were, going on would be another stream under the old one's step numbers: that is refused,
 * with what is different and what can be done, unless nothing was handed out yet or it was asked for
 * (reload). What was changed by commands while it ran is no edit of the file, and stays.
 *
 * Owner:   the main thread.
 */
#ifndef SKIPALIGN_CONTROL_RECALL_H
#define SKIPALIGN_CONTROL_RECALL_H

#include "control/roster.h"

#include <stdbool.h>
#include <stdint.h>

struct recall_options {
    bool reload;               /* where it is not what the timeline has last: the file, from the first step on
                                  that was never handed out */
    const char *const *forget; /* [n_forget] streams that begin anew; their state is put aside */
    uint32_t n_forget;
    const struct stock_progress *progress;
};

/* recall_streams - fills streams of a roster that has file, running (the same) and stock; running becomes
 * what is served.
 * Errors: ERR_CONFIG where a stream cannot go on as it was; those of the stock and of timelines. */
int recall_streams(struct roster *r, const struct recall_options *o, struct err *reterr);

#endif
