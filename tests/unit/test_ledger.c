/* The ledger on a disk that is full, on one that has room again, of another stream, damaged, and where its
 * files cannot be. */
#include "stream/ledger.h"
#include "support/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WINDOWS = 40 };

static enum ledger_found found;

static struct ledger *open_ledger(struct folder *f, uint64_t fingerprint)
{
    struct ledger *l = NULL;
    struct err e = {""};
    if (ledger_open(f->path, 1, fingerprint, &l, &found, &e) != 0)
        fail_msg("%s", e.text);
    return l;
}

/* Window w gives w rows and has one record that cannot be used. */
static void append_next(struct ledger *l)
{
    uint64_t w = ledger_windows(l);
    struct window_unusable u = {.corpus = 1, .record = w * 1000, .reason = UNUSABLE_JSON, .detail = "why"};
    struct window window = {.number = w, .n_slots = 100, .n_rows = w, .unusable = &u, .n_unusable = 1};
    assert_int_equal(ledger_append(l, &window), 0);
}

static void check_windows(const struct ledger *l)
{
    const struct quarantined *q;
    uint32_t n_quarantined;
    uint64_t n = ledger_windows(l);
    ledger_quarantine(l, &q, &n_quarantined);
    assert_int_equal(n_quarantined, n);
    assert_int_equal(ledger_counts(l)->unusable[UNUSABLE_JSON], n);
    for (uint64_t w = 0; w <= n; w++) {
        assert_int_equal(ledger_first_slot(l, w), 100 * w);
        assert_int_equal(ledger_first_row(l, w), w * (w - 1) / 2);
        if (w < n)
            assert_int_equal(q[w].record, w * 1000);
    }
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Window w has 100 duplicates and a record that is none. */
static void append_duplicates(struct ledger *l)
{
    enum { N = 101 };
    static struct window_unusable u[N];
    const uint64_t w = ledger_windows(l);
    for (uint32_t i = 0; i < N; i++)
        u[i] = (struct window_unusable){.record = w * 1000 + i,
                                        .reason = i == 50 ? UNUSABLE_JSON : UNUSABLE_DUPLICATE};
    struct window window = {.number = w, .n_slots = 1000, .n_rows = 1, .unusable = u, .n_unusable = N};
    assert_int_equal(ledger_append(l, &window), 0);
}

static void check_duplicates(const struct ledger *l, uint64_t n)
{
    const struct quarantined *q;
    uint32_t n_listed, seen = 0;
    ledger_quarantine(l, &q, &n_listed);
    assert_int_equal(ledger_windows(l), n);
    assert_int_equal(ledger_counts(l)->unusable[UNUSABLE_DUPLICATE], 100 * n);
    assert_int_equal(ledger_counts(l)->unusable[UNUSABLE_JSON], n);
    for (uint32_t i = 0; i < n_listed; i++)
        if (q[i].reason == UNUSABLE_JSON)
            assert_int_equal(q[i].record, 1000 * seen++ + 50);
    assert_int_equal(seen, n);
    assert_in_range(n_listed - seen, n < 50 ? 100 * n : 4900, 5000);
}

static void duplicates_leave_room_for_others(void **state)
{
    struct folder *f = *state;
    struct ledger *l = open_ledger(f, 7);
    for (uint64_t n = 1; n <= 400; n++) {
        append_duplicates(l);
        check_duplicates(l, n);
        if (n % 47 != 0)
            continue;
        ledger_close(l);
        l = open_ledger(f, 7);
        assert_int_equal(found, LEDGER_WHOLE);
        check_duplicates(l, n);
    }
    ledger_close(l);
}

/* Files that may not grow stand for a full disk. Wherever in an entry, of either file, the room ends. */
static void a_full_disk_costs_the_file_only(void **state)
{
    struct folder *f = *state;
    (void)signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 100; room < 2500; room += 97) {
        struct ledger *l = open_ledger(f, room); /* the one before is of another fingerprint */
        set_file_limit(room);
        for (int i = 0; i < WINDOWS; i++)
            append_next(l);
        set_file_limit(RLIM_INFINITY);
        assert_non_null(ledger_failure(l));
        check_windows(l);
        ledger_close(l);

        l = open_ledger(f, room);
        assert_null(ledger_failure(l));
        assert_true(ledger_windows(l) < WINDOWS);
        check_windows(l);
        while (ledger_windows(l) < WINDOWS)
            append_next(l);
        assert_null(ledger_failure(l));
        ledger_close(l);

        l = open_ledger(f, room);
        assert_int_equal(ledger_windows(l), WINDOWS);
        check_windows(l);
        ledger_close(l);
    }
}

