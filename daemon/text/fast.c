#include "text/fast.h"

#include "base/err.h"
#include "text/cache.h"
#include "text/normal.h"
#include "text/pieces.h"
#include "text/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libsentencepiece looks at that many user-defined symbols which begin at one place, and misreads more. */
#define NESTED_MAX 64

/* A cache and the figures of who holds it, on a line of its own. */
struct seat {
    alignas(64) _Atomic(struct cache *) cache; /* NULL: not made yet; &taken: some thread has it */
    atomic_uint_fast64_t texts, refused;       /* written by the thread that has it */
};

struct fast {
    struct cut *cut;
    struct bpe *bpe;
    struct normal normal;
    int32_t merged;  /* the id that never comes twice in a row: the unknown, without byte fallback; else -1 */
    uint32_t verify; /* one text in so many is compared; 0: none */
    atomic_uint_fast64_t compared, differed;
    atomic_bool doubted;
    struct pieces *pieces; /* until fast_check */
    struct seat seats[FAST_THREADS];
};

static char taken_mark;
#define TAKEN ((struct cache *)(void *)&taken_mark)

/* ---- which models ---- */

static const char *check_spec(const struct spm_spec *s)
{
    if (s->odd)
        return "its file has parts twice or of another type than they should be";
    if (s->model_type != SPM_BPE)
        return "it is no BPE model";
    if (s->escape_whitespaces != 1)
        return "it keeps spaces as they are";
    if (s->whitespace_as_suffix != 0)
        return "its spaces come after words";
    if (s->add_dummy_prefix > 1 || s->remove_extra_whitespaces > 1 || s->byte_fallback > 1)
        return "a flag in it is neither 0 nor 1";
    return NULL;
}

/* Is it valid UTF-8 without this byte? */
static bool is_clean(struct slice piece, char without)
{
    uint32_t point;
    if (memchr(piece.data, without, piece.size) != NULL)
        return false;
    for (size_t i = 0, n; i < piece.size; i += n)
        if ((n = utf8_take((const uint8_t *)piece.data + i, piece.size - i, &point)) == 0)
            return false;
    return true;
}

static const char *check_text(const struct pieces *p, int32_t id)
{
    if (!is_clean(p->raw[id], ' '))
        return "a piece of it holds a space, or is not valid UTF-8";
    if (p->types[id] == SPM_USER_DEFINED && !is_clean(p->raw[id], '\0'))
        return "a user-defined symbol of it holds a NUL byte";
    if (!isfinite(p->scores[id]))
        return "a piece of it has no finite score";
    return NULL;
}

/* A control symbol, a byte, the unknown: what text cannot turn into. */
static const char *check_symbol(const struct pieces *p, int32_t id)
{
    struct slice name = p->texts[id];
    uint32_t point;
    if (utf8_take((const uint8_t *)name.data, name.size, &point) == name.size)
        return "a single character is a control symbol of it";
    if (pieces_find(p, name) >= 0) /* for both the library gives the id of the former */
        return "a piece of it has the text of a control symbol";
    return NULL;
}

static const char *check_pieces(const struct pieces *p)
{
    bool has_size[BPE_BYTES_MAX + 1] = {false};
    unsigned n_sizes = 0;
    if (p->n > BPE_PIECES_MAX)
        return "it has too many pieces";
    for (int32_t id = 0; id < p->n; id++) {
        const char *why = pieces_in_text(p, id) ? check_text(p, id) : check_symbol(p, id);
        if (why != NULL)
            return why;
        if (p->types[id] != SPM_USER_DEFINED)
            continue;
        size_t size = p->texts[id].size;
        if (size > BPE_BYTES_MAX || (!has_size[size] && ++n_sizes > NESTED_MAX))
            return "its user-defined symbols are too long, or of too many lengths";
        has_size[size] = true;
    }
    return pieces_find(p, slice_of(" ")) < 0 ? "a space is no piece of it" : NULL;
}

/* A user-defined symbol stays as it is in text, whatever the normaliser's rules. */
static const char *check_defined(const struct pieces *p, const struct normal *n)
{
    for (int32_t id = 0; id < p->n; id++)
        for (size_t i = 0; p->types[id] == SPM_USER_DEFINED && i < p->texts[id].size; i++) {
            uint8_t c = (uint8_t)p->texts[id].data[i];
            if (n->to[c] >= 0 && n->to[c] != c)
                return "its normaliser has a rule for a character of a user-defined symbol";
        }
    return NULL;
}

/* ---- caches ---- */

/* Where this thread found one last: it comes back to what it knows, and new threads fill gaps first. */
static _Thread_local unsigned last_seat;

