/* Compressed files to their content: pieces joined, whatever the buffers; and what is wrong with those that
 * are cut short, damaged, or something else. */
#include "corpus/inflate.h"

#include "support/packed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 200000u /* several blocks of deflate and of zstd */

struct content {
    char *data;
    size_t size;
};

/* Text that compresses about as dialogues do, the same each time. */
static struct content make_content(size_t size)
{
    static const char *const words[] = {"the", "kettle", "\"role\":", "\\n", "0x7f",
                                        "an",  "answer", "é",         "\n"};
    struct content c = {malloc(size + 16), 0};
    uint32_t draw = 17;
    assert_non_null(c.data);
    while (c.size < size) {
        draw = draw * 1664525u + 1013904223u;
        c.size +=
            (size_t)sprintf(c.data + c.size, "%s ", words[(draw >> 24) % (sizeof words / sizeof *words)]);
    }
    c.size = size;
    return c;
}

/* All of a file, a few bytes in and out at a time. The result is inflate_step's last; *ret is the caller's.
 */
static int run(const struct packed *p, size_t in_step, size_t out_step, struct content *ret, struct err *err)
{
    enum compression of = inflate_recognise(p->data, p->size);
    assert_int_not_equal(of, COMPRESSION_NONE);
    struct inflate *x = inflate_new(of);
    char *in = malloc(in_step), *out = malloc(out_step); /* of their size: sanitizers see what is beyond */
    size_t taken = 0;
    int rc = 0;
    *ret = (struct content){NULL, 0};
    assert_non_null(x);
    assert_non_null(in);
    assert_non_null(out);
    struct inflate_buffers b = {.in = in};
    for (unsigned idle = 0; rc == 0 && idle < 8;) {
        if (b.in_size == 0) {
            b.in_size = p->size - taken < in_step ? p->size - taken : in_step;
            memcpy(in, p->data + taken, b.in_size);
            b.in = in;
            taken += b.in_size;
        }
        b.out = out;
        b.out_size = out_step;
        const size_t had = b.in_size;
        rc = inflate_step(x, &b, taken == p->size, err);
        const size_t made = out_step - b.out_size;
        idle =
            had == b.in_size && made == 0 && taken == p->size ? idle + 1 : 0; /* it must not go on for ever */
        ret->data = realloc(ret->data, ret->size + made + 1);
        assert_non_null(ret->data);
        memcpy(ret->data + ret->size, out, made);
        ret->size += made;
    }
    assert_int_not_equal(rc, 0);
    if (rc == 1)
        assert_true(taken == p->size && b.in_size == 0);
    inflate_free(x);
    free(out);
    free(in);
    return rc;
}

static const size_t steps[][2] = {{1, 1 << 20}, {1 << 20, 7}, {4093, 4093}, {1 << 20, 1 << 20}};

static void expect_content(const struct packed *p, const struct content *wanted)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct content got;
        struct err err = {""};
        if (run(p, steps[i][0], steps[i][1], &got, &err) != 1)
            fail_msg("%s", err.text);
        assert_int_equal(got.size, wanted->size);
        assert_memory_equal(got.data != NULL ? got.data : "", wanted->data, wanted->size);
        free(got.data);
    }
}

/* Refused the same way, however it comes. */
static void expect_error(const struct packed *p, const char *why)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct content got;
        struct err err = {""};
        int rc = run(p, steps[i][0], steps[i][1], &got, &err);
        if (rc != ERR_FORMAT || strstr(err.text, why) == NULL)
            fail_msg("%d: %s, and not: %s", rc, err.text, why);
        free(got.data);
    }
}

static struct packed pack(enum compression of, const void *data, size_t size)
{
    return of == COMPRESSION_GZIP ? packed_gzip(data, size) : packed_zstd(data, size, 0);
}

static const enum compression both[] = {COMPRESSION_GZIP, COMPRESSION_ZSTD};

static void test_one_piece(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, SIZE};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct content c = make_content(sizes[i]);
            struct packed p = pack(both[k], c.data, c.size);
            expect_content(&p, &c);
            free(p.data);
            free(c.data);
        }
}

static void test_many_pieces(void **state)
{
    (void)state;
    struct content c = make_content(SIZE);
    for (size_t k = 0; k < 2; k++) {
        struct packed p = {NULL, 0};
        for (size_t at = 0, n = 1; at < SIZE; at += n, n = n * 3 / 2 + 1) {
            n = n < SIZE - at ? n : SIZE - at;
            packed_add(&p, pack(both[k], c.data + at, n));
            packed_add(&p, pack(both[k], "", 0)); /* as bgzip's end mark */
        }
        expect_content(&p, &c);
        free(p.data);
    }
    free(c.data);
}

static void test_what_is_passed_over(void **state)
{
    (void)state;
    static const char skippable[] = "\x5a\x2a\x4d\x18\x05\0\0\0hello", zeros[700] = {0};
    struct content c = make_content(1000);
    struct packed gzip = packed_gzip(c.data, c.size), zstd = {NULL, 0};
    packed_add_bytes(&gzip, zeros, sizeof zeros); /* as tar pads */
    expect_content(&gzip, &c);
    packed_add_bytes(&gzip, "x", 1);
    expect_error(&gzip, "comes something that is not gzip");
    packed_add_bytes(&zstd, skippable, sizeof skippable - 1); /* as pzstd begins */
    packed_add(&zstd, packed_zstd(c.data, c.size, 0));
    packed_add_bytes(&zstd, skippable, sizeof skippable - 1); /* as a seek table ends */
    expect_content(&zstd, &c);
    free(gzip.data);
    free(zstd.data);
    free(c.data);
}

