/* What is printed of a configuration is read back as the same one. */
#include "base/rng.h"
#include "config/diff.h"
#include "config/file.h"
#include "config/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CORPORA "corpora: [{name: tulu, paths: [a.jsonl]}]\n"
#define STREAM                                                                                             \
    "streams: [{name: chat, tokenizer: m.model, template: chatml, corpora: [{name: tulu}], seq_len: 128, " \
    "global_batch: 8, positions: {max_position: 4096}"

static struct conf *parse(const char *text)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    if (conf_parse("/etc/skipalign/c.yaml", text, strlen(text), &c, &errors) != 0)
        fail_msg("%s\n%s", errors.text, text);
    return c;
}

static char *printed(const struct conf *c)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    assert_int_equal(conf_print(c, f), 0);
    (void)fclose(f);
    return text;
}

static char *printed_stream(const struct conf *c, uint32_t stream)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    assert_int_equal(conf_print_stream(c, &c->streams[stream], f), 0);
    (void)fclose(f);
    return text;
}

static void assert_same(const struct conf *a, const struct conf *b, const char *text)
{
    struct conf_change *changes;
    uint32_t n;
    assert_int_equal(conf_diff(a, b, &changes, &n), 0);
    if (n > 0)
        fail_msg("%s was %s and is %s, from\n%s", changes[0].name, changes[0].before, changes[0].after, text);
    conf_changes_free(changes, n);
}

static void comes_back(const char *text)
{
    struct conf *c = parse(text);
    char *print = printed(c);
    struct conf *again = parse(print);
    char *reprint = printed(again);
    assert_same(c, again, print);
    assert_string_equal(print, reprint);
    free(reprint);
    free(print);
    conf_free(again);
    conf_free(c);
}

static void test_the_text_is_one_for_people(void **state)
{
    (void)state;
    struct conf *c =
        parse("workers: 3\n"
              "feed: {listen: \"\"}\n"
              "corpora: [{name: tulu, paths: [a.jsonl, /b/*], fields: {text: body}}]\n"
              "templates: [{name: mine, user: \"Q: {content}\\n\", assistant: \"{content}\"}]\n" STREAM
              ", special_tokens: {\"<|x|>\": 7}}]\n");
    char *text = printed(c);
    assert_string_equal(text, "state_dir: \"/var/lib/skipalign\"\n"
                              "workers: 3\n"
                              "memory: 192MiB\n"
                              "spool: 100GiB\n"
                              "record_max: 16MiB\n"
                              "io: auto\n"
                              "tokenizer: {path: auto, verify: 4096}\n"
                              "feed: {listen: \"\", subscribe: \"tcp://127.0.0.1:5758\"}\n"
                              "control: {listen: \"ipc:///run/skipalign/control\"}\n"
                              "corpora:\n"
                              "  - name: \"tulu\"\n"
                              "    paths: [\"/etc/skipalign/a.jsonl\", \"/b/*\"]\n"
                              "    format: auto\n"
                              "    duplicates: keep\n"
                              "    not_text: quarantine\n"
                              "    fields: {text: \"body\"}\n"
                              "templates:\n"
                              "  - name: \"mine\"\n"
                              "    user: \"Q: {content}\\n\"\n"
                              "    assistant: \"{content}\"\n"
                              "    system_place: before\n"
                              "    joined: false\n"
                              "streams:\n"
                              "  - name: \"chat\"\n"
                              "    tokenizer: \"/etc/skipalign/m.model\"\n"
                              "    template: \"chatml\"\n"
                              "    corpora: [{name: \"tulu\", repeat: 1}]\n"
                              "    seq_len: 128\n"
                              "    global_batch: 8\n"
                              "    packing: true\n"
                              "    overlong: truncate\n"
                              "    train_on: all\n"
                              "    max_turns: 0\n"
                              "    last: drop\n"
                              "    seed: 0\n"
                              "    epochs: 1\n"
                              "    max_unusable: 0.5\n"
                              "    special_tokens: {\"<|x|>\": 7}\n"
                              "    positions: {strategy: skip_all, sampler: sorted, max_position: 4096, "
                              "probability: 1, min_gap: 0, chunks: 2}\n");
    free(text);
    conf_free(c);
}

