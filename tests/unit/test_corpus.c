/* A corpus as a user names it: globs, formats, wrong files, what is kept between two starts, and files that
 * change. */
#include "corpus/corpus.h"

#include "base/clock.h"
#include "corpus/record.h"
#include "support/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ALPACA "{\"instruction\":\"i\",\"output\":\"o\"}\n"
#define TEXT "{\"text\":\"t\"}\n"

static const enum io_kind kinds[] = {IO_AUTO, IO_PREAD};

/* A corpus of one glob in the test's folder, with its state there too. */
static int open_as(struct folder *f, const char *glob, enum corpus_format format, enum io_kind io,
                   struct corpus **ret, struct err *reterr)
{
    char pattern[512], state_dir[512], *paths[] = {pattern};
    const struct conf_corpus conf = {.name = (char *)"tulu", .paths = paths, .n_paths = 1, .format = format};
    (void)snprintf(pattern, sizeof pattern, "%s", folder_path(f, glob));
    (void)snprintf(state_dir, sizeof state_dir, "%s", folder_path(f, "state"));
    return corpus_open(&conf, &(struct corpus_place){.state_dir = state_dir, .io = io}, NULL, ret, reterr);
}

static struct corpus *must_open(struct folder *f, const char *glob)
{
    struct corpus *c = NULL;
    struct err err;
    if (open_as(f, glob, FORMAT_AUTO, IO_AUTO, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static void check_refused(struct folder *f, const char *glob, int wanted, const char *why)
{
    struct corpus *c = NULL;
    struct err err;
    int rc = open_as(f, glob, FORMAT_AUTO, IO_AUTO, &c, &err);
    if (rc != wanted || strstr(err.text, why) == NULL || strstr(err.text, "corpus 'tulu': ") != err.text)
        fail_msg("%s: %d: %s", glob, rc, rc != 0 ? err.text : "was opened");
    assert_null(c);
}

static void check_record(const struct corpus *c, uint64_t i, const char *wanted)
{
    char got[256];
    struct corpus_extent e;
    corpus_get(c, i, &e);
    assert_in_range(e.size, 1, sizeof got - 1);
    assert_int_equal(pread(e.fd, got, e.size, (off_t)e.offset), (ssize_t)e.size);
    got[e.size] = '\0';
    assert_string_equal(got, wanted);
}

/* Older than the last change, so that reading would move it where times are kept relative, too. */
static void make_access_time_old(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_nsec = UTIME_OMIT}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static time_t access_time_after(const char *path, int fd)
{
    char byte;
    struct stat st;
    assert_int_equal(pread(fd, &byte, 1, 0), 1);
    assert_int_equal(stat(path, &st), 0);
    return st.st_atime;
}

static void test_reading_leaves_access_times(void **state)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s", folder_write_text(*state, "a.jsonl", TEXT));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    make_access_time_old(path);
    bool moves = access_time_after(path, fd) != 1000000000;
    (void)close(fd);
    make_access_time_old(path);
    struct corpus *c = must_open(*state, "a.jsonl");
    struct corpus_extent e;
    corpus_get(c, 0, &e);
    assert_int_equal(access_time_after(path, e.fd), 1000000000);
    corpus_close(c);
    if (!moves)
        skip(); /* this file system keeps none */
}

static void test_files_are_sorted(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "b.jsonl", "{\"text\":\"b0\"}\n{\"text\":\"b1\"}");
    (void)folder_write_text(f, "a.jsonl", "{\"text\":\"a0\"}\r\n");
    (void)folder_write_text(f, "c.json", "[{\"text\":\"c0\"} ,{\"text\":\"c1\"}]");
    (void)folder_write_text(f, "other.csv", "1,2");
    for (size_t k = 0; k < 2; k++) {
        struct corpus *c = NULL;
        struct err err;
        if (open_as(f, "*.json*", FORMAT_AUTO, kinds[k], &c, &err) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(corpus_files(c), 3);
        assert_int_equal(corpus_records(c), 5);
        assert_int_equal(corpus_format(c), FORMAT_TEXT);
        assert_int_equal(corpus_bytes(c), 15 + 27 + 30);
        check_record(c, 0, "{\"text\":\"a0\"}\r\n");
        check_record(c, 1, "{\"text\":\"b0\"}\n");
        check_record(c, 2, "{\"text\":\"b1\"}");
        check_record(c, 3, "{\"text\":\"c0\"} ,");
        check_record(c, 4, "{\"text\":\"c1\"}");
        struct corpus_extent e;
        corpus_get(c, 4, &e);
        assert_int_equal(e.file, 2);
        assert_false(e.plain);
        assert_string_equal(strrchr(corpus_path(c, e.file), '/'), "/c.json");
        corpus_close(c);
        assert_int_equal(unlink(folder_path(f, "state/corpora/tulu.index")), 0);
    }
}

static void test_globs_overlap(void **state)
{
    struct folder *f = *state;
    char all[300], one[300], state_dir[300];
    (void)snprintf(one, sizeof one, "%s", folder_write_text(f, "a[1].jsonl", TEXT));
    (void)folder_write_text(f, "a1.jsonl", TEXT TEXT);
    (void)snprintf(all, sizeof all, "%s", folder_path(f, "*.jsonl"));
    (void)snprintf(state_dir, sizeof state_dir, "%s", folder_path(f, "state"));
    char *paths[] = {one, all, one};
    const struct conf_corpus conf = {.name = (char *)"c", .paths = paths, .n_paths = 3};
    struct corpus *c;
    struct err err;
    assert_int_equal(corpus_open(&conf, &(struct corpus_place){.state_dir = state_dir}, NULL, &c, &err), 0);
    assert_string_equal(corpus_conf(c)->name, "c");
    assert_int_equal(corpus_conf(c)->n_paths, 3);
    assert_int_equal(corpus_files(c), 2);
    assert_int_equal(corpus_records(c), 3);
    assert_string_equal(corpus_path(c, 1), one);
    corpus_close(c);
}

static void test_formats_are_found(void **state)
{
    struct folder *f = *state;
    static const struct {
        const char *name, *text;
        enum corpus_format format;
    } cases[] = {
        {"1.jsonl", "not json\n[1]\n{\"x\":1}\n" ALPACA, FORMAT_ALPACA},
        {"2.json", "[{\"conversations\":[{\"from\":\"human\",\"value\":\"u\"}]}]", FORMAT_SHAREGPT},
        {"3.jsonl", "{\"messages\":[]}", FORMAT_MESSAGES},
        {"4.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}", FORMAT_PROMPT_COMPLETION},
        {"5.txt", "\xef\xbb\xbfIt was\n\n  [the best] of times\n", FORMAT_TEXT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)folder_write_text(f, cases[i].name, cases[i].text);
        struct corpus *c = must_open(f, cases[i].name);
        assert_int_equal(corpus_format(c), cases[i].format);
        corpus_close(c);
    }
    struct corpus *c = must_open(f, "5.txt");
    struct corpus_extent e;
    assert_int_equal(corpus_records(c), 2);
    check_record(c, 0, "It was\n\n");
    check_record(c, 1, "  [the best] of times\n");
    corpus_get(c, 1, &e);
    assert_true(e.plain);
    corpus_close(c);
}

static void test_text_files_of_json(void **state)
{
    struct folder *f = *state;
    struct corpus *c;
    struct err err;
    (void)folder_write_text(f, "a.txt", ALPACA);
    check_refused(f, "a.txt", ERR_FORMAT,
                  "a.txt: holds JSON records (alpaca, it seems), but its name says lines of text");
    assert_int_equal(open_as(f, "a.txt", FORMAT_ALPACA, IO_AUTO, &c, &err), 0);
    struct corpus_extent e;
    corpus_get(c, 0, &e);
    assert_false(e.plain);
    corpus_close(c);
    /* The same file with the same bytes, but read in another way: the index of before must not be believed.
     */
    assert_int_equal(open_as(f, "a.txt", FORMAT_TEXT, IO_AUTO, &c, &err), 0);
    assert_true(corpus_scanned(c));
    corpus_get(c, 0, &e);
    assert_true(e.plain);
    corpus_close(c);
}

static void test_wrong_files(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "empty.jsonl", "");
    (void)folder_write_text(f, "gz.jsonl", "\x1f\x8b\x08");
    (void)folder_write_text(f, "zst.jsonl", "\x28\xb5\x2f\xfd");
    (void)folder_write(f, "utf16.jsonl", "\xff\xfe{\0}\0", 6);
    (void)folder_write_text(f, "fields.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n");
    (void)folder_write_text(f, "cut.json", "[{\"text\":\"t\"},{\"te");
    assert_int_equal(mkdir(folder_path(f, "folder"), 0755), 0);
    assert_int_equal(mkfifo(folder_path(f, "fifo"), 0644), 0);
    check_refused(f, "none-*.jsonl", -ENOENT, "none-*.jsonl: no such file, or nothing matches");
    check_refused(f, "none.jsonl", -ENOENT, "none.jsonl: no such file");
    check_refused(f, "none/*.jsonl", -ENOENT, "none/*.jsonl: no such file, or nothing matches");
    check_refused(f, "empty.jsonl/*.jsonl", -ENOENT, "empty.jsonl/*.jsonl: no such file");
    check_refused(f, "empty.jsonl", ERR_FORMAT, "empty.jsonl: is empty");
    check_refused(f, "folder", -EISDIR, "folder/*.jsonl");
    check_refused(f, "fifo", -EINVAL, "fifo: is not a regular file");
    check_refused(f, "gz.jsonl", ERR_LIMIT, "gz.jsonl: is compressed, and spool is 0");
    check_refused(f, "zst.jsonl", ERR_LIMIT, "zst.jsonl: is compressed, and spool is 0");
    check_refused(f, "utf16.jsonl", ERR_FORMAT, "iconv");
    check_refused(f, "fields.jsonl", ERR_FORMAT, "fields.jsonl: format not recognised");
    check_refused(f, "cut.json", ERR_FORMAT, "cut.json: the JSON array is cut short");
    assert_int_equal(symlink("nowhere", folder_path(f, "dangling")), 0);
    check_refused(f, "dangling", -ENOENT, "dangling: open");
    if (geteuid() != 0) { /* root may read everything */
        assert_int_equal(chmod(folder_write_text(f, "secret.jsonl", TEXT), 0), 0);
        check_refused(f, "secret.jsonl", -EACCES, "secret.jsonl: open");
        assert_int_equal(mkdir(folder_path(f, "locked"), 0), 0);
        check_refused(f, "locked/a.jsonl", -EACCES, "locked/a.jsonl: a folder of it cannot be searched");
        assert_int_equal(mkdir(folder_path(f, "unlisted"), 0111), 0);
        check_refused(f, "unlisted/*.jsonl", -EACCES, "unlisted/*.jsonl: a folder of it cannot be read");
    }
}

static void test_state_dir_is_wrong(void **state)
{
    struct folder *f = *state;
    (void)folder_write_text(f, "a.jsonl", TEXT);
    (void)folder_write_text(f, "state", "a file where a folder is wanted");
    check_refused(f, "a.jsonl", -ENOTDIR, "state_dir: ");
}

static void touch(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool scanned(struct folder *f, uint64_t *ret_fingerprint)
{
    struct corpus *c = must_open(f, "*.jsonl");
    bool was = corpus_scanned(c);
    *ret_fingerprint = corpus_fingerprint(c);
    corpus_close(c);
    return was;
}

static void test_index_is_kept(void **state)
{
    struct folder *f = *state;
    uint64_t first, now;
    (void)folder_write_text(f, "a.jsonl", TEXT TEXT);
    assert_true(scanned(f, &first));
    assert_false(scanned(f, &now));
    assert_int_equal(now, first);
    /* Touched: the same records, but that is only known by looking. */
    touch(folder_path(f, "a.jsonl"), 1000);
    assert_true(scanned(f, &now));
    assert_int_equal(now, first);
    assert_false(scanned(f, &now));
    /* Rewritten with the same size and time. */
    touch(folder_write_text(f, "a.jsonl", TEXT "{\"text\":\"x\"}\n"), 1000);
    assert_true(scanned(f, &now));
    assert_int_not_equal(now, first);
    uint64_t second = now;
    (void)folder_write_text(f, "b.jsonl", TEXT);
    assert_true(scanned(f, &now));
    assert_int_not_equal(now, second);
    assert_int_equal(unlink(folder_path(f, "b.jsonl")), 0);
    assert_true(scanned(f, &now));
    assert_int_equal(now, second);
    (void)folder_write_text(f, "state/corpora/tulu.index", "torn");
    assert_true(scanned(f, &now));
    assert_int_equal(now, second);
}

static void check_changed(struct corpus *c, const char *why)
{
    struct err err;
    assert_int_equal(corpus_check(c, &err), ERR_CHANGED);
    if (strstr(err.text, why) == NULL)
        fail_msg("%s", err.text);
}

static void test_check(void **state)
{
    struct folder *f = *state;
    struct err err;
    const char *path = folder_write_text(f, "a.jsonl", TEXT TEXT);
    struct corpus *c = must_open(f, "a.jsonl");
    assert_int_equal(corpus_check(c, &err), 0);
    touch(path, 1000);
    assert_int_equal(corpus_check(c, &err), 0);
    /* Grown: what was indexed is still there. */
    path = folder_write_text(f, "a.jsonl", TEXT TEXT TEXT);
    assert_int_equal(corpus_check(c, &err), 0);
    assert_int_equal(corpus_records(c), 2);
    path = folder_write_text(f, "a.jsonl", TEXT "{\"text\":\"x\"}\n");
    touch(path, 2000);
    check_changed(c, "a.jsonl: its content is not what was indexed");
    check_changed(c, "a.jsonl: its content is not what was indexed");
    path = folder_write_text(f, "a.jsonl", TEXT TEXT);
    assert_int_equal(corpus_check(c, &err), 0);
    assert_int_equal(truncate(path, 20), 0);
    check_changed(c, "a.jsonl: was 26 bytes when it was indexed and is 20 now");
    path = folder_write_text(f, "a.jsonl", TEXT TEXT);
    /* Replaced by rename, and removed: the one that is open stays what it was. */
    char moved[300];
    (void)snprintf(moved, sizeof moved, "%s", folder_write_text(f, "new", ALPACA));
    assert_int_equal(rename(moved, folder_path(f, "a.jsonl")), 0);
    assert_int_equal(corpus_check(c, &err), 0);
    check_record(c, 1, TEXT);
    assert_int_equal(unlink(folder_path(f, "a.jsonl")), 0);
    assert_int_equal(corpus_check(c, &err), 0);
    corpus_close(c);
}

/* Each record vouches for its own file only; who looked later has looked for all that read before. */
static void test_check_of_a_record(void **state)
{
    struct folder *f = *state;
    struct err err;
    (void)folder_write_text(f, "a.jsonl", TEXT);
    (void)folder_write_text(f, "b.jsonl", TEXT);
    struct corpus *c = must_open(f, "*.jsonl");
    /* An edit that leaves size and time as they are, at once after the files were opened. */
    struct stat st;
    assert_int_equal(stat(folder_path(f, "b.jsonl"), &st), 0);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    const char *b = folder_write_text(f, "b.jsonl", "{\"text\":\"x\"}\n");
    assert_int_equal(utimensat(AT_FDCWD, b, times, 0), 0);
    const uint64_t read_ns = clock_ns();
    assert_int_equal(corpus_check_record(c, 0, read_ns, &err), 0);
    assert_int_equal(corpus_check_record(c, 1, read_ns, &err), ERR_CHANGED);
    assert_non_null(strstr(err.text, "corpus 'tulu': "));
    assert_non_null(strstr(err.text, "b.jsonl: its content is not what was indexed"));
    (void)folder_write_text(f, "b.jsonl", TEXT);
    assert_int_equal(corpus_check_record(c, 1, read_ns, &err), 0);
    const uint64_t later_ns = clock_ns();
    (void)folder_write_text(f, "b.jsonl", "{\"text\":\"y\"}\n");
    assert_int_equal(corpus_check_record(c, 1, read_ns, &err), 0);
    assert_int_equal(corpus_check_record(c, 1, later_ns, &err), ERR_CHANGED);
    corpus_close(c);
}

/* The hash looks at the beginning, the end and between: a large file that changed in one of its blocks is
 * another. */
static void test_check_of_large_files(void **state)
{
    struct folder *f = *state;
    enum { SIZE = 1000000 };
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (uint32_t i = 0; i + 13 <= SIZE; i += 13)
        memcpy(bytes + i, TEXT, 13);
    memset(bytes + SIZE / 13 * 13, '\n', SIZE % 13);
    (void)folder_write(f, "a.jsonl", bytes, SIZE);
    struct corpus *c = must_open(f, "a.jsonl");
    const size_t places[] = {9, 4000, SIZE - 30, (SIZE - 4096) / 15 * 4 + 4000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct err err;
        bytes[places[i]] ^= 1;
        touch(folder_write(f, "a.jsonl", bytes, SIZE), (time_t)i * 2);
        check_changed(c, "its content is not what was indexed");
        bytes[places[i]] ^= 1;
        touch(folder_write(f, "a.jsonl", bytes, SIZE), (time_t)i * 2 + 1);
        assert_int_equal(corpus_check(c, &err), 0);
    }
    corpus_close(c);
    free(bytes);
}

/* Real data, where SKIPALIGN_TEST_DATA says it is: every record is found and parses, on both kinds of I/O. */
static void test_real_corpora(void **state)
{
    const char *data = getenv("SKIPALIGN_TEST_DATA");
    if (data == NULL) {
        print_message("SKIPALIGN_TEST_DATA is not set\n");
        skip();
    }
    static const struct {
        const char *name;
        enum corpus_format format;
        uint64_t records;
    } cases[] = {{"t0-prompt-completion.jsonl", FORMAT_PROMPT_COMPLETION, 13649},
                 {"sharegpt.json", FORMAT_SHAREGPT, 500},
                 {"novel-en.txt", FORMAT_TEXT, 4288}};
    struct record_parser *parser = record_parser_new();
    assert_non_null(parser);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], detail[RECORD_DETAIL];
        (void)snprintf(path, sizeof path, "%s/corpora/%s", data, cases[i].name);
        char *paths[] = {path};
        const struct conf_corpus conf = {.name = (char *)"real", .paths = paths, .n_paths = 1};
        uint64_t fingerprints[2];
        for (size_t k = 0; k < 2; k++) {
            struct corpus *c = NULL;
            struct err err;
            if (corpus_open(
                    &conf,
                    &(struct corpus_place){.state_dir = ((struct folder *)*state)->path, .io = kinds[k]},
                    NULL, &c, &err) != 0)
                fail_msg("%s", err.text);
            assert_true(corpus_scanned(c));
            assert_int_equal(corpus_format(c), cases[i].format);
            assert_int_equal(corpus_records(c), cases[i].records);
            fingerprints[k] = corpus_fingerprint(c);
            for (uint64_t r = 0; r < corpus_records(c); r++) {
                struct corpus_extent e;
                struct sample s;
                corpus_get(c, r, &e);
                char *bytes = calloc(1, e.size + RECORD_PADDING);
                assert_non_null(bytes);
                assert_int_equal(pread(e.fd, bytes, e.size, (off_t)e.offset), (ssize_t)e.size);
                assert_int_equal(record_parse(parser, &conf, corpus_format(c), e.plain,
                                              (struct slice){bytes, e.size}, &s, detail),
                                 USABLE);
                free(bytes);
            }
            corpus_close(c);
            assert_int_equal(unlink(folder_path(*state, "corpora/real.index")), 0);
        }
        assert_int_equal(fingerprints[0], fingerprints[1]);
    }
    record_parser_free(parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reading_leaves_access_times, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_files_are_sorted, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_globs_overlap, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_formats_are_found, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_text_files_of_json, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_wrong_files, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_state_dir_is_wrong, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_index_is_kept, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_check, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_check_of_a_record, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_check_of_large_files, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_real_corpora, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
