/* The timeline: what is committed is read again, what is damaged is refused wherever the damage is, and a
 * commit that fails, at whichever call to the system, leaves file and memory as they were. */
#include "base/file.h"
#include "stream/timeline.h"
#include "support/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_NAME "streams/chat/timeline"
#define NEW_NAME "streams/chat/timeline.new"

/* The calls that a commit makes, in place of libc's: the one that calls_left counts down to fails. */
static int calls_left = -1, call_errno;

static bool call_fails(void)
{
    if (calls_left < 0 || calls_left-- > 0)
        return false;
    errno = call_errno;
    return true;
}

int fsync(int fd)
{
    return call_fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    return call_fails() ? -1 : (int)syscall(SYS_rename, from, to);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return call_fails() ? -1 : syscall(SYS_write, fd, data, size);
}

/* An entry of generation g; what differs between generations differs. */
static struct timeline_entry entry_of(uint32_t g, uint64_t first_step)
{
    static char who[] = "anna@gpu7", nothing[] = "", set[] = "set a \\\n\x1b[2J \xc3\xa9\x7f",
                tulu[] = "tulu", code[] = "code-2", config[] = "streams:\n- name: chat\n\ncheck 00\nend 1\n",
                line[] = "a: no line's end";
    static struct timeline_corpus corpora[] = {{tulu, 939343, 0x5c0de1ab23f4e677}, {code, UINT64_MAX, 0}};
    static char *const configs[] = {config, line, nothing};
    struct timeline_entry e = {.generation = g,
                               .first_step = first_step,
                               .time_s = 1763870159 + g,
                               .who = who,
                               .cause = g % 2 == 0 ? set : nothing,
                               .fingerprint = 0x8a0e5dc4a2f50b11 * g,
                               .file_hash = g,
                               .corpora = corpora,
                               .n_corpora = g % 3,
                               .config = configs[g % 3]};
    memset(e.tokenizer, "0123456789abcdef"[g % 16], 64);
    return e;
}

static void check_entry(const struct timeline_entry *have, uint32_t g, uint64_t first_step)
{
    const struct timeline_entry want = entry_of(g, first_step);
    assert_int_equal(have->generation, want.generation);
    assert_int_equal(have->first_step, want.first_step);
    assert_int_equal(have->time_s, want.time_s);
    assert_string_equal(have->who, want.who);
    assert_string_equal(have->cause, want.cause);
    assert_int_equal(have->fingerprint, want.fingerprint);
    assert_int_equal(have->file_hash, want.file_hash);
    assert_string_equal(have->tokenizer, want.tokenizer);
    assert_string_equal(have->config, want.config);
    assert_int_equal(have->n_corpora, want.n_corpora);
    for (uint32_t c = 0; c < want.n_corpora; c++) {
        assert_string_equal(have->corpora[c].name, want.corpora[c].name);
        assert_int_equal(have->corpora[c].records, want.corpora[c].records);
        assert_int_equal(have->corpora[c].fingerprint, want.corpora[c].fingerprint);
    }
}

/* The steps that generations 1, 2, 3, ... of most tests begin with. */
static const uint64_t first_steps[] = {0, 10, 20, 30, 40};

static void check_all(const struct timeline *t, uint32_t want)
{
    uint32_t n;
    const struct timeline_entry *const *entries = timeline_entries(t, &n);
    assert_int_equal(n, want);
    for (uint32_t i = 0; i < n; i++)
        check_entry(entries[i], i + 1, first_steps[i]);
}

static struct timeline *open_timeline(struct folder *f)
{
    struct timeline *t = NULL;
    struct err e = {""};
    if (timeline_open(f->path, "chat", &t, &e) != 0)
        fail_msg("%s", e.text);
    return t;
}

static int append(struct timeline *t, uint32_t g, uint64_t first_step, struct err *reterr)
{
    const struct timeline_entry e = entry_of(g, first_step);
    return timeline_append(t, &e, reterr);
}