static void test_all_kinds_of_values_come_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        CORPORA STREAM "}]\n",
        CORPORA STREAM ", seed: 9223372036854775807, epochs: 0, max_unusable: 1e-300, packing: false}]\n",
        CORPORA STREAM ", max_unusable: 0.1000000000000000055, overlong: split, last: pad}]\n",
        "memory: 1073741825\nrecord_max: 1025KiB\nstate_dir: rel\n" CORPORA STREAM "}]\n",
        "corpora: [{name: \"123\", paths: [\"~\"]}, {name: tulu, paths: [\"null\", \" a \", \"#b\", "
        "\"[x]\"]}, "
        "{name: \"true\", paths: [x]}]\n" STREAM "}]\n",
        "templates: [{name: t, begin: \"\", system: \" \", user: \"\\n\\n {content}\\r\\n\\t\", assistant: "
        "\"{content}\\\\ \\\" ' : # - ? [ ] { } , & * ! | > % @ `\"}]\n" CORPORA STREAM "}]\n",
        "templates: [{name: t, user: "
        "\"a\\x85\\u2028\\u2029\\ufeff\\uffff\\ufffe\\x9f\\xa0\\x01\\x7f\\e{content}\", "
        "assistant: \"{content}\\U0001F600\\U0010ffff\\ud7ff\\ue000\"}]\n" CORPORA STREAM "}]\n",
        CORPORA
        "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, "
        "global_batch: 1, positions: [{strategy: none}, {weight: 1e-3, max_position: 9, schedule: {2: 8, "
        "0.1: 99, 1e3: 12}}, {name: b, max_position: 10}]}]\n",
        CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, "
                "global_batch: 1, positions: [{strategy: none, name: alone}]}]\n",
        CORPORA STREAM
        ", special_tokens: {\"~\": 0, \"a: b\": 1, \"\\\"\": 2, \"\\u2028\": 3, ? \"\\n\" : 4}}]\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        comes_back(texts[i]);
}

static void test_a_token_of_many_odd_characters_comes_back(void **state)
{
    (void)state;
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "%s%s, special_tokens: {? \"", CORPORA, STREAM);
    for (int i = 0; i < 256; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "\\x01");
    (void)snprintf(text + n, sizeof text - n, "\" : 1}}]\n");
    comes_back(text);
}

/* What a strategy without jumps takes from seq_len goes on following it. */
static void test_what_follows_from_another_key_is_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *positions;
        bool printed;
    } cases[] = {{"strategy: none", false},
                 {"strategy: none, max_position: 8", false},
                 {"strategy: none, max_position: 9", true},
                 {"strategy: skip_all, max_position: 8", true},
                 {"strategy: pose, schedule: {0.0: 8, 1: 99}", false},
                 {"strategy: pose, max_position: 8, schedule: {0: 8, 1: 99}", false},
                 {"strategy: pose, max_position: 9, schedule: {0: 8}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], "
                               "seq_len: 8, global_batch: 1, positions: {%s}}]\n",
                       cases[i].positions);
        struct conf *c = parse(text);
        char *print = printed(c);
        assert_int_equal(strstr(print, "max_position") != NULL, cases[i].printed);
        free(print);
        conf_free(c);
        comes_back(text);
    }
}

struct text {
    char data[1 << 16];
    size_t n;
};

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->data + t->n, sizeof t->data - t->n, fmt, ap);
    va_end(ap);
    assert_true(t->n < sizeof t->data);
}

/* A text of characters of all kinds, each as an escape, so that nothing depends on how it is written raw. */
static void put_odd(struct text *t, struct rng *r, uint32_t most)
{
    static const uint32_t kinds[][2] = {{1, 0x20},          {0x20, 0x7f},        {0x7f, 0xa1},
                                        {0xa1, 0x2000},     {0x2028, 0x202a},    {0xd7f0, 0xd800},
                                        {0xe000, 0xe010},   {0xfef0, 0xff10},    {0xfff0, 0x10000},
                                        {0x10000, 0x20000}, {0x10fff0, 0x110000}};
    put(t, "\"");
    for (uint32_t n = 1 + rng_below(r, most); n > 0; n--) {
        const uint32_t *kind = kinds[rng_below(r, sizeof kinds / sizeof kinds[0])];
        put(t, "\\U%08x", kind[0] + rng_below(r, kind[1] - kind[0]));
    }
    put(t, "\"");
}

