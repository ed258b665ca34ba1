#include "stream/start.h"

#include "base/file.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define START_MAGIC 0x31545354534e4c41ull /* "ALNSTST1" */
#define START_VERSION 1
#define START_BYTES_MAX (256u << 20)

/* The file: header, corpora, documents left over, the pieces of those that are not whole, check. */
struct header {
    uint64_t magic, fingerprint, epoch, lost;
    uint32_t version, n_corpora, n_left, n_pieces;
};

struct disk_corpus {
    char name[72]; /* NULs to the end */
    uint64_t records, fingerprint, pass, at, pass_seed, first_slots;
};

struct disk_left {
    uint32_t corpus, pass;
    uint64_t record;
};

struct disk_piece {
    uint32_t left; /* index; they increase */
    struct piece piece;
};
_Static_assert(sizeof(struct header) == 48 && sizeof(struct disk_corpus) == 120 &&
                   sizeof(struct disk_left) == 16 && sizeof(struct disk_piece) == 20,
               "no padding goes to disk");

void start_fini(struct start *s)
{
    free(s->corpora);
    free(s->left);
    *s = (struct start){0};
}

static bool is_piece(const struct slot *s)
{
    static const struct piece whole;
    return memcmp(&s->piece, &whole, sizeof whole) != 0;
}

static struct header header_of(const struct start *s, uint64_t fingerprint)
{
    struct header h = {.magic = START_MAGIC,
                       .fingerprint = fingerprint,
                       .epoch = s->epoch,
                       .lost = s->lost,
                       .version = START_VERSION,
                       .n_corpora = s->n_corpora,
                       .n_left = s->n_left};
    for (uint32_t i = 0; i < s->n_left; i++)
        h.n_pieces += is_piece(&s->left[i]);
    return h;
}

static struct disk_corpus to_disk(const struct start_corpus *c)
{
    struct disk_corpus d = {.records = c->records,
                            .fingerprint = c->fingerprint,
                            .at = c->at,
                            .pass_seed = c->pass_seed,
                            .first_slots = c->first_slots,
                            .pass = c->pass};
    memcpy(d.name, c->name, strnlen(c->name, sizeof c->name));
    return d;
}

/* Where each part of the file begins; [PARTS] is its size. */
enum { CORPORA, LEFT, PIECES, CHECKSUM, PARTS };

static void lay_out(const struct header *h, uint64_t at[PARTS + 1])
{
    at[CORPORA] = sizeof *h;
    at[LEFT] = at[CORPORA] + (uint64_t)h->n_corpora * sizeof(struct disk_corpus);
    at[PIECES] = at[LEFT] + (uint64_t)h->n_left * sizeof(struct disk_left);
    at[CHECKSUM] = at[PIECES] + (uint64_t)h->n_pieces * sizeof(struct disk_piece);
    at[PARTS] = at[CHECKSUM] + sizeof(uint64_t);
}

static void encode(const struct start *s, const struct header *h, const uint64_t at[PARTS + 1], char *to)
{
    char *piece_at = to + at[PIECES];
    memcpy(to, h, sizeof *h);
    for (uint32_t c = 0; c < s->n_corpora; c++) {
        struct disk_corpus d = to_disk(&s->corpora[c]);
        memcpy(to + at[CORPORA] + c * sizeof d, &d, sizeof d);
    }
    for (uint32_t i = 0; i < s->n_left; i++) {
        const struct slot *l = &s->left[i];
        struct disk_left d = {.corpus = l->corpus, .pass = l->pass, .record = l->record};
        struct disk_piece p = {.left = i, .piece = l->piece};
        memcpy(to + at[LEFT] + i * sizeof d, &d, sizeof d);
        if (!is_piece(l))
            continue;
        memcpy(piece_at, &p, sizeof p);
        piece_at += sizeof p;
    }
    uint64_t check = XXH3_64bits(to, at[CHECKSUM]);
    memcpy(to + at[CHECKSUM], &check, sizeof check);
}

struct order *start_order(const struct start *s, const struct recipe *r)
{
    struct order_corpus *corpora = calloc(r->n_corpora, sizeof corpora[0]);
    if (corpora == NULL)
        return NULL;
    for (uint32_t c = 0; c < r->n_corpora; c++)
        corpora[c] = (struct order_corpus){.hash = r->corpus_hash[c],
                                           .records = s->corpora[c].records,
                                           .slots = r->epoch_slots[c],
                                           .first_slots = s->corpora[c].first_slots,
                                           .pass = s->corpora[c].pass,
                                           .at = s->corpora[c].at,
                                           .pass_seed = s->corpora[c].pass_seed};
    struct order *o = order_new((uint64_t)r->conf->seed, corpora, r->n_corpora, s->epoch,
                                (uint64_t)r->conf->epochs, s->left, s->n_left);
    free(corpora);
    return o;
}

