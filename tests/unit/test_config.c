/* A right configuration: what the file says arrives, what it leaves out has its default, and all of it can be
 * shown again. */
#include "base/slice.h"
#include "config/file.h"
#include "config/schema.h"
#include "support/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CORPORA "corpora: [{name: tulu, paths: [a.jsonl]}]\n"
#define STREAM                                                                                             \
    "streams: [{name: chat, tokenizer: m.model, template: chatml, corpora: [{name: tulu}], seq_len: 128, " \
    "global_batch: 8, positions: {max_position: 4096}"

static struct conf *parse_at(const char *path, const char *text)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    int rc = conf_parse(path, text, strlen(text), &c, &errors);
    if (rc != 0)
        fail_msg("%d: %s", rc, errors.text != NULL ? errors.text : "");
    assert_null(errors.text);
    return c;
}

static struct conf *parse(const char *text)
{
    return parse_at("/etc/skipalign/skipalignd.yaml", text);
}

static void test_every_key_arrives(void **state)
{
    (void)state;
    struct conf *c =
        parse("state_dir: /srv/state\n"
              "workers: 4\n"
              "memory: 1GiB\n"
              "record_max: 1048576\n"
              "io: pread\n"
              "feed: {listen: \"\", subscribe: \"tcp://*:6000\"}\n"
              "control: {listen: \"ipc:///tmp/c\"}\n"
              "corpora:\n"
              "  - name: a.b-c_D9\n"
              "    paths: [\"/x/*.jsonl\", y.jsonl]\n"
              "    format: prompt_completion\n"
              "    fields: {prompt: question, completion: answer}\n"
              "  - {name: two, paths: z.txt, format: text}\n"
              "templates:\n"
              "  - name: mine\n"
              "    begin: \"{bos}\"\n"
              "    system: \"{content}\\n\"\n"
              "    user: |\n"
              "      Q: {content}\n"
              "    assistant: 'A: {content}{eos}'\n"
              "    system_place: last_user\n"
              "streams:\n"
              "  - name: chat\n"
              "    tokenizer: ../m.model\n"
              "    template: mine\n"
              "    corpora: [{name: two, repeat: 0.25}, {name: a.b-c_D9}]\n"
              "    seq_len: 8388608\n"
              "    global_batch: 2\n"
              "    packing: false\n"
              "    overlong: split\n"
              "    last: pad\n"
              "    seed: 9223372036854775807\n"
              "    epochs: 0\n"
              "    max_unusable: 1\n"
              "    special_tokens: {\"<|im_start|>\": 32000, <|im_end|>: 0}\n"
              "    positions: {strategy: skip_outer, sampler: pinned, max_position: 2147483647,\n"
              "                probability: 5e-1, min_gap: 7, chunks: 3}\n");
    assert_string_equal(c->path, "/etc/skipalign/skipalignd.yaml");
    assert_string_equal(c->state_dir, "/srv/state");
    assert_int_equal(c->workers, 4);
    assert_int_equal(c->memory, INT64_C(1) << 30);
    assert_int_equal(c->record_max, 1 << 20);
    assert_int_equal(c->io, IO_PREAD);
    assert_string_equal(c->feed_listen, "");
    assert_string_equal(c->feed_subscribe, "tcp://*:6000");
    assert_string_equal(c->control_listen, "ipc:///tmp/c");

    assert_int_equal(c->n_corpora, 2);
    const struct conf_corpus *a = &c->corpora[0], *two = &c->corpora[1];
    assert_string_equal(a->name, "a.b-c_D9");
    assert_int_equal(a->n_paths, 2);
    assert_string_equal(a->paths[0], "/x/*.jsonl");
    assert_string_equal(a->paths[1], "/etc/skipalign/y.jsonl");
    assert_int_equal(a->format, FORMAT_PROMPT_COMPLETION);
    assert_string_equal(a->fields[FIELD_PROMPT], "question");
    assert_string_equal(a->fields[FIELD_COMPLETION], "answer");
    assert_null(a->fields[FIELD_TEXT]);
    assert_int_equal(two->n_paths, 1);
    assert_string_equal(two->paths[0], "/etc/skipalign/z.txt");
    assert_ptr_equal(conf_find_corpus(c, "two"), two);
    assert_null(conf_find_corpus(c, "three"));

    assert_int_equal(c->n_templates, 1);
    const struct conf_template *t = &c->templates[0];
    assert_string_equal(t->begin, "{bos}");
    assert_string_equal(t->system, "{content}\n");
    assert_string_equal(t->user, "Q: {content}\n");
    assert_string_equal(t->assistant, "A: {content}{eos}");
    assert_int_equal(t->system_place, 2);
    assert_int_equal(t->line, 15);

    assert_int_equal(c->n_streams, 1);
    const struct conf_stream *s = &c->streams[0];
    assert_string_equal(s->tokenizer, "/etc/skipalign/../m.model");
    assert_string_equal(s->template_name, "mine");
    assert_int_equal(s->n_corpora, 2);
    assert_string_equal(s->corpora[0].corpus, "two");
    assert_true(s->corpora[0].repeat == 0.25 && s->corpora[1].repeat == 1.0);
    assert_int_equal(s->seq_len, 1 << 23);
    assert_int_equal(s->global_batch, 2);
    assert_false(s->packing);
    assert_int_equal(s->overlong, OVERLONG_SPLIT);
    assert_int_equal(s->last, LAST_PAD);
    assert_true(s->seed == INT64_MAX);
    assert_int_equal(s->epochs, 0);
    assert_true(s->max_unusable == 1.0);
    assert_int_equal(s->n_special_tokens, 2);
    assert_string_equal(s->special_tokens[0].piece, "<|im_start|>");
    assert_int_equal(s->special_tokens[0].id, 32000);
    assert_int_equal(s->special_tokens[1].id, 0);
    assert_int_equal(s->positions->strategy, POS_SKIP_OUTER);
    assert_int_equal(s->positions->sampler, SAMPLER_PINNED);
    assert_int_equal(s->positions->max_position, INT32_MAX);
    assert_true(s->positions->probability == 0.5);
    assert_int_equal(s->positions->min_gap, 7);
    assert_int_equal(s->positions->chunks, 3);
    conf_free(c);
}

