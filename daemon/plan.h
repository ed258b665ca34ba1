/* plan - what a configuration would give, without serving anything: its streams' first windows are made as
 * the daemon would make them, until an epoch is through or some seconds are, and what they came to is told.
 *
 * Neither needs nor disturbs a daemon that runs with the same state_dir: of that only indexes are read, and
 * everything is written to a folder in TMPDIR that is removed at the end.
 *
 * Owner:   the main thread.
 */
#ifndef SKIPALIGN_PLAN_H
#define SKIPALIGN_PLAN_H

#include <stdio.h>

/* plan_run - messages to out as on the control socket (proto/ctl.h), one after the other: progress, then a
 * reply. path: the configuration file.   stream: only this one; NULL: all. Returns: 0; ERR_CONFIG: the file
 * is wrong; or another error. All are told in the reply. */
int plan_run(const char *path, const char *stream, FILE *out);

#endif
