#include "base/file.h"
#include "support/folder.h"
#include "support/small_model.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <pthread.h>
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
#define V1 TEST_DIR "/data/mistral-v1.model"
#define V3 TEST_DIR "/data/mistral-v3.model"

static char path[512]; /* of a file in the folder, for one test at a time */

static int setup(void **state)
{
    const int rc = folder_new(state);
    (void)snprintf(path, sizeof path, "%s", folder_path(*state, "x.model"));
    return rc;
}

static struct tokenizer *loaded(const char *model, const struct conf_special *special, uint32_t n)
{
    struct tokenizer *t = NULL;
    struct err err = {""};
    if (tokenizer_load(model, special, n, &t, &err) != 0)
        fail_msg("%s", err.text);
    return t;
}

static void write_bytes(const char *data, size_t size)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* The text's ids as decimals. */
static const char *ids_of(const struct tokenizer *t, struct slice text)
{
    static char shown[1024];
    int32_t *ids = NULL;
    size_t cap = 0, n = 0, used = 0;
    assert_int_equal(tokenizer_encode(t, text, &ids, &cap, &n, NULL), 0);
    shown[0] = '\0';
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(shown + used, sizeof shown - used, "%s%d", i > 0 ? " " : "", ids[i]);
    free(ids);
    return shown;
}

/* Ids from spm_encode 0.1.97 and the Python package 0.2.3, which agree. */
struct known {
    struct slice text;
    const char *ids;
};
#define TEXT(s)         \
    {                   \
        s, sizeof s - 1 \
    }

static void check_known(const char *model, const struct known *known, size_t n)
{
    struct tokenizer *t = loaded(model, NULL, 0);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(ids_of(t, known[i].text), known[i].ids);
    tokenizer_unref(t);
}

static void test_ids_of_mistral_v1(void **state)
{
    (void)state;
    static const struct known known[] = {
        {TEXT(""), ""},
        {TEXT("Hello world"), "22557 1526"},
        {TEXT("  two  spaces "), "259 989 28705 10599 28705"},
        {TEXT("\n\nx\n"), "28705 13 13 28744 13"},
        {TEXT("Größe 請 🙂"), "1778 28834 9526 28705 30539 28705 29340"},
        {TEXT("</s><s>[INST]"), "1867 28713 3409 28713 28767 28792 16289 28793"},
        {TEXT("▁a ▁"), "28705 264 259"},
        {TEXT("a\0b"), "264 3 28726"},
    };
    check_known(V1, known, sizeof known / sizeof *known);
}

static void test_ids_of_mistral_v3(void **state)
{
    (void)state;
    static const struct known known[] = {
        {TEXT("Hello world"), "23325 2294"},
        {TEXT("</s><s>[INST]"), "2635 29481 4177 29481 29535 29560 17057 29561"},
        {TEXT("12,345"), "29473 29508 29518 29493 29538 29549 29550"},
    };
    check_known(V3, known, sizeof known / sizeof *known);
}

static void test_ids_of_the_sample_model(void **state)
{
    (void)state;
    static const struct known known[] = {
        {TEXT("Hello world"), "363 575 1894 1494"},
        {TEXT("  two  spaces "), "1890 1890 423 1890 446 659 270 1890"},
        {TEXT("▁a ▁"), "1890 262 1890 1890"},
    };
    check_known(SAMPLE, known, sizeof known / sizeof *known);
}

/* Of a normaliser that changes text, and of a unigram model. */
static void test_ids_of_other_kinds_of_model(void **state)
{
    (void)state;
    static const struct known nfkc[] = {
        {TEXT("  two  spaces "), "737 5935"},
        {TEXT("Größe 請 🙂"), "5119 0 7763 7762 0 7762 0"},
    };
    static const struct known unigram[] = {
        {TEXT("Hello world"), "259 2262 461"},
        {TEXT("</s><s>[INST]"), "259 2252 263 4420 263 562 729 4299 3241 336"},
    };
    const char *data = getenv("SKIPALIGN_TEST_DATA");
    char model[512];
    if (data == NULL) {
        print_message("SKIPALIGN_TEST_DATA is not set: no such models\n");
        skip();
    }
    (void)snprintf(model, sizeof model, "%s/tokenizers/bpe-nfkc-8k.model", data);
    check_known(model, nfkc, 2);
    (void)snprintf(model, sizeof model, "%s/tokenizers/unigram-8k.model", data);
    check_known(model, unigram, 2);
}

