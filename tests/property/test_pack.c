/* Packing keeps every document, fills rows well, and overlong samples are cut where they should be. */
#include "base/rng.h"
#include "stream/fit.h"
#include "stream/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The same rule, slowly: the fullest row with room, and of equal ones the one touched last. */
static uint32_t slow_best_fit(const uint32_t *n_tokens, uint32_t n, uint32_t length, uint32_t *room)
{
    uint32_t n_rows = 0;
    for (uint32_t want = length; want > 0; want--)
        for (uint32_t i = 0; i < n; i++) {
            if (n_tokens[i] != want)
                continue;
            uint32_t best = UINT32_MAX;
            for (uint32_t r = 0; r < n_rows; r++)
                if (room[r] >= want && (best == UINT32_MAX || room[r] < room[best]))
                    best = r;
            if (best == UINT32_MAX)
                room[best = n_rows++] = length;
            room[best] -= want;
        }
    return n_rows;
}

static void every_document_has_a_row_with_room(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = 3});
    struct packer p = {0};
    for (int round = 0; round < 300; round++) {
        uint32_t length = 1 + rng_below(&rng, round % 3 == 0 ? 20000 : 300), n = rng_below(&rng, 400),
                 n_rows = 0;
        uint32_t n_tokens[400], row[400], used[400] = {0}, room[400];
        for (uint32_t i = 0; i < n; i++)
            n_tokens[i] = 1 + rng_below(&rng, rng_below(&rng, 3) == 0 ? length : (length + 7) / 8);
        assert_int_equal(pack_rows(&p, n_tokens, n, length, row, &n_rows), 0);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(row[i] < n_rows);
            used[row[i]] += n_tokens[i];
        }
        for (uint32_t r = 0; r < n_rows; r++)
            assert_in_range(used[r], 1, length);
        assert_int_equal(n_rows, slow_best_fit(n_tokens, n, length, room));
    }
    packer_fini(&p);
}

static void rows_are_nearly_full(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = 4});
    struct packer p = {0};
    uint32_t n_tokens[1024], row[1024], n_rows;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 1024; i++)
        sum += n_tokens[i] = 50 + rng_below(&rng, 600);
    assert_int_equal(pack_rows(&p, n_tokens, 1024, 4096, row, &n_rows), 0);
    assert_true((double)sum / (n_rows * 4096.0) > 0.98);
    packer_fini(&p);
}

static struct document dialogue(struct text_block *blocks, size_t n)
{
    struct document d = {.blocks = blocks, .n_blocks = n};
    for (size_t b = 0; b < n; b++)
        d.n_ids += blocks[b].n_tokens;
    return d;
}

static void truncation_ends_after_a_response(void **state)
{
    (void)state;
    struct text_block b[] = {{ROLE_USER, 10, 0, 0},
                             {ROLE_ASSISTANT, 20, 2, 20},
                             {ROLE_USER, 10, 0, 0},
                             {ROLE_ASSISTANT, 20, 2, 20},
                             {ROLE_USER, 10, 0, 0}};
    struct document d = dialogue(b, 5);
    fit_truncate(&d, 70); /* it fits */
    assert_int_equal(d.n_ids, 70);
    fit_truncate(&d, 65); /* into the trailing instruction, which trains nothing */
    assert_int_equal(d.n_ids, 60);
    assert_int_equal(d.n_blocks, 4);
    fit_truncate(&d, 59);
    assert_int_equal(d.n_ids, 30);
    assert_int_equal(d.n_blocks, 2);
    fit_truncate(&d, 25); /* no response fits whole: in the middle of the first */
    assert_int_equal(d.n_ids, 25);
    assert_int_equal(b[1].n_tokens, 15);
    assert_int_equal(b[1].supervised_end, 15);
    fit_truncate(&d, 11); /* only its header is left: nothing to train on */
    assert_int_equal(b[1].supervised_end - b[1].supervised_start, 0);
    fit_truncate(&d, 4);
    assert_int_equal(d.n_blocks, 1);
    assert_int_equal(d.n_ids, 4);
}

static void pieces_hold_as_many_turns_as_fit(void **state)
{
    (void)state;
    const uint32_t blocks[] = {5, 5, 5, 5, 50, 60, 5, 5, 5};
    assert_int_equal(fit_pairs(blocks, 9, 0, 20), 2);
    assert_int_equal(fit_pairs(blocks, 9, 0, 19), 1);
    assert_int_equal(fit_pairs(blocks, 9, 4, 20), 1);   /* too long alone: still one, to be truncated */
    assert_int_equal(fit_pairs(blocks, 9, 6, 1000), 1); /* the trailing instruction is no pair */
    assert_int_equal(fit_pairs(blocks, 9, 0, 1000), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_document_has_a_row_with_room),
        cmocka_unit_test(rows_are_nearly_full),
        cmocka_unit_test(truncation_ends_after_a_response),
        cmocka_unit_test(pieces_hold_as_many_turns_as_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
