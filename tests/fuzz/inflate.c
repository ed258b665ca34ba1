/* A compressed file from anybody: however it comes in and whatever room there is at a time, the content and
 * the answer are the same, and a wrong one is refused in words. */
#include "fuzz/support/fuzz.h"

#include "corpus/inflate.h"

#include <stdlib.h>
#include <string.h>

#define CONTENT_MAX (1u << 20) /* of a bomb no more is wanted */

struct answer {
    int rc; /* of the last step; 0: it was enough */
    size_t n;
    char content[CONTENT_MAX];
    struct err err;
};

static void inflate_all(enum compression of, const char *file, size_t size, size_t in_step, size_t out_step,
                        struct answer *a)
{
    struct inflate *x = inflate_new(of);
    struct inflate_buffers b = {.in = file, .out = a->content};
    size_t given = 0;
    CHECK(x != NULL);
    a->rc = 0;
    a->err.text[0] = '\0';
    while (a->rc == 0 && b.out < a->content + CONTENT_MAX) {
        if (b.in_size == 0 && given < size) {
            b.in_size = in_step < size - given ? in_step : size - given;
            given += b.in_size;
        }
        const size_t room = (size_t)(a->content + CONTENT_MAX - b.out), in_before = b.in_size;
        const char *out_before = b.out;
        b.out_size = out_step < room ? out_step : room;
        a->rc = inflate_step(x, &b, given == size, &a->err);
        /* Else this never ends. */
        CHECK(a->rc != 0 || b.in_size < in_before || b.out > out_before || given < size);
    }
    a->n = (size_t)(b.out - a->content);
    inflate_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct answer whole, parts;
    if (size < 3)
        return 0;
    const char *file = (const char *)data + 2;
    const size_t in_step = 1 + data[0] % 61, out_step = 1 + data[1] * 7u;
    const enum compression of = inflate_recognise(file, size - 2);
    if (of == COMPRESSION_NONE)
        return 0;
    inflate_all(of, file, size - 2, size, CONTENT_MAX, &whole);
    inflate_all(of, file, size - 2, in_step, out_step, &parts);
    CHECK(whole.rc == parts.rc ||
          whole.n == CONTENT_MAX); /* there, who has seen the end depends on the room */
    CHECK(whole.rc >= 0 || whole.err.text[0] != '\0');
    if (whole.rc >= 0)
        CHECK(whole.n == parts.n && memcmp(whole.content, parts.content, whole.n) == 0);
    return 0;
}
