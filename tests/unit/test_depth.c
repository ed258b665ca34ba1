#include "stream/depth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MAX = 17 };

/* Steps that end in so many windows more, two in each; returns how many are made ahead then. */
static uint32_t read_on(struct depth *d, uint64_t *window, unsigned n, bool waited)
{
    for (; n > 0; n--, ++*window) {
        depth_count(d, *window, waited, MAX);
        depth_count(d, *window, false, MAX);
    }
    return d->windows;
}

static void waiting_doubles_it_up_to_the_most(void **state)
{
    (void)state;
    struct depth d;
    uint64_t window = 0;
    depth_init(&d);
    assert_int_equal(d.windows, 1);
    static const uint32_t then[] = {2, 4, 8, 16, 17, 17};
    for (size_t i = 0; i < sizeof then / sizeof then[0]; i++)
        assert_int_equal(read_on(&d, &window, 1, true), then[i]);
}

static void a_window_counts_once(void **state)
{
    (void)state;
    struct depth d;
    depth_init(&d);
    for (int i = 0; i < 5; i++)
        depth_count(&d, 0, true, MAX);
    assert_int_equal(d.windows, 2);
    depth_count(&d, 1, false, MAX);
    for (int i = 0; i < 5; i++)
        depth_count(&d, 1, true, MAX); /* a later step of it had to wait, for the window that it begins in */
    assert_int_equal(d.windows, 4);
}

static void calm_takes_it_back(void **state)
{
    (void)state;
    struct depth d;
    uint64_t window = 0;
    depth_init(&d);
    (void)read_on(&d, &window, 5, true);
    assert_int_equal(read_on(&d, &window, 1000, false), 1);
}

static void what_was_too_few_is_tried_less_often(void **state)
{
    (void)state;
    struct depth d;
    uint64_t window = 0, waits = 0;
    depth_init(&d);
    /* A reader that has to wait whenever less than two are made ahead. */
    for (; window < 100000; window++) {
        bool waited = d.windows < 2;
        waits += waited;
        depth_count(&d, window, waited, MAX);
    }
    assert_in_range(waits, 2, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_doubles_it_up_to_the_most),
        cmocka_unit_test(a_window_counts_once),
        cmocka_unit_test(calm_takes_it_back),
        cmocka_unit_test(what_was_too_few_is_tried_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
