/* covered - the distances of one generation, as far as its windows were made in this process: each window
 * once, however often it is made. Private to this folder but for what stream_get_coverage gives out
 * (supply.h).
 *
 * Owner:   the thread that owns the supply.   Memory: a bit a window.
 */
#ifndef SKIPALIGN_STREAM_COVERED_H
#define SKIPALIGN_STREAM_COVERED_H

#include "stream/supply.h"

#include <stddef.h>

struct covered {
    struct stream_coverage *sum; /* NULL: nothing so far */
    uint64_t *seen;              /* a bit a window */
    size_t seen_cap;
};

/* covered_add - takes w->distances away and adds them, if w is new. Where there is no memory for its bit it
 * is not counted. */
void covered_add(struct covered *c, struct window *w);
void covered_fini(struct covered *c);

#endif
