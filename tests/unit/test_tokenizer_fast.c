/* Our own code for libsentencepiece's ids: the models it takes, and where texts could go wrong. */
#include "base/file.h"
#include "support/beside.h"
#include "support/folder.h"
#include "support/small_model.h"
#include "text/tokenizer_sp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SAMPLE TEST_DIR "/data/sample.model"
#define V3 TEST_DIR "/data/mistral-v3.model"
#define MARK "\xe2\x96\x81"

static char path[512]; /* of a file in the folder, for one test at a time */

static int setup(void **state)
{
    const int rc = folder_new(state);
    (void)snprintf(path, sizeof path, "%s", folder_path(*state, "x.model"));
    return rc;
}

static void compare(struct beside *b, const char *text)
{
    beside_compare(b, slice_of(text));
}

/* The model at `path` is the library's job for this reason, NULL: it is ours; its ids are right. */
static void check_model(const char *why_not)
{
    struct beside b;
    beside_open(&b, path);
    if (why_not == NULL)
        assert_null(b.why_not);
    else if (b.why_not == NULL || strstr(b.why_not, why_not) == NULL)
        fail_msg("'%s' is not in: %s", why_not, b.why_not == NULL ? "nothing" : b.why_not);
    static const char *const texts[] = {
        "", "a", " ", "ab", "abab ba  b", "xaby", "  ", "ab\nab", "aab ab\xc3\xa9", "[u][uv]v]"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        compare(&b, texts[i]);
    assert_int_equal(beside_by_us(&b), why_not == NULL ? b.texts : 0);
    beside_close(&b);
}

static const struct small_piece plain[] = {
    {MARK, -9, SPM_NORMAL},      {"a", -8, SPM_NORMAL},  {"b", -8, SPM_NORMAL},  {"ab", -1, SPM_NORMAL},
    {MARK "ab", -2, SPM_NORMAL}, {"ba", -1, SPM_NORMAL}, {"aba", -3, SPM_NORMAL}};
enum { PLAIN = sizeof plain / sizeof *plain };

/* That model and one piece more. */
static void write_with(const char *text, float score, enum spm_type type)
{
    struct small_piece pieces[PLAIN + 1];
    memcpy(pieces, plain, sizeof plain);
    pieces[PLAIN] = (struct small_piece){text, score, type};
    small_model_write_bytes(path, pieces, PLAIN + 1, NULL);
}

static void test_pieces_it_takes(void **state)
{
    (void)state;
    small_model_write_bytes(path, plain, PLAIN, NULL);
    check_model(NULL);
    write_with("<s>", 0, SPM_CONTROL);
    check_model(NULL);
    write_with("b" MARK "a", 0, SPM_NORMAL); /* across words */
    check_model(NULL);
    write_with("xaby", 0, SPM_NORMAL); /* of characters that are no pieces; it cannot come about */
    check_model(NULL);
    write_with("xa", 0, SPM_NORMAL); /* it can */
    check_model(NULL);
    write_with("ab", 0, SPM_BYTE + 1); /* no such type: refused as a piece that is there twice */
    struct tokenizer *t;
    assert_int_equal(tokenizer_load(path, NULL, 0, &t, NULL), ERR_MODEL);
}

static void test_user_defined_symbols(void **state)
{
    (void)state;
    static const char *const texts[] = {"b", "\n", MARK MARK, "aa", "x", "b" MARK "b"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct small_piece pieces[PLAIN + 3];
        size_t n = 0;
        for (unsigned k = 0; k < PLAIN; k++)
            if (strcmp(plain[k].text, texts[i]) != 0)
                pieces[n++] = plain[k];
        pieces[n++] = (struct small_piece){texts[i], 0, SPM_USER_DEFINED};
        pieces[n++] = (struct small_piece){"[u", 0, SPM_USER_DEFINED};
        pieces[n++] = (struct small_piece){"u][uv", 0, SPM_USER_DEFINED};
        small_model_write_bytes(path, pieces, n, NULL);
        check_model(NULL);
    }
}

/* Runs of them are one part of a text, and its bytes are all zeros. */
static void test_nul_bytes(void **state)
{
    (void)state;
    static const char nuls[64], *const ends[] = {"", "a", " "};
    struct small_piece pieces[PLAIN + 2];
    memcpy(pieces, plain, sizeof plain);
    pieces[PLAIN] = (struct small_piece){"\xfe", -4, SPM_NORMAL};
    pieces[PLAIN + 1] = (struct small_piece){"\xfe\xfe", -5, SPM_NORMAL};
    small_model_write_bytes(path, pieces, PLAIN + 2, NULL);
    check_model(NULL);
    struct beside b;
    beside_open(&b, path);
    assert_null(b.why_not);
    for (size_t n = 1; n <= sizeof nuls; n++)
        for (unsigned i = 0; i < 2 * sizeof ends / sizeof *ends; i++) {
            char text[sizeof nuls + 2];
            size_t size = 0;
            memcpy(text, ends[i / 2], strlen(ends[i / 2]));
            size += strlen(ends[i / 2]);
            memcpy(text + size, nuls, n);
            size += n;
            text[size] = 'b';
            beside_compare(&b, (struct slice){text, size + i % 2});
        }
    assert_int_equal(beside_by_us(&b), b.texts);
    beside_close(&b);
}

/* They are joined, and come apart again. */
static void test_unused_pieces(void **state)
{
    (void)state;
    write_with("bb", 0, SPM_UNUSED);
    check_model(NULL);
    write_with("x", 0, SPM_UNUSED); /* one that cannot */
    check_model(NULL);
    write_with("xa", 0, SPM_UNUSED); /* of a character that is no piece */
    check_model(NULL);
    struct small_piece pieces[PLAIN];
    memcpy(pieces, plain, sizeof plain);
    pieces[3].type = SPM_UNUSED; /* ab, and what is made of it */
    small_model_write_bytes(path, pieces, 5, NULL);
    check_model(NULL);
    pieces[4].type = SPM_UNUSED;
    small_model_write_bytes(path, pieces, 5, NULL);
    check_model(NULL);
}

static void test_pieces_it_leaves(void **state)
{
    (void)state;
    write_with("abab", 0, SPM_UNUSED); /* of ab and ab, or aba and b */
    check_model("comes about in two ways");
    write_with("ab", 0, SPM_CONTROL);
    check_model("the text of a control symbol");
    write_with(MARK "ab", 0, SPM_CONTROL);
    check_model("the text of a control symbol");
    write_with("x", 0, SPM_CONTROL);
    check_model("a single character is a control symbol");
    write_with("a b", 0, SPM_NORMAL);
    check_model("holds a space");
    write_with("a\xff", 0, SPM_NORMAL);
    check_model("not valid UTF-8");
    write_with("bb", NAN, SPM_NORMAL);
    check_model("no finite score");
    small_model_write_bytes(path, plain + 1, PLAIN - 1, NULL);
    check_model("a space is no piece");
}

static void test_too_many_nested_symbols(void **state)
{
    (void)state;
    struct small_piece pieces[PLAIN + 65];
    char texts[65][80];
    memcpy(pieces, plain, sizeof plain);
    for (unsigned i = 0; i < 65; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "%0*d", (int)i + 1, 0);
        pieces[PLAIN + i] = (struct small_piece){texts[i], 0, SPM_USER_DEFINED};
    }
    small_model_write_bytes(path, pieces, PLAIN + 64, NULL);
    check_model(NULL);
    small_model_write_bytes(path, pieces, PLAIN + 65, NULL);
    check_model("of too many lengths");
}

