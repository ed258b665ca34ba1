/* The example, damaged in thousands of ways, always the same ones: taken, and then printed as what comes back
 * as the same, or refused with a reason. */
#include "base/rng.h"
#include "config/diff.h"
#include "config/file.h"
#include "config/print.h"
#include "config/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 4000
#define ROOM 32768

static const char *const pieces[] = {
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "  ",
    "#",
    "\"",
    "'",
    "*a",
    "&a ",
    "!t ",
    "---\n",
    "? ",
    "|\n",
    ">",
    "%",
    "@",
    "~",
    "\0",
    "\xff",
    "\xc3\xa9",
    "\t",
    ",",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "true",
    "GiB",
    "name",
    "tcp://",
};

struct text {
    char data[ROOM];
    size_t n;
};

static void insert(struct text *t, size_t at, const char *data, size_t n)
{
    if (t->n + n > ROOM)
        return;
    memmove(t->data + at + n, t->data + at, t->n - at);
    memmove(t->data + at, data, n);
    t->n += n;
}

static void cut(struct text *t, size_t at, size_t n)
{
    if (n > t->n - at)
        n = t->n - at;
    memmove(t->data + at, t->data + at + n, t->n - at - n);
    t->n -= n;
}

static void mutate(struct text *t, struct rng *r)
{
    size_t at = rng_below(r, (uint32_t)t->n + 1), from = rng_below(r, (uint32_t)t->n + 1);
    const char *piece = pieces[rng_below(r, sizeof pieces / sizeof pieces[0])];
    char line[256];
    size_t n;
    switch (rng_below(r, 5)) {
    case 0:
        insert(t, at, piece, piece[0] == '\0' ? 1 : strlen(piece));
        break;
    case 1:
        cut(t, at, rng_below(r, 40));
        break;
    case 2: /* a piece of the file once more, elsewhere */
        n = t->n - from < sizeof line ? t->n - from : sizeof line;
        memcpy(line, t->data + from, n);
        insert(t, at, line, rng_below(r, (uint32_t)n + 1));
        break;
    case 3:
        if (at < t->n)
            t->data[at] = (char)rng_below(r, 256);
        break;
    default: /* take a comment mark away */
        while (at < t->n && t->data[at] != '#')
            at++;
        cut(t, at, 1);
    }
}

static size_t example(char *data)
{
    FILE *f = fmemopen(data, ROOM, "w");
    assert_non_null(f);
    assert_int_equal(schema_print_example(f), 0);
    size_t n = (size_t)ftell(f);
    (void)fclose(f);
    return n;
}

static void ignore(void *arg, const char *full_name, const char *value)
{
    *(size_t *)arg += strlen(full_name) + strlen(value);
}

static void assert_comes_back(const struct conf *c)
{
    struct conf *again = NULL;
    struct conf_errors e = {0};
    struct conf_change *changes;
    uint32_t n;
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    assert_int_equal(conf_print(c, f), 0);
    (void)fclose(f);
    if (conf_parse("/other/c.yaml", text, size, &again, &e) != 0)
        fail_msg("%s in\n%s", e.text, text);
    assert_int_equal(conf_diff(c, again, &changes, &n), 0);
    if (n != 0)
        fail_msg("%s is another, from\n%s", changes[0].name, text);
    conf_changes_free(changes, n);
    conf_free(again);
    free(text);
}

static void test_damaged_examples_are_taken_or_refused_with_a_reason(void **state)
{
    (void)state;
    static struct text whole, t;
    uint32_t taken = 0, refused = 0;
    whole.n = example(whole.data);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct rng r;
        struct conf *c = NULL;
        struct conf_errors e = {0};
        rng_init(&r, (struct rng_key){.seed = 1, .record = round});
        t = whole;
        for (uint32_t n = 1 + rng_below(&r, 6); n > 0; n--)
            mutate(&t, &r);
        int rc = conf_parse("/etc/c.yaml", t.data, t.n, &c, &e);
        if (rc == 0) {
            size_t shown = 0;
            char *canonical;
            taken++;
            assert_null(e.text);
            assert_int_equal(conf_visit(c, ignore, &shown), 0);
            assert_int_equal(conf_stream_canonical(c, &c->streams[0], &canonical), 0);
            free(canonical);
            assert_comes_back(c);
            conf_free(c);
        } else {
            refused++;
            assert_int_equal(rc, ERR_CONFIG);
            assert_true(e.n > 0 && strncmp(e.text, "/etc/c.yaml:", 12) == 0);
            conf_errors_fini(&e);
        }
    }
    /* Both ways are gone often, or the mutations are too many or too few. */
    assert_true(taken > ROUNDS / 20 && refused > ROUNDS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_examples_are_taken_or_refused_with_a_reason),
    };
    return cmocka_run_group_tests_name("config_mutated", tests, NULL, NULL);
}
