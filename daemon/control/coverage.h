/* coverage - distances as a reply tells them.   Threads: the one that owns the supply. */
#ifndef SKIPALIGN_CONTROL_COVERAGE_H
#define SKIPALIGN_CONTROL_COVERAGE_H

#include "proto/ctl.h"
#include "stream/supply.h"

/* coverage_put - members of a map: summaries, buckets and strategies. */
void coverage_put(struct ctl_writer *w, const struct stream_coverage *c);

#endif