static void check_specs(const char *specs, size_t size, const char *why_not)
{
    small_model_write_bytes(path, plain, PLAIN, &(struct slice){specs, size});
    check_model(why_not);
}

/* Fields: trainer_spec (12): model_type (18), whitespace_as_suffix (c0 01), byte_fallback (98 02);
 * normalizer_spec (1a): add_dummy_prefix (18), remove_extra_whitespaces (20), escape_whitespaces (28). */
static void test_rules_of_the_model(void **state)
{
    (void)state;
#define SPECS(s, why_not) check_specs(s, sizeof s - 1, why_not)
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x20\x00", NULL);
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x04\x20\x00\x18\x00", NULL); /* no dummy prefix */
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x04\x20\x00\x28\x00", "keeps spaces as they are");
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x20\x01", NULL); /* removes spaces */
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x00", NULL);         /* when nothing is said */
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x18\x00", NULL); /* no dummy prefix either */
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x20\x02", "neither 0 nor 1");
    SPECS("\x12\x08\x18\x02\xc0\x01\x01\x98\x02\x01\x1a\x02\x20\x00", "spaces come after words");
    SPECS("\x12\x05\x18\x01\x98\x02\x01\x1a\x02\x20\x00", "no BPE model");
    SPECS("\x12\x05\x18\x04\x98\x02\x01\x1a\x02\x20\x00", "no BPE model");
    SPECS("\x12\x03\x98\x02\x01\x1a\x02\x20\x00", "no BPE model");
    SPECS("\x12\x05\x18\x02\x98\x02\x02\x1a\x02\x20\x00", "neither 0 nor 1");
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x20\x00\x1a\x02\x18\x00", "twice");
    SPECS("\x12\x07\x18\x01\x18\x02\x98\x02\x01\x1a\x02\x20\x00", "twice");
    SPECS("\x12\x05\x18\x02\x98\x02\x01\x1a\x07\x20\x00\x1d\x00\x00\x00\x00", "another type");
#undef SPECS
}

