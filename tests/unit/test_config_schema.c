/* The table of keys: every row says enough for a person, and what is made from it is right. */
#include "config/file.h"
#include "config/schema.h"
#include "config/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PRINTED_MAX = 1 << 16 };

static char *printed(int (*print)(FILE *f))
{
    char *text = calloc(1, PRINTED_MAX);
    FILE *f = text != NULL ? fmemopen(text, PRINTED_MAX, "w") : NULL;
    assert_non_null(f);
    assert_int_equal(print(f), 0);
    assert_int_equal(fclose(f), 0);
    assert_true(strlen(text) < PRINTED_MAX - 1);
    return text;
}

static void check_row(void *arg, const char *full_name, const struct key *k)
{
    char range[SCHEMA_RANGE];
    union {
        char *text;
        int64_t whole;
        double real;
        bool truth;
        uint32_t choice;
    } field = {0};
    (*(uint32_t *)arg)++;
    if (k->help == NULL || strlen(k->help) < 8 || schema_type(k) == NULL)
        fail_msg("%s: no help", full_name);
    if (k->type != KEY_GROUP && strlen(schema_range(k, range)) == 0)
        fail_msg("%s: no range", full_name);
    if ((k->type == KEY_GROUP || k->type == KEY_LIST) != (k->of != NULL))
        fail_msg("%s: a group has rows, nothing else has", full_name);
    if (k->of == NULL && !k->optional && k->dflt == NULL && k->example == NULL)
        fail_msg("%s: required, but without an example", full_name);
    if (k->dflt == NULL)
        return;
    struct err err;
    if (value_set(k, slice_of(k->dflt), NULL, &field, &err) != 0)
        fail_msg("%s: default %s", full_name, err.text);
    if (k->type <= KEY_ENDPOINT)
        free(field.text);
}

static void test_every_row_explains_itself(void **state)
{
    (void)state;
    uint32_t rows = 0;
    schema_visit(check_row, &rows);
    assert_true(rows > 50);
}

static void find_field(void *arg, const char *full_name, const struct key *k)
{
    bool *seen = arg;
    if (strncmp(full_name, "corpora[].fields.", 17) != 0)
        return;
    size_t i = k->offset / sizeof(char *);
    assert_true(i < FIELD__COUNT);
    assert_string_equal(k->name, field_names[i]);
    seen[i] = true;
}

static void test_fields_are_those_of_the_enum(void **state)
{
    (void)state;
    bool seen[FIELD__COUNT] = {false};
    schema_visit(find_field, seen);
    for (size_t i = 0; i < FIELD__COUNT; i++)
        assert_true(seen[i]);
}

static void parses(const char *text)
{
    struct conf *c;
    struct conf_errors errors = {0};
    if (conf_parse("/etc/example.yaml", text, strlen(text), &c, &errors) != 0)
        fail_msg("%s", errors.text);
    conf_free(c);
}

static void test_the_example_is_a_configuration(void **state)
{
    (void)state;
    char *text = printed(schema_print_example);
    parses(text);
    free(text);
}

/* Takes the # from lines that are YAML and leaves out those that are words. */
static char *without_comment_marks(const char *text)
{
    char *ret = calloc(1, strlen(text) + 1);
    size_t n = 0;
    assert_non_null(ret);
    for (const char *line = text, *end; *line != '\0'; line = end) {
        end = strchr(line, '\n') + 1;
        if (strncmp(line, "# ", 2) == 0 && strspn(line, "# ") < 3)
            continue;
        line += line[0] == '#';
        memcpy(ret + n, line, (size_t)(end - line));
        n += (size_t)(end - line);
    }
    return ret;
}

/* What stands behind a # is right as well, and can be had by taking the # away. */
static void test_the_example_without_its_comment_marks_is_one_too(void **state)
{
    (void)state;
    char *text = printed(schema_print_example);
    char *bare = without_comment_marks(strstr(text, "\n\n")); /* the head is words */
    assert_non_null(strstr(bare, "\nworkers: 2\n"));
    assert_non_null(strstr(bare, "\n  listen: tcp"));
    parses(bare);
    free(bare);
    free(text);
}

static void test_the_example_shows_every_key(void **state)
{
    (void)state;
    char *text = printed(schema_print_example);
    for (const struct key *k = schema_keys; k->name != NULL; k++) {
        char line[64];
        (void)snprintf(line, sizeof line, "%s:", k->name);
        assert_non_null(strstr(text, line));
    }
    free(text);
}

static void test_the_installed_example_is_the_generated_one(void **state)
{
    (void)state;
    char *text = printed(schema_print_example), *installed = calloc(1, 1 << 16);
    FILE *f = fopen(TEST_DIR "/../systemd/skipalignd.yaml", "r");
    assert_non_null(f);
    assert_true(fread(installed, 1, (1 << 16) - 1, f) > 0);
    (void)fclose(f);
    if (strcmp(text, installed) != 0)
        fail_msg(
            "systemd/skipalignd.yaml is not what `skipalignd --example` prints: make it again with that");
    free(installed);
    free(text);
}

static void find_in_text(void *arg, const char *full_name, const struct key *k)
{
    (void)k;
    char line[128];
    (void)snprintf(line, sizeof line, "%s (", full_name);
    assert_non_null(strstr(arg, line));
}

static void test_the_list_of_keys_has_all(void **state)
{
    (void)state;
    char *text = printed(schema_print_keys);
    schema_visit(find_in_text, text);
    assert_non_null(strstr(
        text, "streams[].positions.sampler (choice, sorted, sequential, even or pinned, default sorted)"));
    assert_non_null(strstr(text, "memory (size, 32MiB..1024GiB, default 192MiB) !\n"));
    assert_non_null(strstr(text, "streams[].seq_len (whole number, 1..16777216 tokens, required) *\n"));
    free(text);
}

static void test_programs_get_the_keys_as_json(void **state)
{
    (void)state;
    char *text = printed(schema_print_keys_json);
    assert_non_null(
        strstr(text, "{\"key\": \"feed.listen\", \"type\": \"ZeroMQ endpoint\", \"range\": "
                     "\"tcp://HOST:PORT, ipc://PATH or \\\"\\\"\", \"default\": \"tcp://127.0.0.1:5757\", "
                     "\"unit\": null, \"help\": "));
    assert_non_null(strstr(
        text, "\"help\": \"length of a row\", \"required\": true, \"batches\": true, \"restart\": false}"));
    assert_non_null(strstr(text, "\"required\": false, \"batches\": false, \"restart\": true}"));
    assert_int_equal(text[0], '[');
    free(text);
}

static void test_a_full_disk_is_told(void **state)
{
    (void)state;
    FILE *f = fopen("/dev/full", "w");
    assert_non_null(f);
    assert_true(schema_print_example(f) < 0);
    assert_true(schema_print_keys(f) < 0);
    assert_true(schema_print_keys_json(f) < 0);
    (void)fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_explains_itself),
        cmocka_unit_test(test_fields_are_those_of_the_enum),
        cmocka_unit_test(test_the_example_is_a_configuration),
        cmocka_unit_test(test_the_example_without_its_comment_marks_is_one_too),
        cmocka_unit_test(test_the_example_shows_every_key),
        cmocka_unit_test(test_the_installed_example_is_the_generated_one),
        cmocka_unit_test(test_the_list_of_keys_has_all),
        cmocka_unit_test(test_programs_get_the_keys_as_json),
        cmocka_unit_test(test_a_full_disk_is_told),
    };
    return cmocka_run_group_tests_name("config_schema", tests, NULL, NULL);
}
