/* Stock: what is opened and loaded once, and which version of it a recipe gets. */
#include "base/file.h"
#include "config/file.h"
#include "stream/stock.h"
#include "support/folder.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORD                                                                                           \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a?\"}, {\"role\": \"assistant\", \"content\": " \
    "\"b.\"}]}\n"
static const char model[] = TEST_DIR "/data/sample.model", other_model[] = TEST_DIR "/data/mistral-v1.model";

struct bench {
    struct folder *folder;
    char model[512], state[512];
    struct conf *conf;
    struct stock *stock;
};

static void write_records(struct bench *b, unsigned n)
{
    char text[8192] = "";
    for (unsigned i = 0; i < n; i++)
        strcat(text, RECORD);
    (void)folder_write_text(b->folder, "a.jsonl", text);
}

static void put_model(struct bench *b, const char *from)
{
    struct err e;
    char *data;
    size_t size;
    assert_int_equal(file_read(from, 64 << 20, &data, &size, &e), 0);
    (void)strcpy(b->model, folder_write(b->folder, "model", data, size));
    free(data);
}

static int setup(void **state)
{
    static const char yaml[] =
        "feed: {listen: \"tcp://127.0.0.1:*\"}\n"
        "corpora: [{name: a, paths: [a.jsonl], format: messages}]\n"
        "streams:\n"
        "- {name: s, tokenizer: model, template: plain, corpora: [{name: a}], seq_len: 256, "
        "global_batch: 4, positions: {max_position: 4096}}\n"
        "- {name: t, tokenizer: model, template: plain, corpora: [{name: a}], seq_len: 512, "
        "global_batch: 4, positions: {max_position: 4096}}\n";
    struct bench *b = calloc(1, sizeof *b);
    struct conf_errors errors = {0};
    void *folder;
    assert_non_null(b);
    assert_int_equal(folder_new(&folder), 0);
    b->folder = folder;
    write_records(b, 10);
    put_model(b, model);
    (void)strcpy(b->state, folder_path(b->folder, "state"));
    if (conf_parse(folder_path(b->folder, "c.yaml"), yaml, strlen(yaml), &b->conf, &errors) != 0)
        fail_msg("%s", errors.text);
    b->stock = stock_new(&(struct corpus_place){.state_dir = b->state, .io = IO_PREAD});
    assert_non_null(b->stock);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *folder = b->folder;
    stock_free(b->stock);
    conf_free(b->conf);
    (void)folder_free(&folder);
    free(b);
    return 0;
}