/* A run of characters that the model does not know is one unknown, wherever text is cut. */
static void test_no_byte_fallback(void **state)
{
    (void)state;
    static const char *const texts[] = {"x",           "xy",          "xyz",   "x y",
                                        "axxb",        "abxxyyabxab", "\n\n ", "\xc3\xa9\xe4\xb8\xad",
                                        "ab\xc3\xa9x", "xab x  ",     "xa",    "\xe4\xb8\xad\n\na"};
    struct small_piece pieces[PLAIN + 2] = {{"<unk>", 0, SPM_UNKNOWN}};
    memcpy(pieces + 1, plain, sizeof plain);
    pieces[PLAIN + 1] = (struct small_piece){"xy", -4, SPM_NORMAL};
    for (size_t n = PLAIN + 1; n <= PLAIN + 2; n++) {
        struct beside b;
        small_model_write(path, pieces, n);
        check_model(NULL);
        beside_open(&b, path);
        for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
            compare(&b, texts[i]);
        assert_int_equal(beside_by_us(&b), b.texts);
        beside_close(&b);
    }
}

/* A normaliser's rules: each from a text of one or two ASCII characters. */
struct rule {
    const char *from, *to;
};

enum { UNITS = 256, RULES_MAX = 8 };

/* A double array whose root has its children at 256 + character; those have theirs, and the rule's text, from
 * 512 on. Little endian, as in a file. */
static size_t write_rules(const struct rule *rules, size_t n, char *to)
{
    uint32_t units[UNITS * (2 + RULES_MAX)] = {256 << 10}, bytes = sizeof units;
    char *texts = to + sizeof bytes + sizeof units;
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t first = (uint8_t)rules[i].from[0], second = (uint8_t)rules[i].from[1];
        uint32_t at = UNITS + first, base = (uint32_t)(UNITS * (2 + i)), text = 1u << 31 | (uint32_t)size;
        units[at] = (at ^ base) << 10 | (second == 0) << 8 | first;
        if (second == 0)
            units[base] = text;
        else
            units[base ^ second] = ((base ^ second) ^ (base + 1)) << 10 | 1 << 8 | second;
        if (second != 0)
            units[base + 1] = text;
        strcpy(texts + size, rules[i].to);
        size += strlen(rules[i].to) + 1;
    }
    memcpy(to, &bytes, sizeof bytes);
    memcpy(to + sizeof bytes, units, sizeof units);
    return sizeof bytes + sizeof units + size;
}

