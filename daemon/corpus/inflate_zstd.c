/* The one place that knows libzstd. */
#include "corpus/inflate.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define WINDOW_LOG_MAX \
    27 /* 128 MiB: what zstd itself makes without --ultra or --long=28, and takes without being told */

struct zstd {
    ZSTD_DCtx *context;
    uint64_t frame; /* where the last one starts */
    bool between;   /* after one */
};

static void *zstd_new(void)
{
    struct zstd *z = calloc(1, sizeof *z);
    if (z == NULL)
        return NULL;
    z->context = ZSTD_createDCtx();
    z->between = true; /* a file without any is whole, too */
    if (z->context == NULL ||
        ZSTD_isError(ZSTD_DCtx_setParameter(z->context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
        (void)ZSTD_freeDCtx(z->context);
        free(z);
        return NULL;
    }
    return z;
}

static void zstd_free(void *self)
{
    struct zstd *z = self;
    (void)ZSTD_freeDCtx(z->context);
    free(z);
}

static int refuse(const struct zstd *z, size_t error, uint64_t at, struct err *reterr)
{
    const unsigned long long frame = z->frame, byte = at;
    switch (ZSTD_getErrorCode(error)) {
    case ZSTD_error_memory_allocation:
        return err_sys(reterr, -ENOMEM, "decompressing");
    case ZSTD_error_prefix_unknown:
        return err_set(
            reterr, ERR_FORMAT,
            "after its zstd data, which ends at byte %llu, comes something that is not zstd; get the "
            "file anew, or cut that off: head -c %llu",
            frame, frame);
    case ZSTD_error_dictionary_wrong:
        return err_set(reterr, ERR_FORMAT,
                       "the zstd frame at byte %llu was made with a dictionary; decompress it with that one: "
                       "zstd -d -D DICTIONARY",
                       frame);
    case ZSTD_error_frameParameter_windowTooLarge:
        return err_set(
            reterr, ERR_FORMAT,
            "the zstd frame at byte %llu needs a window of more than 128 MiB in memory; compress it "
            "anew, without --ultra or --long above 27: zstd -dc --long=31 OLD | zstd -o NEW",
            frame);
    default:
        return err_set(
            reterr, ERR_FORMAT,
            "the zstd data is damaged at byte %llu, in the frame that starts at byte %llu (%s); get "
            "the file anew",
            byte, frame, ZSTD_getErrorName(error));
    }
}

static int zstd_step(void *self, struct inflate_buffers *b, bool last, uint64_t offset, struct err *reterr)
{
    struct zstd *z = self;
    ZSTD_inBuffer in = {b->in, b->in_size, 0};
    ZSTD_outBuffer out = {b->out, b->out_size, 0};
    size_t left = 0;
    /* Once a frame has ended, a call without input would begin another. */
    while (!ZSTD_isError(left) && !(z->between && in.pos == in.size)) {
        const size_t taken = in.pos, made = out.pos;
        if (z->between)
            z->frame = offset + in.pos;
        left = ZSTD_decompressStream(z->context, &out, &in);
        z->between = left == 0;
        if (left != 0 && (out.pos == out.size || (taken == in.pos && made == out.pos)))
            break;
    }
    b->in += in.pos, b->in_size -= in.pos;
    b->out += out.pos, b->out_size -= out.pos;
    if (ZSTD_isError(left))
        return refuse(z, left, offset + in.pos, reterr);
    if (!last || b->in_size > 0 || z->between)
        return last && b->in_size == 0;
    if (b->out_size == 0)
        return 0; /* more may come of what was taken */
    return err_set(
        reterr, ERR_FORMAT,
        "the zstd data is cut short: the file ends at byte %llu, inside the frame that starts at byte "
        "%llu; get the whole file",
        (unsigned long long)(offset + in.pos), (unsigned long long)z->frame);
}

const struct inflate_library inflate_zstd = {zstd_new, zstd_free, zstd_step};
