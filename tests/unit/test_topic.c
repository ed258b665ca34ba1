/* Topics: what a plain subscriber asks for, in the one way of writing it. */
#include "proto/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int topic(const char *text, struct msg_open *ret, bool *ret_tap)
{
    return msg_parse_topic(text, strlen(text), ret, ret_tap);
}

static void topics_name_a_batch(void **state)
{
    (void)state;
    struct msg_open m;
    bool tap;
    assert_int_equal(topic("chat/8/3/18446744073709551615/", &m, &tap), 0);
    assert_string_equal(m.stream, "chat");
    assert_int_equal(m.world, 8);
    assert_int_equal(m.rank, 3);
    assert_true(m.step == UINT64_MAX);
    assert_false(tap);
    assert_int_equal(topic("a b/tap/", &m, &tap), 0);
    assert_string_equal(m.stream, "a b");
    assert_int_equal(m.world, 1);
    assert_true(tap);
}

static void topics_have_one_spelling(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "chat",
        "chat/",
        "/1/0/0/",
        "chat/1/0/0",
        "chat/1/0/0//",
        "chat/01/0/0/",
        "chat/1/0/-1/",
        "chat/1/",
        "chat/tap",
        "chat/tap/ ",
        "chat/1/0/ 0/",
        "chat//0/0/",
        "chat/1/0/00/",
        "chat/1/0/0/x",
        "ch\nat/1/0/0/",
        "chat/4294967296/0/0/",
        "chat/1/0/18446744073709551616/",
        "\xff/1/0/0/",
    };
    struct msg_open m;
    bool tap;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (topic(wrong[i], &m, &tap) != -EPROTO)
            fail_msg("'%s' was taken for a topic", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_name_a_batch),
        cmocka_unit_test(topics_have_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
