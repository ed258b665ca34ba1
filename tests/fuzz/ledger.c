/* A ledger and its quarantine on a disk that damaged them: what is believed is the first windows, all that
 * was known of them, and nothing else.
 *
 * The first byte of the input says how much of it is done to the ledger; the rest is done to the quarantine.
 */
#include "fuzz/support/damage.h"
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "stream/ledger.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS 12
#define FINGERPRINT 0x0123456789abcdefull
#define ROOM (1u << 16)

static char folder[PATH_MAX];
static struct {
    uint64_t slot, row;
    struct stream_counts counts;
    uint32_t n_quarantine;
} known[WINDOWS + 1]; /* after so many windows */
static struct quarantined quarantine[64];
static struct file {
    const char *name;
    char *good;
    size_t size;
} files[] = {{.name = "1.ledger"}, {.name = "1.quarantine"}};

static struct ledger *open_ledger(void)
{
    struct ledger *l;
    struct err err;
    enum ledger_found found;
    CHECK(ledger_open(folder, 1, FINGERPRINT, &l, &found, &err) == 0);
    return l;
}

static void remember(const struct ledger *l, uint64_t n)
{
    const struct quarantined *q;
    known[n].slot = ledger_first_slot(l, n);
    known[n].row = ledger_first_row(l, n);
    known[n].counts = *ledger_counts(l);
    ledger_quarantine(l, &q, &known[n].n_quarantine);
    if (known[n].n_quarantine > 0)
        memcpy(quarantine, q, known[n].n_quarantine * sizeof *q);
}

static void append(struct ledger *l, uint64_t number)
{
    struct window_doc docs[3] = {{.n_supervised = 5}, {.n_supervised = 7}, {.n_supervised = 1}};
    struct window_unusable unusable[4];
    for (uint32_t i = 0; i < 4; i++)
        unusable[i] = (struct window_unusable){.record = number * 10 + i,
                                               .reason = (enum unusable)(1 + (number + i) % 5),
                                               .detail = "not usable"};
    const struct window w = {.number = number,
                             .n_slots = 100 + (uint32_t)number,
                             .n_rows = 3 + number,
                             .docs = docs,
                             .n_docs = 3,
                             .n_tokens = 1000,
                             .unusable = unusable,
                             .n_unusable = number % 5};
    CHECK(ledger_append(l, &w) == 0 && ledger_failure(l) == NULL);
}

static void prepare(void)
{
    (void)snprintf(folder, sizeof folder, "%s", scratch_path("state"));
    struct ledger *l = open_ledger();
    remember(l, 0);
    for (uint64_t n = 0; n < WINDOWS; n++) {
        append(l, n);
        remember(l, n + 1);
    }
    ledger_close(l);
    for (int i = 0; i < 2; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "state/%s", files[i].name);
        files[i].good = scratch_read(name, &files[i].size);
    }
}

static void check(const struct ledger *l)
{
    const struct quarantined *q;
    uint32_t n_quarantine;
    const uint64_t n = ledger_windows(l);
    CHECK(n <= WINDOWS);
    for (uint64_t w = 0; w <= n; w++)
        CHECK(ledger_first_slot(l, w) == known[w].slot && ledger_first_row(l, w) == known[w].row);
    CHECK(memcmp(ledger_counts(l), &known[n].counts, sizeof known[n].counts) == 0);
    ledger_quarantine(l, &q, &n_quarantine);
    CHECK(n_quarantine == known[n].n_quarantine);
    CHECK(n_quarantine == 0 || memcmp(q, quarantine, n_quarantine * sizeof *q) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[ROOM];
    if (size < 1)
        return 0;
    if (files[0].good == NULL)
        prepare();
    const size_t first = data[0] < size ? data[0] : size - 1;
    const struct {
        const uint8_t *data;
        size_t size;
    } strokes[] = {{data + 1, first}, {data + 1 + first, size - 1 - first}};
    for (int i = 0; i < 2; i++) {
        char name[64];
        memcpy(bytes, files[i].good, files[i].size);
        size_t n = damage(bytes, files[i].size, sizeof bytes, strokes[i].data, strokes[i].size);
        (void)snprintf(name, sizeof name, "state/%s", files[i].name);
        (void)scratch_write(name, bytes, n);
    }
    struct ledger *l = open_ledger();
    check(l);
    /* It goes on from where it is believed, and another opening finds what was written. */
    for (uint64_t n = ledger_windows(l); n < WINDOWS; n++)
        append(l, n);
    check(l);
    ledger_close(l);
    l = open_ledger();
    CHECK(ledger_windows(l) == WINDOWS);
    check(l);
    ledger_close(l);
    return 0;
}