static void test_cut_short(void **state)
{
    (void)state;
    static const char *const why[] = {"the gzip data is cut short", "the zstd data is cut short"};
    struct content c = make_content(5000);
    for (size_t k = 0; k < 2; k++) {
        struct packed p = pack(both[k], c.data, c.size);
        const size_t whole = p.size;
        packed_add(&p, pack(both[k], c.data, c.size));
        for (size_t size = 4; size < p.size; size += size < 40 || size > p.size - 40 ? 1 : 97) {
            struct packed cut = {p.data, size};
            if (size == whole || (both[k] == COMPRESSION_GZIP && size == whole + 1))
                continue; /* the next test's */
            char text[128];
            (void)snprintf(text, sizeof text,
                           "%s: the file ends at byte %zu, inside the %s that starts at byte %zu", why[k],
                           size, k == 0 ? "member" : "frame", size < whole ? 0 : whole);
            expect_error(&cut, text);
        }
        free(p.data);
    }
    free(c.data);
}

static void test_something_after(void **state)
{
    (void)state;
    static const char *const rests[] = {"\n", "garbage", "{\"text\":\"t\"}\n"};
    struct content c = make_content(1000);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
            char text[128];
            struct packed p = pack(both[k], c.data, c.size);
            (void)snprintf(text, sizeof text, "ends at byte %zu, comes something that is not %s", p.size,
                           k == 0 ? "gzip" : "zstd");
            packed_add_bytes(&p, rests[i], strlen(rests[i]));
            expect_error(&p, text);
            free(p.data);
        }
    free(c.data);
}

/* One bit anywhere is seen, but for those of a header that say nothing of the content. */
static void test_damage(void **state)
{
    (void)state;
    struct content c = make_content(3000);
    for (size_t k = 0; k < 2; k++) {
        struct packed p = pack(both[k], c.data, c.size);
        for (size_t at = both[k] == COMPRESSION_GZIP ? 10 : 4; at < p.size; at++) {
            struct content got;
            struct err err = {""};
            p.data[at] ^= (char)(1 << at % 8);
            int rc = run(&p, 1 << 20, 1 << 20, &got, &err);
            p.data[at] ^= (char)(1 << at % 8);
            if (rc == 1 && (got.size != c.size || memcmp(got.data, c.data, c.size) != 0))
                fail_msg("%zu: a flipped bit was not seen", at);
            if (rc != 1 &&
                (rc != ERR_FORMAT || strstr(err.text, "byte ") == NULL || strstr(err.text, "; ") == NULL))
                fail_msg("%zu: %d: %s", at, rc, err.text);
            free(got.data);
        }
        p.data[p.size - 6] ^= 1;
        p.data[p.size - 2] ^= 1;
        expect_error(&p, k == 0 ? "the gzip data is damaged at byte" : "the zstd data is damaged at byte");
        free(p.data);
    }
    free(c.data);
}

static void test_zstd_that_is_not_taken(void **state)
{
    (void)state;
    struct content c = make_content(SIZE);
    struct packed p = packed_zstd_with(c.data, 1000, c.data + 1000, 1000);
    /* A raw dictionary has no id, so that the frame does not say that it needs one: it is damage then. */
    expect_error(&p, "the zstd data is damaged");
    free(p.data);
    p = packed_zstd(c.data, c.size, 27);
    expect_content(&p, &c);
    free(p.data);
    p = packed_zstd(c.data, c.size, 28);
    expect_error(&p, "needs a window of more than 128 MiB");
    free(p.data);
    free(c.data);
    static const char with_id[] = "\x28\xb5\x2f\xfd\x21\x07\x01\x01\0\0"; /* a dictionary of id 7 */
    p = (struct packed){NULL, 0};
    packed_add_bytes(&p, with_id, sizeof with_id - 1);
    expect_error(&p, "was made with a dictionary");
    free(p.data);
}

static void test_recognise(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        size_t size;
        enum compression of;
    } cases[] = {{"", 0, COMPRESSION_NONE},
                 {"\x1f", 1, COMPRESSION_NONE},
                 {"\x1f\x8b", 2, COMPRESSION_GZIP},
                 {"\x1f\x8b\x08\0", 4, COMPRESSION_GZIP},
                 {"\x28\xb5\x2f", 3, COMPRESSION_NONE},
                 {"\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD},
                 {"\x50\x2a\x4d\x18", 4, COMPRESSION_ZSTD},
                 {"\x5f\x2a\x4d\x18", 4, COMPRESSION_ZSTD},
                 {"\x60\x2a\x4d\x18", 4, COMPRESSION_NONE},
                 {"{\"a\"", 4, COMPRESSION_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(inflate_recognise(cases[i].head, cases[i].size), cases[i].of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_piece),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_what_is_passed_over),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_something_after),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_zstd_that_is_not_taken),
        cmocka_unit_test(test_recognise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
