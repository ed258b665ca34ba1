/* pool - memory that was let go, for who wants some next: in the hot path nothing comes from the heap once as
 * much as is needed at a time has come from there. Fresh memory costs a page fault for each 4 KiB, together
 * as much as writing it does.
 *
 * Blocks come in eight sizes for each doubling, so at most a ninth of one is unused. Of one size the block
 * that was let go last is given first: it may still be in the CPU's cache.
 *
 * Owner:   the caller of pool_new.   Threads: blocks come and go on any.
 */
#ifndef SKIPALIGN_BASE_POOL_H
#define SKIPALIGN_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_ALIGN 64

struct pool;

/* pool_new - keeps at most idle_max bytes that nobody uses; then what has lain longest goes back to the heap.
 * NULL: no memory. */
struct pool *pool_new(uint64_t idle_max);
void pool_free(struct pool *); /* all blocks are back; NULL is fine */

/* pool_take - size bytes, aligned to POOL_ALIGN, whatever is in them; NULL: no memory.   pool_give - back to
 * the pool that it came from; NULL is fine. */
void *pool_take(struct pool *, size_t size);
void pool_give(void *block);
size_t pool_room(const void *block);     /* all that it takes, bytes */
struct pool *pool_of(const void *block); /* where it came from */

#endif
