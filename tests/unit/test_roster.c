/* Roster: what is committed is in the timeline and in effect; what is put aside or removed leaves its traces.
 */
#include "base/file.h"
#include "config/file.h"
#include "control/roster.h"
#include "support/folder.h"

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

static const char yaml[] =
    "state_dir: state\n"
    "corpora: [{name: a, paths: [" TEST_DIR "/data/sample-dialogues.jsonl]}]\n"
    "streams: [{name: s, tokenizer: " TEST_DIR "/data/sample.model, template: plain, corpora: [{name: a}], "
    "seq_len: 256, global_batch: 4, positions: {max_position: 4096}}]\n";

struct bench {
    struct folder *folder;
    struct roster roster;
    struct roster_stream *stream;
    struct recipe *recipe;
};

static struct conf *parse(struct bench *b, const char *text)
{
    struct conf *conf = NULL;
    struct conf_errors errors = {0};
    if (conf_parse(folder_path(b->folder, "c.yaml"), text, strlen(text), &conf, &errors) != 0)
        fail_msg("%s", errors.text);
    return conf;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    struct err e = {""};
    void *folder;
    assert_non_null(b);
    assert_int_equal(folder_new(&folder), 0);
    b->folder = folder;
    b->roster.file = parse(b, yaml);
    b->roster.running = conf_ref(b->roster.file);
    b->roster.stock =
        stock_new(&(struct corpus_place){.state_dir = b->roster.file->state_dir, .io = IO_PREAD});
    assert_non_null(b->roster.stock);
    int rc = roster_add(&b->roster, "s", &b->stream, &e);
    if (rc == 0)
        rc = stock_recipe(b->roster.stock, b->roster.running, &b->roster.running->streams[0], STOCK_NEWEST,
                          NULL, NULL, &b->recipe, &e);
    if (rc != 0)
        fail_msg("%s", e.text);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *folder = b->folder;
    recipe_unref(b->recipe);
    roster_fini(&b->roster);
    (void)folder_free(&folder);
    free(b);
    return 0;
}

static void commit(struct bench *b, uint64_t first_step)
{
    const struct roster_news news = {first_step, "anna@gpu7", "a test"};
    struct err e = {""};
    if (roster_commit(&b->roster, b->stream, b->roster.running, b->recipe, &news, &e) != 0)
        fail_msg("%s", e.text);
}

static void expect_effective(const struct roster_stream *s, uint32_t n, const uint32_t *numbers)
{
    assert_int_equal(s->n, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(s->generations[i].number, numbers[i]);
}

static void committed_is_in_effect(void **state)
{
    struct bench *b = *state;
    uint32_t n;
    commit(b, 0);
    commit(b, 10);
    commit(b, 20);
    expect_effective(b->stream, 3, (uint32_t[]){1, 2, 3});
    commit(b, 10); /* in the place of two that begin there or later */
    expect_effective(b->stream, 2, (uint32_t[]){1, 4});
    const struct timeline_entry *e = timeline_entries(b->stream->timeline, &n)[3];
    assert_int_equal(n, 4);
    assert_int_equal(e->first_step, 10);
    assert_string_equal(e->who, "anna@gpu7");
    assert_string_equal(e->tokenizer, tokenizer_sha256(b->recipe->tokenizer));
    assert_int_equal(e->fingerprint, b->recipe->fingerprint);
    assert_int_equal(e->corpora[0].fingerprint, b->recipe->versions[0]);
    uint64_t hash;
    assert_int_equal(roster_file_hash(b->roster.file, "s", &hash), 0);
    assert_int_equal(e->file_hash, hash);
}

static void not_committed_is_not(void **state)
{
    struct bench *b = *state;
    const struct roster_news news = {10, "anna@gpu7", "a test"};
    struct err e = {""};
    commit(b, 0);
    assert_int_equal(mkdir(folder_path(b->folder, "state/streams/s/timeline.new"), 0777), 0);
    assert_true(roster_commit(&b->roster, b->stream, b->roster.running, b->recipe, &news, &e) < 0);
    assert_non_null(strstr(e.text, "timeline"));
    expect_effective(b->stream, 1, (uint32_t[]){1});
}

static void a_file_is_known_again(void **state)
{
    struct bench *b = *state;
    char edited[sizeof yaml];
    uint64_t hash, same, other, none;
    struct conf *again = parse(b, yaml);
    (void)strcpy(edited, yaml);
    memcpy(strstr(edited, "seq_len: 256"), "seq_len: 512", strlen("seq_len: 512"));
    struct conf *changed = parse(b, edited);
    assert_int_equal(roster_file_hash(b->roster.file, "s", &hash), 0);
    assert_int_equal(roster_file_hash(again, "s", &same), 0);
    assert_int_equal(roster_file_hash(changed, "s", &other), 0);
    assert_int_equal(roster_file_hash(changed, "t", &none), 0);
    assert_int_equal(hash, same);
    assert_int_not_equal(hash, other);
    assert_int_equal(none, 0);
    conf_free(again);
    conf_free(changed);
}

static void put_aside(void **state)
{
    struct bench *b = *state;
    const char *state_dir = b->roster.file->state_dir;
    char aside[ROSTER_ASIDE], path[256];
    struct err e = {""};
    assert_int_equal(roster_put_aside(state_dir, "s", aside, &e), 0);
    assert_string_equal(aside, ""); /* nothing is there yet */
    commit(b, 0);
    assert_int_equal(roster_put_aside(state_dir, "s", aside, &e), 0);
    assert_true(strncmp(aside, "s.old.", 6) == 0);
    (void)snprintf(path, sizeof path, "state/streams/%s/timeline", aside);
    assert_int_equal(access(folder_path(b->folder, path), F_OK), 0);
    assert_int_equal(access(folder_path(b->folder, "state/streams/s"), F_OK), -1);
}

static void removed(void **state)
{
    struct bench *b = *state;
    const char *state_dir = b->roster.file->state_dir;
    enum roster_mark mark;
    struct err e = {""};
    commit(b, 0);
    assert_int_equal(roster_read_mark(state_dir, "s", 5, &mark, &e), 0);
    assert_int_equal(mark, MARK_NONE);
    assert_int_equal(roster_mark_removed(state_dir, "s", 5, &e), 0);
    assert_int_equal(roster_read_mark(state_dir, "s", 5, &mark, &e), 0);
    assert_int_equal(mark, MARK_REMOVED);
    assert_int_equal(roster_read_mark(state_dir, "s", 6, &mark, &e), 0);
    assert_int_equal(mark, MARK_OTHER);
}

static void streams_come_and_go(void **state)
{
    struct bench *b = *state;
    struct roster_stream *t;
    struct err e = {""};
    commit(b, 0);
    assert_int_equal(roster_add(&b->roster, "t", &t, &e), 0);
    assert_ptr_equal(roster_find(&b->roster, "t"), t);
    roster_remove(&b->roster, b->stream);
    assert_null(roster_find(&b->roster, "s"));
    assert_ptr_equal(roster_find(&b->roster, "t"), t);
    assert_int_equal(b->roster.n_streams, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(committed_is_in_effect, setup, teardown),
        cmocka_unit_test_setup_teardown(not_committed_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_known_again, setup, teardown),
        cmocka_unit_test_setup_teardown(put_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(removed, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_come_and_go, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
