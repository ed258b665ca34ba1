#include "text/tokenizer.h"

#include "base/file.h"
#include "text/fast.h"
#include "text/spm_file.h"
#include "text/tokenizer_sp.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Larger than any model there is: a vocabulary of 256,000 pieces takes 4 MB. */
#define MODEL_BYTES_MAX (256u << 20)

struct tokenizer {
    atomic_uint refs;
    struct sp *sp;
    struct fast *fast;   /* NULL: libsentencepiece does all, */
    const char *why_not; /* for this reason */
    bool library;        /* it does all as the configuration says so */
    bool doubted_before; /* what our own code makes was found wrong by an earlier run */
    uint8_t *types;      /* enum spm_type, [n_pieces] */
    int32_t n_pieces, vocab_size;
    int32_t bos, eos, pad;         /* the library finds them by their names, each time it is asked */
    struct conf_special *specials; /* copies */
    uint32_t n_specials;
    char *path;
    char sha256[2 * crypto_hash_sha256_BYTES + 1];
};

/* Our own tables are made on a thread of their own: they take about as long as the library takes to load. */
struct making {
    const struct spm_file *file;
    pthread_t thread;
    bool is_thread;
    struct fast *fast; /* or why not */
    const char *why_not;
    int rc;
    struct err err;
};

static void *make_fast(void *arg)
{
    struct making *m = arg;
    m->rc = fast_new(m->file, &m->fast, &m->why_not, &m->err);
    return NULL;
}

static void begin_making(struct making *m, const struct spm_file *file)
{
    *m = (struct making){.file = file};
    m->is_thread = pthread_create(&m->thread, NULL, make_fast, m) == 0;
}

static int end_making(struct making *m, struct tokenizer *t, struct err *reterr)
{
    if (m->is_thread)
        (void)pthread_join(m->thread, NULL);
    else
        (void)make_fast(m);
    t->fast = m->fast;
    t->why_not = m->why_not;
    return m->rc == 0 ? 0 : err_set(reterr, m->rc, "%s: %s", t->path, m->err.text);
}

