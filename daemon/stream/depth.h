/* depth - how many windows after the one that is being read are made ahead: as few as will do, so that a slow
 * reader costs little memory and a change comes soon, and as many as a fast one can use.
 *
 * Where somebody had to wait for a window twice as many are made from then on; where nobody had for a while,
 * one less. Each time that turns out too few, the while becomes longer.
 *
 * Owner:   whoever owns the struct.   Threads: one.
 */
#ifndef SKIPALIGN_STREAM_DEPTH_H
#define SKIPALIGN_STREAM_DEPTH_H

#include <stdbool.h>
#include <stdint.h>

struct depth {
    uint32_t windows; /* to be made ahead; 1 at least */
    /* private */
    uint32_t calm, calm_wanted; /* windows since the last wait, and how many make one less */
    bool shrunk, waited;        /* since the last wait; for the window that was counted last, */
    uint64_t window;            /* this one */
};

void depth_init(struct depth *d);

/* depth_count - a step that ends in this window is there. waited: it was not when it was asked for. max: so
 * many at most. Of the steps that end in a window it counts one, and the first that waited. */
void depth_count(struct depth *d, uint64_t window, bool waited, uint32_t max);

#endif
