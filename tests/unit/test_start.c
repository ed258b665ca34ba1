/* Where a generation begins: what is written is read again, and what is not whole, or of another generation,
 * counts as missing. */
#include "base/file.h"
#include "stream/start.h"
#include "support/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#define FINGERPRINT 0x0123456789abcdefull

static struct start_corpus corpora[] = {
    {.name = "tulu",
     .records = 939343,
     .fingerprint = 0x5c0de1ab23f4e677,
     .pass = 3,
     .at = 1000,
     .pass_seed = 17,
     .first_slots = 5000},
    {.name = "a-name-of-as-many-characters-as-there-may-be-which-is-sixty-four",
     .records = UINT32_MAX,
     .pass = UINT32_MAX,
     .at = UINT64_MAX},
    {.name = ""},
};
static struct slot left[] = {
    {.corpus = 0, .pass = 2, .record = 939342},
    {.corpus = 1, .pass = 0, .record = 7, .piece = {.from = 1, .to = 4, .of = 9, .part = 2}},
    {.corpus = 1, .pass = 0, .record = 8},
    {.corpus = 2, .pass = 1, .record = UINT32_MAX, .piece = {.part = UINT32_MAX}},
};

static struct start some_start(void)
{
    return (struct start){
        .epoch = 5, .corpora = corpora, .n_corpora = 3, .left = left, .n_left = 4, .lost = 11};
}

static void check_same(const struct start *have, const struct start *want)
{
    assert_int_equal(have->epoch, want->epoch);
    assert_int_equal(have->lost, want->lost);
    assert_int_equal(have->n_corpora, want->n_corpora);
    for (uint32_t c = 0; c < want->n_corpora; c++) {
        const struct start_corpus *h = &have->corpora[c], *w = &want->corpora[c];
        assert_string_equal(h->name, w->name);
        assert_int_equal(h->records, w->records);
        assert_int_equal(h->fingerprint, w->fingerprint);
        assert_int_equal(h->pass, w->pass);
        assert_int_equal(h->at, w->at);
        assert_int_equal(h->pass_seed, w->pass_seed);
        assert_int_equal(h->first_slots, w->first_slots);
    }
    assert_int_equal(have->n_left, want->n_left);
    for (uint32_t i = 0; i < want->n_left; i++) {
        assert_int_equal(have->left[i].corpus, want->left[i].corpus);
        assert_int_equal(have->left[i].pass, want->left[i].pass);
        assert_int_equal(have->left[i].record, want->left[i].record);
        assert_memory_equal(&have->left[i].piece, &want->left[i].piece, sizeof want->left[i].piece);
    }
    assert_int_equal(start_hash(have), start_hash(want));
}

static void write_ok(struct folder *f, const struct start *s)
{
    struct err e = {""};
    if (start_write(folder_path(f, "2.start"), FINGERPRINT, s, true, &e) != 0)
        fail_msg("%s", e.text);
}

static int read_one(struct folder *f, uint64_t fingerprint, struct start *ret)
{
    struct err e = {""};
    return start_read(folder_path(f, "2.start"), fingerprint, ret, &e);
}

static char *read_bytes(struct folder *f, size_t *ret_size)
{
    char *bytes = NULL;
    struct err e = {""};
    if (file_read(folder_path(f, "2.start"), 1 << 20, &bytes, ret_size, &e) != 0)
        fail_msg("%s", e.text);
    return bytes;
}

static void what_is_written_is_read_again(void **state)
{
    const struct start starts[] = {some_start(), {.epoch = UINT64_MAX}, {.corpora = corpora, .n_corpora = 1}};
    for (int i = 0; i < 3; i++) {
        struct start have;
        write_ok(*state, &starts[i]);
        assert_int_equal(read_one(*state, FINGERPRINT, &have), 1);
        check_same(&have, &starts[i]);
        start_fini(&have);
        start_fini(&have); /* a zeroed one */
    }
}

static void one_that_is_missing_or_of_another_generation_is_not_found(void **state)
{
    struct start have, want = some_start();
    assert_int_equal(read_one(*state, FINGERPRINT, &have), 0);
    write_ok(*state, &want);
    assert_int_equal(read_one(*state, FINGERPRINT + 1, &have), 0);
}

