/* Position ids against those of the second implementation (tests/golden/positions). */
#include "base/err.h"
#include "support/position_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Lines of comment; false: the file has ended. */
static bool skip_comments(FILE *f)
{
    int c;
    while ((c = fgetc(f)) == '#' || c == '\n')
        while (c != '\n' && c != EOF)
            c = fgetc(f);
    return ungetc(c, f) != EOF;
}

static void compare(const struct position_case *c, FILE *f)
{
    char outcome[32];
    uint32_t n_runs, start, id, t = 0;
    assert_int_equal(fscanf(f, "%31s %u", outcome, &n_runs), 2);
    assert_string_equal(pos_outcome_names[c->outcome], outcome);
    for (uint32_t r = 0; r < n_runs; r++) {
        assert_int_equal(fscanf(f, "%u:%u", &start, &id), 2);
        for (; t < start; t++) /* the run before goes on to here */
            assert_int_equal(c->ids[t], c->ids[t - 1] + 1);
        assert_int_equal(c->ids[t++], id);
    }
    for (; t < c->doc.n_tokens; t++)
        assert_int_equal(c->ids[t], c->ids[t - 1] + 1);
}

static void ids_are_those_of_the_other_implementation(void **state)
{
    (void)state;
    struct position_case c = {0};
    uint32_t n = 0;
    FILE *f = fopen(TEST_DIR "/golden/positions/vectors.txt", "r");
    assert_non_null(f);
    for (; skip_comments(f) && position_case_read(&c, f); n++) {
        position_case_draw(&c);
        compare(&c, f);
    }
    assert_true(n > 400);
    (void)fclose(f);
    position_case_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_those_of_the_other_implementation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
