/* feed - both doors onto the same consumers, on one thread: ROUTER with credits, XPUB for plain subscribers.
 *
 * The feed's thread owns the sockets, the consumers and the supply behind them. Other threads reach it in one
 * way only: feed_call runs a function there and waits. Functions marked [feed] may be called from such a
 * function only.
 */
#ifndef SKIPALIGN_FEED_FEED_H
#define SKIPALIGN_FEED_FEED_H

#include "base/err.h"
#include "stream/supply.h"

#include <stdbool.h>
#include <stdint.h>

struct feed;

/* A stream, as its timeline has it; see supply_add. */
struct stream_setup {
    const char *name;
    const struct generation_setup *generations;
    uint32_t n;
};

struct feed_setup {
    const char *listen, *subscribe; /* endpoints; "" or NULL: that door stays shut */
    uint64_t memory;                /* bytes: half for windows, half for batches on their way */
    const char *state_dir;
    struct workers *workers;            /* borrowed until feed_stop; collected by the feed's thread */
    struct reader *reader;              /* borrowed until feed_stop */
    const struct stream_setup *streams; /* [n_streams] */
    uint32_t n_streams;
};

/* feed_start - binds, adds the streams, starts the thread. Errors: an endpoint in use or malformed, a ledger
 * that cannot be opened; each says which and what to do. Binding anything but loopback or ipc is said in the
 * log.
 * Owner: the caller keeps what setup points to; but for workers and reader only until feed_start returns. */
int feed_start(const struct feed_setup *setup, struct feed **ret, struct err *reterr);

/* feed_endpoint - where a door was bound (the port that "tcp://127.0.0.1:*" got); "": shut. Any thread. */
enum consumer_door { DOOR_ROUTER, DOOR_XPUB };
const char *feed_endpoint(const struct feed *f, enum consumer_door door);

/* feed_ready - has every stream the step ready that is likely to be asked for first? 1 yes, 0 not yet, or the
 * error of the stream that failed. */
int feed_ready(struct feed *f, struct err *reterr);

/* feed_call - run fn(f, arg) on the feed's thread, wait for its end. Not from that thread. */
void feed_call(struct feed *f, void (*fn)(struct feed *f, void *arg), void *arg);

/* feed_drain - open no more; returns when every consumer has got what it gave credit for, or after
 * timeout_ms. */
void feed_drain(struct feed *f, uint32_t timeout_ms);

/* feed_stop - tells consumers (`error` shutting-down), lets that go out for at most a second, joins, frees.
 * NULL is fine. */
void feed_stop(struct feed *f);

/* ---- [feed]: what status, tail and preview are made of; borrowed until the function called by feed_call
 * returns ---- */

struct supply *feed_supply(struct feed *f);

enum consumer_wait {
    WAIT_NOTHING, /* going */
    WAIT_CREDIT,  /* the trainer has not asked for more */
    WAIT_SOCKET,  /* its socket is full: it reads slower than it is fed */
    WAIT_STEP,    /* the step is being made */
    WAIT_END,     /* has got `end` */
    WAIT_PAUSED,  /* its stream is paused */
};
struct consumer_info {
    enum consumer_door door;
    enum consumer_wait wait;
    const char *stream, *job; /* XPUB: job is the topic */
    uint32_t world, rank;
    uint32_t generation; /* that it reads; 0: nothing yet */
    bool fixed_shape;
    uint64_t first_step, next_step; /* opened at; to be sent next */
    uint64_t credit;
    uint64_t done;           /* STREAM_UNKNOWN: never said */
    uint64_t batches, bytes; /* sent */
    uint64_t idle_ns;        /* since it was last heard of, or last took a batch */
};
/* feed_consumers - fills at most cap; returns how many there are. */
uint32_t feed_consumers(struct feed *f, struct consumer_info *ret, uint32_t cap);

/* ---- [feed]: what changes while it serves ---- */

/* feed_add, feed_remove - a stream more, or less: its consumers get `end`. Errors: those of supply_add. */
int feed_add(struct feed *f, const struct stream_setup *setup, struct err *reterr);
void feed_remove(struct feed *f, struct stream *st);

/* feed_pause - nothing is sent or made for a stream, until it goes on. */
void feed_pause(struct feed *f, struct stream *st, bool paused);
bool feed_paused(const struct feed *f, const struct stream *st);

/* feed_hold - the first step of a change of this stream, so that none that anybody has, or may be about to
 * get, is another afterwards: see stream_hold. Until feed_change or feed_release nothing from there on is
 * made. feed_change - the generation is in effect; its first step is made at once. */
int feed_hold(struct feed *f, struct stream *st, uint64_t at, uint64_t *ret_step, struct err *reterr);
void feed_change(struct feed *f, struct stream *st, const struct generation_setup *g);
void feed_release(struct feed *f, struct stream *st);

/* feed_foresee - what a configuration would mean for those who read the stream. */
struct feed_foresight {
    uint32_t consumers;        /* that read it, */
    uint32_t wrong_world;      /* of these: their world does not divide the global batch, */
    uint32_t fixed_shape;      /* or they take no other rows and length */
    uint64_t bytes, bytes_max; /* a batch of each consumer of all streams; for more there is no room */
};
void feed_foresee(struct feed *f, struct stream *st, const struct conf_stream *conf,
                  struct feed_foresight *ret);

/* ---- [feed]: what was sent ---- */

struct feed_stats {
    uint64_t batches, bytes, tokens; /* sent since the start */
    uint64_t errors;                 /* `error` messages sent */
    uint64_t bad_messages;           /* from peers */
    uint64_t tap_dropped;
    uint64_t start_ns; /* clock_ns */
};
void feed_get_stats(struct feed *f, struct feed_stats *ret);

/* Steps as they were sent, newest last; the ring holds the last FEED_EVENTS. */
#define FEED_EVENTS 4096
struct feed_event {
    uint64_t number;  /* 1, 2, 3, ... */
    uint64_t time_ns; /* CLOCK_REALTIME */
    char stream[65];
    uint64_t step, epoch, tokens, bytes;
    uint32_t world, rank;
    enum consumer_door door;
};
/* feed_events - events with number > after, oldest first, at most cap; returns how many. */
uint32_t feed_events(struct feed *f, uint64_t after, struct feed_event *ret, uint32_t cap);

#endif
