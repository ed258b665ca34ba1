#include "corpus/io.h"

#include <errno.h>
#include <stdlib.h>

/* A read that makes no progress this often in a row fails: a file that only ever says EAGAIN must not spin
 * us. */
#define TRIES_MAX 100
#define DEPTH_MAX 4096
#define NO_SLOT UINT32_MAX

struct slot {
    struct io_read rest; /* what is still to be read */
    uint32_t generation, tries, next_free;
    bool busy;
};

struct io {
    const struct io_backend *backend;
    void *self;
    uint64_t resubmitted;
    uint32_t depth, in_flight, first_free;
    struct slot slots[];
};

struct io *io_new(const struct io_backend *backend, void *self, uint32_t depth)
{
    CHECK(depth >= 1 && depth <= DEPTH_MAX);
    struct io *io = calloc(1, sizeof *io + depth * sizeof io->slots[0]);
    if (io == NULL)
        return NULL;
    io->backend = backend;
    io->self = self;
    io->depth = depth;
    for (uint32_t i = 0; i < depth; i++)
        io->slots[i].next_free = i + 1 < depth ? i + 1 : NO_SLOT;
    return io;
}

int io_open(enum io_kind kind, uint32_t depth, struct io **ret, enum io_kind *ret_kind, struct err *reterr)
{
    const struct io_backend *backend;
    void *self;
    struct err why = {""};
    enum io_kind became = kind == IO_PREAD ? IO_PREAD : IO_URING;
    int rc = became == IO_PREAD ? io_pread_backend(depth, &backend, &self, &why)
                                : io_uring_backend(depth, &backend, &self, &why);
    if (rc != 0 && kind == IO_AUTO) {
        became = IO_PREAD;
        struct err second;
        rc = io_pread_backend(depth, &backend, &self, &second);
        if (rc != 0)
            why = second;
    }
    if (rc != 0)
        return err_set(reterr, rc, "%s", why.text);
    struct io *io = io_new(backend, self, depth);
    if (io == NULL) {
        backend->free(self);
        return err_sys(reterr, -ENOMEM, "reading files");
    }
    (void)err_set(reterr, 0, "%s", why.text);
    *ret = io;
    *ret_kind = became;
    return 0;
}

bool io_full(const struct io *io)
{
    return io->first_free == NO_SLOT;
}

uint32_t io_in_flight(const struct io *io)
{
    return io->in_flight;
}

uint64_t io_resubmitted(const struct io *io)
{
    return io->resubmitted;
}

static void send_slot(struct io *io, uint32_t i)
{
    io->backend->queue(io->self, (uint64_t)io->slots[i].generation << 32 | i, &io->slots[i].rest);
}

void io_queue(struct io *io, const struct io_read *read)
{
    CHECK(!io_full(io) && read->size > 0);
    uint32_t i = io->first_free;
    struct slot *s = &io->slots[i];
    io->first_free = s->next_free;
    s->rest = *read;
    s->tries = 0;
    s->busy = true;
    io->in_flight++;
    send_slot(io, i);
}

/* True if the read has ended; otherwise what is left of it goes out again. */
static bool slot_ended(struct slot *s, int32_t result, uint32_t *ret_error)
{
    *ret_error = 0;
    if (result == 0) {
        *ret_error = ENODATA;
        return true;
    }
    if (result < 0) {
        *ret_error = (uint32_t)-result;
        return (result != -EINTR && result != -EAGAIN) || ++s->tries >= TRIES_MAX;
    }
    CHECK((uint32_t)result <= s->rest.size);
    s->tries = 0;
    s->rest.size -= (uint32_t)result;
    s->rest.offset += (uint32_t)result;
    s->rest.data += result;
    return s->rest.size == 0;
}

uint32_t io_collect(struct io *io, struct io_done *ret, uint32_t max)
{
    struct io_result results[64];
    uint32_t n_ended = 0;
    while (n_ended == 0 && io->in_flight > 0) {
        uint32_t want = max < 64 ? max : 64;
        uint32_t n = io->backend->collect(io->self, results, want);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t i = (uint32_t)results[k].token, error;
            CHECK(i < io->depth);
            struct slot *s = &io->slots[i];
            CHECK(s->busy && s->generation == results[k].token >> 32);
            s->generation++;
            if (!slot_ended(s, results[k].result, &error)) {
                io->resubmitted++;
                send_slot(io, i);
                continue;
            }
            ret[n_ended++] = (struct io_done){s->rest.owner, s->rest.index, error};
            s->busy = false;
            s->next_free = io->first_free;
            io->first_free = i;
            io->in_flight--;
        }
    }
    return n_ended;
}

void io_close(struct io *io)
{
    if (io == NULL)
        return;
    struct io_done done[64];
    while (io_collect(io, done, 64) > 0)
        ;
    CHECK(io->in_flight == 0);
    io->backend->free(io->self);
    free(io);
}
