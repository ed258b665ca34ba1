/* An index on a disk that damaged it: it says so and is made anew, or it is exactly what was written. */
#include "fuzz/support/damage.h"
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "corpus/catalog.h"
#include "corpus/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM (1u << 16)

static struct catalog catalog;
static struct index whole; /* mapped from a file of its own */
static char *good;
static size_t good_size;

static void prepare(void)
{
    char lines[4096];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(lines + n, sizeof lines - n, "{\"text\": \"%*d\"}\n", 1 + i % 20, i);
    char *paths[] = {strdup(scratch_write("a.jsonl", lines, n)),
                     strdup(scratch_write("b.json", "[1, 2]", 6))};
    const struct conf_corpus conf = {.paths = paths, .n_paths = 2};
    struct err err = {""};
    CHECK(catalog_open(&conf, &catalog, &err) == 0);
    CHECK(index_build(scratch_path("whole"), &catalog, IO_PREAD, NULL, NULL, &whole, &err) == 0);
    good = scratch_read("whole", &good_size);
    free(paths[0]);
    free(paths[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[ROOM];
    struct index x;
    if (good == NULL)
        prepare();
    memcpy(bytes, good, good_size);
    size_t n = damage(bytes, good_size, sizeof bytes, data, size);
    if (index_open(scratch_write("damaged", bytes, n), &catalog, &x) == 0) {
        CHECK(n != good_size || memcmp(bytes, good, n) != 0);
        return 0;
    }
    CHECK(x.n_records == whole.n_records && x.n_files == whole.n_files && x.boundaries == whole.boundaries);
    CHECK(memcmp(x.offsets, whole.offsets, x.n_records * sizeof x.offsets[0]) == 0);
    for (uint32_t i = 0; i < x.n_files; i++)
        CHECK(x.files[i].first_record == whole.files[i].first_record &&
              x.files[i].content_end == whole.files[i].content_end);
    index_close(&x);
    return 0;
}
