/* A corpus of compressed files: the records of their content, read through copies that are made once, kept as
 * long as something needs them, and never used half made. */
#include "corpus/inflate.h"

#include "support/packed.h"
#include "support/tulu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define A "{\"text\":\"a\"}\n"
#define B "{\"text\":\"b\"}\n"
#define C "{\"text\":\"c\"}\n"

static const enum compression both[] = {COMPRESSION_GZIP, COMPRESSION_ZSTD};

#define FILES "data*" /* those of the corpus */

/* How often something was told to be done. */
struct told {
    unsigned decompressing, indexing;
    uint64_t done, all;
    bool cancel;
};

static int tell(void *arg, const char *doing, uint64_t done, uint64_t all)
{
    struct told *t = arg;
    *(strcmp(doing, "decompressing") == 0 ? &t->decompressing : &t->indexing) += 1;
    assert_true(done <= all);
    t->done = done;
    t->all = all;
    return t->cancel;
}

static struct corpus *open_newest(struct folder *f, struct told *t)
{
    struct tulu s;
    struct corpus *c = NULL;
    struct err err;
    tulu_init(&s, f, FILES);
    *t = (struct told){0};
    if (corpus_open(&s.conf, &s.place, &(struct corpus_progress){tell, t}, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static struct corpus *must_open(struct folder *f)
{
    struct told t;
    return open_newest(f, &t);
}

static uint64_t newest(struct folder *f)
{
    struct corpus *c = must_open(f);
    uint64_t fingerprint = corpus_fingerprint(c);
    corpus_close(c);
    return fingerprint;
}

static void check_refused(struct folder *f, const struct tulu *s, int wanted, const char *why)
{
    struct corpus *c = NULL;
    struct err err = {""};
    (void)f;
    int rc = corpus_open(&s->conf, &s->place, NULL, &c, &err);
    if (rc != wanted || strstr(err.text, why) == NULL || strstr(err.text, "corpus 'tulu': ") != err.text)
        fail_msg("%d: %s", rc, rc != 0 ? err.text : "was opened");
}

static int open_version(struct folder *f, uint64_t fingerprint, struct corpus **ret, struct err *err)
{
    struct tulu s;
    tulu_init(&s, f, FILES);
    *ret = NULL;
    return corpus_open_version(&s.conf, s.state_dir, fingerprint, ret, err);
}

static void check_version(struct folder *f, uint64_t fingerprint, const char *records)
{
    struct corpus *c;
    struct err err = {""};
    if (open_version(f, fingerprint, &c, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(corpus_fingerprint(c), fingerprint);
    tulu_check_records(c, records);
    assert_int_equal(corpus_check(c, &err), 0);
    corpus_close(c);
}

static void write_packed(struct folder *f, const char *name, enum compression of, const char *text)
{
    struct packed p =
        of == COMPRESSION_GZIP ? packed_gzip(text, strlen(text)) : packed_zstd(text, strlen(text), 0);
    (void)folder_write(f, name, p.data, p.size);
    free(p.data);
}

/* How many entries the corpus's folder of copies has; the last one's name. */
static unsigned copies(struct folder *f, char ret_name[256])
{
    unsigned n = 0;
    DIR *d = opendir(folder_path(f, "state/corpora/tulu.spool"));
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') {
            n++;
            if (ret_name != NULL)
                (void)snprintf(ret_name, 256, "state/corpora/tulu.spool/%s", e->d_name);
        }
    if (d != NULL)
        (void)closedir(d);
    return n;
}

static void touch(struct folder *f, const char *name)
{
    const struct timespec times[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, folder_path(f, name), times, 0), 0);
}

static void test_records(void **state)
{
    struct folder *f = *state;
    struct told t;
    struct stat st;
    char name[256];
    for (size_t k = 0; k < 2; k++) {
        write_packed(f, "data.1", both[k], A B);
        write_packed(f, "data.2.json", both[k], "[{\"text\":\"c\"} ,{\"text\":\"d\"}]\n");
        write_packed(f, "data.3.txt.gz", both[k], "one\n\ntwo");
        (void)folder_write_text(f, "data.4", C);
        struct corpus *c = open_newest(f, &t);
        assert_true(t.decompressing > 0 && t.done == t.all);
        assert_int_equal(corpus_files(c), 4);
        assert_int_equal(corpus_records(c), 7);
        assert_int_equal(corpus_bytes(c), 26 + 29 + 8 + 13);
        assert_int_equal(corpus_copied(c), 26 + 29 + 8);
        tulu_check_records(c, A B "{\"text\":\"c\"} ,{\"text\":\"d\"}one\n\ntwo" C);
        uint64_t fingerprint = corpus_fingerprint(c);
        corpus_close(c);
        assert_int_equal(copies(f, name), 3 * (k + 1));
        assert_int_equal(stat(folder_path(f, name), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600); /* its file may be readable for few */
        c = open_newest(f, &t);
        assert_true(t.decompressing == 0 && t.indexing == 0 && !corpus_scanned(c));
        assert_int_equal(corpus_fingerprint(c), fingerprint);
        corpus_close(c);
        check_version(f, fingerprint, A B "{\"text\":\"c\"} ,{\"text\":\"d\"}one\n\ntwo" C);
    }
}

/* What is compressed how, and where the copies lie, is nothing that batches depend on. */
static void test_fingerprint_is_of_the_content(void **state)
{
    struct folder *f = *state;
    struct told t;
    write_packed(f, "data", COMPRESSION_GZIP, A B);
    uint64_t first = newest(f);
    write_packed(f, "data", COMPRESSION_ZSTD, A B);
    assert_int_equal(newest(f), first);
    write_packed(f, "data", COMPRESSION_ZSTD, A C);
    assert_int_not_equal(newest(f), first);
    write_packed(f, "data", COMPRESSION_GZIP, A B);
    struct corpus *c = open_newest(f, &t);
    assert_true(t.decompressing > 0);
    assert_int_equal(corpus_fingerprint(c), first);
    corpus_close(c);
}

/* The same size and sampled blocks, another byte between them: another version, for all bytes were seen. */
static void test_edit_between_samples(void **state)
{
    enum { SIZE = 1 << 20, AT = 70000 };
    struct folder *f = *state;
    char *text = malloc(SIZE);
    assert_non_null(text);
    uint64_t fingerprints[2];
    for (int k = 0; k < 2; k++) {
        (void)snprintf(text, SIZE, "{\"text\":\"");
        memset(text + 9, 'x', SIZE - 12);
        memcpy(text + SIZE - 3, "\"}\n", 3);
        text[AT] = (char)('a' + k);
        struct packed p = packed_gzip(text, SIZE);
        (void)folder_write(f, "data.gz", p.data, p.size);
        free(p.data);
        fingerprints[k] = newest(f);
    }
    assert_int_not_equal(fingerprints[0], fingerprints[1]);
    for (int k = 0; k < 2; k++) {
        struct corpus *c;
        struct corpus_extent e;
        struct err err;
        char byte;
        assert_int_equal(open_version(f, fingerprints[k], &c, &err), 0);
        corpus_get(c, 0, &e);
        assert_int_equal(pread(e.fd, &byte, 1, AT), 1);
        assert_int_equal(byte, 'a' + k);
        corpus_close(c);
    }
    free(text);
}

static void test_versions(void **state)
{
    struct folder *f = *state;
    struct err err;
    struct corpus *c;
    write_packed(f, "data.gz", COMPRESSION_GZIP, A);
    uint64_t first = newest(f);
    write_packed(f, "data.gz", COMPRESSION_GZIP, A B);
    uint64_t second = newest(f);
    check_version(f, first, A);
    check_version(f, second, A B);
    assert_int_equal(unlink(folder_path(f, "data.gz")), 0); /* the copies are enough */
    check_version(f, first, A);
    check_version(f, second, A B);
    assert_int_equal(corpus_prune(folder_path(f, "state"), "tulu", &first, 1, &err), 0);
    assert_int_equal(copies(f, NULL), 2);
    assert_int_equal(corpus_prune(folder_path(f, "state"), "tulu", NULL, 0, &err), 0);
    assert_int_equal(copies(f, NULL), 1);
    check_version(f, second, A B);
    assert_int_equal(open_version(f, first, &c, &err), ERR_CHANGED);
    assert_int_equal(corpus_drop_copies(folder_path(f, "state"), "tulu", &err), 0);
    assert_int_equal(copies(f, NULL), 0);
    assert_int_equal(open_version(f, second, &c, &err), ERR_CHANGED);
    assert_non_null(strstr(err.text, "data.gz: the copy of what was in it is not in "));
    write_packed(f, "data.gz", COMPRESSION_GZIP, A B);
    assert_int_equal(newest(f), second);
}

/* Touched, or copied under another name: the same bytes take their room once. */
static void test_same_content(void **state)
{
    struct folder *f = *state;
    struct told t;
    struct stat st;
    char name[256];
    write_packed(f, "data.1", COMPRESSION_GZIP, A);
    uint64_t first = newest(f);
    touch(f, "data.1");
    assert_int_equal(newest(f), first);
    write_packed(f, "data.2", COMPRESSION_ZSTD, A);
    struct corpus *c = must_open(f);
    tulu_check_records(c, A A);
    corpus_close(c);
    assert_int_equal(copies(f, name), 3);
    assert_int_equal(stat(folder_path(f, name), &st), 0);
    assert_int_equal(st.st_nlink, 3);
    c = open_newest(f, &t);
    assert_int_equal(t.decompressing, 0);
    corpus_close(c);
    /* A damaged one is not linked to. */
    for (unsigned n = copies(f, name); n > 1; n = copies(f, name))
        assert_int_equal(unlink(folder_path(f, name)), 0);
    (void)folder_write_text(f, name, B);
    c = must_open(f);
    tulu_check_records(c, A A);
    corpus_close(c);
}

static void test_damaged_copy(void **state)
{
    struct folder *f = *state;
    struct err err;
    struct corpus *other;
    char name[256], text[256];
    write_packed(f, "data.gz", COMPRESSION_GZIP, A B);
    struct corpus *c = must_open(f);
    assert_false(corpus_news(c, text, sizeof text));
    assert_false(corpus_lost(c));
    assert_int_equal(copies(f, name), 1);
    (void)folder_write_text(f, name, A C);
    assert_int_equal(corpus_check(c, &err), ERR_CHANGED);
    assert_non_null(strstr(err.text, "tulu.spool/"));
    assert_true(corpus_news(c, text, sizeof text));
    assert_non_null(strstr(text, "its decompressed copy is lost: "));
    assert_true(corpus_lost(c));
    assert_int_equal(open_version(f, corpus_fingerprint(c), &other, &err), ERR_CHANGED);
    other = must_open(f); /* made anew */
    tulu_check_records(other, A B);
    assert_int_equal(corpus_fingerprint(other), corpus_fingerprint(c));
    corpus_close(other);
    corpus_close(c);
    /* Cut short, as by a file system that lost its end; and half made, as after a crash. */
    assert_int_equal(copies(f, name), 1);
    assert_int_equal(truncate(folder_path(f, name), 13), 0);
    (void)folder_write_text(f, "state/corpora/tulu.spool/0123456789abcdef.new", "half");
    c = must_open(f);
    tulu_check_records(c, A B);
    assert_int_equal(copies(f, name), 1);
    /* Gone while it is in use: who has it goes on. */
    assert_int_equal(unlink(folder_path(f, name)), 0);
    assert_int_equal(corpus_check(c, &err), 0);
    tulu_check_records(c, A B);
    assert_true(corpus_lost(c));
    corpus_close(c);
}

static void test_news(void **state)
{
    struct folder *f = *state;
    struct err err;
    char text[256];
    write_packed(f, "data.gz", COMPRESSION_GZIP, A);
    struct corpus *c = must_open(f), *old;
    assert_int_equal(open_version(f, corpus_fingerprint(c), &old, &err), 0);
    for (int again = 0; again < 2; again++) {
        struct corpus *of = again ? old : c;
        assert_false(corpus_news(of, text, sizeof text));
        touch(f, "data.gz");
        assert_false(corpus_news(of, text, sizeof text)); /* the same bytes */
        write_packed(f, "data.gz", COMPRESSION_GZIP, A B);
        assert_true(corpus_news(of, text, sizeof text));
        assert_string_equal(strrchr(text, '/'), "/data.gz");
        assert_memory_equal(text, "edited: ", 8);
        assert_false(corpus_lost(of)); /* the copy can be opened again */
        assert_int_equal(unlink(folder_path(f, "data.gz")), 0);
        assert_true(corpus_news(of, text, sizeof text));
        assert_memory_equal(text, "gone: ", 6);
        assert_false(corpus_lost(of));
        assert_int_equal(corpus_check(of, &err), 0);
        tulu_check_records(of, A);
        write_packed(f, "new", COMPRESSION_GZIP, C);
        char from[256];
        (void)snprintf(from, sizeof from, "%s", folder_path(f, "new"));
        assert_int_equal(rename(from, folder_path(f, "data.gz")), 0);
        assert_true(corpus_news(of, text, sizeof text));
        assert_int_equal(unlink(folder_path(f, "data.gz")), 0);
        write_packed(f, "data.gz", COMPRESSION_GZIP, A);
        (void)corpus_news(of, text, sizeof text); /* the inode may be another: "replaced" then, or nothing */
    }
    corpus_close(old);
    corpus_close(c);
}

static void test_refused(void **state)
{
    struct folder *f = *state;
    struct tulu s;
    tulu_init(&s, f, FILES);
    struct packed p = packed_gzip(A B, strlen(A B));
    (void)folder_write(f, "data", p.data, p.size - 9);
    check_refused(f, &s, ERR_FORMAT, "/data: the gzip data is cut short: the file ends at byte ");
    packed_add_bytes(&p, "and more", 8);
    (void)folder_write(f, "data", p.data, p.size);
    check_refused(f, &s, ERR_FORMAT, "/data: after its gzip data, which ends at byte ");
    free(p.data);
    write_packed(f, "data", COMPRESSION_ZSTD, "");
    check_refused(f, &s, ERR_FORMAT, "/data: there is nothing in it");
    write_packed(f, "data", COMPRESSION_ZSTD, " \n");
    check_refused(f, &s, ERR_FORMAT, "/data: holds no records");
    write_packed(f, "data", COMPRESSION_ZSTD, "[{\"text\":\"a\"},");
    check_refused(f, &s, ERR_FORMAT, "/data: the JSON array is cut short");
    p = packed_gzip(A, strlen(A));
    struct packed twice = packed_zstd(p.data, p.size, 0);
    (void)folder_write(f, "data", twice.data, twice.size);
    free(twice.data);
    free(p.data);
    check_refused(f, &s, ERR_FORMAT, "/data: its content is compressed once more");
    write_packed(f, "data", COMPRESSION_GZIP, "\xff\xfe{}");
    check_refused(f, &s, ERR_FORMAT, "/data: UTF-16 text");
    static const char *const others[][2] = {{"BZh9", "bunzip2 -c OLD | zstd -o NEW"},
                                            {"\xfd"
                                             "7zXZ",
                                             "xz -dc OLD | zstd -o NEW"},
                                            {"\x04\x22\x4d\x18", "lz4 -dc OLD | zstd -o NEW"},
                                            {"PAR1", "read_parquet"},
                                            {"ARROW1", "Arrow"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        (void)folder_write_text(f, "data", others[i][0]);
        check_refused(f, &s, ERR_FORMAT, others[i][1]);
    }
}

/* What does not fit leaves nothing behind, and says how much there is and would have to be. */
static void test_bound(void **state)
{
    enum { SIZE = 5 << 20 };
    struct folder *f = *state;
    struct tulu s;
    struct told t;
    char *zeros = calloc(1, SIZE);
    assert_non_null(zeros);
    tulu_init(&s, f, FILES);
    struct packed bomb = packed_gzip(zeros, SIZE);
    (void)folder_write(f, "data.1", bomb.data, bomb.size);
    write_packed(f, "data.2", COMPRESSION_ZSTD, A);
    s.place.spool = SIZE / 2;
    check_refused(f, &s, ERR_LIMIT,
                  "its decompressed copy does not fit: copies may take 0.00244 GiB (spool)");
    assert_in_range(copies(f, NULL), 0, 1); /* the other may be done by then, and is kept */
    s.place.spool = 10;
    check_refused(f, &s, ERR_LIMIT, "and the files to be decompressed have ");
    s.place.spool = 0;
    check_refused(f, &s, ERR_LIMIT, "is compressed, and spool is 0");
    s.place.spool = SIZE + 13;
    struct corpus *c = NULL;
    struct err err;
    if (corpus_open(&s.conf, &s.place, NULL, &c, &err) != 0)
        fail_msg("%s", err.text);
    corpus_close(c);
    /* What is there counts, of this corpus and of others. */
    struct tulu more;
    tulu_init(&more, f, FILES);
    more.conf.name = (char *)"more";
    more.place.spool = SIZE + 13 + SIZE;
    assert_int_equal(corpus_open(&more.conf, &more.place, NULL, &c, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "those of other files take 0.00488"));
    more.place.spool = 2 * (SIZE + 13);
    assert_int_equal(corpus_open(&more.conf, &more.place, NULL, &c, &err), 0);
    corpus_close(c);
    c = open_newest(f, &t);
    assert_int_equal(t.decompressing, 0);
    corpus_close(c);
    free(bomb.data);
    free(zeros);
}

static void test_cancel(void **state)
{
    struct folder *f = *state;
    struct tulu s;
    struct told t = {.cancel = true};
    struct corpus *c;
    struct err err;
    tulu_init(&s, f, FILES);
    write_packed(f, "data.1", COMPRESSION_GZIP, A);
    assert_int_equal(corpus_open(&s.conf, &s.place, &(struct corpus_progress){tell, &t}, &c, &err),
                     ERR_CANCELLED);
    assert_string_equal(err.text, "corpus 'tulu': cancelled");
    assert_int_equal(t.decompressing + t.indexing, 1);
    c = must_open(f);
    tulu_check_records(c, A);
    corpus_close(c);
}

static int note_name(void *arg, const char *name)
{
    (void)snprintf(arg, 64, "%s", name);
    return 0;
}

static void test_names(void **state)
{
    struct folder *f = *state;
    struct err err;
    char name[64] = "", state_dir[128];
    (void)snprintf(state_dir, sizeof state_dir, "%s/state", f->path);
    assert_int_equal(corpus_visit_spooled(state_dir, note_name, name, &err), 0); /* nothing there at all */
    assert_string_equal(name, "");
    write_packed(f, "data", COMPRESSION_GZIP, A);
    (void)newest(f);
    assert_int_equal(corpus_visit_spooled(state_dir, note_name, name, &err), 0);
    assert_string_equal(name, "tulu");
    (void)folder_write_text(f, "state/corpora/tulu.spool/README", "of somebody else");
    assert_int_equal(corpus_drop_copies(state_dir, "tulu", &err), 0);
    assert_int_equal(copies(f, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_fingerprint_is_of_the_content, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_edit_between_samples, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_versions, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_same_content, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_damaged_copy, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_news, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_refused, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_bound, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_cancel, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_names, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
