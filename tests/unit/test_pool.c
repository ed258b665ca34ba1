#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct pool *pool;

static int setup(void **state)
{
    (void)state;
    return (pool = pool_new(1 << 20)) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    return 0;
}

static void blocks_are_as_large_as_wanted_and_hardly_larger(void **state)
{
    (void)state;
    for (size_t size = 0; size < 3 << 20; size += 1 + size / 7) {
        char *block = pool_take(pool, size);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % POOL_ALIGN, 0);
        assert_ptr_equal(pool_of(block), pool);
        memset(block, 'x', size); /* a sanitizer looks on */
        assert_true(pool_room(block) >= size + POOL_ALIGN);
        assert_true(pool_room(block) <= (size + 2 * POOL_ALIGN) * 9 / 8);
        pool_give(block);
    }
}

static void what_was_let_go_last_is_given_first(void **state)
{
    (void)state;
    void *first = pool_take(pool, 1000), *second = pool_take(pool, 1000), *other = pool_take(pool, 9000);
    pool_give(first);
    pool_give(second);
    pool_give(other);
    assert_ptr_equal(pool_take(pool, 990), second);
    assert_ptr_equal(pool_take(pool, 1000), first);
    assert_ptr_equal(pool_take(pool, 9000), other);
    pool_give(first);
    pool_give(second);
    pool_give(other);
}

/* Sizes that nobody wants any more make room for those that are used. */
static void what_has_lain_longest_goes_back_first(void **state)
{
    (void)state;
    void *old = pool_take(pool, 600 << 10), *new = pool_take(pool, 300 << 10);
    pool_give(old);
    for (int i = 0; i < 3; i++) {
        void *more = pool_take(pool, 200 << 10);
        pool_give(new);
        assert_ptr_equal(pool_take(pool, 300 << 10), new);
        pool_give(more);
        assert_ptr_equal(pool_take(pool, 200 << 10), more);
        pool_give(more);
    }
    void *large = pool_take(pool, 700 << 10);
    pool_give(new);
    pool_give(large); /* now old had to go, and the next two with it */
    assert_ptr_equal(pool_take(pool, 700 << 10), large);
    pool_give(large);
}

static void nothing_is_kept_where_nothing_may_be(void **state)
{
    (void)state;
    struct pool *none = pool_new(0);
    void *a = pool_take(none, 100), *b = pool_take(none, 100);
    pool_give(a);
    pool_give(b);
    pool_give(NULL);
    assert_null(pool_take(none, SIZE_MAX / 2));
    pool_free(none); /* leaks show under the sanitizer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_as_large_as_wanted_and_hardly_larger, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_let_go_last_is_given_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_lain_longest_goes_back_first, setup, teardown),
        cmocka_unit_test(nothing_is_kept_where_nothing_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
