/* Whatever the text, the ids are libsentencepiece's: models at hand, and models that are made up.
 *
 * test_tokenizer_random [STRINGS [SEED]]: so many for the models at hand, all together.
 */
#include "base/file.h"
#include "base/rng.h"
#include "support/beside.h"
#include "support/small_model.h"
#include "text/tokenizer_sp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_MAX = 16384, MODELS = 300, MODEL_STRINGS = 300, PIECES_MAX = 60 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static uint64_t strings = 100000;
#else
static uint64_t strings = 500000;
#endif
static uint64_t seed = 11;

struct text {
    char data[TEXT_MAX + 64];
    size_t size;
};

static struct rng rng;
static struct text text;
static char *sample; /* real text, to be mutated */
static size_t sample_size;

static uint32_t below(uint32_t n)
{
    return rng_below(&rng, n);
}

static void put(const char *data, size_t size)
{
    if (text.size + size > TEXT_MAX)
        return;
    memcpy(text.data + text.size, data, size);
    text.size += size;
}

static void put_point(uint32_t point)
{
    char c[4];
    unsigned n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (unsigned i = n; i-- > 1; point >>= 6)
        c[i] = (char)(0x80 | (point & 0x3f));
    c[0] = (char)(n == 1 ? point : (0xf00u >> n | point) & 0xff);
    put(c, n);
}

/* A piece as it stands, or with spaces for U+2581. */
static void put_piece(struct slice piece, bool spaces)
{
    for (size_t i = 0; i < piece.size; i++) {
        bool mark = spaces && piece.size - i >= 3 && memcmp(piece.data + i, "\xe2\x96\x81", 3) == 0;
        put(mark ? " " : piece.data + i, 1);
        i += mark ? 2 : 0;
    }
}

static struct slice any_piece(const struct sp *sp)
{
    return sp_piece(sp, (int32_t)below((uint32_t)sp_n_pieces(sp)));
}

/* Mostly short. */
static uint32_t any_length(void)
{
    return below(1u << below(below(64) == 0 ? 13 : 8)) + below(2);
}

static void real_text(const struct sp *sp)
{
    uint32_t n = any_length();
    (void)sp;
    put(sample + below((uint32_t)sample_size - 8192), n);
    for (uint32_t i = below(4); i > 0 && text.size > 0; i--) {
        char *at = text.data + below((uint32_t)text.size);
        if (below(2) == 0)
            *at = " \n\t\0a0.-_"[below(9)];
        else
            *at = (char)below(256);
    }
}

static void pieces_joined(const struct sp *sp)
{
    static const char *const between[] = {"", "", "", "", " ", "\n", "  ", "\t", "\xc3\xa9", "\r\n"};
    for (uint32_t i = 1 + below(8); i > 0; i--) {
        const char *gap = between[below(sizeof between / sizeof *between)];
        put_piece(any_piece(sp), below(50) != 0);
        put(gap, strlen(gap));
    }
}

/* Parts of pieces: joins that nearly happen. */
static void parts_joined(const struct sp *sp)
{
    for (uint32_t i = 1 + below(12); i > 0; i--) {
        struct slice piece = any_piece(sp);
        size_t from = below((uint32_t)piece.size), to = from + 1 + below((uint32_t)(piece.size - from));
        while (from > 0 && (piece.data[from] & 0xc0) == 0x80)
            from--;
        while (to < piece.size && (piece.data[to] & 0xc0) == 0x80)
            to++;
        put_piece((struct slice){piece.data + from, to - from}, true);
    }
}

static void any_bytes(const struct sp *sp)
{
    (void)sp;
    for (uint32_t i = below(20); i > 0; i--) {
        char c = (char)below(256);
        put(&c, 1);
    }
}

static void any_points(const struct sp *sp)
{
    uint32_t range = below(3) == 0 ? 0x10f800 : below(2) == 0 ? 0x3000 : 0x250, base = below(2) * 0x2f00;
    (void)sp;
    for (uint32_t i = below(24); i > 0; i--) {
        uint32_t point = below(range) + (range < 0x10000 ? base : 0);
        put_point(point < 0xd800 ? point : point + 0x800);
    }
}

/* One thing, or two in turn, again and again. */
static void a_run(const struct sp *sp)
{
    struct slice one = below(2) == 0 ? slice_of(" ") : any_piece(sp), other = any_piece(sp);
    uint32_t step = 1 + below(9);
    for (uint32_t i = any_length(); i > 0; i--)
        put_piece(step == 1 || i % step == 0 ? other : one, true);
}

