#include "stream/ledger.h"

#include "base/array.h"
#include "base/file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define LEDGER_MAGIC 0x31474c4e47494c41ull /* "ALIGNLG1" */
#define LEDGER_VERSION 4
/* A window's duplicates are not listed where so many records are before it: they are found again without a
 * list, and those that it is there for must have room. */
#define LISTED_DUPLICATES (STREAM_QUARANTINE / 2)

struct header {
    uint64_t magic, version, fingerprint, check;
};

struct entry {
    uint32_t n_slots, n_rows, documents, truncated;
    uint64_t tokens, supervised;
    uint32_t split, left_out, outcome[POS_OUTCOME__COUNT], unusable[UNUSABLE__COUNT - 1];
    uint64_t check; /* of all before it, seeded with the window's number */
};
_Static_assert(sizeof(struct entry) <= 128, "a window costs little on disk");
_Static_assert(sizeof(struct quarantined) == offsetof(struct quarantined, check) + sizeof(uint32_t),
               "no padding goes to disk");

struct ledger {
    int fd, quarantine_fd;
    uint64_t n;
    struct from {
        uint64_t slot, row, token;
    } * from; /* [n + 1]: where each window begins */
    size_t from_cap;
    struct stream_counts counts;
    struct quarantined *quarantine;
    size_t n_quarantine, quarantine_cap;
    struct err failure;
};

static uint64_t check_of(const struct entry *e, uint64_t window)
{
    return XXH3_64bits_withSeed(e, offsetof(struct entry, check), window);
}

static int add(struct ledger *l, const struct entry *e)
{
    if (array_grow(&l->from, &l->from_cap, l->n + 2) != 0)
        return -ENOMEM;
    const struct from *last = &l->from[l->n];
    l->from[l->n + 1] = (struct from){
        .slot = last->slot + e->n_slots, .row = last->row + e->n_rows, .token = last->token + e->tokens};
    l->n++;
    struct stream_counts *c = &l->counts;
    c->windows++;
    c->slots += e->n_slots;
    c->rows += e->n_rows;
    c->documents += e->documents;
    c->tokens += e->tokens;
    c->supervised += e->supervised;
    c->truncated += e->truncated;
    c->split += e->split;
    c->left_out += e->left_out;
    for (int i = 0; i < POS_OUTCOME__COUNT; i++)
        c->outcome[i] += e->outcome[i];
    for (int i = 1; i < UNUSABLE__COUNT; i++)
        c->unusable[i] += e->unusable[i - 1];
    return 0;
}

static uint32_t quarantine_check_of(const struct quarantined *q, uint64_t i)
{
    return (uint32_t)XXH3_64bits_withSeed(q, offsetof(struct quarantined, check), i);
}

static int read_quarantine(struct ledger *l)
{
    struct quarantined q;
    for (uint64_t i = 0; i < STREAM_QUARANTINE; i++) {
        if (pread(l->quarantine_fd, &q, sizeof q, (off_t)(i * sizeof q)) != (ssize_t)sizeof q ||
            q.check != quarantine_check_of(&q, i))
            break;
        if (array_grow(&l->quarantine, &l->quarantine_cap, i + 1) != 0)
            return -ENOMEM;
        l->quarantine[l->n_quarantine++] = q;
    }
    return 0;
}

/* Is an unusable record of a window listed that begins after n of the list? */
static bool is_listed(size_t n, enum unusable reason)
{
    return reason != UNUSABLE_DUPLICATE || n < LISTED_DUPLICATES;
}

/* Are the unusable records of window l->n, which has this entry, in the quarantine, from *n on? Moves *n past
 * them. */
static bool has_quarantine(const struct ledger *l, const struct entry *e, size_t *n)
{
    uint64_t end = *n;
    for (int i = 0; i < UNUSABLE__COUNT - 1; i++)
        end += is_listed(*n, (enum unusable)(i + 1)) ? e->unusable[i] : 0;
    if (end > STREAM_QUARANTINE)
        end = STREAM_QUARANTINE;
    if (end > l->n_quarantine)
        return false;
    for (size_t i = *n; i < end; i++)
        if (l->quarantine[i].window != l->n)
            return false;
    *n = end;
    return true;
}

/* Whole entries that check out and whose unusable records are all in the quarantine, from the start; what
 * follows the last of them is cut off, here and there. */
