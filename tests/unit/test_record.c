/* Records of each format to turns, and everything that a record may be instead. */
#include "corpus/record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct record_parser *parser;
static const struct conf_corpus plain_conf = {.name = (char *)"c"};
static char detail[RECORD_DETAIL];

static int setup(void **state)
{
    (void)state;
    parser = record_parser_new();
    return parser == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    record_parser_free(parser);
    record_parser_free(NULL);
    return 0;
}

/* Parse from memory of just the record's size and its padding, so that a sanitizer sees any byte read beyond.
 * The padding holds what would be a record's bytes: it must not count. The copy lives until the next call. */
static enum unusable parse_as(const struct conf_corpus *conf, enum corpus_format format, int plain,
                              const char *text, size_t size, struct sample *ret)
{
    static char *copy;
    free(copy);
    copy = NULL;
    if (text == NULL)
        return USABLE;
    copy = malloc(size + RECORD_PADDING);
    assert_non_null(copy);
    memcpy(copy, text, size);
    memset(copy + size, ']', RECORD_PADDING);
    detail[0] = '\0';
    enum unusable why = record_parse(parser, conf, format, plain, (struct slice){copy, size}, ret, detail);
    assert_int_equal(why == USABLE, detail[0] == '\0');
    return why;
}

static enum unusable parse(enum corpus_format format, const char *text, struct sample *ret)
{
    return parse_as(&plain_conf, format, 0, text, strlen(text), ret);
}

/* The turns as one string, "S:...|U:...|A:...|T:..."; or the name of why not. */
static const char *show(enum unusable why, const struct sample *s)
{
    static char out[4096];
    size_t n = 0;
    if (why != USABLE)
        return unusable_names[why];
    for (uint32_t i = 0; i < s->n_turns; i++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%c:%.*s", i > 0 ? "|" : "",
                              "SUAT"[s->turns[i].role], (int)s -> turns[i].text.size, s->turns[i].text.data);
    return out;
}

static void expect(enum corpus_format format, const char *text, const char *wanted)
{
    struct sample s = {0};
    enum unusable why = parse(format, text, &s);
    assert_string_equal(show(why, &s), wanted);
}

static void test_messages(void **state)
{
    (void)state;
    const enum corpus_format f = FORMAT_MESSAGES;
    expect(f,
           "{\"id\":7,\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
           "\"u\"},"
           "{\"content\":\"a\",\"role\":\"assistant\"},{\"role\":\"user\",\"content\":\"u2\"}]}",
           "S:s|U:u|A:a|U:u2");
    expect(f,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"a\"}]}",
           "U:|A:a");
    expect(f, "{\"messages\":[]}", "missing-fields");
    expect(f, "{\"messages\":{}}", "missing-fields");
    expect(f, "{\"message\":[]}", "missing-fields");
    expect(f, "{\"messages\":[\"hi\"]}", "missing-fields");
    assert_string_equal(detail, "turn 1 is a string, an object is wanted");
    expect(f, "{\"messages\":[{\"role\":\"user\"}]}", "missing-fields");
    expect(f, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}",
           "missing-fields");
    assert_string_equal(detail, "'content' is a list, a string is wanted");
    expect(f, "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", "missing-fields");
    expect(f, "{\"messages\":[{\"role\":7,\"content\":\"x\"}]}", "missing-fields");
    expect(f, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"tool\",\"content\":\"x\"}]}",
           "unknown-role");
    assert_string_equal(detail, "turn 2: role 'tool' is not known");
    expect(f, "{\"messages\":[{\"role\":\"Some Secret\",\"content\":\"x\"}]}", "unknown-role");
    assert_null(strstr(detail, "Secret"));
    expect(f, "{\"messages\":[{\"role\":\"human\",\"content\":\"x\"}]}", "unknown-role");
}

