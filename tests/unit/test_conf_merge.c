/* One configuration put over another. */
#include "config/diff.h"
#include "config/merge.h"
#include "config/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STREAM(name, corpora)                                                                            \
    "{name: " name ", tokenizer: /m, template: t, corpora: [" corpora "], seq_len: 8, global_batch: 1, " \
    "positions: {max_position: 9}}"
#define TEMPLATE(name, user) "{name: " name ", user: \"" user "{content}\", assistant: \"{content}\"}"

static struct conf *parse(const char *text)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    if (conf_parse("/etc/c.yaml", text, strlen(text), &c, &errors) != 0)
        fail_msg("%s", errors.text);
    return c;
}

static struct conf *merge(const struct conf *base, const struct conf *over)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    if (conf_merge(base, over, &c, &errors) != 0)
        fail_msg("%s", errors.text);
    assert_null(errors.text);
    return c;
}

static void assert_same(const struct conf *a, const struct conf *b)
{
    struct conf_change *changes;
    uint32_t n;
    assert_int_equal(conf_diff(a, b, &changes, &n), 0);
    if (n > 0)
        fail_msg("%s: %s, but wanted is %s", changes[0].name, changes[0].before, changes[0].after);
    conf_changes_free(changes, n);
}

static void test_elements_take_the_place_of_their_namesakes_or_join(void **state)
{
    (void)state;
    struct conf *base =
        parse("workers: 5\nmemory: 1GiB\nstate_dir: /s\n"
              "corpora: [{name: a, paths: [/a]}, {name: a.format, paths: [/b], format: text}]\n"
              "templates: [" TEMPLATE("t", "1") "]\n"
                                                "streams: [" STREAM("one", "{name: a}") ", " STREAM(
                                                    "two", "{name: a.format}") "]\n");
    struct conf *over = parse(
        "workers: 9\nrecord_max: 1MiB\n"
        "corpora: [{name: c, paths: [/c]}, {name: a.format, paths: [/b2]}]\n"
        "templates: [" TEMPLATE("u", "2") ", " TEMPLATE(
            "t", "3") "]\n"
                      "streams: [" STREAM("two", "{name: c}") ", " STREAM("three", "{name: a.format}") "]\n");
    struct conf *wanted =
        parse("workers: 5\nmemory: 1GiB\nstate_dir: /s\nrecord_max: 1MiB\n"
              "corpora: [{name: a, paths: [/a]}, {name: a.format, paths: [/b2]}, {name: c, paths: [/c]}]\n"
              "templates: [" TEMPLATE("t", "3") ", " TEMPLATE(
                  "u", "2") "]\n"
                            "streams: [" STREAM("one", "{name: a}") ", " STREAM(
                                "two", "{name: c}") ", " STREAM("three", "{name: a.format}") "]\n");
    struct conf *merged = merge(base, over);
    assert_same(merged, wanted);
    assert_string_equal(merged->path, "/etc/c.yaml");
    assert_string_equal(merged->streams[1].name, "two");
    conf_free(merged);
    conf_free(wanted);
    conf_free(over);
    conf_free(base);
}

static void test_a_stream_put_over_its_own_configuration_changes_nothing(void **state)
{
    (void)state;
    struct conf *c =
        parse("workers: 5\nmemory: 1GiB\nrecord_max: 256MiB\n"
              "corpora: [{name: a, paths: [/a]}, {name: b, paths: [/b]}]\n"
              "templates: [" TEMPLATE(
                  "t", "1") "]\n"
                            "streams: [" STREAM("one", "{name: b}, {name: a, repeat: 3}") ", " STREAM(
                                "two", "{name: a}") "]\n");
    for (uint32_t i = 0; i < c->n_streams; i++) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        assert_non_null(f);
        assert_int_equal(conf_print_stream(c, &c->streams[i], f), 0);
        (void)fclose(f);
        struct conf *one = parse(text), *merged = merge(c, one);
        assert_same(merged, c);
        conf_free(merged);
        conf_free(one);
        free(text);
    }
    conf_free(c);
}

static void test_lists_that_are_absent_are_no_obstacle(void **state)
{
    (void)state;
    struct conf *without =
        parse("corpora: [{name: a, paths: [/a]}]\nstreams: [{name: s, tokenizer: /m, template: "
              "plain, corpora: [{name: a}], seq_len: 8, global_batch: 1, positions: "
              "{strategy: none}}]\n");
    struct conf *with = parse("corpora: [{name: a, paths: [/a]}]\ntemplates: [" TEMPLATE(
        "t", "1") "]\n"
                  "streams: [" STREAM("one", "{name: a}") "]\n");
    struct conf *x = merge(without, with), *y = merge(with, without);
    assert_int_equal(x->n_templates, 1);
    assert_int_equal(x->n_streams, 2);
    assert_same(x, y);
    conf_free(x);
    conf_free(y);
    conf_free(with);
    conf_free(without);
}

/* Each is right by itself; together they are not. */
static void test_what_does_not_go_together_is_refused_by_name(void **state)
{
    (void)state;
    struct conf *base =
        parse("memory: 64MiB\nrecord_max: 1MiB\ncorpora: [{name: a, paths: [/a]}]\n"
              "templates: [" TEMPLATE("t", "1") "]\n"
                                                "streams: [" STREAM("one", "{name: a}") "]\n");
    struct conf *over =
        parse("memory: 1GiB\nrecord_max: 64MiB\ncorpora: [{name: a, paths: [/a]}]\n"
              "templates: [" TEMPLATE("t", "1") "]\n"
                                                "streams: [" STREAM("one", "{name: a}") "]\n");
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    assert_int_equal(conf_merge(base, over, &c, &errors), ERR_CONFIG);
    assert_null(c);
    assert_int_equal(errors.n, 1);
    assert_string_equal(errors.text,
                        "record_max: a record of 67108864 bytes would take more than half of memory "
                        "(64MiB); lower it, or give more memory\n");
    conf_errors_fini(&errors);
    conf_free(over);
    conf_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements_take_the_place_of_their_namesakes_or_join),
        cmocka_unit_test(test_a_stream_put_over_its_own_configuration_changes_nothing),
        cmocka_unit_test(test_lists_that_are_absent_are_no_obstacle),
        cmocka_unit_test(test_what_does_not_go_together_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("conf_merge", tests, NULL, NULL);
}