uint64_t start_hash(const struct start *s)
{
    struct header h = header_of(s, 0);
    h.version = 0; /* of the file, not of what is in it */
    uint64_t hash = XXH3_64bits(&h, sizeof h);
    for (uint32_t c = 0; c < s->n_corpora; c++) {
        struct disk_corpus d = to_disk(&s->corpora[c]);
        hash = XXH3_64bits_withSeed(&d, sizeof d, hash);
    }
    for (uint32_t i = 0; i < s->n_left; i++) {
        const struct slot *l = &s->left[i];
        struct disk_left d = {.corpus = l->corpus, .pass = l->pass, .record = l->record};
        hash = XXH3_64bits_withSeed(&d, sizeof d, hash);
        hash = XXH3_64bits_withSeed(&l->piece, sizeof l->piece, hash);
    }
    return hash;
}

int start_write(const char *path, uint64_t fingerprint, const struct start *s, bool sync, struct err *reterr)
{
    struct header h = header_of(s, fingerprint);
    uint64_t at[PARTS + 1];
    lay_out(&h, at);
    if (at[PARTS] > START_BYTES_MAX)
        return err_set(reterr, ERR_LIMIT, "%s: would have %llu bytes, at most %u are taken", path,
                       (unsigned long long)at[PARTS], START_BYTES_MAX);
    char *bytes = malloc(at[PARTS]);
    if (bytes == NULL)
        return err_sys(reterr, -ENOMEM, "%s", path);
    encode(s, &h, at, bytes);
    int rc = file_replace(path, bytes, at[PARTS], sync, reterr);
    free(bytes);
    return rc < 0 ? rc : 0; /* one that a power cut takes back is computed again */
}

/* Is this a whole file of ours? The lengths come first, so that nothing beyond its end is looked at. */
static bool is_whole(const char *bytes, size_t size, uint64_t fingerprint, struct header *h,
                     uint64_t at[PARTS + 1])
{
    uint64_t check;
    if (size < sizeof *h)
        return false;
    memcpy(h, bytes, sizeof *h);
    lay_out(h, at);
    if (h->magic != START_MAGIC || h->version != START_VERSION || h->fingerprint != fingerprint ||
        at[PARTS] != size)
        return false;
    memcpy(&check, bytes + at[CHECKSUM], sizeof check);
    return check == XXH3_64bits(bytes, at[CHECKSUM]);
}

/* Whether every name ends and every index is inside. */
static bool decode(const char *bytes, const struct header *h, const uint64_t at[PARTS + 1], struct start *s)
{
    for (uint32_t c = 0; c < h->n_corpora; c++) {
        struct disk_corpus d;
        memcpy(&d, bytes + at[CORPORA] + c * sizeof d, sizeof d);
        struct start_corpus *to = &s->corpora[c];
        if (memchr(d.name, '\0', sizeof to->name) == NULL || d.pass > UINT32_MAX)
            return false;
        *to = (struct start_corpus){.records = d.records,
                                    .fingerprint = d.fingerprint,
                                    .pass = (uint32_t)d.pass,
                                    .at = d.at,
                                    .pass_seed = d.pass_seed,
                                    .first_slots = d.first_slots};
        memcpy(to->name, d.name, sizeof to->name);
    }
    for (uint32_t i = 0; i < h->n_left; i++) {
        struct disk_left d;
        memcpy(&d, bytes + at[LEFT] + i * sizeof d, sizeof d);
        if (d.corpus >= h->n_corpora)
            return false;
        s->left[i] = (struct slot){.corpus = d.corpus, .pass = d.pass, .record = d.record};
    }
    for (uint32_t i = 0; i < h->n_pieces; i++) {
        struct disk_piece p;
        memcpy(&p, bytes + at[PIECES] + i * sizeof p, sizeof p);
        if (p.left >= h->n_left)
            return false;
        s->left[p.left].piece = p.piece;
    }
    return true;
}

int start_read(const char *path, uint64_t fingerprint, struct start *ret, struct err *reterr)
{
    char *bytes = NULL;
    size_t size;
    struct header h;
    uint64_t at[PARTS + 1];
    struct start s = {0};
    int rc = file_read(path, START_BYTES_MAX, &bytes, &size, reterr);
    if (rc == -ENOENT || rc == ERR_LIMIT)
        return 0;
    if (rc != 0)
        return rc;
    if (!is_whole(bytes, size, fingerprint, &h, at))
        goto out_free;
    s = (struct start){.epoch = h.epoch, .lost = h.lost, .n_corpora = h.n_corpora, .n_left = h.n_left};
    s.corpora = calloc((size_t)h.n_corpora + 1, sizeof s.corpora[0]);
    s.left = calloc((size_t)h.n_left + 1, sizeof s.left[0]);
    if (s.corpora == NULL || s.left == NULL) {
        rc = err_sys(reterr, -ENOMEM, "%s", path);
        goto out_free;
    }
    if (decode(bytes, &h, at, &s)) {
        *ret = s;
        s = (struct start){0};
        rc = 1;
    }
out_free:
    start_fini(&s);
    free(bytes);
    return rc;
}
