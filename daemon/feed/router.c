#include "feed/router.h"

#include "feed/admit.h"
#include "feed/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define TURN 64 /* messages before others have their turn */
#define LOG_BURST 20

static void refuse(struct router *r, struct slice peer, const struct msg_error *e)
{
    uint32_t held;
    char more[LOG_HELD];
    if (log_gate_pass(&r->gate, LOG_BURST, &held))
        log_info("trainer refused: %s (%s)%s", e->message, msg_code_names[e->code], log_held(held, more));
    /* One that does not read its answers, or is gone, need not have this one. */
    (void)answer_error(&r->door, peer, e, r->tally);
}

static void refuse_bad(struct router *r, struct slice peer, enum msg_code code, const char *why)
{
    struct msg_error e;
    answer_say(&e, code, "%s", why);
    r->tally->stats.bad_messages++;
    refuse(r, peer, &e);
}

static void on_open(struct router *r, struct slice peer, const struct msg_open *open)
{
    struct refusal refusal;
    struct stream *st;
    uint32_t held;
    char more[LOG_HELD];
    if (r->draining) {
        answer_say(&refusal.error, MSG_SHUTTING_DOWN,
                   "this feeder is stopping; open again elsewhere, or once it is back");
        refuse(r, peer, &refusal.error);
    } else if ((st = admit_open(r->supply, open, &refusal)) == NULL) {
        refuse(r, peer, &refusal.error);
    } else if (consumer_open(r->consumers, &r->door, peer, st, open) == NULL) {
        consumers_say_full(r->consumers, &refusal.error);
        refuse(r, peer, &refusal.error);
    } else if (log_gate_pass(&r->gate, LOG_BURST, &held)) {
        log_info("stream '%s': '%s' opened rank %" PRIu32 " of %" PRIu32 " from step %" PRIu64 "%s",
                 open->stream, open->job, open->rank, open->world, open->step, log_held(held, more));
    }
}

static void on_credit(struct router *r, struct slice peer, const struct msg_credit *m)
{
    struct consumer *c = consumer_find(r->consumers, &r->door, peer);
    struct msg_error e;
    if (c == NULL) {
        answer_say(&e, MSG_NOT_OPEN,
                   "credit for no open stream; send `open` first (again, after a reconnect)");
        refuse(r, peer, &e);
        return;
    }
    consumer_credit(c, r->draining ? 0 : m->credit, m->done);
}

static void on_close(struct router *r, struct slice peer)
{
    struct consumer *c = consumer_find(r->consumers, &r->door, peer);
    if (c != NULL)
        consumer_remove(c);
}

static void on_message(struct router *r, struct slice peer, const char *data, size_t size)
{
    struct msg m;
    char why[256];
    int rc = msg_decode(data, size, &m, why, sizeof why);
    if (rc != 0) {
        refuse_bad(r, peer, rc == -ENOSYS ? MSG_BAD_VERSION : MSG_BAD_MESSAGE, why);
        return;
    }
    switch (m.type) {
    case MSG_TYPE_OPEN:
        on_open(r, peer, &m.open);
        break;
    case MSG_TYPE_CREDIT:
        on_credit(r, peer, &m.credit);
        break;
    case MSG_TYPE_CLOSE:
        on_close(r, peer);
        break;
    default:
        refuse_bad(r, peer, MSG_BAD_MESSAGE,
                   "a trainer sends `open`, `credit` or `close`; this is a feeder's message");
        break;
    }
    msg_fini(&m);
}

void router_receive(struct router *r)
{
    for (int i = 0; i < TURN && door_pending(&r->door); i++) {
        zmq_msg_t part[2]; /* routing id, map */
        uint32_t n = door_receive(&r->door, part, 2);
        if (n == 0)
            break;
        struct slice peer = {zmq_msg_data(&part[0]), zmq_msg_size(&part[0])};
        if (n == 2)
            on_message(r, peer, zmq_msg_data(&part[1]), zmq_msg_size(&part[1]));
        else
            refuse_bad(r, peer, MSG_BAD_MESSAGE,
                       "a message is one frame, a msgpack map; this has several or none");
        door_release(part, 2, n);
    }
}
