/* sent - how far a stream was ever handed out: a mark that a kill -9 does not take back.
 *
 * A file of a few bytes (state_dir/streams/NAME/sent), mapped: moving the mark is one store, and the kernel
 * writes it out in its own time. Only a power cut can lose the last of it.
 *
 * Owner:   one thread.
 */
#ifndef SKIPALIGN_STREAM_SENT_H
#define SKIPALIGN_STREAM_SENT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct sent;

/* sent_open - in the folder of the stream, which is there. *ret_new: there was none, or it is damaged: the
 * mark is 0. Errors: not writable, no space. */
int sent_open(const char *folder, struct sent **ret, bool *ret_new, struct err *reterr);
void sent_close(struct sent *s); /* NULL is fine */
uint64_t sent_get(const struct sent *s);
/* sent_raise - to at least so much. */
void sent_raise(struct sent *s, uint64_t mark);

/* sent_read - the mark of a stream that nobody has open; 0: none. */
uint64_t sent_read(const char *folder);

#endif