static void test_what_is_absent_has_its_default(void **state)
{
    (void)state;
    struct conf *c = parse(CORPORA STREAM "}]\n");
    assert_string_equal(c->state_dir, "/var/lib/skipalign");
    assert_int_equal(c->workers, 2);
    assert_int_equal(c->memory, INT64_C(192) << 20);
    assert_int_equal(c->record_max, 16 << 20);
    assert_int_equal(c->io, IO_AUTO);
    assert_string_equal(c->feed_listen, "tcp://127.0.0.1:5757");
    assert_string_equal(c->feed_subscribe, "tcp://127.0.0.1:5758");
    assert_string_equal(c->control_listen, "ipc:///run/skipalign/control");
    assert_int_equal(c->corpora[0].format, FORMAT_AUTO);
    assert_int_equal(c->n_templates, 0);
    const struct conf_stream *s = &c->streams[0];
    assert_true(s->packing && s->corpora[0].repeat == 1.0 && s->max_unusable == 0.5);
    assert_int_equal(s->overlong, OVERLONG_TRUNCATE);
    assert_int_equal(s->last, LAST_DROP);
    assert_int_equal(s->seed, 0);
    assert_int_equal(s->epochs, 1);
    assert_int_equal(s->n_special_tokens, 0);
    assert_int_equal(s->positions->strategy, POS_SKIP_ALL);
    assert_int_equal(s->positions->sampler, SAMPLER_SORTED);
    assert_true(s->positions->probability == 1.0);
    assert_int_equal(s->positions->min_gap, 0);
    assert_int_equal(s->positions->chunks, 2);
    conf_free(c);
}

static void test_strategy_none_needs_no_max_position(void **state)
{
    (void)state;
    struct conf *c =
        parse(CORPORA "streams: [{name: s, tokenizer: m, template: plain, corpora: [{name: tulu}], "
                      "seq_len: 77, global_batch: 1, positions: {strategy: none}}]");
    assert_int_equal(c->streams[0].positions->max_position, 77);
    conf_free(c);
}

static void test_relative_paths_start_at_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *file, *model;
    } cases[] = {{"/c.yaml", "/./m.model"}, {"c.yaml", "m.model"}, {"d/c.yaml", "d/m.model"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct conf *c = parse_at(cases[i].file, CORPORA STREAM "}]\n");
        assert_string_equal(c->streams[0].tokenizer, cases[i].model);
        conf_free(c);
    }
}

