/* A wrong configuration: each mistake by itself with its line and column, and all of a file at once. */
#include "config/file.h"
#include "support/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct conf_errors refused(const char *text, size_t size)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    int rc = conf_parse("c.yaml", text, size, &c, &errors);
    if (rc == 0)
        fail_msg("taken, though wrong: %.200s", text);
    assert_int_equal(rc, ERR_CONFIG);
    assert_null(c);
    assert_true(errors.n > 0 && errors.text != NULL);
    return errors;
}

/* What the file has but for the part of it that a case is about, in one line each. */
#define CORPORA "corpora: [{name: tulu, paths: [a]}]\n"
#define STREAM(more)                                                                                         \
    "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, global_batch: " \
    "1, positions: {max_position: 9}, " more "}]\n"
#define POSITIONS(more)                                                                                      \
    "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, global_batch: " \
    "1, positions: {" more "}}]\n"
#define MIXTURE(groups)                                                                                      \
    "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, global_batch: " \
    "1, positions: [" groups "]}]\n"
#define TOP CORPORA STREAM("")

/* Each has one mistake; the message begins with the first text after "c.yaml:" and holds the second. */
static const struct {
    const char *text, *start, *holds;
} one_mistake[] = {
    /* keys */
    {TOP "worker: 2\n", "3:1: worker: no such key; did you mean \"workers\"?\n", ""},
    {TOP "zzzzzz: 2\n", "3:1: zzzzzz: no such key; there are ", "state_dir, workers, memory"},
    {TOP "feed: {listn: x}\n", "3:8: feed.listn: no such key; did you mean \"listen\"?", ""},
    {CORPORA STREAM("seqlen: 8"), "2:136: streams[0].seqlen: no such key; did you mean \"seq_len\"?", ""},
    {TOP "io: auto\nio: auto\n", "4:1: io: is given twice", ""},
    {TOP "? [a]\n: b\n", "3:3: ?: a key is a word", ""},
    {TOP "\"\\e[31m\": 2\n", "3:1: \\x1b[31m: no such key", ""},
    {STREAM(""), "1:1: corpora: is missing", "1..1024 entries"},
    {"workers: 1\n" CORPORA, "1:1: streams: is missing", "what training jobs read"},
    {CORPORA
     "streams:\n- name: s\n  template: plain\n  corpora: [{name: tulu}]\n  seq_len: 8\n  global_batch: 1\n"
     "  positions: {max_position: 8}\n",
     "3:3: streams[0].tokenizer: is missing; wanted is a path", "SentencePiece"},
    /* kinds of values */
    {TOP "workers: [1]\n", "3:10: workers: is a list; wanted is a whole number (1..256)", ""},
    {TOP "workers: {a: 1}\n", "3:10: workers: is a group of keys; wanted", ""},
    {TOP "workers:\nio: auto\n", "3:9: workers: has no value; wanted", ""},
    {TOP "state_dir: ~\n", "3:12: state_dir: has no value", ""},
    {TOP "workers: \"2\"\n",
     "3:10: workers: is text, \"2\"; wanted is a whole number (1..256), without quotes", ""},
    {TOP "workers: !include x\n", "3:10: workers: has a tag (!include)", ""},
    {TOP "feed: 5\n", "3:7: feed: is a single value; wanted is a group of keys", ""},
    {TOP "templates: {name: x}\n", "3:12: templates: is a group of keys; wanted is a list of groups", ""},
    {"corpora: [{name: tulu, paths: {a: b}}]\n" STREAM(""), "1:31: corpora[0].paths: is a group of keys",
     "list of paths"},
    {"corpora: [{name: tulu, paths: [a, [b]]}]\n" STREAM(""), "1:35: corpora[0].paths[1]: is a list", ""},
    {"corpora: []\n" STREAM(""), "1:10: corpora: is empty", "1..1024"},
    {"corpora: [{name: tulu, paths: []}]\n" STREAM(""), "1:31: corpora[0].paths: is empty", ""},
    {CORPORA "streams: []\n", "2:10: streams: is empty", ""},
    {CORPORA STREAM("special_tokens: [a]"), "2:152: streams[0].special_tokens: is a list; wanted is a map",
     ""},
    /* numbers */
    {TOP "workers: 0\n", "3:10: workers: \"0\" is out of range; allowed is 1..256 threads", ""},
    {TOP "workers: 257\n", "3:10: workers: \"257\" is out of range", ""},
    {TOP "workers: 99999999999999999999999\n", "3:10: workers: \"99999999999999999999999\" is out of range",
     ""},
    {TOP "workers: two\n", "3:10: workers: \"two\" is no whole number; allowed is 1..256 threads", ""},
    {TOP "workers: 1.0\n", "3:10: workers: \"1.0\" is no whole number", ""},
    {TOP "workers: 0x10\n", "3:10: workers: \"0x10\" is no whole number", ""},
    {TOP "workers: 010\n", "3:10: workers: \"010\" is no whole number", ""},
    {TOP "workers: 2Ki\n", "3:10: workers: \"2Ki\" is no whole number", ""},
    {CORPORA STREAM("seed: 9223372036854775808"),
     "2:142: streams[0].seed: \"9223372036854775808\" is out of range", ""},
    {CORPORA STREAM("seed: -1"), "2:142: streams[0].seed: \"-1\" is out of range", ""},
    {TOP "memory: 31MiB\n", "3:9: memory: \"31MiB\" is out of range; allowed is 32MiB..1024GiB", ""},
    {TOP "memory: 512MB\n", "3:9: memory: \"512MB\" is no size", "KiB, MiB or GiB"},
    {TOP "memory: 1.5GiB\n", "3:9: memory: \"1.5GiB\" is no size", ""},
    {TOP "memory: 9007199254740992GiB\n", "3:9: memory: \"9007199254740992GiB\" is out of range", ""},
    {CORPORA STREAM("max_unusable: 1.01"),
     "2:150: streams[0].max_unusable: \"1.01\" is out of range; allowed is 0..1", ""},
    {CORPORA STREAM("max_unusable: nan"), "2:150: streams[0].max_unusable: \"nan\" is no number", ""},
    {CORPORA STREAM("max_unusable: 1e"), "2:150: streams[0].max_unusable: \"1e\" is no number", ""},
    {CORPORA STREAM("packing: yes"),
     "2:145: streams[0].packing: \"yes\" is no truth value; allowed is true or false", ""},
    /* words */
    {TOP "io: urign\n", "3:5: io: \"urign\" is not one of auto, uring or pread; did you mean \"uring\"?", ""},
    {TOP "io: xxxxxxxx\n", "3:5: io: \"xxxxxxxx\" is not one of auto, uring or pread\n", ""},
    {CORPORA POSITIONS("max_position: 9, strategy: poise"),
     "2:145: streams[0].positions.strategy: \"poise\" is not one of none, ", "did you mean \"pose\"?"},
    {CORPORA POSITIONS("max_position: 9, strategy: pose, min_gap: 2"),
     "2:160: streams[0].positions.min_gap: strategy pose has no use for it", "leave it out"},
    {"corpora: [{name: a/b, paths: [a]}]\n" STREAM(""), "1:18: corpora[0].name: \"a/b\" cannot be a name",
     "1 to 64 letters"},
    {"corpora: [{name: \"\", paths: [a]}]\n" STREAM(""), "1:18: corpora[0].name: \"\" cannot be a name", ""},
    {"corpora: [{name: .., paths: [a]}]\n" STREAM(""), "1:18: corpora[0].name: \"..\" cannot be a name", ""},
    {"corpora: [{name: \"\\xe9\", paths: [a]}]\n" STREAM(""),
     "1:18: corpora[0].name: \"\xc3\xa9\" cannot be a name", ""},
    {"corpora: [{name: 12345678901234567890123456789012345678901234567890123456789012345, paths: "
     "[a]}]\n" STREAM(""),
     "1:18: corpora[0].name: \"1234", "cannot be a name"},
    {"corpora: [{name: tulu, paths: [\"a\\0b\"]}]\n" STREAM(""),
     "1:32: corpora[0].paths[0]: holds a NUL byte", ""},
    {"corpora: [{name: tulu, paths: [\"\"]}]\n" STREAM(""), "1:32: corpora[0].paths[0]: is empty", ""},
    {TOP "state_dir: \"\"\n", "3:12: state_dir: is empty", ""},
    {TOP "control: {listen: \"inproc://x\"}\n", "3:19: control.listen: \"inproc://x\" is no endpoint of ours",
     "tcp://HOST:PORT"},
    {TOP "control: {listen: \"tcp://host\"}\n", "3:19: control.listen: \"tcp://host\" is no endpoint", ""},
    {TOP "control: {listen: \"tcp://:80\"}\n", "3:19: control.listen: \"tcp://:80\" is no endpoint", ""},
    {TOP "control: {listen: \"tcp://a:65536\"}\n", "3:19: control.listen: \"tcp://a:65536\" is no endpoint",
     ""},
    {TOP "control: {listen: \"tcp://a:-1\"}\n", "3:19: control.listen: \"tcp://a:-1\" is no endpoint", ""},
    {TOP "control: {listen: \"ipc://\"}\n", "3:19: control.listen: \"ipc://\" is no endpoint", ""},
    {TOP "control: {listen: \"5757\"}\n", "3:19: control.listen: \"5757\" is no endpoint", ""},
    {TOP "control: {listen: \"tcp://\\e[1m:1\"}\n",
     "3:19: control.listen: \"tcp://\\x1b[1m:1\" is no endpoint", ""},
    {TOP "control: {listen: \"ipc:///a b\"}\n", "3:19: control.listen: \"ipc:///a b\" is no endpoint", ""},
    {TOP "io: !%1b x\n", "3:5: io: has a tag (!\\x1b)", ""},
    {CORPORA STREAM("special_tokens: {\"\\n\": 1, b: 1}"),
     "2:162: streams[0].special_tokens[1]: \"b\": 1 goes against \"\\x0a\": 1", ""},
    /* one with another */
    {TOP "feed: {listen: \"\", subscribe: \"\"}\n", "3:16: feed.listen: both doors of the feed are shut", ""},
    {TOP "feed: {listen: \"tcp://a:1\", subscribe: \"tcp://a:1\"}\n",
     "3:40: feed.subscribe: tcp://a:1 is another door's", ""},
    {TOP "control: {listen: \"tcp://127.0.0.1:5757\"}\n",
     "3:19: control.listen: tcp://127.0.0.1:5757 is another door's", ""},
    {"corpora: [{name: tulu, paths: [a]}, {name: tulu, paths: [b]}]\n" STREAM(""),
     "1:44: corpora[1].name: \"tulu\" is already in the list, in line 1;", ""},
    {TOP "templates:\n- {name: t, user: u, assistant: a}\n- {name: t, user: u, assistant: a}\n",
     "5:10: templates[1].name: \"t\" is already in the list, in line 4;", ""},
    {CORPORA
     "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}, {name: tulu}], seq_len: 8, "
     "global_batch: 1, positions: {max_position: 9}}]\n",
     "2:83: streams[0].corpora[1].name: \"tulu\" is already in the list", ""},
    {CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tula}], seq_len: 8, "
             "global_batch: 1, positions: {max_position: 9}}]\n",
     "2:69: streams[0].corpora[0].name: there is no corpus \"tula\"; did you mean \"tulu\"?", ""},
    {CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: xyz}], seq_len: 8, "
             "global_batch: 1, positions: {max_position: 9}}]\n",
     "2:69: streams[0].corpora[0].name: there is no corpus \"xyz\"; name one from", ""},
    {CORPORA "streams: [{name: feed, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, "
             "global_batch: 1, positions: {max_position: 9}}]\n",
     "2:18: streams[0].name: \"feed\" is a key of the configuration", "choose another name"},
    {CORPORA POSITIONS("max_position: 7"), "2:132: streams[0].positions.max_position: 7 is below seq_len (8)",
     "raise"},
    {CORPORA POSITIONS("strategy: none, max_position: 7"),
     "2:148: streams[0].positions.max_position: 7 is below", ""},
    {CORPORA POSITIONS("max_position: 9, schedule: {0.5: 7}"),
     "2:145: streams[0].positions.schedule: 7 is below seq_len (8)", ""},
    {CORPORA POSITIONS("max_position: 9, schedule: {1: 9, 1.0: 9}"),
     "2:152: streams[0].positions.schedule[1]: epoch 1 is given twice", ""},
    {CORPORA POSITIONS("max_position: 9, schedule: {-1: 9}"),
     "2:146: streams[0].positions.schedule[0]: \"-1\" is out of range; allowed is 0..1000000000", ""},
    {CORPORA POSITIONS("max_position: 9, schedule: [9]"),
     "2:145: streams[0].positions.schedule: is a list; wanted is a map of epochs", ""},
    {CORPORA POSITIONS("strategy: none, schedule: {1: 9}"),
     "2:117: streams[0].positions.max_position: is missing; strategy none needs it", ""},
    {CORPORA POSITIONS("max_position: 9, name: a"), "2:141: streams[0].positions.name: is for a list", ""},
    {CORPORA MIXTURE("{max_position: 9}, {max_position: 10}"),
     "2:137: streams[0].positions[1].strategy: another in the list is called \"skip_all\" already", "name:"},
    {CORPORA MIXTURE("{name: none, max_position: 9}, {strategy: none}"),
     "2:160: streams[0].positions[1].strategy: another in the list is called \"none\"", ""},
    {CORPORA MIXTURE("{name: a, max_position: 9}, {name: a, max_position: 9}"),
     "2:153: streams[0].positions[1].name: \"a\" is already in the list, in line 2;", ""},
    {CORPORA MIXTURE("{max_position: 9}, {strategy: pose}"),
     "2:137: streams[0].positions[1].max_position: is missing; strategy pose needs it", ""},
    {CORPORA MIXTURE("{max_position: 9, weight: -1}"),
     "2:144: streams[0].positions[0].weight: \"-1\" is out of range", ""},
    {CORPORA POSITIONS("max_position: 2147483648"),
     "2:132: streams[0].positions.max_position: \"2147483648\" is out", ""},
    {CORPORA POSITIONS("max_position: 9, min_gap: 9"),
     "2:144: streams[0].positions.min_gap: 9 leaves no room", "(9)"},
    {CORPORA POSITIONS("strategy: skip_inner"),
     "2:117: streams[0].positions.max_position: is missing; strategy skip_inner needs it", ""},
    {CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, "
             "global_batch: 1}]\n",
     "2:11: streams[0].positions.max_position: is missing", ""},
    {"memory: 1024GiB\n" CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: "
     "tulu}], seq_len: 65536, global_batch: "
     "32768, positions: {max_position: 65536}}]\n",
     "3:107: streams[0].global_batch: 32768 rows of 65536 tokens (seq_len) are more than 2147483647", ""},
    {CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 65536, "
             "global_batch: "
             "128, positions: {max_position: 65536}}]\nmemory: 287MiB\n",
     "3:9: memory: 287MiB is too little", "at least 288MiB"},
    {CORPORA STREAM("") "record_max: 97MiB\n",
     "3:13: record_max: a record of 101711872 bytes would take more than half", ""},
    {CORPORA STREAM("special_tokens: {a: 1, a: 2}"),
     "2:159: streams[0].special_tokens[1]: \"a\": 2 goes against \"a\": 1", ""},
    {CORPORA STREAM("special_tokens: {a: 1, b: 1}"),
     "2:159: streams[0].special_tokens[1]: \"b\": 1 goes against \"a\": 1", ""},
    {CORPORA STREAM("special_tokens: {a: -1}"), "2:156: streams[0].special_tokens[0]: \"-1\" is out of range",
     ""},
    /* not YAML, or not ours */
    {"", "1:1: the file is empty", "skipalignd --example"},
    {"# nothing\n", "1:1: the file is empty", ""},
    {"---\n~\n", "1:1: the file is empty", ""},
    {"[a]\n", "1:1: is a list; wanted is a group of keys", ""},
    {"workers: 1\n\tio: auto\n", "2:1: not YAML: found a tab character that violates indentation", ""},
    {"workers: [1, 2\nio: auto\n", "2:3: not YAML: did not find expected ',' or ']'", "flow sequence"},
    {"a: *b\n", "1:4: not YAML: found undefined alias", ""},
    {TOP "---\n" TOP, "3:1: a second document begins", ""},
    {"workers: 1\nio: \xff\n", "2:5: invalid leading UTF-8 octet; wanted is UTF-8", ""},
    {"workers: 1\nio: \x01\n", "2:5: control characters are not allowed", ""},
};

