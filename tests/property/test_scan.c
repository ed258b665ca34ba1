/* Where records start does not depend on how the files are cut into stripes, or on how many threads read
 * them. */
#include "corpus/scan.h"

#include "support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILES = 3, SIZE = 3000, ROUNDS = 40 };

static const struct scan_shape shapes[] = {{1, 1},   {4, 1},    {2, 3},      {3, 64},
                                           {4, 100}, {2, 4096}, {4, 1 << 20}};

/* Everything that a scan said, in order. */
struct heard {
    uint64_t records[FILES * SIZE], ends[FILES];
    uint32_t n_records, n_files;
    bool busy; /* a call is on its way */
};

static int hear_records(void *arg, uint64_t base, const uint32_t *starts, uint32_t n, struct err *reterr)
{
    (void)reterr;
    struct heard *h = arg;
    CHECK(!h->busy && h->n_records + n <= FILES * SIZE);
    h->busy = true;
    for (uint32_t i = 0; i < n; i++)
        h->records[h->n_records++] = base + starts[i];
    h->busy = false;
    return 0;
}

static int hear_end(void *arg, uint32_t file, uint64_t content_end, struct err *reterr)
{
    (void)reterr;
    struct heard *h = arg;
    CHECK(!h->busy && file == h->n_files);
    h->ends[h->n_files++] = content_end;
    return 0;
}

static int scan(const struct catalog *c, const struct scan_shape *shape, struct heard *ret,
                struct err *reterr)
{
    const struct scan_sink sink = {.records = hear_records, .file_end = hear_end, .arg = ret};
    memset(ret, 0, sizeof *ret);
    return scan_files(c, IO_PREAD, shape, &sink, reterr);
}

static void compare(const struct catalog *c)
{
    static struct heard wanted, got;
    struct err wanted_err = {""}, err = {""};
    const int wanted_rc = scan(c, NULL, &wanted, &wanted_err);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        assert_int_equal(scan(c, &shapes[k], &got, &err), wanted_rc);
        if (wanted_rc != 0) {
            assert_string_equal(err.text, wanted_err.text);
            continue;
        }
        assert_int_equal(got.n_records, wanted.n_records);
        assert_memory_equal(got.records, wanted.records, wanted.n_records * sizeof wanted.records[0]);
        assert_int_equal(got.n_files, wanted.n_files);
        assert_memory_equal(got.ends, wanted.ends, wanted.n_files * sizeof wanted.ends[0]);
    }
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static size_t add_random(char *to, const char *alphabet, size_t n, uint64_t *seed)
{
    for (size_t i = 0, letters = strlen(alphabet); i < n; i++)
        to[i] = alphabet[next_random(seed) % letters];
    return n;
}

/* A byte order mark or none, lines or an array, whole or not, that ends in any way. */
static size_t make_file(char *data, bool array, uint64_t *seed)
{
    static const char *const ends[] = {"", "\n", "\r\n", "\n \n\n", "]", "]\n", "] ]"};
    size_t n = 0;
    if (next_random(seed) % 3 == 0)
        n += (size_t)sprintf(data, "\xef\xbb\xbf");
    n += add_random(data + n, " \n\r\t", next_random(seed) % 20, seed);
    data[n++] = array ? '[' : '{';
    const char *alphabet = next_random(seed) % 2 == 0 ? "aaaaaaaaaa\"{}[],\\ \n\r" : "\n\n\r ax";
    n += add_random(data + n, alphabet, next_random(seed) % (SIZE - 100), seed);
    return n + (size_t)sprintf(data + n, "%s", ends[next_random(seed) % (sizeof ends / sizeof *ends)]);
}

static void test_shapes(void **state)
{
    static const char *const names[FILES] = {"1.jsonl", "2.json", "3.txt"};
    char *paths[FILES], data[SIZE];
    const struct conf_corpus conf = {.name = (char *)"c", .paths = paths, .n_paths = FILES};
    uint64_t seed = 17;
    int whole = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct catalog c;
        struct err err;
        for (int i = 0; i < FILES; i++)
            paths[i] = strdup(
                folder_write(*state, names[i], data, make_file(data, i == 1 && round % 3 == 0, &seed)));
        if (catalog_open(&conf, &c, &err) != 0)
            fail_msg("%s", err.text);
        struct heard *h = malloc(sizeof *h);
        whole += scan(&c, NULL, h, &err) == 0;
        free(h);
        compare(&c);
        catalog_close(&c);
        for (int i = 0; i < FILES; i++)
            free(paths[i]);
    }
    assert_in_range(whole, ROUNDS / 2, ROUNDS - 1); /* arrays that are not whole, too */
}

/* A file that becomes shorter between two looks at it: an error that says so, whoever reads the place. */
static void test_shrinks(void **state)
{
    char *path, data[SIZE];
    const struct conf_corpus conf = {.name = (char *)"c", .paths = &path, .n_paths = 1};
    static struct heard h;
    memset(data, '\n', SIZE);
    data[0] = data[SIZE - 1] = 'x';
    path = strdup(folder_write(*state, "a.jsonl", data, SIZE));
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        struct catalog c;
        struct err err;
        (void)folder_write(*state, "a.jsonl", data, SIZE);
        assert_int_equal(catalog_open(&conf, &c, &err), 0);
        assert_int_equal(truncate(path, SIZE - 1000), 0);
        assert_int_equal(scan(&c, &shapes[k], &h, &err), ERR_CHANGED);
        assert_non_null(strstr(err.text, "a.jsonl: became shorter while it was indexed"));
        catalog_close(&c);
    }
    free(path);
}

/* What is an array when it is opened and is none when it is read. */
static void test_array_is_none_any_more(void **state)
{
    char *path = strdup(folder_write_text(*state, "a.json", "  [1, 2]"));
    const struct conf_corpus conf = {.name = (char *)"c", .paths = &path, .n_paths = 1};
    static struct heard h;
    struct catalog c;
    struct err err;
    assert_int_equal(catalog_open(&conf, &c, &err), 0);
    (void)folder_write_text(*state, "a.json", "  }1, 2]");
    assert_int_equal(scan(&c, NULL, &h, &err), ERR_CHANGED);
    assert_non_null(strstr(err.text, "a.json: was changed while it was indexed"));
    catalog_close(&c);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shapes, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_shrinks, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_array_is_none_any_more, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