static void test_sharegpt(void **state)
{
    (void)state;
    const enum corpus_format f = FORMAT_SHAREGPT;
    expect(f, "{\"conversations\":[{\"from\":\"human\",\"value\":\"u\"},{\"from\":\"gpt\",\"value\":\"a\"}]}",
           "U:u|A:a");
    expect(f,
           "{\"system\":\"s\",\"conversations\":[{\"from\":\"user\",\"value\":\"1\"},{\"from\":\"chatgpt\","
           "\"value\":\"2\"},"
           "{\"from\":\"human\",\"value\":\"3\"},{\"from\":\"bing\",\"value\":\"4\"},{\"from\":\"human\","
           "\"value\":\"5\"},"
           "{\"from\":\"bard\",\"value\":\"6\"},{\"from\":\"user\",\"value\":\"7\"},{\"from\":\"assistant\","
           "\"value\":\"8\"}]}",
           "S:s|U:1|A:2|U:3|A:4|U:5|A:6|U:7|A:8");
    expect(f,
           "{\"system\":\"s\",\"conversations\":[{\"from\":\"system\",\"value\":\"t\"},{\"from\":\"human\","
           "\"value\":\"u\"},"
           "{\"from\":\"gpt\",\"value\":\"a\"}]}",
           "S:s\n\nt|U:u|A:a");
    expect(f, "{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"},{\"from\":\"human\",\"value\":\"u\"}]}",
           "response-first");
    expect(f, "{\"conversations\":[{\"from\":\"function\",\"value\":\"a\"}]}", "unknown-role");
    expect(f, "{\"conversations\":[{\"role\":\"user\",\"content\":\"a\"}]}", "missing-fields");
    expect(f, "{\"system\":3,\"conversations\":[{\"from\":\"human\",\"value\":\"u\"}]}", "missing-fields");
}

static void test_alpaca(void **state)
{
    (void)state;
    const enum corpus_format f = FORMAT_ALPACA;
    expect(f, "{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\"}", "U:i|A:o");
    expect(f, "{\"instruction\":\"i\",\"input\":null,\"output\":\"o\"}", "U:i|A:o");
    expect(f, "{\"instruction\":\"i\",\"output\":\"o\",\"input\":\"n\",\"system\":\"s\"}",
           "S:s|U:i\n\nn|A:o");
    expect(f, "{\"instruction\":\"\",\"input\":\"n\",\"output\":\"o\",\"system\":\"\"}", "U:n|A:o");
    expect(f, "{\"instruction\":\"i\",\"input\":5,\"output\":\"o\"}", "missing-fields");
    expect(f, "{\"instruction\":\"i\"}", "missing-fields");
    assert_string_equal(detail, "no field 'output'");
    expect(f, "{\"instruction\":\"i\",\"output\":\" \\n\\t\"}", "empty-response");
}

static void test_prompt_completion(void **state)
{
    (void)state;
    const enum corpus_format f = FORMAT_PROMPT_COMPLETION;
    expect(f, "{\"prompt\":\"p\",\"completion\":\" c\"}", "U:p|A: c");
    expect(f,
           "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}],"
           "\"completion\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
           "S:s|U:u|A:a");
    expect(f, "{\"prompt\":\"p\",\"completion\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", "U:p|A:a");
    expect(f, "{\"prompt\":\"p\"}", "missing-fields");
    expect(f, "{\"completion\":\"c\"}", "missing-fields");
    expect(f, "{\"prompt\":\"p\",\"completion\":\"\"}", "empty-response");
    expect(f, "{\"prompt\":\"p\",\"completion\":[]}", "missing-fields");
}

static void test_text(void **state)
{
    (void)state;
    struct sample s = {0};
    expect(FORMAT_TEXT, "{\"text\":\"a\\nb\"}", "T:a\nb");
    expect(FORMAT_TEXT, "{\"text\":\" \"}", "empty-response");
    expect(FORMAT_TEXT, "{\"txt\":\"a\"}", "missing-fields");
    const char *line = "  {\"indented\"} \xe3\x81\x82 \r\n\n\n";
    assert_string_equal(show(parse_as(&plain_conf, FORMAT_TEXT, 1, line, strlen(line), &s), &s),
                        "T:  {\"indented\"} \xe3\x81\x82 ");
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 1, " \r\n", 3, &s), UNUSABLE_EMPTY_RESPONSE);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 1, "a\xff", 2, &s), UNUSABLE_JSON);
    assert_string_equal(detail, "not valid UTF-8");
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 1, "a\0b", 3, &s), USABLE);
    assert_int_equal(s.turns[0].text.size, 3);
}