static void test_each_mistake_is_named_where_it_is(void **state)
{
    (void)state;
    uint32_t n_wrong = 0;
    for (size_t i = 0; i < sizeof one_mistake / sizeof one_mistake[0]; i++) {
        const char *text = one_mistake[i].text, *start = one_mistake[i].start, *holds = one_mistake[i].holds;
        struct conf_errors e = refused(text, strlen(text));
        if (e.n != 1 || strncmp(e.text, "c.yaml:", 7) != 0 ||
            strncmp(e.text + 7, start, strlen(start)) != 0 || strstr(e.text, holds) == NULL) {
            print_error("of\n%sexpected 1 error: c.yaml:%s ... %s\nbut got %u:\n%s", text, start, holds, e.n,
                        e.text);
            n_wrong++;
        }
        conf_errors_fini(&e);
    }
    assert_int_equal(n_wrong, 0);
}

static void test_all_mistakes_come_at_once_by_line(void **state)
{
    (void)state;
    static const char text[] = "io: urin\n"
                               "workers: 0\n"
                               "memry: 1GiB\n"
                               "corpora:\n"
                               "  - {name: tulu, path: a}\n"
                               "streams:\n"
                               "  - name: s\n"
                               "    seq_len: 0\n"
                               "    corpora: [{name: tulo}]\n"
                               "    positions: {max_position: -1, sampler: sort}\n";
    struct conf_errors e = refused(text, sizeof text - 1);
    assert_string_equal(
        e.text,
        "c.yaml:1:5: io: \"urin\" is not one of auto, uring or pread; did you mean \"uring\"?\n"
        "c.yaml:2:10: workers: \"0\" is out of range; allowed is 1..256 threads\n"
        "c.yaml:3:1: memry: no such key; did you mean \"memory\"?\n"
        "c.yaml:5:5: corpora[0].paths: is missing; wanted is a list of paths (1..4096 entries): files of the "
        "corpus; "
        "* ? and [] as in a shell\n"
        "c.yaml:5:18: corpora[0].path: no such key; did you mean \"paths\"?\n"
        "c.yaml:7:5: streams[0].global_batch: is missing; wanted is a whole number (1..2147483647): rows of "
        "one "
        "optimiser step, all ranks together\n"
        "c.yaml:7:5: streams[0].template: is missing; wanted is a name (1..64 of A-Z a-z 0-9 . _ -): plain, "
        "alpaca, "
        "llama2, mistral-v1, mistral-v3, chatml, zephyr, tulu, vicuna, gemma, or one from the list of "
        "templates\n"
        "c.yaml:7:5: streams[0].tokenizer: is missing; wanted is a path (1..4096 bytes): SentencePiece model "
        "file\n"
        "c.yaml:8:14: streams[0].seq_len: \"0\" is out of range; allowed is 1..16777216 tokens\n"
        "c.yaml:9:22: streams[0].corpora[0].name: there is no corpus \"tulo\"; did you mean \"tulu\"?\n"
        "c.yaml:10:31: streams[0].positions.max_position: \"-1\" is out of range; allowed is 1..2147483647 "
        "tokens\n"
        "c.yaml:10:44: streams[0].positions.sampler: \"sort\" is not one of sorted, sequential, even or "
        "pinned; did "
        "you mean \"sorted\"?\n");
    assert_int_equal(e.n, 12);
    conf_errors_fini(&e);
}

