#include "text/inspect.h"

#include "base/array.h"
#include "base/clock.h"
#include "base/file.h"
#include "config/value.h"
#include "text/spm_file.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODEL_BYTES_MAX (256u << 20)
#define DRAWN_BYTES (1u << 20) /* a third of a second for libsentencepiece */
#define TEXT_BYTES 2000        /* of one text, about as long as a turn */
#define PIECE_BYTES 256

struct inspection {
    struct tokenizer *tokenizer;
    struct tokenizer_facts facts;
    uint64_t model_type, n_of_type[SPM_BYTE + 1];
    const char *source; /* of the text; NULL: drawn */
    char *text;
    size_t size, cap;
    uint32_t n_texts, n_refused, n_compared, n_differed;
    uint64_t n_tokens;
    double library_ns, first_ns, again_ns; /* own: 0 where it does not tokenise */
};

/* ---- the model ---- */

static int read_model(struct inspection *i, const char *path, struct err *reterr)
{
    struct spm_file spm = {.n = 0};
    char *data;
    size_t size;
    int rc = tokenizer_load(path, NULL, 0, &i->tokenizer, reterr);
    if (rc == 0)
        rc = file_read(path, MODEL_BYTES_MAX, &data, &size, reterr);
    if (rc != 0)
        return rc;
    rc = spm_file_read((struct slice){data, size}, &spm);
    free(data);
    if (rc != 0)
        return err_sys(reterr, rc, "%s: it has changed while it was read", path);
    i->model_type = spm.spec.model_type;
    for (uint32_t k = 0; k < spm.n; k++)
        i->n_of_type[spm.types[k] <= SPM_BYTE ? spm.types[k] : 0]++;
    spm_file_fini(&spm);
    tokenizer_facts(i->tokenizer, &i->facts);
    return 0;
}

/* ---- text ---- */

static int append(struct inspection *i, const char *data, size_t size)
{
    int rc = array_grow(&i->text, &i->cap, i->size + size);
    if (rc == 0)
        memcpy(i->text + i->size, data, size);
    i->size += rc == 0 ? size : 0;
    return rc;
}

/* Pieces that text is made of, earlier ones more often, as they are the frequent ones: piece k as 1/k. Three
 * in four that would go on with a word are passed over: most words are one piece. */
static int draw_text(struct inspection *i)
{
    const struct tokenizer *t = i->tokenizer;
    const double n = log(tokenizer_vocab_size(t));
    uint64_t draw = 1;
    int rc = 0;
    for (size_t line = 0; rc == 0 && i->size < DRAWN_BYTES;) {
        char piece[PIECE_BYTES];
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        int32_t id = (int32_t)exp(n * (double)(draw >> 11) / 9007199254740992.0) - 1;
        if (!tokenizer_in_text(t, id) || tokenizer_piece(t, id, piece, sizeof piece) < 2 ||
            (piece[0] != ' ' && draw >> 9 & 3))
            continue; /* bytes and single characters would be too many of them */
        rc = append(i, piece, strlen(piece));
        if (rc == 0 && i->size - line > TEXT_BYTES) {
            rc = append(i, "\n", 1);
            line = i->size;
        }
    }
    return rc;
}

static int read_text(struct inspection *i, const char *path, struct err *reterr)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_sys(reterr, -errno, "%s: open", path);
    int rc = fstat(fileno(f), &st) == 0 ? 0 : -errno;
    if (rc == 0 && S_ISDIR(st.st_mode))
        rc = -EISDIR;
    if (rc == 0)
        rc = array_grow(&i->text, &i->cap, INSPECT_TEXT);
    if (rc == 0) {
        i->size = fread(i->text, 1, INSPECT_TEXT, f);
        rc = ferror(f) != 0 ? -EIO : 0;
    }
    (void)fclose(f);
    i->source = path;
    if (rc != 0)
        return err_sys(reterr, rc, "%s: read", path);
    return i->size > 0 ? 0 : err_set(reterr, ERR_LIMIT, "%s: is empty; give a text file", path);
}

/* The text that begins at `at`: lines, until there is enough. */
static struct slice next_text(const struct inspection *i, size_t at)
{
    size_t end = at + TEXT_BYTES < i->size ? at + TEXT_BYTES : i->size;
    const char *line = memchr(i->text + end, '\n', i->size - end);
    end = line != NULL ? (size_t)(line - i->text) + 1 : i->size;
    return (struct slice){i->text + at, end - at};
}

/* ---- measuring ---- */