static void test_neighbours_are_joined(void **state)
{
    (void)state;
    expect(FORMAT_SHAREGPT,
           "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"system\",\"value\":\"t\"},"
           "{\"from\":\"human\",\"value\":\"u\"},{\"from\":\"human\",\"value\":\"v\"},{\"from\":\"human\","
           "\"value\":\"w\"},"
           "{\"from\":\"gpt\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"},{\"from\":\"human\","
           "\"value\":\"x\"},"
           "{\"from\":\"human\",\"value\":\"y\"}]}",
           "S:s\n\nt|U:u\n\nv\n\nw|A:a\n\nb|U:x\n\ny");
    expect(FORMAT_MESSAGES,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"system\",\"content\":\"s\"}]}",
           "unknown-role");
    assert_string_equal(detail, "a system turn after the dialogue has begun");
    expect(FORMAT_MESSAGES,
           "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}]}",
           "empty-response");
    expect(FORMAT_MESSAGES, "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}", "empty-response");
    expect(
        FORMAT_MESSAGES,
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"assistant\",\"content\":\"a\"}]}",
        "response-first");
}

/* Two fields of a format may be the same one of the file: joined texts are then longer than the record. */
static void test_renamed_fields(void **state)
{
    (void)state;
    struct conf_corpus conf = {.name = (char *)"c"};
    struct sample s = {0};
    conf.fields[FIELD_PROMPT] = (char *)"question";
    conf.fields[FIELD_COMPLETION] = (char *)"answer";
    const char *text = "{\"question\":\"q\",\"answer\":\"a\"}";
    assert_string_equal(show(parse_as(&conf, FORMAT_PROMPT_COMPLETION, 0, text, strlen(text), &s), &s),
                        "U:q|A:a");
    char padded[128] = {0};
    memcpy(padded, text, strlen(text));
    assert_int_equal(record_detect(parser, &conf, (struct slice){padded, strlen(text)}),
                     FORMAT_PROMPT_COMPLETION);

    char once[3000], record[4000], wanted[7000];
    memset(once, 'x', sizeof once - 1);
    once[sizeof once - 1] = '\0';
    conf.fields[FIELD_INPUT] = conf.fields[FIELD_INSTRUCTION] = (char *)"i";
    (void)snprintf(record, sizeof record, "{\"i\":\"%s\",\"output\":\"o\"}", once);
    (void)snprintf(wanted, sizeof wanted, "%s\n\n%s", once, once);
    assert_int_equal(parse_as(&conf, FORMAT_ALPACA, 0, record, strlen(record), &s), USABLE);
    assert_int_equal(s.turns[0].text.size, strlen(wanted));
    assert_memory_equal(s.turns[0].text.data, wanted, strlen(wanted));
}

static void test_strings(void **state)
{
    (void)state;
    struct sample s = {0};
    expect(FORMAT_TEXT, "{\"text\":\"\\u00e9\\ud83d\\ude00\\/\\\\\\\"</s>[INST]\"}",
           "T:\xc3\xa9\xf0\x9f\x98\x80/\\\"</s>[INST]");
    assert_int_equal(parse(FORMAT_TEXT, "{\"text\":\"a\\u0000b\"}", &s), USABLE);
    assert_int_equal(s.turns[0].text.size, 3);
    assert_memory_equal(s.turns[0].text.data, "a\0b", 3);
}