static int read_entries(struct ledger *l, enum ledger_found *found)
{
    struct entry e[256]; /* few calls to the system: a long job's ledger has millions */
    struct stat st;
    off_t at = sizeof(struct header);
    size_t n_quarantine = 0, n, i;
    do {
        ssize_t size = pread(l->fd, e, sizeof e, at);
        n = size < 0 ? 0 : (size_t)size / sizeof e[0];
        for (i = 0; i < n && e[i].check == check_of(&e[i], l->n) && has_quarantine(l, &e[i], &n_quarantine);
             i++)
            if (add(l, &e[i]) != 0)
                return -ENOMEM;
        at += (off_t)(i * sizeof e[0]);
    } while (i == sizeof e / sizeof e[0]);
    l->n_quarantine = n_quarantine;
    if (fstat(l->fd, &st) != 0 || ftruncate(l->fd, at) != 0 ||
        ftruncate(l->quarantine_fd, (off_t)(n_quarantine * sizeof l->quarantine[0])) != 0)
        return -errno;
    if (st.st_size > at)
        *found = LEDGER_TORN;
    return 0;
}

static int write_at(int fd, const void *data, size_t size, uint64_t at)
{
    ssize_t n = pwrite(fd, data, size, (off_t)at);
    return n == (ssize_t)size ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int open_files(struct ledger *l, const char *path, const char *quarantine_path, uint64_t fingerprint,
                      enum ledger_found *ret_found)
{
    struct header have = {0},
                  want = {.magic = LEDGER_MAGIC, .version = LEDGER_VERSION, .fingerprint = fingerprint};
    want.check = XXH3_64bits(&want, offsetof(struct header, check));
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->fd < 0)
        return -errno;
    ssize_t size = pread(l->fd, &have, sizeof have, 0);
    if (size < 0)
        return -errno;
    bool ours = size == (ssize_t)sizeof have && memcmp(&have, &want, sizeof have) == 0;
    l->quarantine_fd = open(quarantine_path, O_RDWR | O_CREAT | O_CLOEXEC | (ours ? 0 : O_TRUNC), 0644);
    if (l->quarantine_fd < 0)
        return -errno;
    *ret_found = ours ? LEDGER_WHOLE : size == 0 ? LEDGER_NONE : LEDGER_OTHER;
    if (ours)
        return 0;
    return ftruncate(l->fd, 0) != 0 ? -errno : write_at(l->fd, &want, sizeof want, 0);
}

/* A disk that is full or fails: what can be computed again does not stop a stream for that. */
static bool can_do_without(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG || rc == -EIO;
}

int ledger_open(const char *folder, uint32_t generation, uint64_t fingerprint, struct ledger **ret,
                enum ledger_found *ret_found, struct err *reterr)
{
    char path[PATH_MAX], quarantine[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%" PRIu32 ".ledger", folder, generation) >= (int)sizeof path ||
        snprintf(quarantine, sizeof quarantine, "%s/%" PRIu32 ".quarantine", folder, generation) >=
            (int)sizeof quarantine)
        return err_sys(reterr, -ENAMETOOLONG, "%s", folder);
    int rc = file_make_dir(folder, reterr);
    if (rc != 0)
        return rc;
    struct ledger *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_sys(reterr, -ENOMEM, "%s", path);
    enum ledger_found found = LEDGER_NONE;
    l->fd = l->quarantine_fd = -1;
    rc = array_grow(&l->from, &l->from_cap, 1);
    if (rc == 0) {
        l->from[0] = (struct from){0};
        rc = open_files(l, path, quarantine, fingerprint, &found);
    }
    if (rc == 0)
        rc = read_quarantine(l);
    if (rc == 0)
        rc = read_entries(l, &found);
    if (can_do_without(rc)) {
        (void)err_sys(&l->failure, rc, "the ledger cannot be opened");
        rc = 0;
    }
    if (rc != 0) {
        ledger_close(l);
        return err_sys(reterr, rc, "%s: cannot be opened for writing; check state_dir", path);
    }
    *ret = l;
    *ret_found = found;
    return 0;
}

void ledger_close(struct ledger *l)
{
    if (l == NULL)
        return;
    if (l->fd >= 0)
        (void)close(l->fd);
    if (l->quarantine_fd >= 0)
        (void)close(l->quarantine_fd);
    free(l->from);
    free(l->quarantine);
    free(l);
}

