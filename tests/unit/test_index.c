/* Where records start: the scan against a plain reading of the same bytes, and the index file against damage.
 */
#include "corpus/index.h"

#include "corpus/scan.h"
#include "support/folder.h"

#include <errno.h>
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

static const enum io_kind kinds[] = {IO_AUTO, IO_PREAD};

/* Bytes that grow, and the starts of the records in them. */
struct text {
    char *data;
    size_t size, cap;
    uint64_t *starts;
    size_t n, n_cap;
};

static void text_add(struct text *t, const char *data, size_t size)
{
    if (t->size + size > t->cap) {
        t->cap = 2 * (t->size + size);
        t->data = realloc(t->data, t->cap);
        assert_non_null(t->data);
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void text_start(struct text *t)
{
    if (t->n == t->n_cap) {
        t->n_cap = t->n_cap == 0 ? 1024 : 2 * t->n_cap;
        t->starts = realloc(t->starts, t->n_cap * sizeof *t->starts);
        assert_non_null(t->starts);
    }
    t->starts[t->n++] = t->size;
}

static void text_fini(struct text *t)
{
    free(t->data);
    free(t->starts);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static void add_random(struct text *t, uint64_t *seed, const char *alphabet, uint32_t n)
{
    size_t letters = strlen(alphabet);
    for (uint32_t i = 0; i < n; i++)
        text_add(t, &alphabet[next_random(seed) % letters], 1);
}

static int catalog_of(char **paths, uint32_t n, enum corpus_format format, struct catalog *ret,
                      struct err *reterr)
{
    const struct conf_corpus conf = {.name = (char *)"c", .paths = paths, .n_paths = n, .format = format};
    return catalog_open(&conf, ret, reterr);
}

/* Build the index of one file on each kind of I/O and compare it with what the text knows of itself. */
static void check_starts(struct folder *f, const char *name, const struct text *t, uint64_t content_end)
{
    char index_path[600], *path = strdup(folder_write(f, name, t->data, t->size));
    assert_non_null(path);
    (void)snprintf(index_path, sizeof index_path, "%s.index", path);
    for (size_t k = 0; k < 2; k++) {
        struct catalog c;
        struct index x;
        struct err err;
        if (catalog_of(&path, 1, FORMAT_AUTO, &c, &err) != 0 ||
            index_build(index_path, &c, kinds[k], NULL, NULL, &x, &err) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(x.n_records, t->n);
        assert_memory_equal(x.offsets, t->starts, t->n * sizeof *t->starts);
        assert_int_equal(x.files[0].content_end, content_end);
        for (uint64_t i = 0; i < t->n; i += 1 + t->n / 50) {
            uint64_t offset, size;
            assert_int_equal(index_get(&x, i, &offset, &size), 0);
            assert_int_equal(offset, t->starts[i]);
            assert_int_equal(size, (i + 1 < t->n ? t->starts[i + 1] : content_end) - offset);
        }
        index_close(&x);
        catalog_close(&c);
    }
    free(path);
}

static void check_lines(struct folder *f, const char *text, size_t n, const uint64_t *starts)
{
    struct text t = {.data = (char *)text, .size = strlen(text), .starts = (uint64_t *)starts, .n = n};
    check_starts(f, "f.jsonl", &t, t.size);
}

static void test_small_lines(void **state)
{
    check_lines(*state, "{}", 1, (uint64_t[]){0});
    check_lines(*state, "{}\n", 1, (uint64_t[]){0});
    check_lines(*state, "{}\n{}", 2, (uint64_t[]){0, 3});
    check_lines(*state, "\n\r\n  \t\n{}\r\n\r\n {}\n\n", 2, (uint64_t[]){7, 13});
    check_lines(*state, "\xef\xbb\xbf{}\n{}\n", 2, (uint64_t[]){3, 6});
    check_lines(*state, "x", 1, (uint64_t[]){0});
}

static void check_array(struct folder *f, const char *text, uint64_t content_end, size_t n,
                        const uint64_t *starts)
{
    struct text t = {.data = (char *)text, .size = strlen(text), .starts = (uint64_t *)starts, .n = n};
    check_starts(f, "f.json", &t, content_end);
}

static void test_small_arrays(void **state)
{
    check_array(*state, "[{}]", 3, 1, (uint64_t[]){1});
    check_array(*state, " [ {} , {\"a\":[1,2]}\n]\n\n", 20, 2, (uint64_t[]){3, 8});
    check_array(*state, "\xef\xbb\xbf\n[1,\"]\\\"\",[2,3],null,]", 24, 4, (uint64_t[]){5, 7, 13, 19});
    check_array(*state, "[\"\\\\\",\"\\\\\\\"\"]", 12, 2, (uint64_t[]){1, 6});
}

static void check_refused(struct folder *f, const char *name, const char *text, int wanted, const char *why)
{
    char index_path[600], *path = strdup(folder_write_text(f, name, text));
    struct catalog c;
    struct index x;
    struct err err;
    assert_non_null(path);
    (void)snprintf(index_path, sizeof index_path, "%s.index", path);
    assert_int_equal(catalog_of(&path, 1, FORMAT_AUTO, &c, &err), 0);
    assert_int_equal(index_build(index_path, &c, IO_AUTO, NULL, NULL, &x, &err), wanted);
    if (strstr(err.text, why) == NULL || strstr(err.text, path) == NULL)
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(access(index_path, F_OK), -1);
    catalog_close(&c);
    free(path);
}

static void test_wrong_files(void **state)
{
    struct folder *f = *state;
    check_refused(f, "a.json", "[{\"a\":1},{\"b\":", ERR_FORMAT,
                  "cut short: the file ends at byte 14, inside or after the "
                  "element that starts at byte 9");
    check_refused(f, "b.json", "[{\"a\":1},{\"b\":2}", ERR_FORMAT, "starts at byte 9");
    check_refused(f, "c.json", "[{\"a\":\"]}", ERR_FORMAT, "starts at byte 1");
    check_refused(f, "d.json", "[", ERR_FORMAT, "cut short at byte 1");
    check_refused(f, "e.json", "[1]\n[2]\n", ERR_FORMAT, "byte 4: there is more after the end");
    check_refused(f, "f.json", "[ ]", ERR_FORMAT, "holds no records");
    check_refused(f, "g.jsonl", " \n\r\n", ERR_FORMAT, "holds no records");
    check_refused(f, "h.jsonl", "\xef\xbb\xbf", ERR_FORMAT, "holds no records");
}

/* Lines of all lengths, from blank ones to ones longer than a stripe; white space runs over stripe ends too.
 */
static void test_random_lines(void **state)
{
    for (uint64_t round = 0; round < 12; round++) {
        struct text t = {0};
        uint64_t seed = round;
        uint32_t longest = round % 3 == 0 ? 3 : round % 3 == 1 ? 300 : 700000;
        text_start(&t);
        text_add(&t, "{not an array}\n", 15);
        while (t.size < 2000000) {
            uint32_t kind = next_random(&seed) % 8, n = next_random(&seed) % longest;
            if (kind > 1) {
                text_start(&t);
                if (kind == 2)
                    add_random(&t, &seed, " \t", n);
                add_random(&t, &seed, "a{}[]\",\\ \r", n);
                text_add(&t, "x", 1);
            } else {
                add_random(&t, &seed, " \t\r", n);
            }
            text_add(&t, "\n", 1);
        }
        if (round % 2 == 0) {
            text_start(&t);
            text_add(&t, "no end", 6);
        }
        check_starts(*state, "f.jsonl", &t, t.size);
        text_fini(&t);
    }
}

static void add_value(struct text *t, uint64_t *seed, uint32_t depth)
{
    uint32_t kind = next_random(seed) % 8, n = next_random(seed) % 6;
    if (depth > 5 || kind < 4) {
        /* Strings that look like structure, with runs of backslashes before quotes. */
        static const char *const pieces[] = {"\\\\", "\\\"", "\\n",         "]",       "}",
                                             "[{",   ",",    "plain text ", "\\\\\\\""};
        text_add(t, "\"", 1);
        for (uint32_t i = 0; i < n * n * 4; i++) {
            const char *piece = pieces[next_random(seed) % (sizeof pieces / sizeof *pieces)];
            text_add(t, piece, strlen(piece));
        }
        text_add(t, "\"", 1);
        return;
    }
    text_add(t, kind < 6 ? "{" : "[", 1);
    for (uint32_t i = 0; i < n; i++) {
        add_random(t, seed, " \n", next_random(seed) % 4);
        if (i > 0)
            text_add(t, ",", 1);
        if (kind < 6)
            text_add(t, "\"k\\\\\" :", 7);
        add_value(t, seed, depth + 1);
    }
    text_add(t, kind < 6 ? "}" : "]", 1);
}

static void test_random_arrays(void **state)
{
    for (uint64_t round = 0; round < 12; round++) {
        struct text t = {0};
        uint64_t seed = round + 100;
        add_random(&t, &seed, " \n", next_random(&seed) % 10);
        text_add(&t, "[", 1);
        while (t.size < 1500000) {
            add_random(&t, &seed, " \n", next_random(&seed) % 4);
            text_start(&t);
            /* Now and then a string of backslashes longer than a stripe. */
            if (next_random(&seed) % 2000 == 0) {
                text_add(&t, "\"", 1);
                add_random(&t, &seed, "\\", 2 * (next_random(&seed) % 200000));
                text_add(&t, "\"", 1);
            } else {
                add_value(&t, &seed, 0);
            }
            add_random(&t, &seed, " \n", next_random(&seed) % 3);
            text_add(&t, ",", 1);
        }
        t.size--; /* the last comma */
        uint64_t end = t.size;
        text_add(&t, "] \n", 3);
        check_starts(*state, "f.json", &t, end);
        text_fini(&t);
    }
}

/* Enough bytes for all threads, in several files of both kinds. */
static void test_large(void **state)
{
    enum { FILES = 3 };
    struct text texts[FILES] = {{0}};
    char *paths[FILES], index_path[600];
    uint64_t seed = 1, n = 0, first = 0;
    static const char *const names[FILES] = {"1.jsonl", "2.json", "3.jsonl"};
    for (int k = 0; k < FILES; k++) {
        struct text *t = &texts[k];
        if (k == 1)
            text_add(t, "[", 1);
        while (t->size < 10000000) {
            text_start(t);
            text_add(t, "{\"text\":\"", 9);
            add_random(t, &seed, "abc ", next_random(&seed) % 500);
            text_add(t, k == 1 ? "\"},\n" : "\"}\n", k == 1 ? 4 : 3);
        }
        if (k == 1)
            text_add(t, "]", 1);
        paths[k] = strdup(folder_write(*state, names[k], t->data, t->size));
        assert_non_null(paths[k]);
        n += t->n;
    }
    (void)snprintf(index_path, sizeof index_path, "%s/index", ((struct folder *)*state)->path);
    for (size_t k = 0; k < 2; k++) {
        struct catalog c;
        struct index x;
        struct err err;
        if (catalog_of(paths, FILES, FORMAT_AUTO, &c, &err) != 0 ||
            index_build(index_path, &c, kinds[k], NULL, NULL, &x, &err) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(x.n_records, n);
        first = 0;
        for (uint32_t i = 0; i < FILES; i++) {
            uint64_t offset, size;
            assert_int_equal(x.files[i].first_record, first);
            assert_memory_equal(x.offsets + first, texts[i].starts, texts[i].n * sizeof *texts[i].starts);
            assert_int_equal(index_get(&x, first, &offset, &size), i);
            assert_int_equal(offset, i == 1);
            first += texts[i].n;
            assert_int_equal(index_get(&x, first - 1, &offset, &size), i);
            assert_int_equal(offset + size, texts[i].size - (i == 1));
        }
        index_close(&x);
        catalog_close(&c);
    }
    for (int k = 0; k < FILES; k++) {
        text_fini(&texts[k]);
        free(paths[k]);
    }
}

/* ---- the file ---- */

static uint64_t seen_done, seen_all;

static int on_progress(void *arg, uint64_t done, uint64_t all)
{
    uint32_t *n = arg;
    assert_true(done >= seen_done && done <= all);
    seen_done = done;
    seen_all = all;
    return --*n == 0;
}

static void test_progress_and_cancel(void **state)
{
    struct text t = {0};
    struct catalog c;
    struct index x;
    struct err err;
    char index_path[600];
    while (t.size < 3000000)
        text_add(&t, "{\"text\":\"a line of it\"}\n", 24);
    char *path = strdup(folder_write(*state, "f.jsonl", t.data, t.size));
    assert_non_null(path);
    (void)snprintf(index_path, sizeof index_path, "%s.index", path);
    assert_int_equal(catalog_of(&path, 1, FORMAT_AUTO, &c, &err), 0);
    uint32_t calls = 1000;
    seen_done = 0;
    assert_int_equal(index_build(index_path, &c, IO_AUTO, on_progress, &calls, &x, &err), 0);
    assert_int_equal(seen_done, t.size);
    assert_int_equal(seen_all, t.size);
    index_close(&x);
    assert_int_equal(unlink(index_path), 0);
    calls = 2;
    seen_done = 0;
    assert_int_equal(index_build(index_path, &c, IO_AUTO, on_progress, &calls, &x, &err), ERR_CANCELLED);
    assert_int_equal(calls, 0);
    assert_int_equal(access(index_path, F_OK), -1);
    catalog_close(&c);
    free(path);
    text_fini(&t);
}

/* Every byte of the header, and every shorter or longer file, must be noticed. */
static void test_damage_is_noticed(void **state)
{
    struct folder *f = *state;
    struct catalog c;
    struct index x;
    struct err err;
    char index_path[600], bytes[4096];
    char *path = strdup(folder_write_text(f, "f.jsonl", "{}\n{}\n{}\n"));
    assert_non_null(path);
    (void)snprintf(index_path, sizeof index_path, "%s", folder_path(f, "x"));
    assert_int_equal(catalog_of(&path, 1, FORMAT_AUTO, &c, &err), 0);
    assert_int_equal(index_open(index_path, &c, &x), 0);
    assert_int_equal(index_build(index_path, &c, IO_AUTO, NULL, NULL, &x, &err), 0);
    index_close(&x);
    FILE *file = fopen(index_path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    assert_in_range(size, 100, sizeof bytes - 1);
    for (size_t i = 0; i < size - 3 * 8; i++) {
        bytes[i] ^= 0x10;
        (void)folder_write(f, "x", bytes, size);
        assert_int_equal(index_open(index_path, &c, &x), 0);
        bytes[i] ^= 0x10;
    }
    for (size_t n = 0; n <= size + 1; n++) {
        (void)folder_write(f, "x", bytes, n);
        assert_int_equal(index_open(index_path, &c, &x), n == size);
        if (n == size)
            index_close(&x);
    }
    catalog_close(&c);
    free(path);
}

static void test_no_room(void **state)
{
    struct catalog c;
    struct index x;
    struct err err;
    char *path = strdup(folder_write_text(*state, "f.jsonl", "{}\n"));
    assert_non_null(path);
    assert_int_equal(catalog_of(&path, 1, FORMAT_AUTO, &c, &err), 0);
    assert_int_equal(index_build("/nonexistent/x", &c, IO_AUTO, NULL, NULL, &x, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x: create"));
    /* The device that is always full stands in for a full disk. */
    const char *full = folder_path(*state, "full");
    assert_int_equal(symlink("/dev/full", full), 0);
    assert_int_equal(index_build(full, &c, IO_AUTO, NULL, NULL, &x, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "free some space"));
    catalog_close(&c);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_lines, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_small_arrays, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_wrong_files, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_random_lines, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_random_arrays, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_large, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_progress_and_cancel, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_damage_is_noticed, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_no_room, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