static void test_nul_bytes_are_refused(void **state)
{
    (void)state;
    static const char text[] = "workers: 1\nio: au\0to\n";
    struct conf_errors e = refused(text, sizeof text - 1);
    assert_non_null(strstr(e.text, "c.yaml:2:7: control characters are not allowed"));
    conf_errors_fini(&e);
}

/* A file that is small and yet asks for much. */
struct bulk {
    char text[1 << 20];
    size_t n;
};

static void put(struct bulk *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct bulk *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    b->n += (size_t)vsnprintf(b->text + b->n, sizeof b->text - b->n, fmt, ap);
    va_end(ap);
    assert_true(b->n < sizeof b->text);
}

static void refuse_bulk(struct bulk *b, const char *holds)
{
    struct conf_errors e = refused(b->text, b->n);
    if (strstr(e.text, holds) == NULL)
        fail_msg("expected %s, got %.500s", holds, e.text);
    conf_errors_fini(&e);
    free(b);
}

static void test_deep_nesting_is_refused(void **state)
{
    (void)state;
    static const char *const openers[] = {"[", "{", "- ", "? "};
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) {
        struct bulk *b = calloc(1, sizeof *b);
        while (b->n < (1 << 20) - 4)
            b->n += (size_t)sprintf(b->text + b->n, "%s", openers[i]);
        refuse_bulk(b, "nested too deep");
    }
}