static size_t write_varint(char *to, size_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        to[n++] = (char)(value | 128);
    to[n++] = (char)value;
    return n;
}

/* trainer_spec { model_type: BPE, byte_fallback: true }, normalizer_spec { precompiled_charsmap: these } */
static struct slice specs_with(const struct rule *rules, size_t n)
{
    static char specs[16384], map[12288], head[16];
    size_t size = write_rules(rules, n, map), n_head = 1, at;
    head[0] = '\x12';
    n_head += write_varint(head + 1, size);
    memcpy(specs, "\x12\x05\x18\x02\x98\x02\x01\x1a", 8);
    at = 8 + write_varint(specs + 8, n_head + size);
    memcpy(specs + at, head, n_head);
    memcpy(specs + at + n_head, map, size);
    return (struct slice){specs, at + n_head + size};
}

static void test_normaliser_with_rules(void **state)
{
    (void)state;
    static const struct rule rules[] = {{"\n", " "}, {"\t", " "}, {"Q", "a"}, {"R", "b"},
                                        {"K", "kk"}, {"xy", "z"}, {"\v", ""}};
    static const char *const known[] = {"",          " ",    "  \n ",     "a",    "QR",     "aQ Rb",
                                        "  ab  Qb ", "\n\t", "b\n\nab\n", "a\tb", "abQ  y", "yab  [u] "};
    static const char *const not_known[] = {"K", "aKb", "xy", "axb", "a\vb", "\xc3\xa9", "ab \xe3\x80\x80"};
    struct slice specs = specs_with(rules, sizeof rules / sizeof *rules);
    struct beside b;
    small_model_write_bytes(path, plain, PLAIN, &specs);
    beside_open(&b, path);
    assert_null(b.why_not);
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        compare(&b, known[i]);
    assert_int_equal(beside_by_us(&b), sizeof known / sizeof *known);
    for (unsigned i = 0; i < sizeof not_known / sizeof *not_known; i++)
        compare(&b, not_known[i]);
    assert_int_equal(beside_by_us(&b), sizeof known / sizeof *known);
    beside_close(&b);

    struct small_piece pieces[PLAIN + 1];
    memcpy(pieces, plain, sizeof plain);
    pieces[PLAIN] = (struct small_piece){"[Q", 0, SPM_USER_DEFINED};
    small_model_write_bytes(path, pieces, PLAIN + 1, &specs);
    check_model("a rule for a character of a user-defined symbol");
    static const struct rule spaces[] = {{" ", "_"}};
    specs = specs_with(spaces, 1);
    small_model_write_bytes(path, plain, PLAIN, &specs);
    check_model("odd rules");
}

/* Spaces that go, where a block ends. */
static void test_normaliser_over_blocks(void **state)
{
    (void)state;
    static char text[3 * 4096];
    static const char *const ends[] = {"", " ", "x", " x", "   a  "};
    static const char specs[] = "\x12\x05\x18\x02\x98\x02\x01\x1a\x00";
    struct beside b;
    small_model_write_bytes(path, plain, PLAIN, &(struct slice){specs, sizeof specs - 1});
    beside_open(&b, path);
    assert_null(b.why_not);
    for (size_t spaces = 0; spaces < 9000; spaces += spaces < 4080 || spaces > 4110 ? 601 : 1)
        for (size_t before = 4090; before < 4100; before++)
            for (unsigned e = 0; e < sizeof ends / sizeof *ends; e++) {
                if (before + spaces > sizeof text - 16)
                    continue;
                for (size_t i = 0; i < before; i++)
                    text[i] = "ab ba "[i % 6];
                memset(text + before, ' ', spaces);
                strcpy(text + before + spaces, ends[e]);
                compare(&b, text);
            }
    assert_int_equal(beside_by_us(&b), b.texts);
    beside_close(&b);
}