static void test_encode_appends(void **state)
{
    (void)state;
    struct tokenizer *t = loaded(V1, NULL, 0);
    int32_t *ids = NULL;
    size_t cap = 0, n = 0;
    assert_int_equal(tokenizer_encode(t, slice_of("Hello"), &ids, &cap, &n, NULL), 0);
    assert_int_equal(tokenizer_encode(t, slice_of(""), &ids, &cap, &n, NULL), 0);
    assert_int_equal(tokenizer_encode(t, slice_of("Hello world"), &ids, &cap, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 22557);
    assert_int_equal(ids[2], 1526);
    free(ids);
    tokenizer_unref(t);
}

static void test_text_comes_back(void **state)
{
    (void)state;
    static const char text[] = " Größe: 12  請 🙂\n\tdef f(x): return \"</s>\" # \x01";
    const char *const models[] = {V1, V3, SAMPLE};
    for (size_t k = 0; k < 3; k++) {
        struct tokenizer *t = loaded(models[k], NULL, 0);
        int32_t *ids = NULL;
        char back[256];
        size_t cap = 0, n = 0, used = 0;
        assert_int_equal(tokenizer_encode(t, slice_of(text + 1), &ids, &cap, &n, NULL), 0);
        for (size_t i = 0; i < n; i++)
            used += tokenizer_piece(t, ids[i], back + used, sizeof back - used);
        assert_string_equal(back, text);
        free(ids);
        tokenizer_unref(t);
    }
}

static void test_invalid_utf8_is_tokenised(void **state)
{
    (void)state;
    struct tokenizer *t = loaded(V1, NULL, 0);
    char replaced[1024];
    (void)snprintf(replaced, sizeof replaced, "%s",
                   ids_of(t, slice_of("a\xef\xbf\xbd"
                                      "b")));
    assert_string_equal(ids_of(t, slice_of("a\xff"
                                           "b")),
                        replaced);
    tokenizer_unref(t);
}

static void test_symbols(void **state)
{
    (void)state;
    struct tokenizer *t = loaded(V3, NULL, 0);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_pad(t), 2);
    assert_int_equal(tokenizer_vocab_size(t), 32768);
    assert_int_equal(tokenizer_symbol(t, slice_of("[INST]")), 3);
    assert_int_equal(tokenizer_symbol(t, slice_of("</s>")), 2);
    assert_false(tokenizer_in_text(t, 2));
    assert_true(tokenizer_in_text(t, 23325));
    assert_false(tokenizer_in_text(t, -1));
    assert_false(tokenizer_in_text(t, 32768));
    const char *const none[] = {"", "[INST", "<|im_start|>", "<0x0A>", "<unk>", "the"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(tokenizer_symbol(t, slice_of(none[i])), -1);
    tokenizer_unref(t);
}

static void test_model_without_bos_and_eos(void **state)
{
    (void)state;
    const struct small_piece pieces[] = {
        {"<unk>", 0, SPM_UNKNOWN}, {"a", -1, SPM_NORMAL}, {"<s>", -2, SPM_NORMAL}};
    small_model_write(path, pieces, 3);
    struct tokenizer *t = loaded(path, NULL, 0);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_eos(t), -1);
    assert_int_equal(tokenizer_pad(t), 0);
    assert_int_equal(tokenizer_symbol(t, slice_of("<s>")), -1);
    tokenizer_unref(t);
}

