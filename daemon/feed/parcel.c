#include "feed/parcel.h"

#include <errno.h>

struct parcel {
    struct frame *frame;
    atomic_uint refs;
};

/* The parcel that this thread was the one to free last: on the feed's thread that is one which ZeroMQ had no
 * peer for, as those with a peer are freed by its own threads. */
static _Thread_local const struct parcel *returned;

struct parcel *parcel_new(struct frame *f)
{
    struct parcel *p = pool_take(pool_of(f), sizeof *p);
    if (p == NULL)
        return NULL;
    p->frame = frame_ref(f);
    atomic_init(&p->refs, 1);
    return p;
}

void parcel_unref(struct parcel *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    frame_unref(p->frame);
    pool_give(p);
}

static void let_go(void *data, void *hint)
{
    (void)data;
    returned = hint;
    parcel_unref(hint);
}

int parcel_wrap(struct parcel *p, zmq_msg_t *ret)
{
    returned = NULL;
    if (zmq_msg_init_data(ret, p->frame->data, p->frame->size, let_go, p) != 0)
        return -ENOMEM;
    (void)atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return 0;
}

bool parcel_returned(const struct parcel *p)
{
    return returned == p;
}

void flight_add(struct flight *f, struct parcel *p)
{
    CHECK(f->n < FLIGHT_MAX);
    f->ring[(f->first + f->n++) % FLIGHT_MAX] = p;
    f->bytes += p->frame->size;
}

static void drop_first(struct flight *f)
{
    struct parcel *p = f->ring[f->first];
    f->first = (f->first + 1) % FLIGHT_MAX;
    f->n--;
    f->bytes -= p->frame->size;
    parcel_unref(p);
}

void flight_land(struct flight *f)
{
    while (f->n > 0 && atomic_load_explicit(&f->ring[f->first]->refs, memory_order_acquire) == 1)
        drop_first(f);
}

bool flight_has_room(const struct flight *f, uint32_t n, uint64_t bytes, uint64_t part)
{
    return (f->n == 0 && n == 1) || (f->n + n <= FLIGHT_MAX && f->bytes + n * bytes <= part);
}

void flight_fini(struct flight *f)
{
    while (f->n > 0)
        drop_first(f);
}
