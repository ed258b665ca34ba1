#include "corpus/newline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 300 };

/* Both ways against a look at each byte, in memory of just that size. */
static void check(const char *bytes, uint32_t size)
{
    uint32_t wanted[SIZE], got[2][SIZE], n = 0;
    char *data = malloc(size);
    assert_true(data != NULL || size == 0);
    if (size > 0)
        memcpy(data, bytes, size);
    for (uint32_t i = 0; i < size; i++)
        if (bytes[i] == '\n')
            wanted[n++] = i;
    assert_int_equal(newline_find(data, size, got[0]), n);
    assert_int_equal(newline_find_portable(data, size, got[1]), n);
    assert_memory_equal(got[0], wanted, n * sizeof *wanted);
    assert_memory_equal(got[1], wanted, n * sizeof *wanted);
    free(data);
}

static void test_all_sizes(void **state)
{
    (void)state;
    char none[SIZE], all[SIZE], some[SIZE];
    memset(none, 'x', SIZE);
    memset(all, '\n', SIZE);
    for (uint32_t i = 0; i < SIZE; i++)
        some[i] = (char)(i * 37 % 256);
    for (uint32_t size = 0; size <= SIZE; size++) {
        check(none, size);
        check(all, size);
        check(some, size);
    }
}

static void test_every_place(void **state)
{
    (void)state;
    char bytes[SIZE];
    memset(bytes, '\n' ^ (char)0x80, SIZE);
    for (uint32_t i = 0; i < SIZE; i++) {
        bytes[i] = '\n';
        check(bytes, SIZE);
        bytes[i] = '\v';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sizes),
        cmocka_unit_test(test_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
