/* Where elements start: the fast way and the portable one against a look at each byte, however the array is
 * cut into blocks. */
#include "corpus/elements.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 2000, ROUNDS = 3000 };

struct found {
    uint32_t starts[SIZE], n, stop; /* stop: where something outside of the array is, or size */
    bool closed;
    uint64_t end;
};

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void look_at_each(const char *data, uint32_t size, struct found *ret)
{
    uint64_t depth = 0;
    bool in_string = false, escaped = false, wanted = false;
    ret->n = 0;
    ret->closed = false;
    for (ret->stop = 0; ret->stop < size; ret->stop++) {
        const char c = data[ret->stop];
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if (is_space(c))
            continue;
        if (depth == 0 && (ret->closed || c != '['))
            return;
        if (depth == 1 && wanted && c != ',' && c != ']') {
            ret->starts[ret->n++] = ret->stop;
            wanted = false;
        }
        in_string = c == '"';
        if (c == '[' || c == '{')
            wanted = depth++ == 0;
        else if (c == ',')
            wanted = depth == 1;
        else if ((c == ']' || c == '}') && --depth == 0) {
            ret->closed = true;
            ret->end = ret->stop;
        }
    }
}

/* In blocks of up to block bytes, each in memory of just its size. */
static void look(uint32_t (*find)(struct elements *, const char *, uint32_t, uint64_t, uint32_t *,
                                  uint32_t *),
                 const char *data, uint32_t size, uint32_t block, struct found *ret)
{
    struct elements e = {0};
    uint32_t starts[SIZE], n, at = 0, taken = 0, want = 0;
    ret->n = 0;
    for (; at < size && taken == want; at += want) {
        want = size - at < block ? size - at : block;
        char *copy = malloc(want);
        assert_non_null(copy);
        memcpy(copy, data + at, want);
        taken = find(&e, copy, want, at, starts, &n);
        for (uint32_t i = 0; i < n; i++)
            ret->starts[ret->n++] = at + starts[i];
        free(copy);
    }
    ret->stop = at - want + taken;
    ret->closed = e.closed;
    ret->end = e.end;
}

static void check(const char *data, uint32_t size, uint32_t block)
{
    struct found wanted, got;
    look_at_each(data, size, &wanted);
    for (int way = 0; way < 2; way++) {
        look(way == 0 ? elements_find : elements_find_portable, data, size, block, &got);
        assert_int_equal(got.stop, wanted.stop);
        assert_int_equal(got.n, wanted.n);
        assert_memory_equal(got.starts, wanted.starts, wanted.n * sizeof wanted.starts[0]);
        assert_int_equal(got.closed, wanted.closed);
        if (wanted.closed)
            assert_int_equal(got.end, wanted.end);
    }
}

/* Bytes of an alphabet, whatever they make; some letters more likely than others. */
static void test_random_bytes(void **state)
{
    static const char *const alphabets[] = {
        "[]{}\",\\ x",
        "\"\"\\\\\\\\ab",
        "{{{[[[\",x}]  \n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\"\\{}[],\t",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\"\"\"{{},]\\\\",
    };
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < ROUNDS; round++) {
        const char *alphabet = alphabets[next_random(&seed) % (sizeof alphabets / sizeof *alphabets)];
        const size_t letters = strlen(alphabet);
        const uint32_t size = 1 + next_random(&seed) % SIZE;
        char data[SIZE];
        for (uint32_t i = 0; i < size; i++)
            data[i] = alphabet[next_random(&seed) % letters];
        if (round % 16 != 0)
            data[0] = '[';
        check(data, size, 1 + next_random(&seed) % (round % 2 == 0 ? 100 : SIZE));
    }
}

/* Elements that are strings, each of which begins at another place in a word and goes on in the next ones. */
static void test_strings(void **state)
{
    (void)state;
    for (uint32_t length = 0; length < 200; length++) {
        char data[SIZE] = "[";
        uint32_t size = 1;
        while (size + length + 10 < SIZE) {
            data[size++] = '"';
            memset(data + size, 'x', length);
            size += length;
            data[size++] = '"';
            data[size++] = ',';
        }
        data[size - 1] = ']';
        check(data, size, SIZE);
        check(data, size, 100);
    }
}

/* Real elements of all sizes, the array's end anywhere in a word, and something after it. */
static void test_ends(void **state)
{
    (void)state;
    for (uint32_t length = 0; length < 200; length++) {
        char data[SIZE] = "[";
        uint32_t size = 1;
        for (int k = 0; k < 4; k++) {
            size += (uint32_t)sprintf(data + size, "%s{\"a\":[{\"\\\\\\\"b\":\"", k > 0 ? ", " : "");
            memset(data + size, k % 2 == 0 ? 'x' : ']', length);
            size += length;
            size += (uint32_t)sprintf(data + size, "\\\"\"},{}]}");
        }
        size += (uint32_t)sprintf(data + size, "]\n ");
        check(data, size, SIZE);
        check(data, size, 64);
        check(data, size, 61);
        size += (uint32_t)sprintf(data + size, "\t,");
        check(data, size, SIZE);
        check(data, size, 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
