#include "base/pool.h"

#include "base/err.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#endif

/* Sizes are counted in units of POOL_ALIGN: 1..8, then eight more to each doubling. */
#define STEPS 8u
#define SIZE_LIMIT (1ull << 48)
#define CLASSES (STEPS * 43u) /* of blocks up to there */
#define LARGE (256u << 10)
#define PAGE 4096u

/* Stands before the memory that is given. */
struct block {
    struct pool *pool;
    size_t room;
    uint32_t class;
    LIST_ENTRY(block) in_class; /* of an idle one */
    TAILQ_ENTRY(block) in_idle;
};
_Static_assert(sizeof(struct block) <= POOL_ALIGN, "what follows stays aligned");

struct pool {
    pthread_mutex_t lock;
    uint64_t idle, idle_max; /* bytes */
    uint64_t n_out;
    LIST_HEAD(, block) classes[CLASSES]; /* idle ones, the last let go first */
    TAILQ_HEAD(, block) idle_list;       /* all of them, the one that has lain longest first */
};

/* The class of blocks of so many units at least, and their number of units. */
static uint32_t class_of(size_t units, size_t *ret_units)
{
    if (units <= STEPS) {
        *ret_units = units;
        return (uint32_t)units;
    }
    unsigned shift = 60 - (unsigned)__builtin_clzll(units - 1); /* (units - 1) >> shift is in STEPS..15 */
    size_t steps = ((units - 1) >> shift) + 1;
    *ret_units = steps << shift;
    return (uint32_t)(shift * STEPS + steps);
}

struct pool *pool_new(uint64_t idle_max)
{
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->idle_max = idle_max;
    TAILQ_INIT(&p->idle_list);
    (void)pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void leave_idle(struct pool *p, struct block *b)
{
    LIST_REMOVE(b, in_class);
    TAILQ_REMOVE(&p->idle_list, b, in_idle);
    p->idle -= b->room;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    CHECK(p->n_out == 0);
    for (struct block *b; (b = TAILQ_FIRST(&p->idle_list)) != NULL; free(b))
        leave_idle(p, b);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

/* A large one is about to be filled, and all its pages at once cost less than a fault for each. Where that
 * cannot be (Linux before 5.14, other page sizes) the faults come. */
static struct block *block_new(size_t size)
{
    struct block *b = aligned_alloc(POOL_ALIGN, size);
    if (b != NULL && size >= LARGE) {
        char *const page = (char *)(((uintptr_t)b + PAGE - 1) & -(uintptr_t)PAGE);
        (void)madvise(page, (size_t)((char *)b + size - page) & -(size_t)PAGE, MADV_POPULATE_WRITE);
    }
    return b;
}

void *pool_take(struct pool *p, size_t size)
{
    size_t units;
    if (size > SIZE_LIMIT)
        return NULL;
    const uint32_t class = class_of(1 + (size + POOL_ALIGN - 1) / POOL_ALIGN, &units);
    (void)pthread_mutex_lock(&p->lock);
    struct block *b = LIST_FIRST(&p->classes[class]);
    if (b != NULL)
        leave_idle(p, b);
    p->n_out++;
    (void)pthread_mutex_unlock(&p->lock);
    if (b == NULL && (b = block_new(units * POOL_ALIGN)) == NULL) {
        (void)pthread_mutex_lock(&p->lock);
        p->n_out--;
        (void)pthread_mutex_unlock(&p->lock);
        return NULL;
    }
    ASAN_UNPOISON_MEMORY_REGION((char *)b + POOL_ALIGN, units * POOL_ALIGN - POOL_ALIGN);
    b->pool = p;
    b->room = units * POOL_ALIGN;
    b->class = class;
    return (char *)b + POOL_ALIGN;
}

void pool_give(void *data)
{
    if (data == NULL)
        return;
    struct block *b = (struct block *)((char *)data - POOL_ALIGN), *out;
    struct pool *p = b->pool;
    LIST_HEAD(, block) gone = LIST_HEAD_INITIALIZER(gone);
    ASAN_POISON_MEMORY_REGION(data, b->room - POOL_ALIGN);
    (void)pthread_mutex_lock(&p->lock);
    p->n_out--;
    p->idle += b->room;
    LIST_INSERT_HEAD(&p->classes[b->class], b, in_class);
    TAILQ_INSERT_TAIL(&p->idle_list, b, in_idle);
    while (p->idle > p->idle_max) {
        out = TAILQ_FIRST(&p->idle_list);
        leave_idle(p, out);
        LIST_INSERT_HEAD(&gone, out, in_class);
    }
    (void)pthread_mutex_unlock(&p->lock);
    while ((out = LIST_FIRST(&gone)) != NULL) {
        LIST_REMOVE(out, in_class);
        free(out);
    }
}

static const struct block *block_of(const void *data)
{
    return (const struct block *)((const char *)data - POOL_ALIGN);
}

size_t pool_room(const void *data)
{
    return block_of(data)->room;
}

struct pool *pool_of(const void *data)
{
    return block_of(data)->pool;
}