/* NULL: all taken, or no memory. */
static struct seat *take_seat(struct fast *f, struct cache **ret)
{
    for (unsigned k = 0; k <= FAST_THREADS; k++) {
        unsigned i = k == 0 ? last_seat : k - 1;
        struct seat *s = &f->seats[i];
        struct cache *c = atomic_exchange_explicit(&s->cache, TAKEN, memory_order_acquire);
        if (c == TAKEN)
            continue;
        if (c == NULL && (c = cache_new()) == NULL) {
            atomic_store_explicit(&s->cache, NULL, memory_order_release);
            return NULL;
        }
        last_seat = i;
        *ret = c;
        return s;
    }
    return NULL;
}

static uint64_t add_one(atomic_uint_fast64_t *counter)
{
    uint64_t n = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    atomic_store_explicit(counter, n, memory_order_relaxed);
    return n;
}

/* One in f->verify, spread by a multiplication: what texts are comes round with their number, and every
 * second one may be a prompt. */
static bool is_due(const struct fast *f, uint64_t number)
{
    return f->verify > 0 && (uint32_t)(number * 0x9E3779B97F4A7C15u >> 32) % f->verify == 0;
}

void fast_verify(struct fast *f, uint32_t one_in)
{
    f->verify = one_in;
}

/* As the library does: a run of characters that it does not know is one unknown. */
static void merge_unknown(int32_t unk, int32_t *ids, size_t first, size_t *n)
{
    size_t k = first;
    for (size_t i = first; i < *n; i++) {
        ids[k] = ids[i];
        k += ids[i] != unk || k == first || ids[k - 1] != unk;
    }
    *n = k;
}

int fast_encode(struct fast *f, struct slice text, int32_t **ids, size_t *cap, size_t *n, bool *ret_due)
{
    struct cache *c;
    *ret_due = false;
    struct seat *s = take_seat(f, &c);
    if (s == NULL)
        return 1;
    size_t first = *n;
    int rc = cache_encode(c, &f->normal, f->cut, f->bpe, text, ids, cap, n);
    if (f->merged >= 0)
        merge_unknown(f->merged, *ids, first, n);
    *ret_due = is_due(f, add_one(&s->texts));
    if (rc == 1)
        (void)add_one(&s->refused);
    atomic_store_explicit(&s->cache, c, memory_order_release);
    return rc;
}

void fast_compared(struct fast *f, bool same)
{
    atomic_fetch_add_explicit(&f->compared, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->differed, !same, memory_order_relaxed);
    if (!same)
        fast_doubt(f);
}

void fast_doubt(struct fast *f)
{
    atomic_store(&f->doubted, true);
}

bool fast_doubted(const struct fast *f)
{
    return atomic_load_explicit(&f->doubted, memory_order_acquire);
}

void fast_count(const struct fast *f, struct fast_counts *ret)
{
    *ret = (struct fast_counts){
        .compared = atomic_load_explicit(&f->compared, memory_order_relaxed),
        .differed = atomic_load_explicit(&f->differed, memory_order_relaxed),
        .memory = sizeof *f + cut_memory(f->cut) + bpe_memory(f->bpe),
    };
    for (unsigned i = 0; i < FAST_THREADS; i++) {
        const struct seat *s = &f->seats[i];
        ret->texts += atomic_load_explicit(&s->texts, memory_order_relaxed);
        ret->refused += atomic_load_explicit(&s->refused, memory_order_relaxed);
        if (atomic_load_explicit(&s->cache, memory_order_relaxed) != NULL)
            ret->memory += cache_memory();
    }
}

/* ---- compared at load time ---- */

#define CHECK_TEXTS 16
#define CHECK_PIECES 24 /* in one of them */

/* Pieces after one another, and what comes between words. */
static size_t draw_text(const struct pieces *p, uint64_t *draw, char *text)
{
    static const char *const between[] = {"", "", "", " ", "  ", "\n", ", ", "\t", "1", "\xc3\xa9"};
    size_t size = 0;
    for (int k = 0; k < CHECK_PIECES; k++) {
        *draw = *draw * 6364136223846793005u + 1442695040888963407u;
        struct slice piece = p->texts[(*draw >> 33) % (uint64_t)p->n];
        const char *gap = between[(*draw >> 20) % (sizeof between / sizeof *between)];
        if (piece.size > BPE_BYTES_MAX)
            continue;
        memcpy(text + size, piece.data, piece.size);
        size += piece.size;
        memcpy(text + size, gap, strlen(gap));
        size += strlen(gap);
    }
    return size;
}

