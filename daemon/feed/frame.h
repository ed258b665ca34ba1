/* frame - one rank's batch of one step, as the bytes that are sent; written by a worker, shared by all who
 * want it.
 *
 * Rows [rank*G/world, (rank+1)*G/world) of the step, laid out by proto/message.h and filled in place: tokens
 * copied, position ids written from runs, labels from spans, padding as WIRE says; XXH3-64 over the arrays.
 * Counted: the last reference frees it, on whichever thread ZeroMQ lets go of the message.
 */
#ifndef SKIPALIGN_FEED_FRAME_H
#define SKIPALIGN_FEED_FRAME_H

#include "base/pool.h"
#include "stream/supply.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct frame {
    char *data;
    size_t size;
    uint64_t step, tokens; /* real tokens, for rates */
    uint32_t generation;
    /* private */
    atomic_uint refs;
};

/* frame_write - the batch of a step that is READY; any thread, while the step is held.
 * pool: of its memory; outlives it.
 * Errors: -ENOMEM, -EOVERFLOW (more than MSG_TOKENS_MAX tokens in one batch). world divides the global batch,
 * rank < world. */
int frame_write(struct pool *pool, const struct step *step, uint32_t world, uint32_t rank,
                struct frame **ret);
struct frame *frame_ref(struct frame *f);
void frame_unref(struct frame *f); /* NULL is fine */

#endif
