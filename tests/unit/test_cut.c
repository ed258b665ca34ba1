/* Where texts are cut: only where no piece lies, and in the same places whatever the CPU has. */
#include "base/file.h"
#include "base/rng.h"
#include "text/cut.h"
#include "text/cut_ascii.h"
#include "text/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 4096 };

static struct pieces *pieces;
static struct cut *cut;
static char *data;
static struct spm_file file;
static uint8_t text[TEXT_MAX + CUT_SLACK];
static uint16_t starts[TEXT_MAX + CUT_SLACK], portable[TEXT_MAX + CUT_SLACK];

static int setup(void **state)
{
    size_t size;
    (void)state;
    assert_int_equal(file_read(TEST_DIR "/data/mistral-v3.model", 1 << 28, &data, &size, NULL), 0);
    assert_int_equal(spm_file_read((struct slice){data, size}, &file), 0);
    assert_int_equal(pieces_new(&file, &pieces), 0);
    assert_int_equal(cut_new(pieces, &cut), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cut_free(cut);
    pieces_free(pieces);
    spm_file_fini(&file);
    free(data);
    return 0;
}

/* Returns how many parts. */
static ssize_t cut_both_ways(size_t size)
{
    memset(starts, 0, sizeof starts);
    memset(portable, 0xff, sizeof portable);
    ssize_t n = cut_find(cut, text, size, starts);
    assert_int_equal(cut_find_portable(cut, text, size, portable), n);
    if (n > 0)
        assert_memory_equal(starts, portable, (size_t)n * sizeof *starts);
    return n;
}

static void test_pieces_are_whole(void **state)
{
    (void)state;
    for (int32_t id = 0; id < pieces->n; id++) {
        struct slice piece = pieces->texts[id];
        if (!pieces_in_text(pieces, id))
            continue;
        for (size_t before = 0; before < 3; before++) {
            memcpy(text, "\n\n\n", before);
            memcpy(text + before, piece.data, piece.size);
            ssize_t n = cut_both_ways(before + piece.size);
            assert_true(n >= 1);
            assert_true(starts[n - 1] <= before);
        }
    }
}

static void test_same_cuts_whatever_the_cpu_has(void **state)
{
    (void)state;
    static const char *const odd[] = {"\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x99\x82", "\xff", "\xe2\x96\x81"};
    struct rng rng;
    size_t cuts = 0;
    rng_init(&rng, (struct rng_key){.seed = 3});
    for (int round = 0; round < 20000; round++) {
        size_t size = 1 + rng_below(&rng, 300);
        uint32_t rare = 1 + rng_below(&rng, 200);
        for (size_t i = 0; i < size; i++)
            text[i] = rng_below(&rng, 4) == 0 ? (uint8_t) " \n.,-_09"[rng_below(&rng, 8)]
                                              : (uint8_t)('a' + rng_below(&rng, 26));
        if (rng_below(&rng, 2) == 0)
            for (uint32_t k = size / rare; k > 0; k--) {
                const char *c = odd[rng_below(&rng, rare > 190 ? 5 : 3)];
                if (size > 4)
                    memcpy(text + rng_below(&rng, (uint32_t)size - 4), c, strlen(c));
            }
        for (size_t i = size; i < size + CUT_SLACK; i++)
            text[i] = (uint8_t)rng_below(&rng, 256);
        ssize_t n = cut_both_ways(size);
        cuts += n > 0 ? (size_t)n : 0;
    }
    assert_true(cuts > 100000);
}

static void test_sets_hold_legal_cuts_only(void **state)
{
    (void)state;
    struct cut_legal l;
    struct cut_ascii sets;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = 4});
    for (uint32_t share = 0; share <= 64; share += 4) { /* of pairs, in 64 */
        size_t found = 0, legal = 0;
        for (int a = 0; a < ASCII; a++) {
            l.ends[a] = l.begins[a] = (uint16_t)(1 + rng_below(&rng, 200));
            for (int b = 0; b < ASCII; b++)
                l.legal[a][b] = rng_below(&rng, 64) < share;
        }
        cut_ascii_init(&sets, &l);
        for (int a = 0; a < ASCII; a++)
            for (int b = 0; b < ASCII; b++) {
                bool is = cut_ascii_is_legal(&sets, (uint8_t)a, (uint8_t)b);
                assert_true(l.legal[a][b] || !is);
                found += is;
                legal += l.legal[a][b];
            }
        assert_true((found > 0) == (share > 0));
        assert_true(share < 64 || found == legal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_whole),
        cmocka_unit_test(test_same_cuts_whatever_the_cpu_has),
        cmocka_unit_test(test_sets_hold_legal_cuts_only),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