/* 0: the same ids as the library; 1: others; negative: an error. */
static int check_ids(struct fast *f, const struct sp *sp, struct err *reterr)
{
    char text[CHECK_PIECES * (BPE_BYTES_MAX + 4)];
    int32_t *ours = NULL, *theirs = NULL;
    size_t ours_cap = 0, theirs_cap = 0;
    uint64_t draw = 1;
    bool due;
    int rc = 0;
    for (int i = 0; i < CHECK_TEXTS && rc == 0; i++) {
        struct slice s = {text, draw_text(f->pieces, &draw, text)};
        size_t n_ours = 0, n_theirs = 0;
        rc = fast_encode(f, s, &ours, &ours_cap, &n_ours, &due);
        if (rc == 1) { /* a part of it was too long */
            rc = 0;
            continue;
        }
        if (rc == 0)
            rc = sp_encode(sp, s, &theirs, &theirs_cap, &n_theirs, reterr);
        if (rc == 0 && n_theirs > 0)
            rc = n_ours != n_theirs || memcmp(ours, theirs, n_ours * sizeof *ours) != 0;
    }
    free(ours);
    free(theirs);
    return rc;
}

/* Does the library read the same pieces from the file? */
static bool check_reading(const struct fast *f, const struct sp *sp)
{
    const struct pieces *p = f->pieces;
    bool same = sp_n_pieces(sp) == p->n && (f->merged < 0 || sp_unk(sp) == f->merged);
    for (int32_t id = 0; same && id < p->n; id++) {
        const float score = sp_score(sp, id);
        same = slice_same(sp_piece(sp, id), p->raw[id]) && memcmp(&score, &p->scores[id], sizeof score) == 0;
    }
    return same;
}

int fast_check(struct fast *f, const struct sp *sp, const char **ret_why, struct err *reterr)
{
    int rc = 0;
    *ret_why = check_reading(f, sp) ? NULL : "libsentencepiece reads other pieces from its file";
    if (*ret_why == NULL)
        rc = check_ids(f, sp, reterr);
    if (rc == 1)
        *ret_why = "our own code gave other ids than libsentencepiece on a text to try it";
    pieces_free(f->pieces);
    f->pieces = NULL;
    return rc == 1 ? 0 : rc;
}

/* ---- tables ---- */

/* The id of the unknown; -1: there is none. */
static int32_t find_unknown(const struct pieces *p)
{
    for (int32_t id = 0; id < p->n; id++)
        if (p->types[id] == SPM_UNKNOWN)
            return id;
    return -1;
}

/* The ids of byte pieces; false: some are missing. */
static bool find_bytes(const struct pieces *p, int32_t *bytes)
{
    unsigned n = 0;
    for (int32_t id = 0; id < p->n; id++) {
        char name[8] = "";
        unsigned byte;
        if (p->types[id] != SPM_BYTE || p->raw[id].size >= sizeof name)
            continue;
        memcpy(name, p->raw[id].data, p->raw[id].size);
        if (sscanf(name, "<0x%2X>", &byte) == 1) {
            bytes[byte] = id;
            n++;
        }
    }
    return n == 256; /* of each one: the library takes no piece twice */
}

/* *ret_why is NULL if they are good. */
static int make_tables(struct fast *f, const struct spm_spec *spec, const char **ret_why)
{
    const struct pieces *p = f->pieces;
    const bool fallback = spec->byte_fallback != 0;
    int32_t bytes[256];
    *ret_why = normal_init(&f->normal, spec) ? check_pieces(p) : "its normaliser has odd rules";
    if (*ret_why == NULL)
        *ret_why = check_defined(p, &f->normal);
    if (*ret_why == NULL && (fallback ? !find_bytes(p, bytes) : find_unknown(p) < 0))
        *ret_why = "it has no piece for what it does not know";
    if (*ret_why != NULL)
        return 0;
    f->merged = fallback ? -1 : find_unknown(p);
    int rc = cut_new(p, &f->cut);
    if (rc == 0)
        rc = bpe_new(p, fallback ? bytes : NULL, f->merged, &f->bpe);
    if (rc == 1)
        *ret_why = "an unused piece of it comes about in two ways";
    return rc == 1 ? 0 : rc;
}

int fast_new(const struct spm_file *file, struct fast **ret, const char **ret_why, struct err *reterr)
{
    *ret = NULL;
    *ret_why = check_spec(&file->spec);
    if (*ret_why != NULL)
        return 0;
    struct fast *f = aligned_alloc(alignof(struct fast), sizeof *f);
    if (f != NULL)
        memset(f, 0, sizeof *f);
    int rc = f == NULL ? -ENOMEM : pieces_new(file, &f->pieces);
    if (rc == 0)
        rc = make_tables(f, &file->spec, ret_why);
    if (rc == 0 && *ret_why == NULL)
        *ret = f;
    else
        fast_free(f);
    return rc == 0 ? 0 : err_sys(reterr, rc, "tables");
}

void fast_free(struct fast *f)
{
    if (f == NULL)
        return;
    for (unsigned i = 0; i < FAST_THREADS; i++)
        cache_free(atomic_load(&f->seats[i].cache));
    pieces_free(f->pieces);
    cut_free(f->cut);
    bpe_free(f->bpe);
    free(f);
}