static void put_corpora(struct text *t, struct rng *r, uint32_t n)
{
    static const char *const formats[] = {"auto",   "messages",          "sharegpt",
                                          "alpaca", "prompt_completion", "text"};
    put(t, "corpora:\n");
    for (uint32_t i = 0; i < n; i++) {
        put(t, "- name: c%u\n  format: %s\n  paths:\n", i, formats[rng_below(r, 6)]);
        for (uint32_t paths = 1 + rng_below(r, 3); paths > 0; paths--) {
            put(t, "  - ");
            put_odd(t, r, 20);
            put(t, "\n");
        }
        for (uint32_t field = rng_below(r, 2) * rng_below(r, FIELD__COUNT), k = 0; k < field; k++) {
            put(t, k == 0 ? "  fields:\n    %s: " : "    %s: ", field_names[k]);
            put_odd(t, r, 10);
            put(t, "\n");
        }
    }
}

static void put_templates(struct text *t, struct rng *r, uint32_t n)
{
    static const char *const keys[] = {"user", "assistant", "begin", "system"};
    for (uint32_t i = 0; i < n; i++) {
        put(t, i == 0 ? "templates:\n- name: t%u\n" : "- name: t%u\n", i);
        for (uint32_t k = 0; k < 2 + rng_below(r, 3); k++) {
            put(t, "  %s: ", keys[k]);
            put_odd(t, r, 40);
            put(t, "\n");
        }
    }
}

static void put_streams(struct text *t, struct rng *r, uint32_t n, uint32_t n_corpora)
{
    put(t, "streams:\n");
    for (uint32_t i = 0; i < n; i++) {
        put(t, "- name: s%u\n  template: t0\n  seq_len: %u\n  global_batch: %u\n  tokenizer: ", i,
            1 + rng_below(r, 4096), 1 + rng_below(r, 8));
        put_odd(t, r, 20);
        put(t, "\n  corpora:\n");
        for (uint32_t c = rng_below(r, n_corpora); c < n_corpora; c++)
            put(t, "  - {name: c%u, repeat: %.17g}\n", c, 1e-6 + rng_below(r, 1u << 30) / 3e5);
        put(t, "  positions: {max_position: %u, probability: %.17g, min_gap: %u}\n",
            4096 + rng_below(r, 1 << 20), rng_below(r, 1u << 30) / 1073741824.0, rng_below(r, 4096));
        put(t, "  special_tokens:\n");
        for (uint32_t k = 0; k < 3; k++) {
            put(t, "    ? ");
            put_odd(t, r, 60);
            put(t, "\n    : %u\n", 3 * rng_below(r, 1 << 20) + k);
        }
    }
}

static void test_many_odd_configurations_come_back(void **state)
{
    (void)state;
    static struct text t;
    for (uint32_t round = 0; round < 300; round++) {
        struct rng r;
        rng_init(&r, (struct rng_key){.seed = 2, .record = round});
        uint32_t n_corpora = 1 + rng_below(&r, 4);
        t.n = 0;
        put_corpora(&t, &r, n_corpora);
        put_templates(&t, &r, rng_below(&r, 3));
        put_streams(&t, &r, 1 + rng_below(&r, 3), n_corpora);
        comes_back(t.data);
    }
}

static const char several[] =
    "memory: 4GiB\n"
    "record_max: 1GiB\n"
    "workers: 7\n"
    "corpora: [{name: a, paths: [a]}, {name: b, paths: [b]}, {name: c, paths: [c], format: text}]\n"
    "templates: [{name: t, user: \"{content}\", assistant: \"{content}\"}, {name: u, user: \"x{content}\", "
    "assistant: \"{content}\"}]\n"
    "streams:\n"
    "- {name: one, tokenizer: m, template: t, corpora: [{name: c, repeat: 2}, {name: a}], seq_len: "
    "16777216,\n"
    "   global_batch: 4, positions: {strategy: none}}\n"
    "- {name: two, tokenizer: n, template: plain, corpora: [{name: b}], seq_len: 8, global_batch: 1,\n"
    "   positions: {max_position: 9}}\n";