static void test_many_anchors_are_refused(void **state)
{
    (void)state;
    struct bulk *b = calloc(1, sizeof *b);
    put(b, "a: [");
    for (int i = 0; i < 100000; i++)
        put(b, "&%d x,", i);
    refuse_bulk(b, "c.yaml:1:1687: too many anchors");
}

static void test_aliases_that_multiply_are_refused(void **state)
{
    (void)state;
    struct bulk *b = calloc(1, sizeof *b);
    put(b, "corpora:\n- &c {name: x, paths: &p [");
    for (int i = 0; i < 4096; i++)
        put(b, "%0*d,", 200, i);
    put(b, "]}\n");
    for (int i = 0; i < 1000; i++)
        put(b, "- *c\n");
    refuse_bulk(b, "with its aliases written out the file is larger than 16 MiB");
}

static void test_an_alias_to_what_is_around_it_ends(void **state)
{
    (void)state;
    struct bulk *b = calloc(1, sizeof *b);
    put(b, "&a\ncorpora: &b [{name: x, paths: *b}, *a]\nstreams: *b\nfeed: *a\n");
    refuse_bulk(b, "corpora[0].paths[0]: is a group of keys");
}

static void test_a_flood_of_mistakes_is_cut(void **state)
{
    (void)state;
    struct bulk *b = calloc(1, sizeof *b);
    for (int i = 0; i < 100000; i++)
        put(b, "k%d: 1\n", i);
    struct conf_errors e = refused(b->text, b->n);
    assert_int_equal(e.n, 200);
    assert_non_null(strstr(e.text, "c.yaml:200:1: k199: no such key"));
    assert_non_null(strstr(e.text, "c.yaml: there are more errors; these are 200 of them\n"));
    conf_errors_fini(&e);
    free(b);
}

