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
    expect(f, "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", "missing-fields");
    expect(f, "{\"messages\":[{\"role\":7,\"content\":\"x\"}]}", "missing-fields");
    expect(f, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"judge\",\"content\":\"x\"}]}",
           "unknown-role");
    assert_string_equal(detail, "turn 2: role 'judge' is not known");
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
    expect(f, "{\"conversations\":[{\"from\":\"judge\",\"value\":\"a\"}]}", "unknown-role");
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

/* Apostrophes stand for quotes. */
static const char *quoted(const char *text)
{
    static char out[2048];
    size_t n = 0;
    for (; text[n] != '\0'; n++)
        out[n] = text[n];
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '\'' ? '"' : out[i];
    return out;
}

/* What becomes of a record where what is not text is left out, and how much that was. */
static void expect_left_out(enum corpus_format format, const char *text, uint32_t n, const char *wanted)
{
    struct conf_corpus conf = plain_conf;
    struct sample s = {0};
    conf.not_text = NOT_TEXT_LEAVE_OUT;
    enum unusable why = parse_as(&conf, format, 0, text, strlen(text), &s);
    assert_string_equal(show(why, &s), wanted);
    if (why == USABLE)
        assert_int_equal(s.left_out, n);
}

static void test_content_in_parts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *strict, *lax;
        uint32_t left_out;
    } cases[] = {
        {"{'messages':[{'role':'user','content':[{'type':'text','text':'one'},{'type':'text','text':'two'}]},"
         "{'role':'assistant','content':['a',{'type':'output_text','text':'b'}]}]}",
         "U:one\n\ntwo|A:a\n\nb", "U:one\n\ntwo|A:a\n\nb", 0},
        {"{'messages':[{'role':'user','content':[{'type':'text','text':''},{'type':'text','text':'u'}]},"
         "{'role':'assistant','content':[{'type':'text','text':'a'},{'type':'text','text':' '}]}]}",
         "U:u|A:a", "U:u|A:a", 0},
        {"{'messages':[{'role':'user','content':[]},{'role':'assistant','content':'a'}]}", "U:|A:a", "U:|A:a",
         0},
        {"{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':[]}]}", "empty-response",
         "empty-response", 0},
        {"{'messages':[{'role':'user','content':[{'type':'text','text':'What is it?'},{'type':'image_url',"
         "'image_url':{'url':'x'}}]},{'role':'assistant','content':'A cat.'}]}",
         "not-text", "U:What is it?|A:A cat.", 1},
        {"{'messages':[{'role':'user','content':[{'type':'input_audio','input_audio':{}},7]},"
         "{'role':'assistant','content':'a'}]}",
         "not-text", "U:|A:a", 2},
        {"{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':[{'type':'refusal',"
         "'refusal':'no'}]}]}",
         "not-text", "empty-response", 0},
        {"{'messages':[{'role':'user','content':'u'},{'role':'user','content':[]},{'role':'assistant','"
         "content':'a'}]}",
         "U:u\n\n|A:a", "U:u\n\n|A:a", 0},
        {"{'messages':[{'role':'user','content':[{'type':'image_url'}]},{'role':'assistant','content':'a'},"
         "{'role':'user','content':'u'},{'role':'assistant','content':[]}]}",
         "not-text", "empty-response", 0},
        {"{'prompt':[{'role':'user','content':[{'type':'text','text':'u'}]}],"
         "'completion':[{'role':'assistant','content':[{'type':'text','text':'a'}]}]}",
         "U:u|A:a", "U:u|A:a", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum corpus_format f = strstr(cases[i].text, "prompt") ? FORMAT_PROMPT_COMPLETION : FORMAT_MESSAGES;
        expect(f, quoted(cases[i].text), cases[i].strict);
        expect_left_out(f, quoted(cases[i].text), cases[i].left_out, cases[i].lax);
    }
}

