#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const names[] = {"seq_len",   NULL,         "seed",      "packing",
                                    "positions", "mistral-v1", "mistral-v3"};

static const char *near(const char *word)
{
    return nearest(word, names, sizeof names / sizeof *names);
}

static void test_typos(void **state)
{
    (void)state;
    assert_string_equal(near("seqlen"), "seq_len");
    assert_string_equal(near("seq_lne"), "seq_len");
    assert_string_equal(near("SEQ_LEN"), "seq_len");
    assert_string_equal(near("sed"), "seed");
    assert_string_equal(near("pakcign"), "packing");
    assert_string_equal(near("position"), "positions");
    assert_string_equal(near("mistral"), "mistral-v1");
    assert_string_equal(near("mistral-v33"), "mistral-v3");
}

static void test_strangers(void **state)
{
    (void)state;
    assert_null(near(""));
    assert_null(near("frobnicate"));
    assert_null(near("es"));
    assert_null(near("a name that is much longer than any name that there is, or ever will be, I think"));
    assert_null(nearest("seed", names, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typos),
        cmocka_unit_test(test_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