static void test_anchors_json_and_a_byte_order_mark_are_yaml(void **state)
{
    (void)state;
    struct conf *c =
        parse("\xef\xbb\xbf" CORPORA "streams:\r\n"
              "- &first {name: a, tokenizer: m, template: plain, corpora: &mix [{name: tulu}],\r\n"
              "   seq_len: 8, global_batch: 1, positions: &p {max_position: 9}}\r\n"
              "- {\"name\": \"b\", \"tokenizer\": \"m\", \"template\": \"plain\", \"corpora\": *mix,\r\n"
              "   \"seq_len\": 8, \"global_batch\": 1, \"positions\": *p}\r\n");
    assert_int_equal(c->n_streams, 2);
    assert_string_equal(c->streams[1].corpora[0].corpus, "tulu");
    assert_int_equal(c->streams[1].positions->max_position, 9);
    conf_free(c);
}

struct seen {
    char text[4096];
    size_t n;
};

static void note(void *arg, const char *full_name, const char *value)
{
    struct seen *s = arg;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s=%s\n", full_name, value);
    assert_true(s->n < sizeof s->text);
}

static void test_visit_shows_every_value_under_its_name(void **state)
{
    (void)state;
    struct conf *c = parse("memory: 1025MiB\n"
                           "corpora: [{name: tulu, paths: [/a, \"/b \\\"c\"], fields: {text: body}}]\n"
                           "templates: [{name: t, user: \"{content}\", assistant: \"{content}\"}]\n" STREAM
                           ", special_tokens: {x: 1, y: 2}}]\n");
    struct seen seen = {0};
    assert_int_equal(conf_visit(c, note, &seen), 0);
    assert_string_equal(seen.text, "state_dir=/var/lib/skipalign\n"
                                   "workers=2\n"
                                   "memory=1025MiB\n"
                                   "spool=100GiB\n"
                                   "record_max=16MiB\n"
                                   "io=auto\n"
                                   "tokenizer.path=auto\n"
                                   "tokenizer.verify=4096\n"
                                   "feed.listen=tcp://127.0.0.1:5757\n"
                                   "feed.subscribe=tcp://127.0.0.1:5758\n"
                                   "control.listen=ipc:///run/skipalign/control\n"
                                   "corpora.tulu.paths=[\"/a\", \"/b \\\"c\"]\n"
                                   "corpora.tulu.format=auto\n"
                                   "corpora.tulu.duplicates=keep\n"
                                   "corpora.tulu.not_text=quarantine\n"
                                   "corpora.tulu.fields.text=body\n"
                                   "templates.t.user={content}\n"
                                   "templates.t.assistant={content}\n"
                                   "templates.t.system_place=before\n"
                                   "templates.t.joined=false\n"
                                   "chat.tokenizer=/etc/skipalign/m.model\n"
                                   "chat.template=chatml\n"
                                   "chat.corpora.tulu.repeat=1\n"
                                   "chat.seq_len=128\n"
                                   "chat.global_batch=8\n"
                                   "chat.packing=true\n"
                                   "chat.overlong=truncate\n"
                                   "chat.train_on=all\n"
                                   "chat.max_turns=0\n"
                                   "chat.last=drop\n"
                                   "chat.seed=0\n"
                                   "chat.epochs=1\n"
                                   "chat.max_unusable=0.5\n"
                                   "chat.special_tokens={\"x\": 1, \"y\": 2}\n"
                                   "chat.positions.strategy=skip_all\n"
                                   "chat.positions.sampler=sorted\n"
                                   "chat.positions.max_position=4096\n"
                                   "chat.positions.probability=1\n"
                                   "chat.positions.min_gap=0\n"
                                   "chat.positions.chunks=2\n");
    conf_free(c);
}

static char *canonical(const char *path, const char *text)
{
    struct conf *c = parse_at(path, text);
    char *ret;
    assert_int_equal(conf_stream_canonical(c, &c->streams[0], &ret), 0);
    conf_free(c);
    return ret;
}

#define OWN(user) "templates: [{name: chatml, user: \"" user "{content}\", assistant: \"{content}\"}]\n"