static void append_ok(struct timeline *t, uint32_t g, uint64_t first_step)
{
    struct err e = {"left from before"};
    if (append(t, g, first_step, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(e.text, "");
}

static void write_timeline(struct folder *f, uint32_t n)
{
    struct timeline *t = open_timeline(f);
    for (uint32_t g = 1; g <= n; g++)
        append_ok(t, g, first_steps[g - 1]);
    timeline_close(t);
}

static char *read_text(struct folder *f, size_t *ret_size)
{
    char *text = NULL;
    struct err e = {""};
    if (file_read(folder_path(f, FILE_NAME), TIMELINE_BYTES_MAX, &text, ret_size, &e) != 0)
        fail_msg("%s", e.text);
    return text;
}

static bool is_there(struct folder *f, const char *name)
{
    struct stat st;
    return lstat(folder_path(f, name), &st) == 0;
}

/* Opening a file of these bytes fails with words that hold `word`, and leaves it alone. */
static void expect_refused(struct folder *f, const char *bytes, size_t size, const char *word)
{
    struct timeline *t = NULL;
    struct err e = {""};
    size_t n;
    (void)folder_write(f, FILE_NAME, bytes, size);
    assert_int_equal(timeline_open(f->path, "chat", &t, &e), ERR_FORMAT);
    assert_null(t);
    if (strstr(e.text, word) == NULL || strstr(e.text, folder_path(f, FILE_NAME)) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, word);
    char *after = read_text(f, &n);
    assert_int_equal(n, size);
    assert_memory_equal(after, bytes, size);
    free(after);
}

static void one_that_is_not_there_is_empty(void **state)
{
    struct timeline *t = open_timeline(*state);
    uint32_t n = 1;
    (void)timeline_entries(t, &n);
    assert_int_equal(n, 0);
    (void)timeline_effective(t, &n);
    assert_int_equal(n, 0);
    assert_null(timeline_leftover(t));
    assert_false(is_there(*state, "streams"));
    timeline_close(t);
}

static void what_is_committed_is_read_again(void **state)
{
    for (uint32_t g = 1; g <= 5; g++) {
        struct timeline *t = open_timeline(*state);
        check_all(t, g - 1);
        append_ok(t, g, first_steps[g - 1]);
        check_all(t, g);
        timeline_close(t);
        assert_false(is_there(*state, NEW_NAME));
    }
    struct timeline *t = open_timeline(*state);
    check_all(t, 5);
    timeline_close(t);
}

/* Files live longer than releases: this text, byte by byte. */
static void the_file_is_text_for_people(void **state)
{
    static const char want[] = "skipalign timeline 1\n"
                               "stream chat\n"
                               "\n"
                               "generation 1\n"
                               "first_step 0\n"
                               "time 1763870160 2025-11-23T03:56:00Z\n"
                               "who anna@gpu7\n"
                               "cause \n"
                               "fingerprint 8a0e5dc4a2f50b11\n"
                               "file_hash 0000000000000001\n"
                               "tokenizer 1111111111111111111111111111111111111111111111111111111111111111\n"
                               "corpus tulu 939343 5c0de1ab23f4e677\n"
                               "config 16\n"
                               "a: no line's end\n"
                               "check 495dfee1bef777a2\n"
                               "\n"
                               "generation 2\n"
                               "first_step 10\n"
                               "time 1763870161 2025-11-23T03:56:01Z\n"
                               "who anna@gpu7\n"
                               "cause set a \\x5c\\x0a\\x1b[2J \xc3\xa9\\x7f\n"
                               "fingerprint 141cbb8945ea1622\n"
                               "file_hash 0000000000000002\n"
                               "tokenizer 2222222222222222222222222222222222222222222222222222222222222222\n"
                               "corpus tulu 939343 5c0de1ab23f4e677\n"
                               "corpus code-2 18446744073709551615 0000000000000000\n"
                               "config 0\n"
                               "\n"
                               "check 0ff7aeeaf44fd388\n"
                               "\n"
                               "end 2\n";
    size_t size;
    write_timeline(*state, 2);
    char *text = read_text(*state, &size);
    assert_string_equal(text, want);
    assert_int_equal(size, sizeof want - 1);
    free(text);
}

static void later_ones_take_the_place_of_earlier_ones(void **state)
{
    static const uint64_t steps[] = {0, 10, 20, 20, 15, 40, 11, 10, 12, 0};
    static const struct {
        uint32_t n, generation[4];
    } want[] = {{1, {1}},          {2, {1, 2}},    {3, {1, 2, 3}}, {3, {1, 2, 4}}, {3, {1, 2, 5}},
                {4, {1, 2, 5, 6}}, {3, {1, 2, 7}}, {2, {1, 8}},    {3, {1, 8, 9}}, {1, {10}}};
    for (uint32_t g = 1; g <= 10; g++) {
        struct timeline *t = open_timeline(*state);
        append_ok(t, g, steps[g - 1]);
        for (int again = 0; again < 2; again++) { /* as committed, and as read */
            uint32_t n;
            const struct timeline_entry *const *e = timeline_effective(t, &n);
            assert_int_equal(n, want[g - 1].n);
            for (uint32_t i = 0; i < n; i++)
                check_entry(e[i], want[g - 1].generation[i], steps[want[g - 1].generation[i] - 1]);
            timeline_close(t);
            t = open_timeline(*state);
        }
        timeline_close(t);
    }
}

static void every_cut_is_recognised(void **state)
{
    size_t size;
    write_timeline(*state, 3);
    char *text = read_text(*state, &size);
    for (size_t n = 0; n < size; n++)
        expect_refused(*state, text, n, "put the file back from a copy");
    free(text);
}

static void every_flipped_bit_is_recognised(void **state)
{
    size_t size;
    write_timeline(*state, 3);
    char *text = read_text(*state, &size);
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit++) {
            text[at] = (char)(text[at] ^ 1 << bit);
            expect_refused(*state, text, size, "line ");
            text[at] = (char)(text[at] ^ 1 << bit);
        }
    free(text);
}

static void the_damage_is_pointed_at(void **state)
{
    struct folder *f = *state;
    size_t size;
    write_timeline(f, 3);
    char *text = read_text(f, &size);
    expect_refused(f, text, 0, "after 0 whole entries, line 1: 'skipalign timeline' is wanted");
    expect_refused(f, "skipalign timeline 12\n", 22,
                   "version 12 of the format, this release knows 1; use the");
    expect_refused(f, "skipalign timeline 1\nstream code\n\nend 0\n", 40, "line 2: it is not of this stream");
    char *at = strstr(text, "first_step 10");
    at[11] = '9';
    expect_refused(f, text, size, "after 1 whole entries, line 17: the check of this entry");
    at[11] = 'x';
    expect_refused(f, text, size, "line 18: 'first_step' is not followed by a number");
    at[11] = '1';
    at[10] = '\t';
    expect_refused(f, text, size, "line 18: 'first_step' is wanted");
    at[10] = ' ';
    text[size - 2] = '4';
    expect_refused(f, text, size, "'end 3' is wanted, and nothing after it");
    text[size - 2] = '3';
    at = strstr(text, "config 16");
    at[8] = '5';
    expect_refused(f, text, size, "line 14: the configuration goes on beyond its 15 bytes");
    memcpy(at + 7, "99", 2);
    expect_refused(f, text, size, "the configuration goes on beyond its 99 bytes");
    at[9] = '9';
    at[10] = '\n';
    expect_refused(f, text, size, "line 13: a configuration of 999 bytes is wanted, and the file ends in it");
    free(text);
}

static void nothing_may_follow_the_end(void **state)
{
    size_t size;
    write_timeline(*state, 1);
    char *text = read_text(*state, &size);
    text[size] = '\n'; /* where file_read put a NUL */
    expect_refused(*state, text, size + 1, "and nothing after it");
    free(text);
}

static void a_commit_cut_short_was_never_in_effect(void **state)
{
    struct folder *f = *state;
    write_timeline(f, 2);
    (void)folder_write_text(f, NEW_NAME, "skipalign timel");
    struct timeline *t = open_timeline(f);
    check_all(t, 2);
    assert_string_equal(timeline_leftover(t), folder_path(f, NEW_NAME));
    assert_true(is_there(f, NEW_NAME));
    append_ok(t, 3, first_steps[2]);
    assert_null(timeline_leftover(t));
    assert_false(is_there(f, NEW_NAME));
    timeline_close(t);
    t = open_timeline(f);
    check_all(t, 3);
    timeline_close(t);
}

/* Of n entries; the file as it was. */
struct before {
    char *text;
    size_t size;
    uint32_t n;
};

static struct before before_of(struct folder *f, uint32_t n)
{
    struct before b = {.n = n};
    if (n > 0)
        b.text = read_text(f, &b.size);
    return b;
}

static void expect_unchanged(struct folder *f, const struct timeline *t, const struct before *b)
{
    check_all(t, b->n);
    assert_false(is_there(f, NEW_NAME));
    assert_int_equal(is_there(f, FILE_NAME), b->n > 0);
    if (b->n == 0)
        return;
    size_t size;
    char *text = read_text(f, &size);
    assert_int_equal(size, b->size);
    assert_memory_equal(text, b->text, size);
    free(text);
}

/* Every write, fsync and rename of the first commit, then of the third. All but the last fsync, which only
 * warns. */
static void whichever_call_fails_nothing_is_committed(void **state)
{
    struct folder *f = *state;
    static const int errnos[] = {ENOSPC, EIO, EACCES};
    uint32_t failures = 0, warnings = 0;
    for (uint32_t n = 0; n <= 2; n += 2) {
        for (int call = 0;; call++) {
            write_timeline(f, n);
            struct before b = before_of(f, n);
            struct timeline *t = open_timeline(f);
            struct err e = {""};
            calls_left = call;
            call_errno = errnos[call % 3];
            int rc = append(t, n + 1, first_steps[n], &e);
            bool failed = calls_left < 0;
            calls_left = -1;
            if (rc != 0) {
                assert_int_equal(rc, -errnos[call % 3]);
                assert_non_null(strstr(e.text, f->path));
                expect_unchanged(f, t, &b);
                append_ok(t, n + 1, first_steps[n]);
                failures++;
            } else if (failed) {
                assert_non_null(strstr(e.text, "flush"));
                warnings++;
            }
            check_all(t, n + 1);
            timeline_close(t);
            t = open_timeline(f);
            check_all(t, n + 1);
            timeline_close(t);
            free(b.text);
            assert_int_equal(unlink(folder_path(f, FILE_NAME)), 0);
            if (!failed)
                break;
        }
    }
    assert_int_equal(failures, 2 + 3 + 3); /* the folder's two fsyncs; write, fsync, rename */
    assert_int_equal(warnings, 2);
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Files that may not grow stand for a full disk, wherever in the file the room ends; writes come up short. */
static void a_file_that_may_not_grow_stays(void **state)
{
    struct folder *f = *state;
    (void)signal(SIGXFSZ, SIG_IGN);
    write_timeline(f, 2);
    struct before b = before_of(f, 2);
    struct timeline *t = open_timeline(f);
    for (rlim_t room = 0;; room += 13) {
        struct err e = {""};
        set_file_limit(room);
        int rc = append(t, 3, first_steps[2], &e);
        set_file_limit(RLIM_INFINITY);
        if (rc == 0) {
            assert_true(room > b.size);
            break;
        }
        assert_int_equal(rc, -EFBIG);
        expect_unchanged(f, t, &b);
    }
    timeline_close(t);
    t = open_timeline(f);
    check_all(t, 3);
    timeline_close(t);
    free(b.text);
}

/* A real one. The mount is seen by this process alone, and goes with it. */
static void a_full_disk_keeps_what_it_has(void **state)
{
    struct folder *f = *state;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", f->path, "tmpfs", 0, "size=64k") != 0) {
        print_message("needs the right to mount a file system\n");
        skip();
    }
    write_timeline(f, 2);
    struct before b = before_of(f, 2);
    static char filler[128 << 10];
    int fd = open(folder_path(f, "filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, filler, sizeof filler) > 0)
        ;
    assert_int_equal(close(fd), 0);
    struct timeline *t = open_timeline(f);
    struct err e = {""};
    assert_int_equal(append(t, 3, first_steps[2], &e), -ENOSPC);
    assert_non_null(strstr(e.text, "No space left on device"));
    expect_unchanged(f, t, &b);
    assert_int_equal(unlink(folder_path(f, "filler")), 0);
    append_ok(t, 3, first_steps[2]);
    timeline_close(t);
    free(b.text);
    assert_int_equal(umount(f->path), 0);
}

static void what_stands_in_the_way_is_said(void **state)
{
    struct folder *f = *state;
    struct timeline *t = open_timeline(f);
    struct err e = {""};
    (void)folder_write_text(f, "streams", "a file");
    assert_int_equal(append(t, 1, 0, &e), -ENOTDIR);
    assert_non_null(strstr(e.text, "streams"));
    check_all(t, 0);
    assert_int_equal(unlink(folder_path(f, "streams")), 0);
    append_ok(t, 1, 0);

    assert_int_equal(mkdir(folder_path(f, NEW_NAME), 0700), 0);
    assert_int_equal(append(t, 2, 10, &e), -EISDIR);
    assert_non_null(strstr(e.text, "timeline.new"));
    check_all(t, 1);
    assert_int_equal(rmdir(folder_path(f, NEW_NAME)), 0);
    append_ok(t, 2, 10);
    timeline_close(t);

    assert_int_equal(unlink(folder_path(f, FILE_NAME)), 0);
    assert_int_equal(mkdir(folder_path(f, FILE_NAME), 0700), 0);
    assert_int_equal(timeline_open(f->path, "chat", &t, &e), -EISDIR);
}

static void what_could_not_be_read_again_is_not_written(void **state)
{
    struct folder *f = *state;
    static char big[TIMELINE_BYTES_MAX], words[] = "two words";
    struct err e = {""};
    struct timeline *t;
    t = open_timeline(f);
    assert_int_equal(append(t, 1, 5, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "the first generation begins with step 0"));
    assert_false(is_there(f, "streams"));
    append_ok(t, 1, 0);
    struct before b = before_of(f, 1);
    assert_int_equal(append(t, 1, 10, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "it is generation 1 where 2 is wanted"));
    assert_int_equal(append(t, 3, 10, &e), ERR_FORMAT);

    struct timeline_entry entry = entry_of(2, 10);
    entry.tokenizer[63] = '\0';
    assert_int_equal(timeline_append(t, &entry, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "'tokenizer'"));
    entry = entry_of(2, 10);
    entry.time_s = INT64_MAX;
    assert_int_equal(timeline_append(t, &entry, &e), -EOVERFLOW);
    entry = entry_of(2, 10);
    struct timeline_corpus corpus = {.name = words};
    entry.corpora = &corpus;
    entry.n_corpora = 1;
    assert_int_equal(timeline_append(t, &entry, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "'corpus'"));
    entry = entry_of(2, 10);
    memset(big, 'x', sizeof big - 1);
    entry.config = big;
    assert_int_equal(timeline_append(t, &entry, &e), ERR_LIMIT);
    expect_unchanged(f, t, &b);
    append_ok(t, 2, 10);
    timeline_close(t);
    free(b.text);
}

static void clocks_may_be_wrong(void **state)
{
    static const int64_t times[] = {0, -1, -62135596800, 253402300800};
    struct timeline *t = open_timeline(*state);
    struct err e = {""};
    for (uint32_t i = 0; i < 4; i++) {
        struct timeline_entry entry = entry_of(i + 1, i);
        entry.time_s = times[i];
        assert_int_equal(timeline_append(t, &entry, &e), 0);
    }
    timeline_close(t);
    t = open_timeline(*state);
    for (uint32_t i = 0, n; i < 4; i++)
        assert_int_equal(timeline_entries(t, &n)[i]->time_s, times[i]);
    timeline_close(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_new, folder_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_not_there_is_empty),
        TEST(what_is_committed_is_read_again),
        TEST(the_file_is_text_for_people),
        TEST(later_ones_take_the_place_of_earlier_ones),
        TEST(every_cut_is_recognised),
        TEST(every_flipped_bit_is_recognised),
        TEST(the_damage_is_pointed_at),
        TEST(nothing_may_follow_the_end),
        TEST(a_commit_cut_short_was_never_in_effect),
        TEST(whichever_call_fails_nothing_is_committed),
        TEST(a_file_that_may_not_grow_stays),
        TEST(a_full_disk_keeps_what_it_has),
        TEST(what_stands_in_the_way_is_said),
        TEST(what_could_not_be_read_again_is_not_written),
        TEST(clocks_may_be_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
