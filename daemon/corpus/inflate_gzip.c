/* The one place that knows zlib. */
#include "corpus/inflate.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define WINDOW_BITS 15
#define GZIP_ONLY 16 /* added to the bits: a gzip header is wanted, and no other */

enum gzip_place {
    GZIP_MEMBER,  /* inside of one, header and checksum included */
    GZIP_BETWEEN, /* after one */
    GZIP_PADDING, /* zeros after the last one, which gzip(1) passes over too */
};

struct gzip {
    z_stream z;
    enum gzip_place place;
    uint64_t member; /* where the last one starts */
};

static void *gzip_new(void)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (g != NULL && inflateInit2(&g->z, WINDOW_BITS + GZIP_ONLY) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

static void gzip_free(void *self)
{
    struct gzip *g = self;
    (void)inflateEnd(&g->z);
    free(g);
}

static int refuse_rest(uint64_t from, struct err *reterr)
{
    return err_set(
        reterr, ERR_FORMAT,
        "after its gzip data, which ends at byte %llu, comes something that is not gzip; get the file "
        "anew, or cut that off: head -c %llu",
        (unsigned long long)from, (unsigned long long)from);
}

static int refuse_short(const struct gzip *g, uint64_t end, struct err *reterr)
{
    if (g->member > 0 && end - g->member < 2) /* too short to be a header's mark */
        return refuse_rest(g->member, reterr);
    return err_set(reterr, ERR_FORMAT,
                   "the gzip data is cut short: the file ends at byte %llu, inside the member that starts at "
                   "byte %llu; get the whole file",
                   (unsigned long long)end, (unsigned long long)g->member);
}

static int refuse_data(const struct gzip *g, uint64_t at, struct err *reterr)
{
    /* What starts without a header's two bytes is no damaged member but something else. */
    if (g->member > 0 && g->z.total_out == 0 && g->z.total_in <= 2)
        return refuse_rest(g->member, reterr);
    return err_set(reterr, ERR_FORMAT, "the gzip data is damaged at byte %llu (%s); get the file anew",
                   (unsigned long long)at, g->z.msg != NULL ? g->z.msg : "not gzip");
}

static bool pass_zeros(struct inflate_buffers *b)
{
    while (b->in_size > 0 && *b->in == 0)
        b->in++, b->in_size--;
    return b->in_size == 0;
}

/* As much of the member as there is of it and room for it. */
static int step_member(struct gzip *g, struct inflate_buffers *b, uint64_t offset, struct err *reterr)
{
    const uInt in = b->in_size < UINT_MAX ? (uInt)b->in_size : UINT_MAX;
    const uInt out = b->out_size < UINT_MAX ? (uInt)b->out_size : UINT_MAX;
    g->z.next_in = (Bytef *)(uintptr_t)b->in; /* zlib only reads it */
    g->z.avail_in = in;
    g->z.next_out = (Bytef *)b->out;
    g->z.avail_out = out;
    int rc = inflate(&g->z, Z_NO_FLUSH);
    const uInt taken = in - g->z.avail_in, made = out - g->z.avail_out;
    b->in += taken, b->in_size -= taken;
    b->out += made, b->out_size -= made;
    if (rc == Z_STREAM_END)
        g->place = GZIP_BETWEEN;
    if (rc == Z_MEM_ERROR)
        return err_sys(reterr, -ENOMEM, "decompressing");
    /* Z_BUF_ERROR: nothing can be done without more of the file, or more room. */
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? 0 : refuse_data(g, offset + taken, reterr);
}

static int gzip_step(void *self, struct inflate_buffers *b, bool last, uint64_t offset, struct err *reterr)
{
    struct gzip *g = self;
    const uint64_t end = offset + b->in_size;
    for (;;) {
        if (g->place == GZIP_BETWEEN && b->in_size > 0) {
            g->member = end - b->in_size;
            g->place = *b->in == 0 ? GZIP_PADDING : GZIP_MEMBER;
            (void)inflateReset(&g->z); /* cannot fail on a stream that was in use */
        }
        if (g->place == GZIP_PADDING && !pass_zeros(b))
            return refuse_rest(g->member, reterr);
        if (g->place != GZIP_MEMBER)
            return last && b->in_size == 0;
        int rc = step_member(g, b, end - b->in_size, reterr);
        if (rc != 0)
            return rc;
        if (g->place != GZIP_MEMBER)
            continue;
        if (b->in_size == 0 && b->out_size > 0) /* all that could be made was */
            return last ? refuse_short(g, end, reterr) : 0;
        if (b->out_size == 0)
            return 0;
    }
}

const struct inflate_library inflate_gzip = {gzip_new, gzip_free, gzip_step};