static void load_refused(const char *path, int expected, const char *holds)
{
    struct conf *c = NULL;
    struct conf_errors e = {0};
    assert_int_equal(conf_load(path, &c, &e), expected);
    assert_null(c);
    assert_int_equal(e.n, 1);
    if (strstr(e.text, path) == NULL || strstr(e.text, holds) == NULL || e.text[strlen(e.text) - 1] != '\n')
        fail_msg("expected %s and %s, got %s", path, holds, e.text);
    conf_errors_fini(&e);
}

static void test_what_cannot_be_read_is_told(void **state)
{
    struct folder *f = *state;
    load_refused(f->path, -EISDIR, "directory");
    load_refused(folder_path(f, "absent.yaml"), -ENOENT, "o such file");
    load_refused(folder_write(f, "empty.yaml", "", 0), ERR_CONFIG, "empty.yaml:1:1: the file is empty");
    const char *large = folder_write_text(f, "large.yaml", "a: b\n");
    assert_int_equal(truncate(large, (1 << 20) + 1), 0);
    load_refused(large, ERR_CONFIG, "at most 1048576");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_mistake_is_named_where_it_is),
        cmocka_unit_test(test_all_mistakes_come_at_once_by_line),
        cmocka_unit_test(test_nul_bytes_are_refused),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_many_anchors_are_refused),
        cmocka_unit_test(test_aliases_that_multiply_are_refused),
        cmocka_unit_test(test_an_alias_to_what_is_around_it_ends),
        cmocka_unit_test(test_a_flood_of_mistakes_is_cut),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read_is_told, folder_new, folder_free),
    };
    return cmocka_run_group_tests_name("config_errors", tests, NULL, NULL);
}