static void test_not_json(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "   ",
        ",",
        "{",
        "}",
        "{\"text\":\"a\"",
        "{\"text\":\"a}",
        "{\"text\" \"a\"}",
        "{'text':'a'}",
        "nul",
        "{\"text\":\"a\"}{\"text\":\"b\"}",
        "{\"text\":\"a\"},,",
        "{\"text\":\"\\ud800\"}",
        "{\"text\":\"\\x\"}",
        "{\"text\":\"a\nb\"}",
        "{\"text\":\"\xff\"}",
        "{\"text\":\"\xc0\x80\"}",
        "{\"text\":\"\xed\xa0\x80\"}",
        "{\"text\":NaN}",
        "\xef\xbb\xbf{\"text\":\"a\"}",
    };
    struct sample s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (parse(FORMAT_TEXT, wrong[i], &s) != UNUSABLE_JSON)
            fail_msg("taken as JSON: %s (%s)", wrong[i], detail);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 0, "{\"text\":\"a\0b\"}", 14, &s), UNUSABLE_JSON);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 0, "\0\0\0\0", 4, &s), UNUSABLE_JSON);
    assert_int_equal(parse(FORMAT_TEXT, "{\"text\":\"\xff\"}", &s), UNUSABLE_JSON);
    assert_string_equal(detail, "not valid UTF-8");
    static const char *const scalars[] = {"1", "\"a\"", "null", "true", "[]", "-1.5e3"};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        assert_int_equal(parse(FORMAT_TEXT, scalars[i], &s), UNUSABLE_FIELDS);
}

/* What an extent has around a value: white space, and the comma of an array. */
static void test_extents_are_stripped(void **state)
{
    (void)state;
    expect(FORMAT_TEXT, " \t{\"text\":\"a\"}\r\n\r\n", "T:a");
    expect(FORMAT_TEXT, "{\"text\":\"a\"} ,\n  ", "T:a");
    expect(FORMAT_TEXT, "{\"text\":\"a\"},", "T:a");
}

static void test_deep_and_large(void **state)
{
    (void)state;
    struct sample s;
    enum { DEEP = 100000, LARGE = 20000000 };
    char *text = malloc(LARGE + 100);
    assert_non_null(text);
    memset(text, '[', DEEP);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 0, text, DEEP, &s), UNUSABLE_JSON);
    memset(text + DEEP, ']', DEEP);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 0, text, 2 * DEEP, &s), UNUSABLE_JSON);
    int n = sprintf(text, "{\"text\":\"");
    memset(text + n, 'x', LARGE);
    memcpy(text + n + LARGE, "\"}", 2);
    assert_int_equal(parse_as(&plain_conf, FORMAT_TEXT, 0, text, (size_t)n + LARGE + 2, &s), USABLE);
    assert_int_equal(s.turns[0].text.size, LARGE);
    expect(FORMAT_TEXT, "{\"text\":\"small again\"}", "T:small again");
    free(text);
}

