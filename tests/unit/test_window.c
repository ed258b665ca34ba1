/* Where windows begin and end. */
#include "support/window_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECORDS = 1500, EPOCHS = 3 };

static struct folder *folder;

static int setup(void **state)
{
    int rc = folder_new(state);
    folder = *state;
    return rc;
}

static void windows_end_with_what_was_left_over_and_with_epochs(void **state)
{
    (void)state;
    static struct slot left[1100];
    struct window_rig r;
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    for (int i = 0; i < RECORDS; i++)
        fprintf(f, "{\"prompt\":\"What is %d?\",\"completion\":\"A number.\"}\n", i);
    assert_int_equal(fclose(f), 0);
    window_rig_open(&r, folder, FORMAT_PROMPT_COMPLETION, text);
    r.stream.epochs = EPOCHS;
    for (uint32_t i = 0; i < 1100; i++)
        left[i] = (struct slot){.record = i * 7 % RECORDS};
    static const uint32_t n_left[] = {0, 1, 300, 1100};
    for (int variant = 0; variant < 8; variant++) {
        const uint32_t n = n_left[variant / 2];
        r.stream.packing = variant % 2;
        struct recipe *recipe = window_rig_recipe(&r);
        struct order *o = window_rig_order(recipe, left, n);
        uint64_t slot = 0, bounds = 0, docs = 0;
        while (slot < order_slots(o)) {
            uint64_t next;
            struct window *w = window_rig_make(&r, recipe, o, slot, &next);
            assert_int_equal(w->first_slot, slot);
            assert_int_equal(w->n_slots, next - slot);
            assert_true(next <= order_slots(o));
            assert_int_equal(w->epoch, slot < n ? 0 : (slot - n) / RECORDS);
            assert_int_equal(order_epoch(o, next - 1), w->epoch);
            assert_true(slot >= n || next <= n);
            bounds += next == n || (next > n && (next - n) % RECORDS == 0);
            docs += w->n_docs;
            slot = next;
            window_unref(w);
        }
        assert_int_equal(slot, n + EPOCHS * RECORDS);
        assert_int_equal(docs, slot);
        assert_int_equal(bounds, EPOCHS + (n > 0));
        struct order_cursor cur = {0};
        uint64_t bytes;
        assert_int_equal(window_plan(recipe, o, &cur, slot, &bytes), 0);
        order_free(o);
        recipe_unref(recipe);
    }
    window_rig_close(&r);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_end_with_what_was_left_over_and_with_epochs),
    };
    return cmocka_run_group_tests(tests, setup, folder_free);
}
