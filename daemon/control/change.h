/* change - the transaction in which a running daemon becomes another: draft, diff, check, prepare, commit.
 *
 * One at a time. Preparing (indexing corpora, loading a tokenizer: all that can fail and all that takes long)
 * goes on beside serving, on a thread of its own, and may be cancelled; its failure changes nothing. Then, on
 * the main thread and waiting for nothing but the disk: each stream says from which step on it can change,
 * its timeline gets the new generation, and the feed takes it.
 *
 * Owner:   the main thread.
 */
#ifndef SKIPALIGN_CONTROL_CHANGE_H
#define SKIPALIGN_CONTROL_CHANGE_H

#include "config/diff.h"
#include "control/commands.h"
#include "control/roster.h"

#include <stdbool.h>
#include <stdint.h>

/* What is wanted. */
#define WISH_CAUSE 512
struct wish {
    struct conf *draft; /* taken over */
    struct conf *file;  /* taken over: the file, where draft is what it says; NULL: draft is not of it */
    enum stock_choice choice; /* of corpora and models that the draft does not change */
    char cause[WISH_CAUSE];   /* "set chat.seq_len 8192" */
    const char *who;
    bool dry_run, progress;
    uint64_t at; /* STREAM_UNKNOWN: as soon as can be */
};

/* change_begin - the request is answered, or waits for its change. */
void change_begin(struct request *q, struct wish *wish);

/* change_cancel - the change that is being prepared; false: there is none. Its request is told when its
 * thread has stopped.   change_describe - that change: by whom, what, since when. */
bool change_cancel(struct roster *r, const char *who);
void change_describe(const struct roster *r, char *ret, size_t cap);

/* change_put_diff - the members `changes` of a result, where after is to be instead of what is running. */
void change_put_diff(struct ctl_writer *w, const struct roster *r, const struct conf *after,
                     const struct conf_change *changes, uint32_t n);

#endif