/* Windows forgotten are entered again, here and in the file; of a file that lacks some, those are forgotten
 * too. */
static void windows_can_be_forgotten(void **state)
{
    struct folder *f = *state;
    (void)signal(SIGXFSZ, SIG_IGN);
    for (uint64_t n = 0; n <= WINDOWS; n += 8)
        for (int full = 0; full < 2; full++) {
            struct ledger *l = open_ledger(f, 2 * n + (uint64_t)full);
            set_file_limit(full ? 1500 : RLIM_INFINITY);
            for (int i = 0; i < WINDOWS; i++)
                append_next(l);
            set_file_limit(RLIM_INFINITY);
            assert_int_equal(ledger_cut(l, n), 0);
            const uint64_t left = ledger_windows(l);
            assert_true(full ? left <= n : left == n);
            check_windows(l);
            while (ledger_windows(l) < WINDOWS)
                append_next(l);
            check_windows(l);
            ledger_close(l);

            l = open_ledger(f, 2 * n + (uint64_t)full);
            assert_int_equal(ledger_windows(l), full ? left : WINDOWS);
            check_windows(l);
            ledger_close(l);
        }
}

static void one_can_be_opened_on_a_full_disk(void **state)
{
    struct folder *f = *state;
    (void)signal(SIGXFSZ, SIG_IGN);
    set_file_limit(0);
    struct ledger *l = open_ledger(f, 1);
    assert_non_null(ledger_failure(l));
    for (int i = 0; i < WINDOWS; i++)
        append_next(l);
    set_file_limit(RLIM_INFINITY);
    check_windows(l);
    ledger_close(l);
    l = open_ledger(f, 1);
    assert_null(ledger_failure(l));
    assert_int_equal(ledger_windows(l), 0);
    ledger_close(l);
}

static void rows_are_found_in_their_windows(void **state)
{
    struct ledger *l = open_ledger(*state, 1);
    for (int i = 0; i < WINDOWS; i++)
        append_next(l); /* the first has no rows */
    for (uint64_t row = 0; row < ledger_first_row(l, WINDOWS); row++) {
        uint64_t w = ledger_find(l, row);
        assert_true(ledger_first_row(l, w) <= row && row < ledger_first_row(l, w + 1));
    }
    ledger_close(l);
}

static void write_ledger(struct folder *f, uint64_t fingerprint)
{
    struct ledger *l = open_ledger(f, fingerprint);
    for (int i = 0; i < WINDOWS; i++)
        append_next(l);
    ledger_close(l);
}

static off_t size_of(struct folder *f, const char *name)
{
    struct stat st;
    assert_int_equal(stat(folder_path(f, name), &st), 0);
    return st.st_size;
}

static void a_window_costs_under_128_bytes_on_disk(void **state)
{
    write_ledger(*state, 1);
    assert_true(size_of(*state, "1.ledger") < 128 * WINDOWS);
}

