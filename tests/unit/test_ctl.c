/* The control socket's messages: writing, and reading what anyone may have sent. */
#include "proto/ctl.h"
#include "proto/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct token_cursor written(const struct ctl_writer *w)
{
    return (struct token_cursor){w->buf.data, w->buf.data + w->buf.size};
}

static void test_members_are_counted(void **state)
{
    (void)state;
    struct ctl_writer w;
    ctl_init(&w);
    ctl_put_map(&w, NULL);
    ctl_put_uint(&w, "a", 300);
    ctl_put_list(&w, "l");
    ctl_put_bool(&w, NULL, true);
    ctl_put_nil(&w, NULL);
    ctl_put_map(&w, NULL);
    ctl_put_end(&w);
    ctl_put_end(&w);
    ctl_put_int(&w, "n", -5);
    ctl_put_end(&w);
    static const char expected[] = "\xdf\0\0\0\3\xa1"
                                   "a\xcd\x01\x2c\xa1l\xdd\0\0\0\3\xc3\xc0\xdf\0\0\0\0\xa1n\xfb";
    assert_int_equal(w.rc, 0);
    assert_int_equal(w.depth, 0);
    assert_int_equal(w.buf.size, sizeof expected - 1);
    assert_memory_equal(w.buf.data, expected, sizeof expected - 1);
    ctl_fini(&w);
}

static void test_reading_back(void **state)
{
    (void)state;
    struct ctl_writer w;
    struct token_cursor list;
    ctl_init(&w);
    ctl_put_map(&w, NULL);
    ctl_put_list(&w, "many");
    for (unsigned i = 0; i < 70000; i++)
        ctl_put_uint(&w, NULL, i);
    ctl_put_end(&w);
    ctl_put_text(&w, "text", "words");
    ctl_put_text(&w, "none", NULL);
    ctl_put_real(&w, "real", -0.25);
    ctl_put_bool(&w, "yes", true);
    ctl_put_int(&w, "negative", -70000);
    ctl_put_uint(&w, "large", UINT64_MAX);
    ctl_put_end(&w);

    const struct token_cursor map = written(&w);
    assert_int_equal(ctl_get_list(map, "many", &list), 70000);
    for (unsigned i = 0; i < 70000; i++) {
        const struct token_cursor value = ctl_take(&list);
        struct token t;
        assert_true(token_next(&(struct token_cursor){value.at, value.end}, &t));
        assert_int_equal(t.number, i);
    }
    const struct token text = ctl_get_text(map, "text");
    assert_true(token_is(&text, "words"));
    assert_true(ctl_is_nil(ctl_get(map, "none")));
    assert_true(ctl_get_real(map, "real") == -0.25);
    assert_true(ctl_get_real(map, "negative") == -70000);
    assert_true(ctl_get_bool(map, "yes"));
    assert_true(ctl_get_uint(map, "large") == UINT64_MAX);
    /* What is absent, or of another type, reads as nothing. */
    assert_null(ctl_get(map, "absent").at);
    assert_int_equal(ctl_get_uint(map, "text"), 0);
    assert_int_equal(ctl_get_uint(map, "negative"), 0);
    assert_int_equal(ctl_get_text(map, "large").size, 0);
    assert_false(ctl_get_bool(map, "absent"));
    assert_true(ctl_is_nil(ctl_get(map, "absent")));
    assert_int_equal(ctl_get_list(map, "text", &list), 0);
    ctl_fini(&w);
}

static void test_single_precision(void **state)
{
    (void)state;
    static const char map[] = "\x81\xa1x\xca\x3f\x40\0\0"; /* what a client may send: 0.75 in 32 bits */
    assert_true(ctl_get_real((struct token_cursor){map, map + sizeof map - 1}, "x") == 0.75);
}

static void test_bytes_become_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *clean;
    } cases[] = {
        {"plain", "plain"},
        {"\xe3\x81\x9d\xc3\xa9\xf0\x9f\x98\x80", "\xe3\x81\x9d\xc3\xa9\xf0\x9f\x98\x80"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe3\x81", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* cut short */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* a surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond U+10FFFF */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ctl_writer w;
        ctl_init(&w);
        ctl_put_map(&w, NULL);
        ctl_put_text(&w, "x", cases[i].raw);
        ctl_put_end(&w);
        const struct token t = ctl_get_text(written(&w), "x");
        assert_int_equal(w.rc, 0);
        assert_true(token_is(&t, cases[i].clean));
        ctl_fini(&w);
    }
}

static void test_too_deep_is_an_error(void **state)
{
    (void)state;
    struct ctl_writer w;
    ctl_init(&w);
    for (unsigned i = 0; i < CTL_DEPTH; i++)
        ctl_put_list(&w, NULL);
    assert_int_equal(w.rc, 0);
    ctl_put_list(&w, NULL);
    assert_int_equal(w.rc, -ENOMEM);
    const size_t size = w.buf.size;
    ctl_put_uint(&w, NULL, 1);
    ctl_put_end(&w);
    assert_int_equal(w.buf.size, size);
    ctl_fini(&w);
}

/* Look-ups in bytes of any kind end, and stay inside them: the sanitizers watch the exact-size copy. */
static void test_any_bytes(void **state)
{
    (void)state;
    uint64_t seed = 20240607;
    for (unsigned round = 0; round < 20000; round++) {
        const size_t size = round % 48;
        char *data = malloc(size > 0 ? size : 1);
        assert_non_null(data);
        for (size_t i = 0; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            data[i] = (char)(seed >> 56);
        }
        if (size > 0 && round % 2 == 0)
            data[0] = (char)(0x80 | (round / 2 & 15)); /* at least it starts like a map */
        const struct token_cursor map = {data, data + size};
        struct token_cursor list;
        const struct token text = ctl_get_text(map, "a");
        assert_true(text.size <= size);
        (void)ctl_get_real(map, "a");
        (void)ctl_get_uint(map, "a");
        if (ctl_get_list(map, "a", &list) > 0)
            (void)ctl_take(&list);
        free(data);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_probe(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_ctl.XXXXXX", path[64], file[64], longer[200];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/s", folder);
    (void)snprintf(file, sizeof file, "%s/f", folder);
    assert_int_equal(ctl_probe(path), -ENOENT);
    int fd = listen_at(path);
    assert_int_equal(ctl_probe(path), 0);
    (void)close(fd);
    assert_int_equal(ctl_probe(path), -ECONNREFUSED);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    (void)fclose(f);
    assert_int_equal(ctl_probe(file), -ENOTSOCK);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(ctl_probe(longer), -ENAMETOOLONG);
    (void)unlink(path);
    (void)unlink(file);
    (void)rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_are_counted),
        cmocka_unit_test(test_reading_back),
        cmocka_unit_test(test_single_precision),
        cmocka_unit_test(test_bytes_become_utf8),
        cmocka_unit_test(test_too_deep_is_an_error),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