static void a_long_word(const struct sp *sp)
{
    static const char letters[] = "etaoinshrdlcumwfgypbvkETAOIN0123456789+/=-_";
    (void)sp;
    for (uint32_t i = any_length() * 2, n = 1 + below(sizeof letters - 1); i > 0; i--)
        put(letters + below(n), 1);
}

static void white_space(const struct sp *sp)
{
    static const char *const white[] = {" ",  " ",        "  ",           "\n", "\t",
                                        "\r", "\xc2\xa0", "\xe3\x80\x80", "a",  "\v"};
    (void)sp;
    for (uint32_t i = below(24); i > 0; i--) {
        const char *s = white[below(sizeof white / sizeof *white)];
        put(s, strlen(s));
    }
    if (below(8) == 0)
        put("\0", 1);
    if (below(32) == 0)
        put("\xe2\x96\x81", 3);
}

static void draw_text(const struct sp *sp)
{
    static void (*const kinds[])(const struct sp *) = {real_text,    real_text,  pieces_joined, pieces_joined,
                                                       parts_joined, any_bytes,  any_points,    a_run,
                                                       a_long_word,  white_space};
    text.size = 0;
    for (uint32_t parts = 1 + (below(4) == 0 ? below(3) : 0); parts > 0; parts--)
        kinds[below(sizeof kinds / sizeof *kinds)](sp);
}

static void compare_many(struct beside *b, uint64_t n, const char *name)
{
    for (uint64_t i = 0; i < n; i++) {
        draw_text(b->theirs);
        beside_compare(b, (struct slice){text.data, text.size});
    }
    print_message("%s: %llu texts, %llu of them by our own code, %llu bytes\n", name,
                  (unsigned long long)b->texts, (unsigned long long)beside_by_us(b),
                  (unsigned long long)b->bytes);
}

static void models_at_hand(void **state)
{
    (void)state;
    static const char *const names[] = {"sample", "mistral-v1", "mistral-v3"};
    for (unsigned i = 0; i < 3; i++) {
        char model[512];
        struct beside b;
        (void)snprintf(model, sizeof model, TEST_DIR "/data/%s.model", names[i]);
        beside_open(&b, model);
        compare_many(&b, strings / 4 + 1, names[i]);
        assert_true(beside_by_us(&b) > b.texts / 2);
        beside_close(&b);
    }
}

/* Of a model with a normaliser our own code does the texts of ASCII. */
static void a_normaliser(void **state)
{
    (void)state;
    const char *data = getenv("SKIPALIGN_TEST_DATA");
    char model[512];
    struct beside b;
    if (data == NULL) {
        print_message("SKIPALIGN_TEST_DATA is not set: no such model\n");
        skip();
    }
    (void)snprintf(model, sizeof model, "%s/tokenizers/bpe-nfkc-8k.model", data);
    beside_open(&b, model);
    compare_many(&b, strings / 4 + 1, "bpe-nfkc-8k");
    assert_true(beside_by_us(&b) > b.texts / 4);
    beside_close(&b);
}

/* Every pair of characters that are in pieces of the model: does a cut between them matter? */
static void pairs_of_characters(void **state)
{
    (void)state;
    static const char *const middles[] = {"", " "};
    struct beside b;
    char *all[4096];
    uint32_t n = 0;
    beside_open(&b, TEST_DIR "/data/sample.model");
    for (int32_t id = 0; id < sp_n_pieces(b.theirs); id++) {
        struct slice piece = sp_piece(b.theirs, id);
        if (piece.size <= 4 &&
            ((piece.data[0] & 0x80) == 0 ? piece.size == 1 : (piece.data[1] & 0xc0) == 0x80))
            all[n++] = strndup(piece.data, piece.size);
        assert_true(n < 4096);
    }
    assert_true(n > 90);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++)
            for (unsigned m = 0; m < 2; m++) {
                text.size = 0;
                put_piece(slice_of(all[i]), true);
                put(middles[m], strlen(middles[m]));
                put_piece(slice_of(all[k]), true);
                beside_compare(&b, (struct slice){text.data, text.size});
            }
    assert_int_equal(b.texts, 2 * n * n);
    while (n > 0)
        free(all[--n]);
    (void)beside_by_us(&b);
    beside_close(&b);
}