static void test_pad_of_the_model(void **state)
{
    (void)state;
    const struct small_piece pieces[] = {{"</s>", 0, SPM_CONTROL},
                                         {"a", -1, SPM_NORMAL},
                                         {"<unk>", 0, SPM_UNKNOWN},
                                         {"<pad>", 0, SPM_CONTROL}};
    small_model_write(path, pieces, 4);
    struct tokenizer *t = loaded(path, NULL, 0);
    assert_int_equal(tokenizer_pad(t), 3);
    tokenizer_unref(t);
    small_model_write(path, pieces, 3);
    t = loaded(path, NULL, 0);
    assert_int_equal(tokenizer_pad(t), 0);
    tokenizer_unref(t);
    small_model_write(path, pieces + 1, 2);
    t = loaded(path, NULL, 0);
    assert_int_equal(tokenizer_pad(t), 1);
    tokenizer_unref(t);
}

static void test_control_and_user_defined_symbols_in_text(void **state)
{
    (void)state;
    const struct small_piece pieces[] = {{"<unk>", 0, SPM_UNKNOWN},    {"[C]", 0, SPM_CONTROL},
                                         {"[U]", 0, SPM_USER_DEFINED}, {"▁", -1, SPM_NORMAL},
                                         {"[", -1, SPM_NORMAL},        {"C", -1, SPM_NORMAL},
                                         {"U", -1, SPM_NORMAL},        {"]", -1, SPM_NORMAL}};
    small_model_write(path, pieces, 8);
    struct tokenizer *t = loaded(path, NULL, 0);
    assert_int_equal(tokenizer_symbol(t, slice_of("[C]")), 1);
    assert_int_equal(tokenizer_symbol(t, slice_of("[U]")), 2);
    assert_false(tokenizer_in_text(t, 1));
    assert_true(tokenizer_in_text(t, 2));
    assert_string_equal(ids_of(t, slice_of("[C][U]")), "3 4 5 7 2");
    tokenizer_unref(t);
}

static void test_special_tokens(void **state)
{
    (void)state;
    char buf[32];
    const struct conf_special special[] = {
        {(char *)"<|a|>", 32768}, {(char *)"<|b|>", 32775}, {(char *)"[INST]", 3}};
    struct tokenizer *t = loaded(V3, special, 3);
    assert_int_equal(tokenizer_vocab_size(t), 32776);
    assert_int_equal(tokenizer_symbol(t, slice_of("<|b|>")), 32775);
    assert_int_equal(tokenizer_symbol(t, slice_of("[INST]")), 3);
    assert_int_equal(tokenizer_symbol(t, slice_of("</s>")), 2);
    assert_int_equal(tokenizer_piece(t, 32775, buf, sizeof buf), 5);
    assert_string_equal(buf, "<|b|>");
    assert_int_equal(tokenizer_piece(t, 32770, buf, sizeof buf), 0);
    struct tokenizer *plain = loaded(V3, NULL, 0);
    char want[1024];
    (void)snprintf(want, sizeof want, "%s", ids_of(plain, slice_of("<|a|>")));
    assert_string_equal(ids_of(t, slice_of("<|a|>")), want);
    tokenizer_unref(plain);
    tokenizer_unref(t);
}

static void special_refused(struct conf_special a, struct conf_special b, const char *says)
{
    const struct conf_special both[] = {a, b};
    struct tokenizer *t = NULL;
    struct err err = {""};
    assert_int_equal(tokenizer_load(V3, both, 2, &t, &err), ERR_MODEL);
    assert_null(t);
    if (strstr(err.text, says) == NULL)
        fail_msg("'%s' is not in: %s", says, err.text);
}

