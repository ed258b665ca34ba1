/* kitchen - where a worker makes windows: parse, render, tokenise, fit, position, pack.
 *
 * Owner:   each worker has one (its scratch, see workers.h).   Threads: one.
 */
#ifndef SKIPALIGN_STREAM_KITCHEN_H
#define SKIPALIGN_STREAM_KITCHEN_H

#include "stream/window.h"

struct kitchen;
struct workers;

struct kitchen *kitchen_new(void); /* NULL: no memory */
void kitchen_free(struct kitchen *k);

/* kitchen_workers - workers_start, each of the n with a kitchen. */
int kitchen_workers(uint32_t n, struct workers **ret, struct err *reterr);

/* kitchen_make - fill o->window from the records that have been read. What goes wrong with a record is in
 * window->unusable; what goes wrong with a file, or memory, is in window->rc and window->error. */
void kitchen_make(struct kitchen *k, struct window_order *o);

#endif
