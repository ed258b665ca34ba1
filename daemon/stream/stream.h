/* stream - one stream's own state: its generations, and what was handed out of it. Private to this folder.
 *
 * Owner:   the thread that owns the supply.
 */
#ifndef SKIPALIGN_STREAM_STREAM_H
#define SKIPALIGN_STREAM_STREAM_H

#include "stream/depth.h"
#include "stream/generation.h"
#include "stream/sent.h"
#include "stream/supply.h"

struct stream {
    struct stream *next;
    char *name, *folder;
    struct generation **generations; /* in effect, first steps rising; at least one */
    uint32_t n_generations;
    struct generation **gone; /* superseded; windows of theirs may still be on their way */
    uint32_t n_gone;
    size_t generations_cap, gone_cap;
    struct sent *sent;
    uint64_t held_from;     /* steps from here on are not made now; STREAM_UNKNOWN: all are */
    struct step *goal;      /* as far as the ledger is being made again */
    struct depth depth;     /* of what is made ahead */
    LIST_HEAD(, step) live; /* steps that somebody holds */
    bool removed;
};

int stream_new(const char *name, const char *state_dir, const struct generation_setup *g, uint32_t n,
               struct stream **ret, struct err *reterr);
void stream_free(struct stream *st); /* NULL is fine */

struct generation *stream_newest(const struct stream *st);
/* stream_at - the generation that a step belongs to.   stream_before, stream_after - the neighbour in effect;
 * NULL: none. */
struct generation *stream_at(const struct stream *st, uint64_t step);
struct generation *stream_before(const struct stream *st, const struct generation *g);
struct generation *stream_after(const struct stream *st, const struct generation *g);

/* stream_make_room - for one generation more: stream_put cannot fail then.   stream_put - it is in effect
 * from its first step on; those that begin there or later are gone. */
int stream_make_room(struct stream *st);
void stream_put(struct stream *st, struct generation *g);

bool stream_is_held(const struct stream *st, uint64_t step);

/* stream_place - which windows hold the rows of a step, as far as the ledger knows. */
enum stream_place {
    PLACE_KNOWN,
    PLACE_BEYOND,  /* windows past the ledger have to be made first */
    PLACE_UNBEGUN, /* the start of its generation has to be found first */
    PLACE_FAILED,  /* its generation has failed */
    PLACE_PAST_END,
};
enum stream_place stream_place(const struct stream *st, uint64_t step, struct generation **ret,
                               uint64_t *ret_first, uint64_t *ret_last);

#endif
