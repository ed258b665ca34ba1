/* What is different between two configurations, by name. */
#include "config/diff.h"
#include "config/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TULU "{name: tulu, paths: [/a]}"
#define CODE "{name: code, paths: [/b]}"
#define CHAT(corpora, more)                                                                              \
    "{name: chat, tokenizer: /m, template: plain, corpora: [" corpora "], seq_len: 8, global_batch: 1, " \
    "positions: {max_position: 9}" more "}"
#define FILE_OF(corpora, streams) "corpora: [" corpora "]\nstreams: [" streams "]\n"

static struct conf *parse(const char *text)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    if (conf_parse("/c.yaml", text, strlen(text), &c, &errors) != 0)
        fail_msg("%s", errors.text);
    return c;
}

/* "NAME: BEFORE -> AFTER (STREAM) !" a line, ! where it takes a restart. */
static void differ(const char *a_text, const char *b_text, const char *expected)
{
    struct conf *a = parse(a_text), *b = parse(b_text);
    struct conf_change *changes;
    uint32_t n;
    char told[4096] = "";
    size_t used = 0;
    assert_int_equal(conf_diff(a, b, &changes, &n), 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct conf_change *c = &changes[i];
        used += (size_t)snprintf(told + used, sizeof told - used, "%s: %s -> %s (%s)%s\n", c->name,
                                 c->before != NULL ? c->before : "none", c->after != NULL ? c->after : "none",
                                 c->stream, c->restart ? " !" : "");
    }
    assert_string_equal(told, expected);
    conf_changes_free(changes, n);
    conf_free(a);
    conf_free(b);
}

static void test_the_same_has_no_changes(void **state)
{
    (void)state;
    differ(FILE_OF(TULU, CHAT("{name: tulu}", "")), FILE_OF(TULU, CHAT("{name: tulu}", "")), "");
    /* defaults written out, and where the top lists have their elements, are the same */
    differ(
        FILE_OF(TULU ", " CODE, CHAT("{name: tulu}", "")),
        "workers: 2\n" FILE_OF(CODE ", " TULU, CHAT("{name: tulu, repeat: 1e0}", ", seed: 0, packing: true")),
        "");
}

static void test_values_come_in_order_with_whose_they_are(void **state)
{
    (void)state;
    differ(FILE_OF(TULU, CHAT("{name: tulu}", "")),
           "record_max: 1MiB\nworkers: 4\nfeed: {listen: \"\"}\n" FILE_OF(
               "{name: tulu, paths: [/a, /c], format: text, fields: {text: body}}",
               CHAT("{name: tulu, repeat: 0.5}", ", seed: 4, special_tokens: {x: 1}")),
           "workers: 2 -> 4 () !\n"
           "record_max: 16MiB -> 1MiB ()\n"
           "feed.listen: tcp://127.0.0.1:5757 ->  () !\n"
           "corpora.tulu.paths: [\"/a\"] -> [\"/a\", \"/c\"] ()\n"
           "corpora.tulu.format: auto -> text ()\n"
           "corpora.tulu.fields.text: none -> body ()\n"
           "chat.corpora.tulu.repeat: 1 -> 0.5 (chat)\n"
           "chat.seed: 0 -> 4 (chat)\n"
           "chat.special_tokens: none -> {\"x\": 1} (chat)\n");
}

static void test_what_takes_a_restart_says_so(void **state)
{
    (void)state;
    differ(
        FILE_OF(TULU, CHAT("{name: tulu}", "")),
        "state_dir: /s\nworkers: 3\nmemory: 1GiB\nio: pread\nfeed: {listen: \"tcp://*:1\", subscribe: \"\"}\n"
        "control: {listen: \"\"}\n" FILE_OF(TULU, CHAT("{name: tulu}", ", max_unusable: 1")),
        "state_dir: /var/lib/skipalign -> /s () !\n"
        "workers: 2 -> 3 () !\n"
        "memory: 192MiB -> 1GiB () !\n"
        "io: auto -> pread () !\n"
        "feed.listen: tcp://127.0.0.1:5757 -> tcp://*:1 () !\n"
        "feed.subscribe: tcp://127.0.0.1:5758 ->  () !\n"
        "control.listen: ipc:///run/skipalign/control ->  () !\n"
        "chat.max_unusable: 0.5 -> 1 (chat)\n");
}

#define PLAIN                                                                                              \
    "{name: plain, tokenizer: /m, template: plain, corpora: [{name: code}], seq_len: 8, global_batch: 1, " \
    "positions: {strategy: none}}"

static void test_elements_come_and_go_as_a_whole(void **state)
{
    (void)state;
    differ(
        FILE_OF(TULU ", " CODE, CHAT("{name: tulu}, {name: code}", "") ", " PLAIN),
        FILE_OF("{name: new, paths: [/n], fields: {prompt: \"a\\nb\"}}, " TULU,
                CHAT("{name: new, repeat: 2}, {name: tulu}", "")),
        "corpora.code: {paths: [\"/b\"], format: auto, duplicates: keep, not_text: quarantine} -> none ()\n"
        "corpora.new: none -> {paths: [\"/n\"], format: auto, duplicates: keep, not_text: quarantine, "
        "fields: {prompt: \"a\\nb\"}} "
        "()\n"
        "chat.corpora.code: {repeat: 1} -> none (chat)\n"
        "chat.corpora.new: none -> {repeat: 2} (chat)\n"
        "streams.plain: {tokenizer: \"/m\", template: \"plain\", corpora: [{name: \"code\", repeat: 1}], "
        "seq_len: 8, global_batch: 1, packing: true, overlong: truncate, train_on: all, max_turns: 0, last: "
        "drop, seed: 0, epochs: 1, "
        "max_unusable: 0.5, positions: {strategy: none, sampler: sorted, probability: 1, min_gap: 0, chunks: "
        "2}} -> none (plain)\n");
}

/* What a stream sends depends on it. */
static void test_another_order_of_a_mixture_is_a_change(void **state)
{
    (void)state;
    differ(FILE_OF(TULU ", " CODE, CHAT("{name: tulu}, {name: code}", "")),
           FILE_OF(TULU ", " CODE, CHAT("{name: code}, {name: tulu, repeat: 2}", "")),
           "chat.corpora: [{name: \"tulu\", repeat: 1}, {name: \"code\", repeat: 1}] -> "
           "[{name: \"code\", repeat: 1}, {name: \"tulu\", repeat: 2}] (chat)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_has_no_changes),
        cmocka_unit_test(test_values_come_in_order_with_whose_they_are),
        cmocka_unit_test(test_what_takes_a_restart_says_so),
        cmocka_unit_test(test_elements_come_and_go_as_a_whole),
        cmocka_unit_test(test_another_order_of_a_mixture_is_a_change),
    };
    return cmocka_run_group_tests_name("conf_diff", tests, NULL, NULL);
}
