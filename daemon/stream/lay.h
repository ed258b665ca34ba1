/* lay - documents in the places that others had: a window that was handed out, made again with other ids.
 *
 * Which documents a row holds is a fact once anybody has the row: were they packed anew, those who go on in
 * the middle of a window would get some of them twice and others not at all. So rows stay, and only ids
 * change. Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_LAY_H
#define SKIPALIGN_STREAM_LAY_H

#include "stream/window.h"

/* lay_as - the documents of a draft in the rows that they have in `was`, made of the same slots. One that
 * `was` does not have is in no row; the place of one that the draft does not have is left out. Where a row's
 * documents have become too long for it, those that have grown are cut to the length that they had. Errors:
 * -ENOMEM. */
int lay_as(struct window_draft *d, const struct window *was);

#endif
