/* Where records start in a file: what the scan finds, in stripes of any size, with any number of threads, is
 * what a simple reader of one byte at a time finds.
 *
 * The first byte of the input says whether the file is lines of text, whether white space before the rest
 * moves it over the border of the scan's first stripe, at the second byte, and how many threads read stripes
 * of how many bytes when it is scanned once more.
 */
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "corpus/catalog.h"
#include "corpus/index.h"
#include "corpus/scan.h"

#include <stdlib.h>
#include <string.h>

#define STRIPE (128u << 10) /* scan.c's */
#define ROOM (1u << 16)

struct expected {
    uint64_t starts[ROOM];
    uint64_t n, end;
    bool whole; /* an array that is closed, with nothing but white space after it */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void find_lines(const char *data, size_t size, size_t from, struct expected *e)
{
    bool told = false;
    for (size_t i = from, start = from; i < size; i++) {
        if (!told && !is_space(data[i])) {
            e->starts[e->n++] = start;
            told = true;
        }
        if (data[i] == '\n') {
            start = i + 1;
            told = false;
        }
    }
    e->end = size;
    e->whole = true;
}

static void find_elements(const char *data, size_t size, size_t from, struct expected *e)
{
    size_t depth = 0;
    bool in_string = false, escaped = false, wanted = false;
    for (size_t i = from; i < size; i++) {
        char c = data[i];
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if (is_space(c))
            continue;
        if (e->whole) { /* something after the end */
            e->whole = false;
            return;
        }
        if (depth == 1 && wanted && c != ',' && c != ']') {
            e->starts[e->n++] = i;
            wanted = false;
        }
        in_string = c == '"';
        if (c == '[' || c == '{')
            wanted = depth++ == 0;
        else if (c == ',')
            wanted = depth == 1;
        else if ((c == ']' || c == '}') && --depth == 0) {
            e->whole = true;
            e->end = i;
        }
    }
}

static int hear_records(void *arg, uint64_t base, const uint32_t *starts, uint32_t n, struct err *reterr)
{
    (void)reterr;
    struct expected *e = arg;
    for (uint32_t i = 0; i < n; i++, e->n++)
        CHECK(e->n < ROOM && e->starts[e->n] == base + starts[i]);
    return 0;
}

static int hear_end(void *arg, uint32_t file, uint64_t content_end, struct err *reterr)
{
    (void)reterr;
    CHECK(file == 0 && content_end == ((struct expected *)arg)->end);
    return 0;
}

/* The same in another shape. */
static void check_shape(const struct catalog *c, const struct scan_shape *shape, struct expected *e)
{
    const struct scan_sink sink = {.records = hear_records, .file_end = hear_end, .arg = e};
    const uint64_t n = e->n;
    struct err err;
    e->n = 0;
    int rc = scan_files(c, IO_PREAD, shape, &sink, &err);
    CHECK((rc == 0) == e->whole && (rc != 0 || e->n == n));
    e->n = n;
}

static void check(const struct catalog *c, const struct scan_shape *shape, const char *data, size_t size)
{
    static struct expected e;
    struct index x;
    struct err err = {""};
    const struct catalog_file *f = &c->files[0];
    memset(&e, 0, sizeof e);
    (f->container == CONTAINER_ARRAY ? find_elements : find_lines)(data, size, f->start, &e);
    check_shape(c, shape, &e);
    int rc = index_build(scratch_path("index"), c, IO_PREAD, NULL, NULL, &x, &err);
    CHECK((rc == 0) == (e.whole && e.n > 0));
    if (rc != 0) {
        CHECK(rc == ERR_FORMAT && err.text[0] != '\0');
        return;
    }
    CHECK(x.n_records == e.n && x.files[0].content_end == e.end);
    CHECK(memcmp(x.offsets, e.starts, e.n * sizeof e.starts[0]) == 0);
    for (uint64_t i = 0, offset, record_size; i < e.n; i++) {
        CHECK(index_get(&x, i, &offset, &record_size) == 0 && offset == e.starts[i]);
        CHECK(offset + record_size == (i + 1 < e.n ? e.starts[i + 1] : e.end));
    }
    index_close(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char file[STRIPE + ROOM];
    struct catalog c;
    if (size < 3 || size > ROOM)
        return 0;
    const bool text = (data[0] & 1) != 0, moved = (data[0] & 2) != 0;
    const size_t n = size - 2, before = moved && data[1] < n ? STRIPE - data[1] : 0;
    memset(file, ' ', before);
    memcpy(file + before, data + 2, n);
    char *path = strdup(scratch_write(text ? "lines.txt" : "records.json", file, before + n));
    CHECK(path != NULL);
    const struct conf_corpus conf = {.paths = &path, .n_paths = 1};
    if (catalog_open(&conf, &c, NULL) == 0) {
        const struct scan_shape shape = {1 + (data[0] >> 2) % SCAN_THREADS_MAX,
                                         before > 0 ? STRIPE : 1 + data[0] / 16u};
        check(&c, &shape, file, before + n);
        catalog_close(&c);
    }
    free(path);
    return 0;
}