static void one_that_is_not_whole_is_not_found(void **state)
{
    struct start have, want = some_start();
    size_t size;
    write_ok(*state, &want);
    char *bytes = read_bytes(*state, &size);
    for (size_t n = 0; n < size; n++) {
        (void)folder_write(*state, "2.start", bytes, n);
        assert_int_equal(read_one(*state, FINGERPRINT, &have), 0);
    }
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        (void)folder_write(*state, "2.start", bytes, size);
        assert_int_equal(read_one(*state, FINGERPRINT, &have), 0);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    (void)folder_write(*state, "2.start", bytes, size + 1);
    assert_int_equal(read_one(*state, FINGERPRINT, &have), 0);
    (void)folder_write(*state, "2.start", bytes, size);
    assert_int_equal(read_one(*state, FINGERPRINT, &have), 1);
    start_fini(&have);
    free(bytes);
}

static void a_failing_system_is_an_error(void **state)
{
    struct folder *f = *state;
    struct start have;
    struct err e = {""};
    assert_int_equal(mkdir(folder_path(f, "2.start"), 0700), 0);
    assert_int_equal(start_read(folder_path(f, "2.start"), FINGERPRINT, &have, &e), -EISDIR);
    assert_non_null(strstr(e.text, "2.start"));
    const struct start s = some_start();
    assert_int_equal(start_write(folder_path(f, "2.start"), FINGERPRINT, &s, false, &e), -EISDIR);
    assert_int_equal(start_write(folder_path(f, "none/2.start"), FINGERPRINT, &s, false, &e), -ENOENT);
    assert_non_null(strstr(e.text, "none/2.start"));
}

static void a_full_disk_leaves_the_one_before(void **state)
{
    struct folder *f = *state;
    struct start have, want = some_start(), other = {.lost = 1};
    struct rlimit limit;
    struct err e = {""};
    (void)signal(SIGXFSZ, SIG_IGN);
    write_ok(f, &want);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = start_write(folder_path(f, "2.start"), FINGERPRINT, &other, true, &e);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(rc, -EFBIG);
    assert_int_equal(read_one(f, FINGERPRINT, &have), 1);
    check_same(&have, &want);
    start_fini(&have);
}

static void a_document_left_over_costs_16_bytes(void **state)
{
    enum { N = 10000 };
    static struct slot many[N];
    struct start have, want = {.corpora = corpora, .n_corpora = 1, .left = many, .n_left = N};
    size_t size, size_of_none;
    want.n_left = 0;
    write_ok(*state, &want);
    free(read_bytes(*state, &size_of_none));
    want.n_left = N;
    for (uint32_t i = 0; i < N; i++)
        many[i] = (struct slot){.pass = i % 3, .record = i * 77ull};
    write_ok(*state, &want);
    free(read_bytes(*state, &size));
    assert_int_equal(size - size_of_none, 16 * N);
    assert_int_equal(read_one(*state, FINGERPRINT, &have), 1);
    check_same(&have, &want);
    start_fini(&have);
}

/* Ledgers are of a start by its hash, so it must not change between releases; and everything counts. */
static void the_hash_is_of_everything(void **state)
{
    (void)state;
    struct start s = some_start();
    const uint64_t hash = start_hash(&s);
    assert_int_equal(hash, 0xde62349273fef418);
    uint64_t *numbers[] = {&s.epoch,
                           &s.lost,
                           &corpora[1].records,
                           &corpora[1].fingerprint,
                           &corpora[1].at,
                           &corpora[1].pass_seed,
                           &corpora[1].first_slots,
                           &left[3].record};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        *numbers[i] ^= 1;
        assert_int_not_equal(start_hash(&s), hash);
        *numbers[i] ^= 1;
    }
    uint32_t *small[] = {&s.n_corpora,      &s.n_left,         &corpora[2].pass,
                         &left[0].corpus,   &left[0].pass,     &left[1].piece.from,
                         &left[1].piece.to, &left[1].piece.of, &left[1].piece.part};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        --*small[i];
        assert_int_not_equal(start_hash(&s), hash);
        ++*small[i];
    }
    corpora[0].name[0] = 'T';
    assert_int_not_equal(start_hash(&s), hash);
    corpora[0].name[0] = 't';
    assert_int_equal(start_hash(&s), hash);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_new, folder_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_again),
        TEST(one_that_is_missing_or_of_another_generation_is_not_found),
        TEST(one_that_is_not_whole_is_not_found),
        TEST(a_failing_system_is_an_error),
        TEST(a_full_disk_leaves_the_one_before),
        TEST(a_document_left_over_costs_16_bytes),
        TEST(the_hash_is_of_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