static void set_sha256(struct tokenizer *t, struct slice file)
{
    unsigned char sum[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(sum, (const unsigned char *)file.data, file.size);
    sodium_bin2hex(t->sha256, sizeof t->sha256, sum, sizeof sum);
}

static int32_t find_pad(const struct sp *sp)
{
    int32_t pad = sp_pad(sp);
    if (pad < 0)
        pad = sp_eos(sp);
    if (pad < 0)
        pad = sp_unk(sp);
    return pad < 0 ? 0 : pad;
}

static int load_library(struct tokenizer *t, struct slice file, uint32_t n_pieces, struct err *reterr)
{
    int rc = sp_load(file, &t->sp, reterr);
    if (rc != 0)
        return err_wrap(reterr, rc, "%s: cannot be used as a SentencePiece model", t->path);
    if (sp_n_pieces(t->sp) != (int32_t)n_pieces)
        return err_set(reterr, ERR_MODEL,
                       "%s: libsentencepiece finds %d pieces in it, we %u; get the file again", t->path,
                       sp_n_pieces(t->sp), n_pieces);
    t->n_pieces = t->vocab_size = (int32_t)n_pieces;
    t->bos = sp_bos(t->sp);
    t->eos = sp_eos(t->sp);
    t->pad = find_pad(t->sp);
    return 0;
}

/* spm: of the same file; what is borrowed from it is not kept. */
static int load_model(struct tokenizer *t, struct slice file, const struct spm_file *spm, struct err *reterr)
{
    struct making ours;
    struct err err;
    begin_making(&ours, spm);
    int rc = load_library(t, file, spm->n, reterr);
    set_sha256(t, file);
    const int ours_rc = end_making(&ours, t, &err);
    if (rc != 0)
        return rc;
    if (ours_rc != 0)
        return err_set(reterr, ours_rc, "%s", err.text);
    if (t->fast != NULL && (rc = fast_check(t->fast, t->sp, &t->why_not, reterr)) != 0)
        return err_wrap(reterr, rc, "%s", t->path);
    if (t->why_not != NULL) {
        fast_free(t->fast);
        t->fast = NULL;
    }
    return 0;
}

static int read_model(struct tokenizer *t, struct slice file, struct err *reterr)
{
    struct spm_file spm = {.n = 0};
    int rc = spm_file_read(file, &spm);
    if (rc == ERR_FORMAT)
        return err_set(
            reterr, ERR_MODEL,
            "%s: not a SentencePiece model, or one that is cut short (%zu bytes); give the tokenizer.model "
            "file of the model to be trained",
            t->path, file.size);
    if (rc != 0)
        return err_sys(reterr, rc, "%s", t->path);
    rc = load_model(t, file, &spm, reterr);
    t->types = spm.types;
    spm.types = NULL;
    spm_file_fini(&spm);
    return rc;
}

static int check_special(const struct tokenizer *t, const struct conf_special *s, struct err *reterr)
{
    int32_t known = sp_id(t->sp, slice_of(s->piece)), n = t->n_pieces;
    /* Added tokens follow the model's own, with gaps where only some are named; a slip of a digit lands
     * elsewhere. */
    int64_t id_max = 2 * (int64_t)n + 1024;
    for (uint32_t i = 0; i < t->n_specials; i++) {
        if (strcmp(t->specials[i].piece, s->piece) == 0)
            return err_set(reterr, ERR_MODEL, "special_tokens: '%s' is given twice; keep one", s->piece);
        if (t->specials[i].id == s->id)
            return err_set(reterr, ERR_MODEL,
                           "special_tokens: '%s' and '%s' both have id %d; each needs its own",
                           t->specials[i].piece, s->piece, s->id);
    }
    if (known >= 0 && known != s->id)
        return err_set(reterr, ERR_MODEL,
                       "special_tokens: '%s' is %d here, but %s has it as %d; leave it out, or correct it",
                       s->piece, s->id, t->path, known);
    if (known < 0 && s->id >= 0 && s->id < n) {
        struct slice other = sp_piece(t->sp, s->id);
        return err_set(reterr, ERR_MODEL,
                       "special_tokens: '%s' is %d here, but %s uses that id for '%.*s'; ids of added tokens "
                       "start at %d",
                       s->piece, s->id, t->path, (int)other.size, other.data, n);
    }
    if (s->id < 0 || s->id > id_max)
        return err_set(reterr, ERR_MODEL,
                       "special_tokens: '%s' is %d here; ids of tokens added to %s lie in %d..%lld", s->piece,
                       s->id, t->path, n, (long long)id_max);
    return 0;
}

static int add_special(struct tokenizer *t, const struct conf_special *s, struct err *reterr)
{
    int rc = check_special(t, s, reterr);
    if (rc != 0)
        return rc;
    char *name = strdup(s->piece);
    if (name == NULL)
        return err_sys(reterr, -ENOMEM, "special_tokens");
    t->specials[t->n_specials++] = (struct conf_special){.piece = name, .id = s->id};
    if (s->id >= t->vocab_size)
        t->vocab_size = s->id + 1;
    return 0;
}

int tokenizer_load(const char *path, const struct conf_special *special, uint32_t n, struct tokenizer **ret,
                   struct err *reterr)
{
    char *data = NULL;
    size_t size = 0;
    int rc = file_read(path, MODEL_BYTES_MAX, &data, &size, reterr);
    if (rc != 0)
        return err_wrap(reterr, rc, "tokenizer");
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t != NULL) {
        atomic_init(&t->refs, 1);
        t->path = strdup(path);
        t->specials = calloc(n + 1, sizeof *t->specials);
    }
    if (t == NULL || t->path == NULL || t->specials == NULL) {
        rc = err_sys(reterr, -ENOMEM, "%s", path);
        goto out_free;
    }
    rc = read_model(t, (struct slice){data, size}, reterr);
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = add_special(t, &special[i], reterr);
    if (rc != 0) {
        (void)err_wrap(reterr, rc, "tokenizer");
        goto out_free;
    }
    tokenizer_set(t, TOKENIZER_AUTO, TOKENIZER_VERIFY);
    *ret = t;
    t = NULL;
out_free:
    tokenizer_unref(t);
    free(data);
    return rc;
}

void tokenizer_set(struct tokenizer *t, enum tokenizer_path path, uint32_t verify)
{
    t->library = path == TOKENIZER_LIBRARY;
    if (t->fast != NULL)
        fast_verify(t->fast, verify);
}

struct tokenizer *tokenizer_ref(struct tokenizer *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tokenizer_unref(struct tokenizer *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < t->n_specials; i++)
        free(t->specials[i].piece);
    free(t->specials);
    free(t->types);
    free(t->path);
    fast_free(t->fast);
    sp_free(t->sp);
    free(t);
}

static int encode_by_library(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap,
                             size_t *n, struct err *reterr)
{
    int rc = sp_encode(t->sp, text, ids, cap, n, reterr);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "%s: tokenising %zu bytes", t->path, text.size);
}