static void test_canonical_text_changes_with_what_is_sent(void **state)
{
    (void)state;
    static const char *const differ[] = {
        CORPORA STREAM ", seed: 1}]",
        CORPORA STREAM ", packing: false}]",
        CORPORA STREAM ", special_tokens: {a: 7}}]",
        CORPORA "record_max: 1MiB\n" STREAM "}]",
        CORPORA OWN("") STREAM "}]",
        CORPORA OWN("Q\\n") STREAM "}]",
        CORPORA OWN("Q\\\\n") STREAM "}]",
        "corpora: [{name: tulu, paths: [a], format: text}]\n" STREAM "}]",
        "corpora: [{name: tulu, paths: [a], fields: {text: body}}]\n" STREAM "}]",
        "corpora: [{name: tulu, paths: [a]}, {name: b, paths: [b]}]\nstreams: [{name: chat, tokenizer: m, "
        "template: "
        "chatml, corpora: [{name: b}], seq_len: 128, global_batch: 8, positions: {max_position: 4096}}]",
    };
    enum { N = sizeof differ / sizeof differ[0] };
    char *texts[N + 1];
    texts[N] = canonical("/a/c.yaml", CORPORA STREAM "}]");
    for (size_t i = 0; i < N; i++) {
        texts[i] = canonical("/a/c.yaml", differ[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(texts[i], texts[j]);
        assert_string_not_equal(texts[i], texts[N]);
    }
    for (size_t i = 0; i <= N; i++)
        free(texts[i]);
}

static void test_canonical_text_ignores_the_rest(void **state)
{
    (void)state;
    static const char *const same[] = {
        CORPORA STREAM ", seed: 0, epochs: 1, max_unusable: 0.1}]",
        "workers: 7\nio: pread\nmemory: 1GiB\nstate_dir: /x\nfeed: {listen: \"\"}\n" CORPORA STREAM "}]",
        "corpora: [{name: other, paths: [b]}, {name: tulu, paths: [moved.jsonl], format: auto}]\n" STREAM
        "}]",
        CORPORA
        "streams: [{positions: {max_position: 4096}, name: renamed, global_batch: 8, seq_len: 128, corpora: "
        "[{name: tulu, repeat: 1e0}], tokenizer: elsewhere, template: chatml}]",
    };
    char *base = canonical("/a/c.yaml", CORPORA STREAM "}]");
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char *text = canonical("/b/d/c.yaml", same[i]);
        assert_string_equal(text, base);
        free(text);
    }
    free(base);
}

static void test_load_reads_a_file(void **state)
{
    struct folder *f = *state;
    struct conf *c;
    struct conf_errors errors = {0};
    const char *path = folder_write_text(f, "c.yaml", CORPORA STREAM "}]\n");
    assert_int_equal(conf_load(path, &c, &errors), 0);
    char model[128];
    (void)snprintf(model, sizeof model, "%s/m.model", f->path);
    assert_string_equal(c->streams[0].tokenizer, model);
    conf_free(c);
}

/* What is kept of a configuration is read again elsewhere. */
static void test_load_makes_paths_absolute(void **state)
{
    struct folder *f = *state;
    struct conf *c;
    struct conf_errors errors = {0};
    char *was = getcwd(NULL, 0), model[160], path[160];
    (void)folder_write_text(f, "c.yaml", CORPORA STREAM "}]\n");
    assert_int_equal(chdir(f->path), 0);
    int rc = conf_load("c.yaml", &c, &errors);
    assert_int_equal(chdir(was), 0);
    free(was);
    assert_int_equal(rc, 0);
    (void)snprintf(path, sizeof path, "%s/c.yaml", f->path);
    (void)snprintf(model, sizeof model, "%s/m.model", f->path);
    assert_string_equal(c->path, path);
    assert_string_equal(c->streams[0].tokenizer, model);
    conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_arrives),
        cmocka_unit_test(test_what_is_absent_has_its_default),
        cmocka_unit_test(test_strategy_none_needs_no_max_position),
        cmocka_unit_test(test_relative_paths_start_at_the_file),
        cmocka_unit_test(test_anchors_json_and_a_byte_order_mark_are_yaml),
        cmocka_unit_test(test_visit_shows_every_value_under_its_name),
        cmocka_unit_test(test_canonical_text_changes_with_what_is_sent),
        cmocka_unit_test(test_canonical_text_ignores_the_rest),
        cmocka_unit_test_setup_teardown(test_load_reads_a_file, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_load_makes_paths_absolute, folder_new, folder_free),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
