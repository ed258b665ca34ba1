/* consumer - everyone who is fed, at either door: what they want next, what they may have, and who waits for
 * what.
 *
 * A consumer wants its next few batches (share.h) as far as its credit and its part of the memory reach, and
 * is sent them in step order (deliver.h). It is scheduled by an event (credit, a batch that is ready, a
 * change or the end of its stream), and one whose socket is full is tried again after a pause that doubles.
 * So a slow one costs the others nothing.
 *
 * Owner:   the feed's thread.
 */
#ifndef SKIPALIGN_FEED_CONSUMER_H
#define SKIPALIGN_FEED_CONSUMER_H

#include "base/clock.h"
#include "feed/door.h"
#include "feed/share.h"
#include "feed/tally.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define CONSUMERS_MAX 4096
#define PEER_MAX 255     /* bytes of a routing id or a topic */
#define CONSUMER_AHEAD 4 /* batches of one consumer that are being made or ready */

struct consumers;
TAILQ_HEAD(consumer_list, consumer);

struct consumer {
    struct consumers *all;
    struct door *door;
    struct stream *stream; /* NULL: it was taken out of the configuration */
    char stream_name[MSG_NAME_MAX + 1];
    char peer[PEER_MAX + 1]; /* routing id or topic */
    uint32_t peer_size;
    char job[PEER_MAX + 1];
    uint32_t world, rank;
    uint64_t first_step, next_step;
    uint64_t ends_at,
        ends_dropped; /* where others of its stream have got their end; STREAM_UNKNOWN: nowhere */
    /* What its peer knows of the stream: told, or seen in its last batch. */
    uint32_t generation; /* 0: nothing yet */
    uint32_t rows, length;
    uint64_t frame_bytes; /* of one batch, about */
    bool fixed_shape;     /* it takes no other rows and length */
    bool paused;          /* its stream is */
    uint64_t credit, done, batches, bytes;
    uint64_t heard_ns;
    enum consumer_wait wait;
    bool owes_opened;            /* `opened` is still to be sent */
    bool told_failure;           /* `error` is sent, `end` is still to be */
    uint64_t say_wait_ns;        /* when to say how long its step still takes; 0: it does not wait */
    struct consumer_list *queue; /* the one it is in, or NULL */
    uint64_t pause_ns, retry_ns;
    struct want ahead[CONSUMER_AHEAD]; /* a ring: steps next_step, next_step + 1, ... */
    uint32_t ahead_first, n_ahead;
    struct flight flight;
    LIST_ENTRY(consumer) in_bucket;
    TAILQ_ENTRY(consumer) in_list, in_queue;
};

struct consumers {
    struct share *share;
    struct tally *tally;
    uint64_t memory; /* bytes for frames on their way */
    /* Told after each batch is sent, while its frame is still at hand. */
    void (*sent)(void *arg, struct stream *st, uint64_t step);
    /* Told when somebody has got `end`, as the stream is complete; may be NULL. */
    void (*ended)(void *arg, struct stream *st);
    bool (*paused)(void *arg, const struct stream *st);
    void *arg;
    uint32_t n;
    uint64_t frame_bytes; /* of one batch of each */
    struct consumer_list list;
    struct consumer_list scheduled, recent, full; /* may go on; sockets full, for how long */
    uint64_t retry_ns;                            /* none of those is due before */
    uint64_t say_wait_ns;                         /* nor any word to those who wait for a step */
    uint64_t sweep_ns;                            /* consumers_drop_silent has nothing to do before */
    LIST_HEAD(, consumer) buckets[1024];
};

/* consumers_new - NULL: no memory. */
struct consumers *consumers_new(struct share *share, struct tally *tally, uint64_t memory);
void consumers_free(struct consumers *cs); /* forgets them all */

struct consumer *consumer_find(struct consumers *cs, const struct door *d, struct slice peer);
/* consumer_open - a new consumer in the place of one that the peer may have had; owes_opened and credit as
 * given. NULL: table or memory are full of consumers that are being fed. */
struct consumer *consumer_open(struct consumers *cs, struct door *d, struct slice peer, struct stream *st,
                               const struct msg_open *open);
/* consumers_drop_silent - those at ROUTER who wait for a step and were not heard of for CONSUMER_SILENT_NS,
 * or who have got their end and stay for CONSUMER_ENDED_NS.
 */
#define CONSUMER_ENDED_NS (60 * NS_PER_S)
#define CONSUMER_SILENT_NS (600 * NS_PER_S)
void consumers_drop_silent(struct consumers *cs, uint64_t now_ns);
/* consumers_say_full - why consumer_open gave NULL. */
void consumers_say_full(const struct consumers *cs, struct msg_error *ret);
void consumer_credit(struct consumer *c, uint64_t more, uint64_t done);
void consumer_remove(struct consumer *c);
void consumer_get_info(const struct consumer *c, uint64_t now_ns, struct consumer_info *ret);
/* consumer_satisfied - has it got all that it gave credit for? Plain subscribers give none. */
bool consumer_satisfied(struct consumer *c);
struct slice consumer_peer(const struct consumer *c);

/* consumer_resize - its batches have another size from now on. False: they do not fit the memory. */
bool consumer_resize(struct consumer *c, uint64_t frame_bytes);

/* consumers_wake - a stream has ended or failed: all of its consumers look again.   consumers_change - its
 * steps from this one on are others than they were.   consumers_pause - nothing is sent or wanted for it, or
 * again. consumers_drop_stream - it is no more: they get their `end`, and do not touch it again. */
void consumers_wake(struct consumers *cs, const struct stream *st);
void consumers_change(struct consumers *cs, const struct stream *st, uint64_t first_step);
/* consumers_end_at - a change goes on past the end that some of them have been told: all ranks of a job get
 * the same number of batches, so those who are here now end there, too. */
void consumers_end_at(struct consumers *cs, const struct stream *st, uint64_t step, uint64_t dropped);
void consumers_pause(struct consumers *cs, const struct stream *st, bool paused);
void consumers_drop_stream(struct consumers *cs, const struct stream *st);
/* consumers_busy - is a stream that is not paused being read by somebody who has not seen its end? */
bool consumers_busy(const struct consumers *cs, const struct stream *st);
/* consumers_foresee - what a configuration would mean for a stream's consumers. */
void consumers_foresee(const struct consumers *cs, const struct stream *st, const struct conf_stream *conf,
                       struct feed_foresight *ret);
/* consumers_run - send what can be sent. */
void consumers_run(struct consumers *cs, uint64_t now_ns);
/* consumers_due_ns - when consumers_run has something to do without an event: 0 now, UINT64_MAX never. */
uint64_t consumers_due_ns(const struct consumers *cs);

/* consumers_part - the bytes of frames that one of them may have on their way. */
uint64_t consumers_part(const struct consumers *cs);

#endif