struct ids {
    int32_t *ids;
    size_t n, cap;
    size_t *ends; /* of each text */
    size_t n_ends, ends_cap;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

typedef int encode_fn(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                      struct err *reterr);

static int encode_all(const struct inspection *i, encode_fn *encode, struct ids *x, double *ret_ns,
                      struct err *reterr)
{
    const uint64_t start_ns = cpu_ns();
    int rc = 0;
    x->n = x->n_ends = 0;
    for (size_t at = 0; rc == 0 && at < i->size;) {
        struct slice s = next_text(i, at);
        rc = encode(i->tokenizer, s, &x->ids, &x->cap, &x->n, reterr);
        if (rc == 0)
            rc = array_grow(&x->ends, &x->ends_cap, x->n_ends + 1);
        if (rc == 0)
            x->ends[x->n_ends++] = x->n;
        at += s.size;
    }
    *ret_ns = (double)(cpu_ns() - start_ns);
    return rc;
}

static void compare(struct inspection *i, const struct ids *ours, const struct ids *theirs)
{
    size_t a = 0, b = 0;
    for (size_t k = 0; k < theirs->n_ends; a = ours->ends[k], b = theirs->ends[k], k++) {
        const size_t n = ours->ends[k] - a;
        i->n_compared++;
        i->n_differed +=
            n != theirs->ends[k] - b || memcmp(ours->ids + a, theirs->ids + b, n * sizeof ours->ids[0]) != 0;
    }
}

static int measure(struct inspection *i, struct err *reterr)
{
    struct ids ours = {0}, theirs = {0};
    const bool own = tokenizer_own(i->tokenizer);
    struct tokenizer_facts before, after;
    int rc = 0;
    tokenizer_facts(i->tokenizer, &before);
    if (own)
        rc = encode_all(i, tokenizer_encode_own, &ours, &i->first_ns, reterr);
    tokenizer_facts(i->tokenizer, &after);
    i->n_refused = (uint32_t)(after.counts.refused - before.counts.refused);
    if (rc == 0 && own)
        rc = encode_all(i, tokenizer_encode_own, &ours, &i->again_ns, reterr);
    tokenizer_set(i->tokenizer, TOKENIZER_LIBRARY, 0);
    if (rc == 0)
        rc = encode_all(i, tokenizer_encode, &theirs, &i->library_ns, reterr);
    i->n_texts = (uint32_t)theirs.n_ends;
    i->n_tokens = theirs.n;
    if (rc == 0 && own)
        compare(i, &ours, &theirs);
    free(ours.ids);
    free(ours.ends);
    free(theirs.ids);
    free(theirs.ends);
    return rc;
}

int inspect_model(const char *path, const char *text, struct inspection **ret, struct err *reterr)
{
    struct inspection *i = calloc(1, sizeof *i);
    int rc = i == NULL ? err_sys(reterr, -ENOMEM, "%s", path) : read_model(i, path, reterr);
    if (rc == 0 && text != NULL)
        rc = read_text(i, text, reterr);
    else if (rc == 0 && (rc = draw_text(i)) != 0)
        (void)err_sys(reterr, rc, "%s", path);
    if (rc == 0)
        rc = measure(i, reterr);
    if (rc == 0)
        *ret = i;
    else
        inspect_free(i);
    return rc;
}

void inspect_free(struct inspection *i)
{
    if (i == NULL)
        return;
    tokenizer_unref(i->tokenizer);
    free(i->text);
    free(i);
}

bool inspect_differs(const struct inspection *i)
{
    return i->n_differed > 0;
}

/* ---- words ---- */

static const char *model_name(const struct inspection *i)
{
    static const char *const names[] = {
        [SPM_UNIGRAM] = "unigram", [SPM_BPE] = "BPE", [SPM_WORD] = "word", [SPM_CHAR] = "char"};
    return i->model_type >= SPM_UNIGRAM && i->model_type <= SPM_CHAR ? names[i->model_type] : "unknown";
}

static double mb_per_s(const struct inspection *i, double ns)
{
    return ns > 0 ? (double)i->size / ns * 1e3 : 0;
}

static void print_symbol(const struct inspection *i, const char *name, int32_t id, FILE *f)
{
    char piece[PIECE_BYTES];
    fprintf(f, "%s ", name);
    if (id < 0) {
        fputs("none", f);
        return;
    }
    (void)tokenizer_piece(i->tokenizer, id, piece, sizeof piece);
    fprintf(f, "%d %s", id, piece);
}

static void print_speed(const struct inspection *i, FILE *f)
{
    const double library = mb_per_s(i, i->library_ns);
    if (i->first_ns == 0) {
        fprintf(f, "  speed      %.1f MB/s, by libsentencepiece\n", library);
        return;
    }
    const double first = mb_per_s(i, i->first_ns), again = mb_per_s(i, i->again_ns);
    fprintf(
        f,
        "  speed      %.0f MB/s at first sight, %.0f MB/s again; libsentencepiece %.1f MB/s: %.0f and %.0f "
        "times\n",
        first, again, library, first / library, again / library);
}

static void print_proof(const struct inspection *i, FILE *f)
{
    if (i->first_ns == 0)
        return;
    fprintf(f, "  compared   %u texts with libsentencepiece: ", i->n_compared);
    if (i->n_differed > 0)
        fprintf(f, "%u have OTHER IDS. Set tokenizer.path to library, and report this model\n",
                i->n_differed);
    else
        fprintf(f, "the same ids; %u of them left to it\n", i->n_refused);
}

int inspect_print(const struct inspection *i, FILE *f)
{
    const struct tokenizer *t = i->tokenizer;
    const uint64_t *n = i->n_of_type;
    fprintf(f, "%s\n", tokenizer_path(t));
    fprintf(f, "  model      %s, %d pieces, SHA-256 %s\n", model_name(i), tokenizer_vocab_size(t),
            tokenizer_sha256(t));
    fprintf(f,
            "  pieces     %" PRIu64 " normal, %" PRIu64 " user-defined, %" PRIu64 " control, %" PRIu64
            " bytes, %" PRIu64 " unused, %" PRIu64 " unknown\n",
            n[SPM_NORMAL], n[SPM_USER_DEFINED], n[SPM_CONTROL], n[SPM_BYTE], n[SPM_UNUSED], n[SPM_UNKNOWN]);
    fputs("  symbols    ", f);
    print_symbol(i, "bos", tokenizer_bos(t), f);
    print_symbol(i, ", eos", tokenizer_eos(t), f);
    print_symbol(i, ", padding", tokenizer_pad(t), f);
    fprintf(f, "\n  path       %s%s\n", i->facts.why_not == NULL ? "fast" : "by libsentencepiece: ",
            i->facts.why_not == NULL ? ": our own code, with libsentencepiece's ids" : i->facts.why_not);
    print_speed(i, f);
    print_proof(i, f);
    fprintf(f, "  measured   on %.1f MB (%u texts, %" PRIu64 " tokens) %s%s, one thread\n",
            (double)i->size / 1e6, i->n_texts, i->n_tokens,
            i->source != NULL ? "of " : "drawn from its own pieces, frequent ones more often",
            i->source != NULL ? i->source : "");
    return fflush(f) == 0 ? 0 : -errno;
}

static void print_id(const char *name, int32_t id, FILE *f)
{
    if (id >= 0)
        fprintf(f, "\"%s\": %d, ", name, id);
    else
        fprintf(f, "\"%s\": null, ", name);
}

static void print_text(const char *name, const char *text, FILE *f)
{
    fprintf(f, "\"%s\": ", name);
    if (text != NULL)
        value_print_quoted(slice_of(text), f);
    else
        fputs("null", f);
    fputs(", ", f);
}

int inspect_print_json(const struct inspection *i, FILE *f)
{
    const struct tokenizer *t = i->tokenizer;
    static const char *const types[] = {[SPM_NORMAL] = "normal",   [SPM_UNKNOWN] = "unknown",
                                        [SPM_CONTROL] = "control", [SPM_USER_DEFINED] = "user_defined",
                                        [SPM_UNUSED] = "unused",   [SPM_BYTE] = "bytes"};
    putc('{', f);
    print_text("file", tokenizer_path(t), f);
    print_text("sha256", tokenizer_sha256(t), f);
    print_text("model", model_name(i), f);
    fprintf(f, "\"vocab_size\": %d, \"pieces\": {", tokenizer_vocab_size(t));
    for (int k = SPM_NORMAL; k <= SPM_BYTE; k++)
        fprintf(f, "%s\"%s\": %" PRIu64, k > SPM_NORMAL ? ", " : "", types[k], i->n_of_type[k]);
    fputs("}, ", f);
    print_id("bos", tokenizer_bos(t), f);
    print_id("eos", tokenizer_eos(t), f);
    print_id("padding", tokenizer_pad(t), f);
    fprintf(f, "\"fast\": %s, ", i->facts.why_not == NULL ? "true" : "false");
    print_text("why_not", i->facts.why_not, f);
    print_text("text", i->source, f);
    fprintf(f,
            "\"bytes\": %zu, \"texts\": %u, \"tokens\": %" PRIu64
            ", \"compared\": %u, \"differed\": %u, \"refused\": %u, ",
            i->size, i->n_texts, i->n_tokens, i->n_compared, i->n_differed, i->n_refused);
    fputs("\"mb_per_second\": {", f);
    if (i->first_ns > 0)
        fprintf(f, "\"first\": %.2f, \"again\": %.2f, ", mb_per_s(i, i->first_ns), mb_per_s(i, i->again_ns));
    else
        fputs("\"first\": null, \"again\": null, ", f);
    fprintf(f, "\"library\": %.2f}}\n", mb_per_s(i, i->library_ns));
    return fflush(f) == 0 ? 0 : -errno;
}