static void test_tools(void **state)
{
    (void)state;
    static const struct {
        const char *text, *strict, *lax;
        uint32_t left_out;
    } cases[] = {
        {"{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':null,'tool_calls':[{'id':"
         "1}]},"
         "{'role':'tool','tool_call_id':1,'content':'7'},{'role':'assistant','content':'seven'}]}",
         "not-text", "U:u|A:seven", 2},
        {"{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':'wait','tool_calls':[{'id'"
         ":1}]},"
         "{'role':'tool','content':'7'},{'role':'assistant','content':'seven'}]}",
         "not-text", "U:u|A:wait\n\nseven", 2},
        {"{'messages':[{'role':'user','content':'u'},{'role':'assistant','function_call':{'name':'f'}},"
         "{'role':'function','name':'f','content':'7'}]}",
         "not-text", "empty-response", 0},
        /* As Arrow writes them, where none is called. */
        {"{'tools':[],'messages':[{'role':'user','content':'u','tool_calls':null},"
         "{'role':'assistant','content':'a','tool_calls':[],'function_call':null}]}",
         "U:u|A:a", "U:u|A:a", 0},
        {"{'conversations':[{'from':'human','value':'u'},{'from':'function_call','value':'f'},"
         "{'from':'observation','value':'7'},{'from':'gpt','value':'seven'}]}",
         "not-text", "U:u|A:seven", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum corpus_format f = strstr(cases[i].text, "conversations") ? FORMAT_SHAREGPT : FORMAT_MESSAGES;
        expect(f, quoted(cases[i].text), cases[i].strict);
        expect_left_out(f, quoted(cases[i].text), cases[i].left_out, cases[i].lax);
    }
    expect(FORMAT_MESSAGES, quoted(cases[0].text), "not-text");
    assert_string_equal(detail, "turn 2: a call of a tool; see not_text");
}

static void test_system_everywhere(void **state)
{
    (void)state;
    expect(
        FORMAT_MESSAGES,
        quoted("{'system':'s','messages':[{'role':'developer','content':'d'},{'role':'user','content':'u'},"
               "{'role':'assistant','content':'a'}]}"),
        "S:s\n\nd|U:u|A:a");
    expect(FORMAT_PROMPT_COMPLETION, quoted("{'system':'s','prompt':'p','completion':'c'}"), "S:s|U:p|A:c");
    expect(FORMAT_PROMPT_COMPLETION, quoted("{'system':null,'prompt':'p','completion':'c'}"), "U:p|A:c");
    expect(FORMAT_ALPACA,
           quoted("{'system':'s','history':[['i','o'],['','p']],'instruction':'j','output':'q'}"),
           "S:s|U:i|A:o|U:|A:p|U:j|A:q");
    expect(FORMAT_ALPACA, quoted("{'history':[],'instruction':'j','output':'q'}"), "U:j|A:q");
    expect(FORMAT_ALPACA, quoted("{'history':null,'instruction':'j','output':'q'}"), "U:j|A:q");
    expect(FORMAT_ALPACA, quoted("{'history':'h','instruction':'j','output':'q'}"), "missing-fields");
    expect(FORMAT_ALPACA, quoted("{'history':[['i']],'instruction':'j','output':'q'}"), "missing-fields");
    expect(FORMAT_ALPACA, quoted("{'history':[['i',1]],'instruction':'j','output':'q'}"), "missing-fields");
    assert_string_equal(detail, "'history': pairs of two strings are wanted");
}

static void test_weights(void **state)
{
    (void)state;
    struct sample s = {0};
    const enum corpus_format f = FORMAT_MESSAGES;
    assert_int_equal(
        parse(f,
              quoted("{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':'a',"
                     "'weight':0},{'role':'user','content':'v'},{'role':'assistant','content':'b',"
                     "'weight':1},{'role':'user','content':'w'},{'role':'assistant','content':'c'}]}"),
              &s),
        USABLE);
    assert_int_equal(s.n_turns, 6);
    for (uint32_t i = 0; i < s.n_turns; i++)
        assert_int_equal(s.turns[i].untrained, i == 1);
    expect(
        f,
        quoted(
            "{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':'a','weight':0.5}]}"),
        "missing-fields");
    assert_string_equal(detail, "turn 2: its weight is neither 0 nor 1");
    expect(f,
           quoted("{'messages':[{'role':'user','content':'u'},{'role':'assistant','content':'a','weight':0},"
                  "{'role':'assistant','content':'b'}]}"),
           "missing-fields");
    assert_string_equal(detail, "turn 2: responses of weight 0 and 1 in one");
}

static void test_fields_inside(void **state)
{
    (void)state;
    struct sample s = {0};
    struct conf_corpus conf = {.name = (char *)"c"};
    conf.fields[FIELD_MESSAGES] = (char *)"data.body.messages";
    conf.fields[FIELD_CONTENT] = (char *)"content.text";
    conf.fields[FIELD_SYSTEM] = (char *)"a.b";
    const char *text = quoted("{'a.b':'s','a':{'b':'not this'},'data':{'body':{'messages':[{'role':'user',"
                              "'content':{'text':'u'}},{'role':'assistant','content':{'text':'a'}}]}}}");
    assert_string_equal(show(parse_as(&conf, FORMAT_MESSAGES, 0, text, strlen(text), &s), &s), "S:s|U:u|A:a");
    char padded[512] = {0};
    memcpy(padded, text, strlen(text));
    assert_int_equal(record_detect(parser, &conf, (struct slice){padded, strlen(text)}), FORMAT_MESSAGES);
    static const char *const wrong[] = {"{}", "{'data':[]}", "{'data':{'body':7}}", "{'data':{'body':{}}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        text = quoted(wrong[i]);
        assert_int_equal(parse_as(&conf, FORMAT_MESSAGES, 0, text, strlen(text), &s), UNUSABLE_FIELDS);
        assert_string_equal(detail, "no field 'data.body.messages'");
    }
    conf.fields[FIELD_MESSAGES] = (char *)"..";
    assert_int_equal(parse_as(&conf, FORMAT_MESSAGES, 0, text, strlen(text), &s), UNUSABLE_FIELDS);
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
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_sharegpt),
        cmocka_unit_test(test_alpaca),
        cmocka_unit_test(test_prompt_completion),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_neighbours_are_joined),
        cmocka_unit_test(test_content_in_parts),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_system_everywhere),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_fields_inside),
        cmocka_unit_test(test_renamed_fields),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_extents_are_stripped),
        cmocka_unit_test(test_deep_and_large),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_many_turns),
        cmocka_unit_test(test_damaged_records),
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
