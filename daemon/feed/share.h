/* share - the batches that somebody waits for: each made once, however many consumers want the same bytes.
 *
 * A consumer wants a batch (stream, step, world, rank) through a struct want of its own, and leaves it when
 * it has sent it or gives up. Behind that: the step is asked of the supply, and once it is there a worker
 * writes the frame; the step is given back then, and the frame goes when nobody wants it any more.
 *
 * Owner:   the feed's thread calls everything here.
 */
#ifndef SKIPALIGN_FEED_SHARE_H
#define SKIPALIGN_FEED_SHARE_H

#include "feed/frame.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct batch;
struct share;

enum batch_state {
    BATCH_MAKING,
    BATCH_READY,   /* want_frame is there */
    BATCH_END,     /* the stream ended before this step */
    BATCH_FAILED,  /* there can be no such batch: want_failure says why */
    BATCH_REFUSED, /* no memory for it now: leave it, and want it again later */
};

/* Zero it before its first use; batch is NULL while nothing is wanted. */
struct want {
    void (*settled)(struct want *); /* the batch left BATCH_MAKING; must not call share */
    void *owner;
    struct batch *batch;
    LIST_ENTRY(want) link;
};

/* share_new - both are borrowed until share_free; the pool for as long as frames are on their way. NULL: no
 * memory. */
struct share *share_new(struct workers *w, struct pool *pool);
/* share_set_supply - where steps come from; its `changed` must end in share_step_changed. */
void share_set_supply(struct share *s, struct supply *supply);
void share_step_changed(struct share *s, struct step *step);
void share_free(struct share *s); /* nothing is wanted and share_n_making is 0 */

/* share_want - -ENOMEM leaves w as it was. It may be settled at once: `settled` is not called for that, look.
 */
int share_want(struct share *s, struct stream *st, uint64_t step, uint32_t world, uint32_t rank,
               struct want *w);
void share_leave(struct want *w); /* fine where nothing is wanted */
enum batch_state want_state(const struct want *w);
struct frame *want_frame(const struct want *w); /* borrowed until share_leave */
uint64_t want_epoch(const struct want *w);      /* of a batch that is ready */
const char *want_failure(const struct want *w); /* of one that failed */
/* want_doubted - are ids in it that our own code made, which was found wrong since? Then it must not go out.
 * Leave it; who wants it again gets another. */
bool want_doubted(const struct want *w);

/* share_run - hand what became ready to the workers. */
void share_run(struct share *s);
uint32_t share_n_making(const struct share *s); /* frames that workers are writing */

/* share_made - 1 + the highest step of a stream of which a batch is there, or is about to be; 0: none. Such a
 * step may be sent, so it stays what it is. */
uint64_t share_made(const struct share *s, const struct stream *st);

#endif