static void test_other_kinds_of_model(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", " ", "Hello world", "  two  spaces ", "a\nline\n\nand\tanother\r\n", "~!@#$%^&*()_+ {}|:\"<>?`"};
    const char *data = getenv("SKIPALIGN_TEST_DATA");
    struct beside b;
    char model[512];
    if (data == NULL) {
        print_message("SKIPALIGN_TEST_DATA is not set: no such models\n");
        skip();
    }
    (void)snprintf(model, sizeof model, "%s/tokenizers/bpe-nfkc-8k.model", data);
    beside_open(&b, model);
    assert_null(b.why_not);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        compare(&b, texts[i]);
    assert_int_equal(beside_by_us(&b), b.texts);
    compare(&b, "caf\xc3\xa9");
    compare(&b, "\xef\xbc\xa1\xef\xbc\xa2"); /* full width */
    assert_int_equal(beside_by_us(&b), b.texts - 2);
    beside_close(&b);
    (void)snprintf(model, sizeof model, "%s/tokenizers/unigram-8k.model", data);
    beside_open(&b, model);
    assert_string_equal(b.why_not, "it is no BPE model");
    beside_close(&b);
}

/* Texts are worked on in blocks of 4,096 bytes; parts over 256 bytes are the library's job, and a part's end
 * may be in the next block. */
