#include "corpus/inflate.h"

#include <stdlib.h>
#include <string.h>

struct inflate {
    const struct inflate_library *library;
    void *self;
    uint64_t offset; /* bytes taken so far */
};

enum compression inflate_recognise(const char *head, size_t size)
{
    if (size >= 2 && memcmp(head, "\x1f\x8b", 2) == 0)
        return COMPRESSION_GZIP;
    if (size < 4)
        return COMPRESSION_NONE;
    /* A frame, or a skippable one (0x184D2A50 to 5F), which pzstd puts first. */
    if (memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0 ||
        ((head[0] & 0xf0) == 0x50 && memcmp(head + 1, "\x2a\x4d\x18", 3) == 0))
        return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

struct inflate *inflate_new(enum compression of)
{
    static const struct inflate_library *const libraries[COMPRESSION__COUNT] = {
        [COMPRESSION_GZIP] = &inflate_gzip, [COMPRESSION_ZSTD] = &inflate_zstd};
    struct inflate *x = calloc(1, sizeof *x);
    CHECK(of > COMPRESSION_NONE && of < COMPRESSION__COUNT);
    if (x == NULL)
        return NULL;
    x->library = libraries[of];
    x->self = x->library->new ();
    if (x->self == NULL) {
        free(x);
        return NULL;
    }
    return x;
}

void inflate_free(struct inflate *x)
{
    if (x == NULL)
        return;
    x->library->free(x->self);
    free(x);
}

int inflate_step(struct inflate *x, struct inflate_buffers *b, bool last, struct err *reterr)
{
    const size_t had = b->in_size;
    int rc = x->library->step(x->self, b, last, x->offset, reterr);
    x->offset += had - b->in_size;
    return rc;
}
