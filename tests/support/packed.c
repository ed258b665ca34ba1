#include "support/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#define GZIP_ONLY 16

struct packed packed_gzip(const void *data, size_t size)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + GZIP_ONLY, 8, Z_DEFAULT_STRATEGY), Z_OK);
    const size_t cap = deflateBound(&z, size) + 32;
    struct packed p = {malloc(cap), 0};
    assert_non_null(p.data);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = (Bytef *)p.data;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    p.size = cap - z.avail_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
    return p;
}

static struct packed compress_zstd(ZSTD_CCtx *c, const void *data, size_t size)
{
    const size_t cap = ZSTD_compressBound(size);
    struct packed p = {malloc(cap), 0};
    assert_non_null(p.data);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
    p.size = ZSTD_compress2(c, p.data, cap, data, size);
    assert_false(ZSTD_isError(p.size));
    (void)ZSTD_freeCCtx(c);
    return p;
}

struct packed packed_zstd(const void *data, size_t size, int window_log)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    if (window_log > 0) { /* as a stream, for a frame of known size has a window no larger than that */
        assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log)));
        assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_enableLongDistanceMatching, 0)));
        const size_t cap = ZSTD_compressBound(size);
        struct packed p = {malloc(cap), 0};
        ZSTD_inBuffer in = {data, size, 0};
        ZSTD_outBuffer out = {p.data, cap, 0};
        assert_non_null(p.data);
        assert_false(ZSTD_isError(ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue)));
        assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
        p.size = out.pos;
        (void)ZSTD_freeCCtx(c);
        return p;
    }
    return compress_zstd(c, data, size);
}

struct packed packed_zstd_with(const void *dictionary, size_t dictionary_size, const void *data, size_t size)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    assert_false(ZSTD_isError(ZSTD_CCtx_loadDictionary(c, dictionary, dictionary_size)));
    return compress_zstd(c, data, size);
}

void packed_add_bytes(struct packed *p, const void *data, size_t size)
{
    char *grown = realloc(p->data, p->size + size + 1);
    assert_non_null(grown);
    memcpy(grown + p->size, data, size);
    p->data = grown;
    p->size += size;
}

void packed_add(struct packed *p, struct packed more)
{
    packed_add_bytes(p, more.data, more.size);
    free(more.data);
}