/* ---- models that are made up ---- */

static const char *const letters[] = {
    "a", "b", "c", "\xe2\x96\x81", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x99\x82", "\n"};

/* Of few letters, so that joins compete; scores often the same; some pieces cannot come about by joins; some
 * letters are no pieces; user-defined symbols may begin, end and lie in each other; some pieces are unused.
 */
static uint32_t make_up(struct small_piece *pieces, char (*texts)[64])
{
    uint32_t n = 0, wanted = 2 + below(PIECES_MAX - 2), n_letters = 2 + below(7), n_scores = 1 + below(40);
    uint32_t defined = below(2) * below(20), unused = below(3) == 0 ? below(30) : 0, mark = 0;
    for (uint32_t tries = 0; n < wanted && tries < 1000; tries++) {
        char *t = texts[n];
        t[0] = '\0';
        for (uint32_t k = 1 + below(2 + below(4)); k > 0; k--)
            strcat(t, n > 0 && below(2) == 0 && strlen(t) < 16 ? texts[below(n)] : letters[below(n_letters)]);
        bool is_new = strlen(t) < 40;
        for (uint32_t i = 0; i < n; i++)
            is_new &= strcmp(texts[i], t) != 0;
        if (!is_new)
            continue;
        mark |= strcmp(t, "\xe2\x96\x81") == 0;
        pieces[n] = (struct small_piece){t, -(float)below(n_scores),
                                         below(100) < defined  ? SPM_USER_DEFINED
                                         : below(100) < unused ? SPM_UNUSED
                                                               : SPM_NORMAL};
        n++;
    }
    if (!mark && below(20) != 0) {
        strcpy(texts[n], "\xe2\x96\x81");
        pieces[n] = (struct small_piece){texts[n], -(float)below(n_scores), SPM_NORMAL};
        n++;
    }
    return n;
}

static void draw_letters(void)
{
    text.size = 0;
    for (uint32_t i = below(8) == 0 ? any_length() : below(20); i > 0; i--) {
        const char *letter = letters[below(8)];
        bool mark = letter[0] == '\xe2' && below(100) != 0;
        put(mark ? " " : letter, mark ? 1 : strlen(letter));
    }
}

/* With byte pieces or without, spaces removed or not, with a dummy prefix or not. */
static void write_made_up(const char *path, const struct small_piece *pieces, uint32_t n)
{
    char specs[] = "\x12\x05\x18\x02\x98\x02\x01\x1a\x04\x18\x01\x20";
    bool bytes = below(2) == 0;
    specs[6] = bytes;
    specs[10] = below(4) != 0;
    specs[12] = (char)below(2);
    struct slice all = {specs, sizeof specs};
    if (bytes)
        small_model_write_bytes(path, pieces + 1, n, &all);
    else
        small_model_write_specs(path, pieces, n + 1, all);
}

static void models_made_up(void **state)
{
    (void)state;
    static struct small_piece pieces[PIECES_MAX + 2] = {{"<unk>", 0, SPM_UNKNOWN}};
    static char texts[PIECES_MAX + 1][64];
    char path[] = "/tmp/test_tokenizer_random.XXXXXX";
    uint64_t by_us = 0, all = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    for (unsigned m = 0; m < MODELS; m++) {
        struct beside b;
        write_made_up(path, pieces, make_up(pieces + 1, texts));
        beside_open(&b, path);
        for (unsigned i = 0; i < MODEL_STRINGS; i++) {
            draw_letters();
            beside_compare(&b, (struct slice){text.data, text.size});
        }
        by_us += beside_by_us(&b);
        all += b.texts;
        beside_close(&b);
    }
    assert_int_equal(unlink(path), 0);
    print_message("%d models: %llu texts, %llu of them by our own code\n", MODELS, (unsigned long long)all,
                  (unsigned long long)by_us);
    assert_true(by_us > all / 2);
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    rng_init(&rng, (struct rng_key){.seed = seed});
    if (file_read(TEST_DIR "/data/sample-dialogues.jsonl", 1 << 28, &sample, &sample_size, &err) != 0)
        fail_msg("%s", err.text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(sample);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_made_up),
        cmocka_unit_test(pairs_of_characters),
        cmocka_unit_test(models_at_hand),
        cmocka_unit_test(a_normaliser),
    };
    if (argc > 1)
        strings = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, setup, teardown);
}