/* Sanitizers end a program that is out of memory; and the limit is not for theirs. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define OUT_OF_MEMORY_TESTS 0
#else
#define OUT_OF_MEMORY_TESTS 1
#endif

/* Without memory a record is neither usable nor unusable: which of them would depend on the machine. */
static void test_no_memory(void **state)
{
    (void)state;
    if (!OUT_OF_MEMORY_TESTS)
        skip();
    enum { LARGE = 60000000 };
    char *text = calloc(1, LARGE + RECORD_PADDING);
    assert_non_null(text);
    memset(text, ' ', LARGE);
    memcpy(text, "{\"text\":\"t", 10);
    memcpy(text + LARGE - 2, "\"}", 2);
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sample s;
        const struct rlimit limit = {.rlim_cur = LARGE, .rlim_max = LARGE};
        if (setrlimit(RLIMIT_DATA, &limit) != 0)
            _exit(1);
        _exit(record_parse(parser, &plain_conf, FORMAT_TEXT, 0, (struct slice){text, LARGE}, &s, detail) ==
                      -ENOMEM
                  ? 0
                  : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct sample s;
    assert_int_equal(
        record_parse(parser, &plain_conf, FORMAT_TEXT, 0, (struct slice){text, LARGE}, &s, detail), USABLE);
    free(text);
}

static void test_many_turns(void **state)
{
    (void)state;
    enum { TURNS = 1000 };
    char *text = malloc(TURNS * 64), *p = text;
    struct sample s;
    assert_non_null(text);
    p += sprintf(p, "{\"messages\":[");
    for (int i = 0; i < TURNS; i++)
        p += sprintf(p, "%s{\"role\":\"%s\",\"content\":\"%d\"}", i > 0 ? "," : "",
                     i % 4 < 2 ? "user" : "assistant", i);
    p += sprintf(p, "]}");
    assert_int_equal(parse(FORMAT_MESSAGES, text, &s), USABLE);
    assert_int_equal(s.n_turns, TURNS / 2);
    for (uint32_t i = 0; i < s.n_turns; i++) {
        char wanted[32];
        int n = sprintf(wanted, "%u\n\n%u", 2 * i, 2 * i + 1);
        assert_int_equal(s.turns[i].role, i % 2 == 0 ? ROLE_USER : ROLE_ASSISTANT);
        assert_int_equal(s.turns[i].text.size, n);
        assert_memory_equal(s.turns[i].text.data, wanted, (size_t)n);
    }
    free(text);
}

/* Any record with any byte changed or its end cut off is refused or taken, and never more than that. */
static void test_damaged_records(void **state)
{
    (void)state;
    static const char record[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\xc3\xa9\"},"
        "{\"role\":\"user\",\"content\":\"y\"},{\"role\":\"assistant\",\"content\":\"z\\n\"}]}";
    char text[sizeof record];
    struct sample s;
    uint32_t n_usable = 0;
    for (size_t i = 0; i < sizeof record - 1; i++) {
        assert_int_not_equal(parse_as(&plain_conf, FORMAT_MESSAGES, 0, record, i, &s), USABLE);
        for (int byte = 0; byte < 256; byte++) {
            memcpy(text, record, sizeof record);
            text[i] = (char)byte;
            n_usable += parse_as(&plain_conf, FORMAT_MESSAGES, 0, text, sizeof record - 1, &s) == USABLE;
        }
    }
    assert_in_range(n_usable, sizeof record - 1, 256 * sizeof record / 8);
}

static void test_detect(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum corpus_format format;
    } cases[] = {
        {"{\"prompt\":\"p\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}", FORMAT_MESSAGES},
        {"{\"id\":1,\"conversations\":[]}", FORMAT_SHAREGPT},
        {"{\"instruction\":\"i\",\"output\":\"o\",\"text\":\"i o\"}", FORMAT_ALPACA},
        {"{\"prompt\":\"p\",\"completion\":[]}", FORMAT_PROMPT_COMPLETION},
        {"{\"text\":\"t\"}", FORMAT_TEXT},
        {" {\"text\":\"t\"} ,\n", FORMAT_TEXT},
        {"{\"text\":1}", FORMAT_AUTO},
        {"{\"question\":\"q\"}", FORMAT_AUTO},
        {"[1]", FORMAT_AUTO},
        {"It was", FORMAT_AUTO},
        {"", FORMAT_AUTO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char padded[256] = {0};
        memcpy(padded, cases[i].text, strlen(cases[i].text));
        assert_int_equal(record_detect(parser, &plain_conf, (struct slice){padded, strlen(cases[i].text)}),
                         cases[i].format);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < UNUSABLE__COUNT; i++)
        assert_true(unusable_names[i][0] != '\0');
    assert_string_equal(unusable_names[UNUSABLE_TOKENIZER], "tokenizer");
    (void)parse_as(NULL, FORMAT_TEXT, 0, NULL, 0, NULL); /* frees the last copy */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),       cmocka_unit_test(test_sharegpt),
        cmocka_unit_test(test_alpaca),         cmocka_unit_test(test_prompt_completion),
        cmocka_unit_test(test_text),           cmocka_unit_test(test_neighbours_are_joined),
        cmocka_unit_test(test_renamed_fields), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_not_json),       cmocka_unit_test(test_extents_are_stripped),
        cmocka_unit_test(test_deep_and_large), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_many_turns),     cmocka_unit_test(test_damaged_records),
        cmocka_unit_test(test_detect),         cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