static void test_a_stream_brings_what_it_needs_and_no_more(void **state)
{
    (void)state;
    struct conf *c = parse(several);
    char *text = printed_stream(c, 0);
    struct conf *one = parse(text);
    free(text);
    assert_int_equal(one->record_max, 1 << 30);
    assert_int_equal(one->workers, 2);
    assert_int_equal(one->n_corpora, 2);
    assert_string_equal(one->corpora[0].name, "a");
    assert_string_equal(one->corpora[1].name, "c");
    assert_int_equal(one->corpora[1].format, FORMAT_TEXT);
    assert_int_equal(one->n_templates, 1);
    assert_string_equal(one->templates[0].name, "t");
    assert_int_equal(one->n_streams, 1);

    char *was, *is;
    assert_int_equal(conf_stream_canonical(c, &c->streams[0], &was), 0);
    assert_int_equal(conf_stream_canonical(one, &one->streams[0], &is), 0);
    assert_string_equal(was, is);
    free(was);
    free(is);
    conf_free(one);

    text = printed_stream(c, 1);
    assert_null(strstr(text, "templates:"));
    assert_null(strstr(text, "workers:"));
    struct conf *two = parse(text);
    assert_int_equal(two->n_corpora, 1);
    assert_string_equal(two->streams[0].name, "two");
    free(text);
    conf_free(two);
    conf_free(c);
}

static void test_a_stream_prints_alike_where_the_rest_differs(void **state)
{
    (void)state;
    struct conf *a = parse(CORPORA STREAM "}]\n");
    struct conf *b =
        parse("memory: 1GiB\nio: pread\nworkers: 9\nfeed: {listen: \"\"}\n"
              "templates: [{name: t, user: \"{content}\", assistant: \"{content}\"}]\n"
              "corpora: [{name: other, paths: [b]}, {name: tulu, paths: [a.jsonl]}]\n" STREAM "}]\n");
    char *x = printed_stream(a, 0), *y = printed_stream(b, 0);
    assert_string_equal(x, y);
    free(x);
    free(y);
    conf_free(a);
    conf_free(b);
}

static void test_a_full_disk_is_told(void **state)
{
    (void)state;
    struct conf *c = parse(several);
    FILE *f = fopen("/dev/full", "w");
    assert_non_null(f);
    assert_true(conf_print(c, f) < 0);
    assert_true(conf_print_stream(c, &c->streams[0], f) < 0);
    (void)fclose(f);
    conf_free(c);
}

static void test_a_reference_keeps_it(void **state)
{
    (void)state;
    struct conf *c = parse(several), *mine = conf_ref(c);
    assert_ptr_equal(c, mine);
    conf_free(c);
    assert_string_equal(mine->streams[1].name, "two");
    conf_free(mine);
}

static void test_a_copied_corpus_outlives_its_configuration(void **state)
{
    (void)state;
    struct conf *c =
        parse("corpora: [{name: tulu, paths: [a, b], format: text, fields: {text: body}}]\n" STREAM "}]\n");
    struct conf_corpus copy = {0};
    assert_int_equal(conf_corpus_copy(&c->corpora[0], &copy), 0);
    conf_free(c);
    assert_string_equal(copy.name, "tulu");
    assert_int_equal(copy.n_paths, 2);
    assert_string_equal(copy.paths[1], "/etc/skipalign/b");
    assert_int_equal(copy.format, FORMAT_TEXT);
    assert_string_equal(copy.fields[FIELD_TEXT], "body");
    assert_null(copy.fields[FIELD_ROLE]);
    conf_corpus_fini(&copy);
    assert_null(copy.name);
    conf_corpus_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text_is_one_for_people),
        cmocka_unit_test(test_all_kinds_of_values_come_back),
        cmocka_unit_test(test_a_token_of_many_odd_characters_comes_back),
        cmocka_unit_test(test_what_follows_from_another_key_is_left_out),
        cmocka_unit_test(test_many_odd_configurations_come_back),
        cmocka_unit_test(test_a_stream_brings_what_it_needs_and_no_more),
        cmocka_unit_test(test_a_stream_prints_alike_where_the_rest_differs),
        cmocka_unit_test(test_a_full_disk_is_told),
        cmocka_unit_test(test_a_reference_keeps_it),
        cmocka_unit_test(test_a_copied_corpus_outlives_its_configuration),
    };
    return cmocka_run_group_tests_name("conf_print", tests, NULL, NULL);
}
