/* Versions of a corpus whose files change: the records of before, as long as their bytes are there; what is
 * said where they are not; and news of what changed. */
#include "support/tulu.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define A "{\"text\":\"a\"}\n"
#define B "{\"text\":\"b\"}\n"
#define C "{\"text\":\"c\"}\n"

#define FILES "*.[jt]*" /* those of the corpus */

static struct corpus *open_newest(struct folder *f)
{
    struct tulu s;
    struct corpus *c = NULL;
    struct err err;
    tulu_init(&s, f, FILES);
    if (corpus_open(&s.conf, &s.place, NULL, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static uint64_t newest(struct folder *f)
{
    struct corpus *c = open_newest(f);
    uint64_t fingerprint = corpus_fingerprint(c);
    corpus_close(c);
    return fingerprint;
}

static struct corpus *open_version(struct folder *f, uint64_t fingerprint)
{
    struct tulu s;
    struct corpus *c = NULL;
    struct err err;
    tulu_init(&s, f, FILES);
    if (corpus_open_version(&s.conf, s.state_dir, fingerprint, &c, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(corpus_fingerprint(c), fingerprint);
    assert_false(corpus_scanned(c));
    return c;
}

static void check_lost(struct folder *f, uint64_t fingerprint, const char *why)
{
    struct tulu s;
    struct corpus *c = NULL;
    struct err err = {""};
    tulu_init(&s, f, FILES);
    int rc = corpus_open_version(&s.conf, s.state_dir, fingerprint, &c, &err);
    if (rc != ERR_CHANGED || strstr(err.text, why) == NULL || strstr(err.text, "corpus 'tulu': ") != err.text)
        fail_msg("%d: %s", rc, err.text);
    assert_null(c);
}

static void check_version(struct folder *f, uint64_t fingerprint, const char *records)
{
    struct corpus *c = open_version(f, fingerprint);
    struct err err;
    tulu_check_records(c, records);
    assert_int_equal(corpus_check(c, &err), 0);
    corpus_close(c);
}

static const char *kept_path(struct folder *f, uint64_t fingerprint)
{
    char name[64];
    (void)snprintf(name, sizeof name, "state/corpora/tulu.%016" PRIx64 ".index", fingerprint);
    return folder_path(f, name);
}

static bool is_kept(struct folder *f, uint64_t fingerprint)
{
    return access(kept_path(f, fingerprint), F_OK) == 0;
}

static void move(struct folder *f, const char *from, const char *to)
{
    char source[512];
    (void)snprintf(source, sizeof source, "%s", folder_path(f, from));
    assert_int_equal(rename(source, folder_path(f, to)), 0);
}

static void test_grown(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "a.jsonl", A);
    (void)folder_write_text(f, "b.txt", "one\ntwo"); /* its last line goes on */
    uint64_t first = newest(f);
    check_version(f, first, A "one\ntwo");
    assert_false(is_kept(f, first));
    (void)folder_write_text(f, "a.jsonl", A B);
    (void)folder_write_text(f, "b.txt", "one\ntwofold\n");
    check_version(f, first, A "one\ntwo"); /* before anybody opened the new one */
    uint64_t second = newest(f);
    assert_int_not_equal(second, first);
    assert_true(is_kept(f, first));
    check_version(f, first, A "one\ntwo");
    check_version(f, second, A B "one\ntwofold\n");
    (void)folder_write_text(f, "a.jsonl", A B C);
    (void)folder_write_text(f, "c.jsonl", C); /* matches the glob, and is in no version but the newest */
    uint64_t third = newest(f);
    check_version(f, first, A "one\ntwo");
    check_version(f, second, A B "one\ntwofold\n");
    check_version(f, third, A B C "one\ntwofold\n" C);
}

/* Versions that are open stay as they are, whatever is opened, kept, pruned or renamed meanwhile. */
static void test_open_side_by_side(void **state)
{
    struct folder *f = *state;
    struct err err;
    char text[256];
    (void)folder_write_text(f, "a.jsonl", A);
    struct corpus *one = open_newest(f);
    (void)folder_write_text(f, "a.jsonl", A B);
    struct corpus *two = open_newest(f), *old = open_version(f, corpus_fingerprint(one));
    tulu_check_records(one, A);
    tulu_check_records(two, A B);
    assert_int_equal(corpus_bytes(old), strlen(A));
    assert_int_equal(corpus_format(old), FORMAT_TEXT);
    assert_int_equal(corpus_prune(folder_path(f, "state"), "tulu", NULL, 0, &err), 0);
    check_lost(f, corpus_fingerprint(one), "how they were is not kept");
    (void)folder_write_text(f, "new", C);
    move(f, "new", "a.jsonl");
    assert_true(corpus_news(two, text, sizeof text));
    tulu_check_records(one, A);
    tulu_check_records(two, A B);
    tulu_check_records(old, A);
    assert_int_equal(corpus_check(two, &err), 0);
    corpus_close(one);
    corpus_close(two);
    corpus_close(old);
}

static void test_lost(void **state)
{
    struct folder *f = *state;
    const char *path = folder_write_text(f, "a.jsonl", A B);
    uint64_t first = newest(f);
    assert_int_equal(truncate(path, 20), 0);
    check_lost(f, first, "a.jsonl: was 26 bytes when it was indexed and is 20 now; put it back");
    (void)folder_write_text(f, "a.jsonl", A C);
    check_lost(f, first, "a.jsonl: its content is not what was indexed; put it back");
    (void)folder_write_text(f, "a.jsonl", C A B);
    check_lost(f, first, "a.jsonl: its content is not what was indexed; put it back");
    (void)folder_write_text(f, "new", "\x1f\x8b and so on, as long as it was, or longer");
    move(f, "new", "a.jsonl");
    check_lost(f, first, "a.jsonl: its content is not what was indexed; put it back");
    assert_int_equal(unlink(folder_path(f, "a.jsonl")), 0);
    check_lost(f, first, "a.jsonl: is gone; put it back");
    /* Put back, as another file with the same bytes. */
    (void)folder_write_text(f, "a.jsonl", A B);
    check_version(f, first, A B);
}

static void test_arrays(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "a.json", "[{\"text\":\"a\"}]");
    uint64_t first = newest(f);
    (void)folder_write_text(f, "a.json", "[{\"text\":\"a\"}]\n\n");
    check_version(f, first, "{\"text\":\"a\"}");
    (void)folder_write_text(f, "a.json", "[{\"text\":\"a\"},{\"text\":\"b\"}]");
    check_lost(f, first, "a.json: a JSON array that grew from 14 to 27 bytes: its end was written over");
    uint64_t second = newest(f);
    check_version(f, second, "{\"text\":\"a\"},{\"text\":\"b\"}");
    assert_true(is_kept(f, first));
}

static void test_damage(void **state)
{
    struct folder *f = *state;
    char bytes[4096];
    (void)folder_write_text(f, "a.jsonl", A);
    uint64_t first = newest(f);
    (void)folder_write_text(f, "a.jsonl", A B);
    uint64_t second = newest(f);
    FILE *file = fopen(kept_path(f, first), "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    assert_in_range(size, 100, sizeof bytes - 1);
    char name[64];
    (void)snprintf(name, sizeof name, "state/corpora/tulu.%016" PRIx64 ".index", first);
    bytes[size - 1] ^= 1;
    (void)folder_write(f, name, bytes, size);
    check_lost(f, first, ".index: is damaged");
    (void)folder_write(f, name, bytes, size / 2);
    check_lost(f, first, ".index: is damaged");
    bytes[size - 1] ^= 1;
    (void)folder_write(f, name, bytes, size);
    check_version(f, first, A);
    /* Whole, but not what its name says. */
    char other[64];
    (void)snprintf(other, sizeof other, "state/corpora/tulu.%016" PRIx64 ".index", first ^ 1);
    move(f, name, other);
    check_lost(f, first ^ 1, ".index: is damaged");
    check_lost(f, first, "how they were is not kept");
    /* As after a crash between two renames: the old one is kept, the new one has not its name yet. */
    move(f, other, name);
    move(f, "state/corpora/tulu.index", "state/corpora/tulu.index.new");
    check_version(f, first, A);
    check_lost(f, second, "how they were is not kept");
    assert_int_equal(newest(f), second);
    check_version(f, first, A);
    /* A damaged newest one is made anew and not kept; one of the same records is not kept twice. */
    (void)folder_write_text(f, "state/corpora/tulu.index", "torn");
    check_lost(f, second, "how they were is not kept");
    assert_int_equal(newest(f), second);
    (void)folder_write_text(f, "new", A B);
    move(f, "new", "a.jsonl");
    struct corpus *c = open_newest(f);
    assert_true(corpus_scanned(c));
    assert_int_equal(corpus_fingerprint(c), second);
    corpus_close(c);
    assert_false(is_kept(f, second));
}

static int cancel(void *arg, const char *doing, uint64_t done, uint64_t all)
{
    (void)arg, (void)doing, (void)done, (void)all;
    return 1;
}

/* What cannot be opened leaves the versions as they were. */
static void test_failure_changes_nothing(void **state)
{
    struct folder *f = *state;
    struct tulu s;
    struct corpus *c;
    struct err err;
    tulu_init(&s, f, FILES);
    (void)folder_write_text(f, "a.jsonl", A);
    uint64_t first = newest(f);
    (void)folder_write_text(f, "b.json", "[{\"text\":\"a\"},");
    assert_int_equal(corpus_open(&s.conf, &s.place, NULL, &c, &err), ERR_FORMAT);
    (void)folder_write_text(f, "b.json", "[{\"text\":\"b\"}]");
    assert_int_equal(corpus_open(&s.conf, &s.place, &(struct corpus_progress){.tell = cancel}, &c, &err),
                     ERR_CANCELLED);
    assert_false(is_kept(f, first));
    assert_int_equal(access(folder_path(f, "state/corpora/tulu.index.new"), F_OK), -1);
    check_version(f, first, A);
    assert_int_equal(unlink(folder_path(f, "b.json")), 0);
    c = open_newest(f);
    assert_false(corpus_scanned(c));
    corpus_close(c);
}

static void test_prune(void **state)
{
    static const char *const texts[] = {A, A B, A B C, A B C A};
    struct folder *f = *state;
    uint64_t versions[4];
    char state_dir[128];
    struct err err;
    (void)snprintf(state_dir, sizeof state_dir, "%s/state", f->path);
    assert_int_equal(corpus_prune(state_dir, "tulu", NULL, 0, &err), 0); /* nothing there at all */
    for (size_t i = 0; i < 4; i++) {
        (void)folder_write_text(f, "a.jsonl", texts[i]);
        versions[i] = newest(f);
    }
    static const char *const others[] = {"state/corpora/tulu.0123456789abcdef.index.old",
                                         "state/corpora/tulu.0123456789abcde.index",
                                         "state/corpora/tulu2.0123456789abcdef.index"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        (void)folder_write_text(f, others[i], "of somebody else");
    const uint64_t keep[] = {versions[1], versions[3]};
    assert_int_equal(corpus_prune(state_dir, "tulu", keep, 2, &err), 0);
    check_lost(f, versions[0], "how they were is not kept");
    check_version(f, versions[1], A B);
    check_lost(f, versions[2], "how they were is not kept");
    check_version(f, versions[3], A B C A);
    assert_int_equal(corpus_prune(state_dir, "tulu", NULL, 0, &err), 0);
    check_lost(f, versions[1], "how they were is not kept");
    check_version(f, versions[3], A B C A); /* the newest one is never pruned */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(access(folder_path(f, others[i]), F_OK), 0);
}

/* The same bytes have the same fingerprint wherever they lie, now and in every later release: it stands in
 * state directories. */
static void test_fingerprint_is_for_ever(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "a.jsonl", A B);
    (void)folder_write_text(f, "b.json", "[{\"text\":\"a\"}, {\"text\":\"b\"}]\n");
    (void)folder_write_text(f, "c.txt", "one\n\ntwo\n");
    assert_int_equal(newest(f), 0x2fd968d91f0aab15);
}

static void check_news(const struct corpus *c, struct folder *f, const char *wanted)
{
    char text[512], clean[512] = "";
    assert_int_equal(corpus_news(c, text, sizeof text), wanted[0] != '\0');
    assert_int_equal(corpus_news(c, NULL, 0), wanted[0] != '\0');
    /* Without the folder's name, which is another in each run. */
    size_t n = 0, folder = strlen(f->path) + 1;
    for (const char *p = text; *p != '\0';) {
        if (strncmp(p, f->path, folder - 1) == 0)
            p += folder;
        else
            clean[n++] = *p++;
    }
    clean[n] = '\0';
    assert_string_equal(clean, wanted);
}

static void test_news(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "a.jsonl", A);
    (void)folder_write_text(f, "b.jsonl", B);
    (void)folder_write_text(f, "c.jsonl", C C);
    struct corpus *c = open_newest(f);
    check_news(c, f, "");
    (void)folder_write_text(f, "a.jsonl", A B);
    check_news(c, f, "grew by 13 bytes: a.jsonl");
    (void)folder_write_text(f, "b.jsonl", B C);
    check_news(c, f, "grew by 26 bytes: a.jsonl and 1 more");
    (void)folder_write_text(f, "c.jsonl", C);
    (void)folder_write_text(f, "d.jsonl", A);
    check_news(c, f, "grew by 26 bytes: a.jsonl and 1 more; became shorter: c.jsonl; new: d.jsonl");
    (void)folder_write_text(f, "0.jsonl", A);
    (void)folder_write_text(f, "a.jsonl", B);
    (void)folder_write_text(f, "b.jsonl", B);
    check_news(c, f, "became shorter: c.jsonl; edited: a.jsonl; new: 0.jsonl and 1 more");
    assert_int_equal(unlink(folder_path(f, "0.jsonl")), 0);
    assert_int_equal(unlink(folder_path(f, "d.jsonl")), 0);
    assert_int_equal(unlink(folder_path(f, "c.jsonl")), 0);
    (void)folder_write_text(f, "new", C A);
    move(f, "new", "a.jsonl");
    (void)folder_write_text(f, "new", B); /* another file, the same bytes */
    move(f, "new", "b.jsonl");
    check_news(c, f, "replaced: a.jsonl; gone: c.jsonl");
    (void)folder_write_text(f, "new", A B C);
    move(f, "new", "a.jsonl");
    (void)folder_write_text(f, "c.jsonl", C C);
    check_news(c, f, "grew by 26 bytes: a.jsonl");
    corpus_close(c);
    c = open_newest(f);
    check_news(c, f, "");
    char small[12];
    assert_int_equal(unlink(folder_path(f, "b.jsonl")), 0);
    assert_true(corpus_news(c, small, sizeof small));
    assert_memory_equal(small, "gone: /tmp/", sizeof small);
    corpus_close(c);
}

static void test_wrong_kind_of_file(void **state)
{
    struct folder *f = *state;
    struct tulu s;
    struct err err;
    (void)folder_write_text(f, "a.jsonl", A);
    struct corpus *c = open_newest(f);
    assert_int_equal(unlink(folder_path(f, "a.jsonl")), 0);
    assert_int_equal(symlink("/", folder_path(f, "a.jsonl")), 0);
    check_news(c, f, "replaced: a.jsonl");
    struct corpus *old = NULL;
    tulu_init(&s, f, FILES);
    assert_int_not_equal(corpus_open_version(&s.conf, s.state_dir, corpus_fingerprint(c), &old, &err), 0);
    assert_non_null(strstr(err.text, "a.jsonl: is a directory"));
    assert_null(old);
    corpus_close(c);
}

static void *use_and_drop(void *arg)
{
    struct corpus *c = arg;
    struct err err;
    char text[256];
    uint64_t bad = 0;
    for (int i = 0; i < 500; i++) {
        struct corpus_extent e;
        struct corpus *mine = corpus_ref(c);
        corpus_get(mine, 1, &e);
        bad += e.offset != 13 || corpus_check_record(mine, 1, (uint64_t)i, &err) != 0 ||
               corpus_check(mine, &err) != 0 || corpus_news(mine, text, sizeof text);
        corpus_close(mine);
    }
    corpus_close(c);
    return (void *)(uintptr_t)bad; /* cmocka asserts on its own thread only */
}

static void test_references(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    (void)folder_write_text(*state, "a.jsonl", A B);
    struct corpus *c = open_newest(*state);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_and_drop, corpus_ref(c)), 0);
    corpus_close(c); /* the last thread frees it */
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    corpus_close(NULL);
}

/* The corpus keeps nothing of the configuration that it was opened with. */
static void test_configuration_is_copied(void **state)
{
    struct folder *f = *state;
    struct tulu s, gone;
    struct corpus *c;
    struct err err;
    (void)folder_write_text(f, "a.jsonl", "{\"words\":\"a\"}\n");
    tulu_init(&s, f, FILES);
    char *name = strdup("tulu"), *field = strdup("words");
    s.conf.name = name;
    s.conf.fields[FIELD_TEXT] = field;
    assert_int_equal(corpus_open(&s.conf, &s.place, NULL, &c, &err), 0);
    memset(&gone, 'x', sizeof gone);
    s = gone;
    free(name);
    free(field);
    assert_int_equal(corpus_format(c), FORMAT_TEXT);
    assert_string_equal(corpus_conf(c)->name, "tulu");
    assert_string_equal(corpus_conf(c)->fields[FIELD_TEXT], "words");
    assert_null(corpus_conf(c)->fields[FIELD_ROLE]);
    (void)folder_write_text(f, "b.jsonl", A);
    check_news(c, f, "new: b.jsonl");
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_grown, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_open_side_by_side, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_lost, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_arrays, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_damage, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_failure_changes_nothing, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_prune, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_fingerprint_is_for_ever, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_news, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_wrong_kind_of_file, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_references, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_configuration_is_copied, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
