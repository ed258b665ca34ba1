#include "feed/xpub.h"

#include "feed/admit.h"
#include "feed/answer.h"

#include <errno.h>
#include <inttypes.h>

#define TURN 64 /* messages before others have their turn */
#define LOG_BURST 20

/* MANUAL: the subscriber whose message was received last is put on, or taken off, a topic. */
static void set_topic(struct xpub *x, int option, struct slice topic)
{
    (void)zmq_setsockopt(x->door.socket, option, topic.data, topic.size);
}

/* Would an answer on this topic reach those who are being fed, by this topic or one that is a prefix of it?
 */
static bool reaches_others(struct xpub *x, struct slice topic)
{
    for (struct slice prefix = {topic.data, 1}; prefix.size <= topic.size && prefix.size <= PEER_MAX;
         prefix.size++)
        if (prefix.data[prefix.size - 1] == '/' && consumer_find(x->consumers, &x->door, prefix) != NULL)
            return true;
    return false;
}

/* Nothing will be sent on this topic any more that could find nobody there: forget it by hand. */
static void forget_ended(struct xpub *x, struct slice topic)
{
    struct consumer *c = topic.size <= PEER_MAX ? consumer_find(x->consumers, &x->door, topic) : NULL;
    if (c != NULL && c->wait == WAIT_END)
        consumer_remove(c);
}

static void refuse(struct xpub *x, struct slice topic, const struct msg_error *e)
{
    uint32_t held;
    char more[LOG_HELD];
    if (log_gate_pass(&x->gate, LOG_BURST, &held))
        log_info("subscriber refused: %s (%s)%s", e->message, msg_code_names[e->code], log_held(held, more));
    if (reaches_others(x, topic))
        return;
    set_topic(x, ZMQ_SUBSCRIBE, topic);
    (void)answer_error(&x->door, topic, e, x->tally);
    set_topic(x, ZMQ_UNSUBSCRIBE, topic);
}

static void refuse_bad(struct xpub *x, struct slice topic, const char *why)
{
    struct msg_error e;
    answer_say(&e, MSG_BAD_MESSAGE, "%s", why);
    x->tally->stats.bad_messages++;
    refuse(x, topic, &e);
}

/* False: no room, or no memory. */
static bool add(struct xpub *x, struct slice topic, bool tap, struct stream *st, const struct msg_open *open)
{
    if (tap)
        return taps_add(x->taps, st) == 0;
    return consumer_open(x->consumers, &x->door, topic, st, open) != NULL;
}

static void on_subscribe(struct xpub *x, struct slice topic)
{
    struct refusal refusal;
    struct msg_open open = {0};
    bool tap = false;
    forget_ended(x, topic);
    if (topic.size > PEER_MAX || msg_parse_topic(topic.data, topic.size, &open, &tap) != 0) {
        refuse_bad(x, topic, "a topic is STREAM/WORLD/RANK/STEP/ or STREAM/tap/, with the slash at its end");
        return;
    }
    if (x->draining) {
        answer_say(&refusal.error, MSG_SHUTTING_DOWN,
                   "this feeder is stopping; subscribe elsewhere, or once it is back");
        refuse(x, topic, &refusal.error);
        return;
    }
    if (tap)
        open.world = 1;
    struct stream *st = admit_open(x->supply, &open, &refusal);
    if (st == NULL) {
        refuse(x, topic, &refusal.error);
    } else if (!add(x, topic, tap, st, &open)) {
        consumers_say_full(x->consumers, &refusal.error);
        refuse(x, topic, &refusal.error);
    } else {
        set_topic(x, ZMQ_SUBSCRIBE, topic);
    }
}

static void on_cancel(struct xpub *x, struct slice topic)
{
    set_topic(x, ZMQ_UNSUBSCRIBE, topic);
    forget_ended(x, topic);
}

void xpub_receive(struct xpub *x)
{
    for (int i = 0; i < TURN && door_pending(&x->door); i++) {
        zmq_msg_t part; /* 1 or 0, then the topic */
        uint32_t n = door_receive(&x->door, &part, 1);
        if (n == 0)
            break;
        const char *data = zmq_msg_data(&part);
        size_t size = zmq_msg_size(&part);
        if (n == 1 && size > 0 && data[0] == 1)
            on_subscribe(x, (struct slice){data + 1, size - 1});
        else if (n == 1 && size > 0 && data[0] == 0)
            on_cancel(x, (struct slice){data + 1, size - 1});
        else
            x->tally->stats
                .bad_messages++; /* subscribers have nothing else to say, and no topic to be told on */
        door_release(&part, 1, n);
    }
}