/* The ids from `first` on are ours; they give way to the library's, and it is counted if those are others. */
static int compare(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t first,
                   size_t *n, struct err *reterr)
{
    size_t n_ours = *n - first, after = *n;
    int rc = encode_by_library(t, text, ids, cap, &after, reterr);
    if (rc != 0)
        return rc;
    size_t n_theirs = after - *n;
    bool same =
        n_ours == n_theirs && (n_ours == 0 || memcmp(*ids + first, *ids + *n, n_ours * sizeof **ids) == 0);
    if (!same)
        memmove(*ids + first, *ids + *n, n_theirs * sizeof **ids);
    *n = first + n_theirs;
    fast_compared(t->fast, same);
    return 0;
}

/* By our own code; 1: the text is the library's job. */
static int encode_own(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                      bool *ret_due, struct err *reterr)
{
    int rc = fast_encode(t->fast, text, ids, cap, n, ret_due);
    return rc < 0 ? err_sys(reterr, rc, "%s: tokenising %zu bytes", t->path, text.size) : rc;
}

int tokenizer_encode(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                     struct err *reterr)
{
    size_t first = *n;
    bool due = false;
    int rc = tokenizer_own(t) ? encode_own(t, text, ids, cap, n, &due, reterr) : 1;
    if (rc == 1)
        return encode_by_library(t, text, ids, cap, n, reterr);
    return rc == 0 && due ? compare(t, text, ids, cap, first, n, reterr) : rc;
}

int tokenizer_encode_own(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                         struct err *reterr)
{
    bool due;
    int rc = t->fast != NULL ? encode_own(t, text, ids, cap, n, &due, reterr) : 1;
    return rc == 1 ? encode_by_library(t, text, ids, cap, n, reterr) : rc;
}

bool tokenizer_own(const struct tokenizer *t)
{
    return t->fast != NULL && !t->library && !fast_doubted(t->fast);
}

bool tokenizer_doubted(const struct tokenizer *t)
{
    return t->fast != NULL && fast_doubted(t->fast);
}

void tokenizer_doubt(struct tokenizer *t, bool before)
{
    if (t->fast == NULL || fast_doubted(t->fast))
        return;
    t->doubted_before = before;
    fast_doubt(t->fast);
}

void tokenizer_facts(const struct tokenizer *t, struct tokenizer_facts *ret)
{
    *ret = (struct tokenizer_facts){.why_not = t->why_not};
    if (t->fast == NULL)
        return;
    fast_count(t->fast, &ret->counts);
    if (fast_doubted(t->fast))
        ret->why_not = t->doubted_before ? "our own code gave other ids in an earlier run"
                                         : "our own code gave other ids";
    else if (t->library)
        ret->why_not = "tokenizer.path says so";
}

int32_t tokenizer_symbol(const struct tokenizer *t, struct slice name)
{
    for (uint32_t i = 0; i < t->n_specials; i++)
        if (slice_is(name, t->specials[i].piece))
            return t->specials[i].id;
    int32_t id = sp_id(t->sp, name);
    return id >= 0 && (t->types[id] == SPM_CONTROL || t->types[id] == SPM_USER_DEFINED) ? id : -1;
}

bool tokenizer_in_text(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_pieces && t->types[id] != SPM_CONTROL && t->types[id] != SPM_UNUSED;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_pad(const struct tokenizer *t)
{
    return t->pad;
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab_size;
}

static const char *special_name(const struct tokenizer *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_specials; i++)
        if (t->specials[i].id == id)
            return t->specials[i].piece;
    return NULL;
}

size_t tokenizer_piece(const struct tokenizer *t, int32_t id, char *buf, size_t cap)
{
    static const char space_mark[] = "\xe2\x96\x81"; /* U+2581 */
    const size_t mark_size = sizeof space_mark - 1;
    const char *name = special_name(t, id);
    struct slice piece = name != NULL                  ? slice_of(name)
                         : id >= 0 && id < t->n_pieces ? sp_piece(t->sp, id)
                                                       : slice_of("");
    size_t n = 0;
    unsigned byte;
    if (cap == 0)
        return 0;
    if (name == NULL && piece.size > 0 && t->types[id] == SPM_BYTE &&
        sscanf(piece.data, "<0x%2X>", &byte) == 1) {
        if (cap > 1)
            buf[n++] = (char)byte;
        buf[n] = '\0';
        return n;
    }
    while (piece.size > 0 && n + 1 < cap) {
        bool space = piece.size >= mark_size && memcmp(piece.data, space_mark, mark_size) == 0;
        size_t step = space ? mark_size : 1;
        buf[n++] = space ? ' ' : *piece.data;
        piece.data += step;
        piece.size -= step;
    }
    buf[n] = '\0';
    return n;
}

const char *tokenizer_path(const struct tokenizer *t)
{
    return t->path;
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}