static void test_special_tokens_that_cannot_be(void **state)
{
    (void)state;
    const struct conf_special good = {(char *)"<|a|>", 32768};
    special_refused(good, good, "'<|a|>' is given twice");
    special_refused(good, (struct conf_special){(char *)"<|b|>", 32768},
                    "'<|a|>' and '<|b|>' both have id 32768");
    special_refused(good, (struct conf_special){(char *)"[INST]", 32769},
                    "'[INST]' is 32769 here, but " V3 " has it as 3");
    special_refused(good, (struct conf_special){(char *)"<|b|>", 3}, "uses that id for '[INST]'");
    special_refused(good, (struct conf_special){(char *)"<|b|>", 327680}, "lie in 32768..66560");
    special_refused(good, (struct conf_special){(char *)"<|b|>", INT32_MAX}, "lie in 32768..66560");
    special_refused(good, (struct conf_special){(char *)"<|b|>", -1}, "lie in 32768..66560");
}

static void load_refused(const char *model, int rc, const char *says)
{
    struct tokenizer *t = NULL;
    struct err err = {""};
    assert_int_equal(tokenizer_load(model, NULL, 0, &t, &err), rc);
    assert_null(t);
    if (strstr(err.text, model) == NULL || strstr(err.text, says) == NULL)
        fail_msg("%s and '%s' are not both in: %s", model, says, err.text);
}

static void test_files_that_are_no_model(void **state)
{
    (void)state;
    char noise[4096];
    uint32_t x = 1;
    load_refused("/nonexistent/tokenizer.model", -ENOENT, "No such file");
    load_refused(TEST_DIR, -EISDIR, "is a directory");
    load_refused(TEST_DIR "/unit/test_tokenizer.c", ERR_MODEL, "not a SentencePiece model");
    load_refused(TEST_DIR "/data/sample-dialogues.jsonl", ERR_MODEL, "not a SentencePiece model");
    write_bytes("", 0);
    load_refused(path, ERR_MODEL, "(0 bytes)");
    for (int k = 0; k < 1000; k++) {
        for (size_t i = 0; i < sizeof noise; i++) {
            x = x * 1664525 + 1013904223;
            noise[i] = (char)(x >> 24);
        }
        write_bytes(noise, sizeof noise);
        load_refused(path, ERR_MODEL, "not a SentencePiece model");
    }
}

/* Refused before the library makes something of each of them. */
static void test_model_of_too_many_pieces(void **state)
{
    (void)state;
    static const char specs[] = {0x12, 0, 0x1a, 0};
    const size_t pieces = (1u << 22) + 1, size = 2 * pieces + sizeof specs;
    char *data = calloc(size, 1);
    assert_non_null(data);
    for (size_t i = 0; i < pieces; i++)
        data[2 * i] = 0x0a; /* of no bytes */
    memcpy(data + 2 * pieces, specs, sizeof specs);
    write_bytes(data, size);
    load_refused(path, ERR_MODEL, "not a SentencePiece model");
    free(data);
}

static void test_model_the_library_refuses(void **state)
{
    (void)state;
    const struct small_piece no_unk[] = {{"a", 0, SPM_NORMAL}}, twice[] = {{"<unk>", 0, SPM_UNKNOWN},
                                                                           {"a", 0, SPM_NORMAL},
                                                                           {"a", 0, SPM_NORMAL}};
    small_model_write(path, no_unk, 1);
    load_refused(path, ERR_MODEL, "unk is not defined");
    small_model_write(path, twice, 3);
    load_refused(path, ERR_MODEL, "a is already defined");
}

static void test_model_cut_anywhere(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_read(SAMPLE, 1 << 20, &data, &size, NULL), 0);
    for (size_t cut = 0; cut < size; cut += cut + 400 < size ? 7 : 1) {
        write_bytes(data, cut);
        load_refused(path, ERR_MODEL, "cut short");
    }
    free(data);
}