uint64_t ledger_windows(const struct ledger *l)
{
    return l->n;
}

uint64_t ledger_first_slot(const struct ledger *l, uint64_t w)
{
    return l->from[w].slot;
}

uint64_t ledger_first_row(const struct ledger *l, uint64_t w)
{
    return l->from[w].row;
}

uint64_t ledger_tokens(const struct ledger *l, uint64_t w)
{
    return l->from[w + 1].token - l->from[w].token;
}

uint64_t ledger_window_bytes(const struct ledger *l, uint64_t w)
{
    const struct from *from = &l->from[w];
    return window_bytes_likely(from[1].token - from->token, from[1].slot - from->slot);
}

uint64_t ledger_find(const struct ledger *l, uint64_t row)
{
    uint64_t low = 0, high = l->n; /* the last window that starts at or before row */
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (l->from[mid].row <= row)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static int remember_unusable(struct ledger *l, const struct window *w)
{
    const size_t first = l->n_quarantine;
    for (size_t i = 0; i < w->n_unusable && l->n_quarantine < STREAM_QUARANTINE; i++) {
        if (!is_listed(first, w->unusable[i].reason))
            continue;
        if (array_grow(&l->quarantine, &l->quarantine_cap, l->n_quarantine + 1) != 0)
            return -ENOMEM;
        const struct window_unusable *u = &w->unusable[i];
        struct quarantined *q = &l->quarantine[l->n_quarantine++];
        memset(q, 0, sizeof *q);
        q->window = w->number;
        q->corpus = u->corpus;
        q->pass = u->pass;
        q->record = u->record;
        q->reason = u->reason;
        memcpy(q->detail, u->detail, sizeof q->detail);
        q->check = quarantine_check_of(q, l->n_quarantine - 1);
    }
    return 0;
}

int ledger_append(struct ledger *l, const struct window *w)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    e.n_slots = w->n_slots;
    e.n_rows = (uint32_t)w->n_rows;
    e.documents = (uint32_t)w->n_docs;
    e.tokens = w->n_tokens;
    e.truncated = w->truncated;
    e.split = w->split;
    e.left_out = w->left_out;
    for (size_t i = 0; i < w->n_docs; i++) {
        e.supervised += w->docs[i].n_supervised;
        e.outcome[w->docs[i].outcome]++;
    }
    for (size_t i = 0; i < w->n_unusable; i++)
        e.unusable[w->unusable[i].reason - 1]++;
    e.check = check_of(&e, l->n);

    size_t first = l->n_quarantine;
    int rc = remember_unusable(l, w);
    if (rc == 0 && l->failure.text[0] == '\0') {
        if (l->n_quarantine > first)
            rc = write_at(l->quarantine_fd, l->quarantine + first,
                          (l->n_quarantine - first) * sizeof l->quarantine[0],
                          first * sizeof l->quarantine[0]);
        if (rc == 0)
            rc = write_at(l->fd, &e, sizeof e, sizeof(struct header) + l->n * sizeof e);
        if (rc != 0)
            (void)err_sys(&l->failure, rc, "the ledger cannot be written");
        rc = 0;
    }
    return rc == 0 ? add(l, &e) : rc;
}

int ledger_cut(struct ledger *l, uint64_t n)
{
    enum ledger_found found;
    l->n = 0;
    l->n_quarantine = 0;
    l->counts = (struct stream_counts){0};
    if (l->fd < 0 || l->quarantine_fd < 0) /* it was never on the disk */
        return 0;
    if (ftruncate(l->fd, (off_t)(sizeof(struct header) + n * sizeof(struct entry))) != 0)
        return -errno;
    int rc = read_quarantine(l);
    return rc == 0 ? read_entries(l, &found) : rc;
}

const char *ledger_failure(const struct ledger *l)
{
    return l->failure.text[0] != '\0' ? l->failure.text : NULL;
}

const struct stream_counts *ledger_counts(const struct ledger *l)
{
    return &l->counts;
}

void ledger_quarantine(const struct ledger *l, const struct quarantined **ret, uint32_t *ret_n)
{
    *ret = l->quarantine;
    *ret_n = (uint32_t)l->n_quarantine;
}
