/* A timeline on a disk that damaged it: it is exactly what was committed, or it is refused with words that
 * say where; and so is any text that somebody wrote by hand.
 *
 * The first byte of the input says which: even: the rest is damage to a good one; odd: it is the file.
 */
#include "fuzz/support/damage.h"
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "stream/timeline.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 3
#define ROOM (1u << 16)
#define FILE_NAME "state/streams/s/timeline"

static char folder[PATH_MAX];
static char *good;
static size_t good_size;

static void prepare(void)
{
    static char who[] = "anna@gpu7", cause[] = "set a \\\n", config[] = "streams:\n- name: s\n",
                name[] = "tulu";
    struct timeline_corpus corpora[] = {{name, 1000, 0x1234}, {name, 1, 0}};
    struct timeline *t;
    struct err err;
    (void)snprintf(folder, sizeof folder, "%s", scratch_path("state"));
    CHECK(timeline_open(folder, "s", &t, &err) == 0);
    for (uint32_t g = 1; g <= ENTRIES; g++) {
        struct timeline_entry e = {.generation = g,
                                   .first_step = 10 * (g - 1),
                                   .time_s = 1763870159,
                                   .who = who,
                                   .cause = cause,
                                   .corpora = corpora,
                                   .n_corpora = g % 3,
                                   .config = config};
        memset(e.tokenizer, 'a', sizeof e.tokenizer - 1);
        CHECK(timeline_append(t, &e, &err) == 0);
    }
    timeline_close(t);
    good = scratch_read(FILE_NAME, &good_size);
}

static void check_entries(const struct timeline *t)
{
    uint32_t n, n_effective;
    const struct timeline_entry *const *e = timeline_entries(t, &n);
    for (uint32_t i = 0; i < n; i++)
        CHECK(e[i]->generation == i + 1 && strlen(e[i]->tokenizer) == 64 && e[i]->who != NULL &&
              e[i]->cause != NULL && e[i]->config != NULL);
    e = timeline_effective(t, &n_effective);
    CHECK(n_effective <= n && (n_effective > 0) == (n > 0));
    for (uint32_t i = 0; i < n_effective; i++)
        CHECK(i == 0 ? e[i]->first_step == 0 : e[i]->first_step > e[i - 1]->first_step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[ROOM];
    struct timeline *t;
    struct err err = {""};
    size_t n;
    if (good == NULL)
        prepare();
    if (size < 1 || size > ROOM)
        return 0;
    if (data[0] % 2 == 0) {
        memcpy(bytes, good, good_size);
        n = damage(bytes, good_size, sizeof bytes, data + 1, size - 1);
    } else {
        n = size - 1;
        memcpy(bytes, data + 1, n);
    }
    (void)scratch_write(FILE_NAME, bytes, n);
    int rc = timeline_open(folder, "s", &t, &err);
    if (rc != 0) {
        CHECK(rc == ERR_FORMAT && strstr(err.text, "line ") != NULL);
        return 0;
    }
    CHECK(data[0] % 2 == 1 || (n == good_size && memcmp(bytes, good, n) == 0));
    check_entries(t);
    timeline_close(t);
    return 0;
}