static void test_piece(void **state)
{
    (void)state;
    struct tokenizer *t = loaded(V1, NULL, 0);
    char buf[8];
    assert_int_equal(tokenizer_piece(t, 22557, buf, sizeof buf), 6);
    assert_string_equal(buf, " Hello");
    assert_int_equal(tokenizer_piece(t, 22557, buf, 4), 3);
    assert_string_equal(buf, " He");
    assert_int_equal(tokenizer_piece(t, 22557, buf, 1), 0);
    assert_string_equal(buf, "");
    assert_int_equal(tokenizer_piece(t, 22557, buf, 0), 0);
    assert_int_equal(tokenizer_piece(t, 13, buf, sizeof buf), 1);
    assert_string_equal(buf, "\n");
    assert_int_equal(tokenizer_piece(t, 13, buf, 1), 0);
    assert_int_equal(tokenizer_piece(t, 3, buf, sizeof buf), 1);
    assert_memory_equal(buf, "\0", 2);
    assert_int_equal(tokenizer_piece(t, 2, buf, sizeof buf), 4);
    assert_string_equal(buf, "</s>");
    assert_int_equal(tokenizer_piece(t, -1, buf, sizeof buf), 0);
    assert_int_equal(tokenizer_piece(t, 32000, buf, sizeof buf), 0);
    assert_string_equal(buf, "");
    tokenizer_unref(t);
}

static void test_identity_of_the_file(void **state)
{
    (void)state;
    struct tokenizer *t = loaded(V1, NULL, 0);
    assert_string_equal(tokenizer_path(t), V1);
    assert_string_equal(tokenizer_sha256(t),
                        "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055");
    assert_ptr_equal(tokenizer_ref(t), t);
    tokenizer_unref(t);
    assert_string_equal(ids_of(t, slice_of("Hello world")), "22557 1526");
    tokenizer_unref(t);
    tokenizer_unref(NULL);
}

struct encoder {
    struct tokenizer *tok;
    int32_t *ids;
    size_t n, cap;
    int rc;
};

static const char *const shared_texts[] = {"The quick brown fox", "jumps over\nthe lazy dog 🙂", "</s>",
                                           "Größe"};

static void *encode_much(void *arg)
{
    struct encoder *e = arg;
    for (uint32_t i = 0; i < 200 && e->rc == 0; i++)
        e->rc = tokenizer_encode(e->tok, slice_of(shared_texts[i % 4]), &e->ids, &e->cap, &e->n, NULL);
    tokenizer_unref(e->tok);
    return NULL;
}

static void test_many_threads_at_once(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    struct encoder e[THREADS + 1];
    struct tokenizer *t = loaded(SAMPLE, NULL, 0);
    for (size_t i = 0; i <= THREADS; i++)
        e[i] = (struct encoder){.tok = tokenizer_ref(t)};
    tokenizer_unref(t);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_much, &e[i]), 0);
    (void)encode_much(&e[THREADS]);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(e[i].rc, 0);
        assert_int_equal(e[i].n, e[THREADS].n);
        assert_memory_equal(e[i].ids, e[THREADS].ids, e[i].n * sizeof *e[i].ids);
        free(e[i].ids);
    }
    free(e[THREADS].ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_of_mistral_v1),
        cmocka_unit_test(test_ids_of_mistral_v3),
        cmocka_unit_test(test_ids_of_the_sample_model),
        cmocka_unit_test(test_ids_of_other_kinds_of_model),
        cmocka_unit_test(test_encode_appends),
        cmocka_unit_test(test_text_comes_back),
        cmocka_unit_test(test_invalid_utf8_is_tokenised),
        cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_model_without_bos_and_eos),
        cmocka_unit_test(test_pad_of_the_model),
        cmocka_unit_test(test_control_and_user_defined_symbols_in_text),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_special_tokens_that_cannot_be),
        cmocka_unit_test(test_files_that_are_no_model),
        cmocka_unit_test(test_model_of_too_many_pieces),
        cmocka_unit_test(test_model_the_library_refuses),
        cmocka_unit_test(test_model_cut_anywhere),
        cmocka_unit_test(test_piece),
        cmocka_unit_test(test_identity_of_the_file),
        cmocka_unit_test(test_many_threads_at_once),
    };
    return cmocka_run_group_tests(tests, setup, folder_free);
}