static struct recipe *recipe(struct bench *b, unsigned stream, enum stock_choice choice,
                             const struct stock_wanted *wanted)
{
    struct recipe *r = NULL;
    struct err e = {""};
    if (stock_recipe(b->stock, b->conf, &b->conf->streams[stream], choice, wanted, NULL, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

static void restart(struct bench *b)
{
    stock_free(b->stock);
    b->stock = stock_new(&(struct corpus_place){.state_dir = b->state, .io = IO_PREAD});
    assert_non_null(b->stock);
}

static void opened_once(void **state)
{
    struct bench *b = *state;
    struct recipe *s = recipe(b, 0, STOCK_NEWEST, NULL), *t = recipe(b, 1, STOCK_NEWEST, NULL);
    assert_ptr_equal(s->corpora[0], t->corpora[0]);
    assert_ptr_equal(s->tokenizer, t->tokenizer);
    assert_ptr_equal(stock_find_corpus(b->stock, &b->conf->corpora[0]), s->corpora[0]);
    stock_free(b->stock); /* what recipes hold stays */
    b->stock = NULL;
    assert_int_equal(corpus_records(s->corpora[0]), 10);
    recipe_unref(s);
    recipe_unref(t);
}

static void grown_files_are_a_new_version(void **state)
{
    struct bench *b = *state;
    struct recipe *old = recipe(b, 0, STOCK_NEWEST, NULL);
    write_records(b, 12);
    struct recipe *held = recipe(b, 0, STOCK_HELD, NULL), *new = recipe(b, 0, STOCK_NEWEST, NULL);
    assert_ptr_equal(held->corpora[0], old->corpora[0]);
    assert_int_equal(held->fingerprint, old->fingerprint);
    assert_int_equal(corpus_records(old->corpora[0]), 10);
    assert_int_equal(corpus_records(new->corpora[0]), 12);
    assert_int_not_equal(new->fingerprint, old->fingerprint);
    assert_ptr_equal(stock_find_corpus(b->stock, &b->conf->corpora[0]), new->corpora[0]);
    recipe_unref(old);
    recipe_unref(held);
    recipe_unref(new);
}

static void older_versions_can_be_had(void **state)
{
    struct bench *b = *state;
    struct recipe *old = recipe(b, 0, STOCK_NEWEST, NULL);
    uint64_t fingerprint = corpus_fingerprint(old->corpora[0]);
    const struct stock_wanted wanted = {&fingerprint, tokenizer_sha256(old->tokenizer)};
    write_records(b, 12);
    recipe_unref(recipe(b, 0, STOCK_NEWEST, NULL));
    struct recipe *same = recipe(b, 0, STOCK_NEWEST, &wanted);
    assert_ptr_equal(same->corpora[0], old->corpora[0]);
    recipe_unref(same);
    restart(b);
    same = recipe(b, 0, STOCK_NEWEST, &wanted);
    assert_int_equal(same->fingerprint, old->fingerprint);
    recipe_unref(same);
    recipe_unref(old);
}

static void expect_lost(struct bench *b, const struct stock_wanted *wanted, const char *words)
{
    struct recipe *none = NULL;
    struct err e = {""};
    assert_int_equal(
        stock_recipe(b->stock, b->conf, &b->conf->streams[0], STOCK_HELD, wanted, NULL, &none, &e),
        ERR_CHANGED);
    assert_null(none);
    if (strstr(e.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, words);
}

static void lost_versions_are_said(void **state)
{
    struct bench *b = *state;
    struct recipe *r = recipe(b, 0, STOCK_NEWEST, NULL);
    uint64_t fingerprint = corpus_fingerprint(r->corpora[0]), never = fingerprint + 1;
    char sha256[65];
    (void)strcpy(sha256, tokenizer_sha256(r->tokenizer));
    recipe_unref(r);
    expect_lost(b, &(struct stock_wanted){&never, sha256}, "corpus 'a'");
    sha256[0] = sha256[0] == '0' ? '1' : '0';
    expect_lost(b, &(struct stock_wanted){&fingerprint, sha256}, "another model");
}

static void another_model_is_seen(void **state)
{
    struct bench *b = *state;
    struct recipe *old = recipe(b, 0, STOCK_NEWEST, NULL);
    put_model(b, other_model);
    struct recipe *held = recipe(b, 0, STOCK_HELD, NULL), *new = recipe(b, 0, STOCK_NEWEST, NULL);
    assert_ptr_equal(held->tokenizer, old->tokenizer);
    assert_string_not_equal(tokenizer_sha256(new->tokenizer), tokenizer_sha256(old->tokenizer));
    const struct stock_wanted wanted = {(uint64_t[]){corpus_fingerprint(old->corpora[0])},
                                        tokenizer_sha256(old->tokenizer)};
    struct recipe *same = recipe(b, 0, STOCK_NEWEST, &wanted); /* still loaded */
    assert_int_equal(same->fingerprint, old->fingerprint);
    recipe_unref(old);
    recipe_unref(held);
    recipe_unref(new);
    recipe_unref(same);
}

static void only_what_is_needed_stays(void **state)
{
    struct bench *b = *state;
    struct recipe *old = recipe(b, 0, STOCK_NEWEST, NULL);
    uint64_t fingerprint = corpus_fingerprint(old->corpora[0]);
    const struct stock_wanted wanted = {&fingerprint, tokenizer_sha256(old->tokenizer)};
    write_records(b, 12);
    struct recipe *new = recipe(b, 0, STOCK_NEWEST, NULL);
    stock_keep(b->stock, b->conf, (struct recipe *[]){NULL, old, new}, 3);
    struct recipe *held = recipe(b, 0, STOCK_HELD, NULL); /* that of the first recipe */
    assert_ptr_equal(held->corpora[0], old->corpora[0]);
    recipe_unref(held);
    stock_keep(b->stock, b->conf, &new, 1);
    assert_ptr_equal(stock_find_corpus(b->stock, &b->conf->corpora[0]), new->corpora[0]);
    struct recipe *again = recipe(b, 0, STOCK_HELD, &wanted); /* opened anew, beside what `old` still holds */
    assert_ptr_not_equal(again->corpora[0], old->corpora[0]);
    recipe_unref(again);
    stock_keep(b->stock, b->conf, NULL, 0); /* of no recipe, but of the configuration */
    assert_ptr_equal(stock_find_corpus(b->stock, &b->conf->corpora[0]), new->corpora[0]);
    recipe_unref(old);
    recipe_unref(new);
}

static int refuse(void *arg, const char *what, uint64_t done, uint64_t all)
{
    (void)done;
    (void)all;
    return strncmp(what, arg, strlen(arg)) == 0;
}

static void cancelled(void **state)
{
    struct bench *b = *state;
    char word[] = "loading";
    const struct stock_progress progress = {refuse, word};
    struct recipe *none = NULL;
    struct err e = {""};
    assert_int_equal(
        stock_recipe(b->stock, b->conf, &b->conf->streams[0], STOCK_NEWEST, NULL, &progress, &none, &e),
        ERR_CANCELLED);
    assert_null(none);
    recipe_unref(recipe(b, 0, STOCK_NEWEST, NULL));
}

static void *make_recipes(void *arg)
{
    struct bench *b = arg;
    struct recipe *r = NULL;
    int rc = 0;
    for (unsigned i = 0; i < 20 && rc == 0; i++) {
        rc = stock_recipe(b->stock, b->conf, &b->conf->streams[i % 2], STOCK_NEWEST, NULL, NULL, &r, NULL);
        recipe_unref(rc == 0 ? r : NULL);
    }
    return rc == 0 ? b : NULL;
}

static void any_thread(void **state)
{
    struct bench *b = *state;
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_recipes, b), 0);
    for (unsigned i = 0; i < 3; i++) {
        void *good;
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_non_null(good);
    }
}

/* Recipes find what is loaded ahead, or wait for it; what cannot be loaded is told where it is wanted. */
static void loaded_ahead(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 10; round++) {
        stock_load_ahead(b->stock, b->conf);
        struct recipe *s = recipe(b, 0, STOCK_HELD, NULL), *t = recipe(b, 1, STOCK_NEWEST, NULL);
        assert_ptr_equal(s->tokenizer, t->tokenizer);
        stock_end_ahead(b->stock);
        struct recipe *later = recipe(b, 1, STOCK_NEWEST, NULL);
        assert_ptr_equal(later->tokenizer, s->tokenizer);
        recipe_unref(s);
        recipe_unref(t);
        recipe_unref(later);
        restart(b);
    }
    struct recipe *none = NULL;
    struct err e = {""};
    (void)folder_write_text(b->folder, "model", "no model");
    stock_load_ahead(b->stock, b->conf);
    assert_int_not_equal(
        stock_recipe(b->stock, b->conf, &b->conf->streams[0], STOCK_HELD, NULL, NULL, &none, &e), 0);
    assert_non_null(strstr(e.text, "stream 's': "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opened_once, setup, teardown),
        cmocka_unit_test_setup_teardown(grown_files_are_a_new_version, setup, teardown),
        cmocka_unit_test_setup_teardown(older_versions_can_be_had, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_versions_are_said, setup, teardown),
        cmocka_unit_test_setup_teardown(another_model_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_is_needed_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(any_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(loaded_ahead, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