static void one_says_what_it_found(void **state)
{
    struct folder *f = *state;
    write_ledger(f, 1);
    assert_int_equal(found, LEDGER_NONE);
    ledger_close(open_ledger(f, 1));
    assert_int_equal(found, LEDGER_WHOLE);
    assert_int_equal(truncate(folder_path(f, "1.ledger"), size_of(f, "1.ledger") - 1), 0);
    struct ledger *l = open_ledger(f, 1);
    assert_int_equal(found, LEDGER_TORN);
    assert_int_equal(ledger_windows(l), WINDOWS - 1);
    check_windows(l);
    ledger_close(l);
    ledger_close(open_ledger(f, 1)); /* what was torn has been cut off */
    assert_int_equal(found, LEDGER_WHOLE);
}

/* Around the numbers of windows that are read at once. */
static void long_ones_are_read_whole(void **state)
{
    static const uint64_t windows[] = {255, 256, 257, 511, 512, 1000};
    struct ledger *l = open_ledger(*state, 1);
    for (int i = 0; i < 6; i++) {
        while (ledger_windows(l) < windows[i])
            append_next(l);
        ledger_close(l);
        l = open_ledger(*state, 1);
        assert_int_equal(found, LEDGER_WHOLE);
        assert_int_equal(ledger_windows(l), windows[i]);
        check_windows(l);
    }
    ledger_close(l);
}

static void one_of_another_fingerprint_is_made_anew(void **state)
{
    struct folder *f = *state;
    write_ledger(f, 1);
    struct ledger *l = open_ledger(f, 2);
    assert_int_equal(found, LEDGER_OTHER);
    assert_int_equal(ledger_windows(l), 0);
    check_windows(l);
    ledger_close(l);
    write_ledger(f, 2);
    assert_int_equal(found, LEDGER_WHOLE);
    l = open_ledger(f, 2);
    assert_int_equal(ledger_windows(l), WINDOWS);
    check_windows(l);
    ledger_close(l);
}

static void a_damaged_header_is_not_believed(void **state)
{
    struct folder *f = *state;
    for (off_t at = 0; at < 32; at++) {
        write_ledger(f, 1);
        unsigned char byte;
        int fd = open(folder_path(f, "1.ledger"), O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(close(fd), 0);
        struct ledger *l = open_ledger(f, 1);
        assert_int_equal(found, LEDGER_OTHER);
        assert_int_equal(ledger_windows(l), 0);
        ledger_close(l);
    }
}

static void each_generation_has_its_own(void **state)
{
    struct folder *f = *state;
    struct ledger *l = NULL;
    struct err e = {""};
    write_ledger(f, 1);
    assert_int_equal(ledger_open(f->path, 4000000000u, 1, &l, &found, &e), 0);
    assert_int_equal(found, LEDGER_NONE);
    assert_int_equal(ledger_windows(l), 0);
    ledger_close(l);
    assert_true(size_of(f, "4000000000.ledger") > 0);
    l = open_ledger(f, 1);
    assert_int_equal(ledger_windows(l), WINDOWS);
    ledger_close(l);
}

static void one_that_cannot_be_opened_is_an_error(void **state)
{
    struct folder *f = *state;
    struct ledger *l = NULL;
    struct err e = {""};
    assert_int_equal(mkdir(folder_path(f, "1.ledger"), 0700), 0);
    assert_int_equal(ledger_open(f->path, 1, 2, &l, &found, &e), -EISDIR);
    assert_non_null(strstr(e.text, "/1.ledger: "));
    assert_int_equal(rmdir(folder_path(f, "1.ledger")), 0);
    assert_int_equal(mkdir(folder_path(f, "1.quarantine"), 0700), 0);
    assert_int_equal(ledger_open(f->path, 1, 2, &l, &found, &e), -EISDIR);
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_costs_the_file_only, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(windows_can_be_forgotten, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(one_can_be_opened_on_a_full_disk, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(rows_are_found_in_their_windows, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(duplicates_leave_room_for_others, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(a_window_costs_under_128_bytes_on_disk, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(one_says_what_it_found, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(long_ones_are_read_whole, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(one_of_another_fingerprint_is_made_anew, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(a_damaged_header_is_not_believed, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(each_generation_has_its_own, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_opened_is_an_error, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