static void test_blocks_and_long_parts(void **state)
{
    (void)state;
    static const char *const ends[] = {
        "", "a", " ", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x99\x82", " the end of it", "\xff"};
    static char text[2 * 4096 + 64];
    struct beside b;
    beside_open(&b, V3);
    for (unsigned blocks = 1; blocks <= 2; blocks++)
        for (size_t size = blocks * 4096 - 12; size < blocks * 4096 + 4; size++)
            for (unsigned e = 0; e < sizeof ends / sizeof *ends; e++) {
                for (size_t i = 0; i < size; i++)
                    text[i] = "word, \n12 "[i % 10];
                strcpy(text + size, ends[e]);
                compare(&b, text);
            }
    uint64_t by_us = beside_by_us(&b);
    assert_int_equal(by_us * 8, b.texts * 7);
    for (size_t size = 4; size < 300; size++) {
        memset(text, '-', size);
        strcpy(text + size, " -");
        compare(&b, text);
        assert_int_equal(beside_by_us(&b) - by_us, 1 + size <= 256);
        by_us = beside_by_us(&b);
    }
    beside_close(&b);
}

/* Parts of up to 15 bytes with up to 4 ids are kept: whether met for the first time or again, and however
 * alike they are, ids are the same. */
static void test_parts_met_again(void **state)
{
    (void)state;
    static const char letters[] = "\0\0a\xc3\xa9z\0b\0\0 \xf0\x9f\x99\x82\xf0\x9f\x99\x82q\0";
    struct beside b;
    beside_open(&b, V3);
    for (int round = 0; round < 2; round++) {
        char word[33] = "";
        for (size_t n = 0; n < 32; n++) {
            word[n] = "internationalisation"[n % 20];
            compare(&b, word);
        }
        for (size_t from = 0; from < sizeof letters; from++)
            for (size_t to = from; to <= sizeof letters; to++)
                beside_compare(&b, (struct slice){letters + from, to - from});
    }
    beside_close(&b);
}

static void test_texts_that_are_the_librarys_job(void **state)
{
    (void)state;
    static const char *const texts[] = {MARK,           "a" MARK "b",       "\xff",     "a\x80",       "\xc3",
                                        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\xe0\x80\x80"};
    struct beside b;
    beside_open(&b, SAMPLE);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        compare(&b, texts[i]);
    assert_int_equal(beside_by_us(&b), 0);
    compare(&b, "\xef\xbf\xbd\xee\x80\x80\xf4\x8f\xbf\xbf"); /* nearly such */
    assert_int_equal(beside_by_us(&b), 1);
    beside_close(&b);
}

/* Where the library reads other pieces than we do, our own code does not tokenise. */
static void test_the_librarys_reading_of_the_file(void **state)
{
    (void)state;
    char *data;
    size_t size;
    struct sp *others;
    struct spm_file file;
    struct fast *f;
    const char *why;
    write_with("xa", 0, SPM_NORMAL);
    assert_int_equal(file_read(path, 1 << 20, &data, &size, NULL), 0);
    assert_int_equal(sp_load((struct slice){data, size}, &others, NULL), 0);
    free(data);
    write_with("xb", 0, SPM_NORMAL);
    assert_int_equal(file_read(path, 1 << 20, &data, &size, NULL), 0);
    assert_int_equal(spm_file_read((struct slice){data, size}, &file), 0);
    assert_int_equal(fast_new(&file, &f, &why, NULL), 0);
    assert_null(why);
    assert_int_equal(fast_check(f, others, &why, NULL), 0);
    assert_non_null(why);
    assert_non_null(strstr(why, "other pieces"));
    fast_free(f);
    sp_free(others);
    spm_file_fini(&file);
    free(data);
}

/* One text in so many is compared, all or none, also where every second one is of a kind; one that differs
 * makes it doubtful. */
static void test_compared_while_it_works(void **state)
{
    (void)state;
    char *data;
    size_t size, cap = 0;
    struct sp *sp;
    struct spm_file file;
    struct fast *f;
    struct fast_counts before, counts; /* it has tried some texts itself */
    const char *why;
    enum { TEXTS = 1 << 16 };
    static const uint32_t one_in[] = {0, 1, 2, 7, 1024};
    int32_t *ids = NULL;
    uint64_t all = 0;
    assert_int_equal(file_read(SAMPLE, 1 << 28, &data, &size, NULL), 0);
    assert_int_equal(sp_load((struct slice){data, size}, &sp, NULL), 0);
    assert_int_equal(spm_file_read((struct slice){data, size}, &file), 0);
    assert_int_equal(fast_new(&file, &f, &why, NULL), 0);
    assert_null(why);
    assert_int_equal(fast_check(f, sp, &why, NULL), 0);
    assert_null(why);
    fast_count(f, &before);
    for (unsigned k = 0; k < sizeof one_in / sizeof *one_in; k++) {
        unsigned n_due[2] = {0};
        fast_verify(f, one_in[k]);
        for (unsigned i = 0; i < TEXTS; i++) {
            bool due;
            size_t n = 0;
            assert_int_equal(fast_encode(f, slice_of("Hello world"), &ids, &cap, &n, &due), 0);
            assert_int_equal(n, 4);
            assert_int_equal(ids[3], 1494);
            if (due)
                fast_compared(f, true);
            n_due[i % 2] += due;
        }
        for (unsigned i = 0; i < 2 && one_in[k] > 0; i++)
            assert_in_range(n_due[i], TEXTS / 2 / one_in[k] * 3 / 4, TEXTS / 2 / one_in[k] * 5 / 4);
        all += n_due[0] + n_due[1];
        assert_true(one_in[k] > 0 || all == 0);
    }
    assert_false(fast_doubted(f));
    fast_compared(f, false);
    assert_true(fast_doubted(f));
    fast_count(f, &counts);
    assert_int_equal(counts.texts - before.texts, TEXTS * sizeof one_in / sizeof *one_in);
    assert_int_equal(counts.compared, all + 1);
    assert_int_equal(counts.differed, 1);
    fast_free(f);
    sp_free(sp);
    spm_file_fini(&file);
    free(data);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_it_takes),
        cmocka_unit_test(test_user_defined_symbols),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_unused_pieces),
        cmocka_unit_test(test_pieces_it_leaves),
        cmocka_unit_test(test_too_many_nested_symbols),
        cmocka_unit_test(test_rules_of_the_model),
        cmocka_unit_test(test_no_byte_fallback),
        cmocka_unit_test(test_normaliser_with_rules),
        cmocka_unit_test(test_normaliser_over_blocks),
        cmocka_unit_test(test_other_kinds_of_model),
        cmocka_unit_test(test_blocks_and_long_parts),
        cmocka_unit_test(test_parts_met_again),
        cmocka_unit_test(test_texts_that_are_the_librarys_job),
        cmocka_unit_test(test_the_librarys_reading_of_the_file),
        cmocka_unit_test(test_compared_while_it_works),
    };
    return cmocka_run_group_tests(tests, setup, folder_free);
}
