/* skipalign - read batches from SkipAlign feeders (skipalignd).
 *
 *     skipalign_feed *feed;
 *     const skipalign_options o = {.stream = "chat", .world = 8, .rank = 3, .step = 1200};
 *     int rc = skipalign_open("tcp://a:5757,tcp://b:5757", &o, &feed);
 *     const skipalign_batch *b;
 *     while (rc == 0 && (rc = skipalign_next(feed, &b, 60000)) == 0) {
 *         train(b->input_ids, b->position_ids, b->labels, b->rows, b->length);
 *         skipalign_done(feed, b->step);
 *     }
 *     if (rc != SKIPALIGN_END)
 *         fprintf(stderr, "%s\n", skipalign_message(feed));
 *     skipalign_close(feed);
 *
 * One endpoint is enough. Of several, which must serve the same corpora and history, the next goes on at the
 * next step when one is lost, and after the last comes the first again. Lost is, by default, one that
 *     ended (kill -9, too), shuts down, or is not there:          at once
 *     is stopped (SIGSTOP), cut off, without power, or does
 *     not answer when it is opened:                               after 5 s (dead_after_ms)
 *     lives but sends neither a batch nor a word,
 *     where there is another:                                     after 30 s (silent_after_ms)
 * Where all are lost, each is tried again, five rounds a second at most. A feeder that works its way to a
 * step far ahead says so, and is not silent. No step comes twice, none is left out.
 *
 * Errors:  functions return 0, or a negative SKIPALIGN_... code or -errno; skipalign_strerror has the words
 *          for it, skipalign_message what happened here, with what to do.
 * Threads: a feed belongs to one thread at a time; several feeds may live in several threads.
 * Link:    pkg-config --cflags --libs skipalign
 */
#ifndef SKIPALIGN_H
#define SKIPALIGN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct skipalign_feed skipalign_feed;

enum {
    SKIPALIGN_END = -2000,      /* no more batches: skipalign_end says why */
    SKIPALIGN_TIMEOUT = -2001,  /* nothing came in time; call again */
    SKIPALIGN_REFUSED = -2002,  /* the feeder said no: skipalign_message says why */
    SKIPALIGN_PROTOCOL = -2003, /* what came is not a feeder's message */
    SKIPALIGN_CORRUPT = -2004,  /* a batch is not the one expected: wrong step, rank or hash */
    SKIPALIGN_ARGUMENT = -2005, /* an option is missing or out of range */
};

typedef struct skipalign_options {
    const char *stream;       /* required */
    const char *job;          /* shown in the feeder's status; NULL: the host's name and process id */
    uint32_t world;           /* ranks that share each global batch; 0 means 1 */
    uint32_t rank;            /* 0..world-1 */
    uint64_t step;            /* first step wanted */
    uint32_t credit;          /* batches in flight at most; 0 means 8 */
    int timeout_ms;           /* for skipalign_open; 0 means 30,000; -1 for ever */
    int verify;               /* not 0: check each batch's XXH3-64 hash */
    int fixed_shape;          /* not 0: the stream ends ("changed") before a step of other rows or length */
    uint32_t dead_after_ms;   /* 0 means 5,000. A batch must get through in less */
    uint32_t silent_after_ms; /* 0 means 30,000 */
} skipalign_options;

/* What the feeder says of the stream; valid until the next skipalign_next, which brings it up to date: the
 * configuration of a stream may change while it is read, and then the first batch of another `generation` has
 * what stands here: shape, tokenizer, corpora. */
typedef struct skipalign_info {
    const char *server, *stream, *strategy;
    const char *tokenizer; /* sha256 of the model file, hex */
    uint32_t generation, rows, length, vocab_size, max_position;
    int32_t pad_id;
    int packing;
    uint64_t step;  /* from which on this holds, as far as it was told */
    uint64_t steps; /* in all; UINT64_MAX while not known */
    uint32_t n_corpora;
    const char *const *corpus_names;
    const uint64_t *corpus_records;
} skipalign_info;

/* One rank's rows of one step. Row-major; token units; -100 in labels means ignore. */
typedef struct skipalign_batch {
    uint32_t generation, world, rank;
    uint32_t rows, length;
    uint64_t step, epoch;
    const int32_t *input_ids, *position_ids, *labels; /* [rows * length] */
    const int32_t *tokens;                            /* [rows]: real tokens; padding follows them */
    const int32_t *cu_seqlens;                        /* [n_docs + 1]: 0 .. rows * length */
    const int32_t *doc_corpus; /* [n_docs]: index into the info's corpora; -1: padding */
    const int64_t *doc_record; /* [n_docs]: number of the record in its corpus */
    uint32_t n_docs, max_seqlen;
    uint64_t supervised, supervised_global; /* labels != -100 here, and in the whole step over all ranks */
    uint64_t hash;
} skipalign_batch;

/* skipalign_open - connect, open the stream, wait for a feeder's answer.
 * endpoints: ZeroMQ endpoints of feed.listen, tcp://HOST:PORT or ipc://PATH; several parted by commas or
 * spaces. *ret:      set also on an error (but -ENOMEM), so that skipalign_message can be asked; close it in
 * any case. */
int skipalign_open(const char *endpoints, const skipalign_options *options, skipalign_feed **ret);

const skipalign_info *skipalign_get_info(const skipalign_feed *feed); /* NULL where it was never opened */

/* skipalign_next - the next batch, steps in order, none lost and none twice. Credit for the last one goes
 * back. A feeder that was restarted is opened again at the next step; one that is lost, see above. Owner:
 * *ret is borrowed: valid until the next call on this feed. timeout: ms; -1 waits for ever, 0 only looks.
 * Errors:  SKIPALIGN_TIMEOUT and -EINTR (a signal came) may be tried again; every other one stays. */
int skipalign_next(skipalign_feed *feed, const skipalign_batch **ret, int timeout_ms);

/* skipalign_done - tell the feeder that the trainer has finished with a step (shown in status; optional). */
int skipalign_done(skipalign_feed *feed, uint64_t step);

/* After SKIPALIGN_TIMEOUT: is the feeder still working its way to a step that is far ahead of what it has
 * made out (it does so again where its ledger was lost)? */
typedef struct skipalign_wait_info {
    uint64_t step, known; /* waited for; steps made out so far */
    uint64_t seconds;     /* until it comes, about; UINT64_MAX: cannot be told yet */
} skipalign_wait_info;
const skipalign_wait_info *skipalign_get_wait(const skipalign_feed *feed); /* NULL where it is not */

/* After SKIPALIGN_END: one past the last step; "complete", "removed", "failed", or "changed" (fixed_shape:
 * open a new feed at that step); and rows dropped at the end. */
typedef struct skipalign_end_info {
    uint64_t step, dropped;
    const char *reason;
} skipalign_end_info;
const skipalign_end_info *skipalign_end(const skipalign_feed *feed); /* NULL before the end */

const char *skipalign_message(const skipalign_feed *feed);
void skipalign_close(skipalign_feed *feed); /* NULL is fine */
const char *skipalign_strerror(int rc);

#ifdef __cplusplus
}
#endif

#endif
