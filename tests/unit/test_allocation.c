/* The way from a record to a batch's bytes takes no memory from the heap once it is warm. Calls of our own
 * code are counted, on all threads (the linker's --wrap); libraries do as they like. */
#include "feed/frame.h"
#include "support/folder.h"
#include "support/supply_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECORDS = 3000, MEMORY = 16 << 20, STRETCH_STEPS = 500, STRETCHES = 40 };

static atomic_uint n_calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **p, size_t alignment, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **p, size_t alignment, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t size)
{
    n_calls++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_calls++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    n_calls++;
    return __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    n_calls++;
    return __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t size)
{
    n_calls++;
    return __real_posix_memalign(p, alignment, size);
}

char *__wrap_strdup(const char *s)
{
    n_calls++;
    return __real_strdup(s);
}

/* Batches of so many steps, each given back before the next; returns how often memory was wanted meanwhile.
 */
static unsigned read_steps(struct rig *r, struct pool *pool, uint64_t first, uint64_t n)
{
    unsigned before = n_calls;
    for (uint64_t i = first; i < first + n; i++) {
        struct step *step = rig_get(r, r->streams[0], i);
        struct frame *frame;
        assert_int_equal(step->state, STEP_READY);
        assert_int_equal(frame_write(pool, step, 2, 1, &frame), 0);
        supply_step_unref(r->supply, step);
        frame_unref(frame);
    }
    return n_calls - before;
}

/* What is needed at a time depends a little on which thread comes first, so there is no telling when it has
 * been seen. But where each window, step or batch took something, no stretch would be without. */
static void a_warm_feeder_allocates_nothing(void **state)
{
    struct folder *folder = *state;
    struct rig *r = rig_new(folder->path, "state", RECORDS, 0);
    struct pool *pool = pool_new(1 << 20);
    r->memory = MEMORY;
    r->confs[0].epochs = 0;
    r->workers_n = 1;
    rig_start(r);
    struct supply_stats before, after;
    unsigned n = 1;
    for (uint64_t k = 0; n > 0 && k < STRETCHES; k++) {
        supply_get_stats(r->supply, &before);
        n = read_steps(r, pool, k * STRETCH_STEPS, STRETCH_STEPS);
    }
    supply_get_stats(r->supply, &after);
    assert_int_equal(n, 0);
    assert_true(after.windows_made >= before.windows_made + 5); /* they were not there before */
    rig_free(r);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_warm_feeder_allocates_nothing, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
