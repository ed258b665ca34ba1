/* message - the feed's messages between structs and bytes; PROTOCOL.md is the contract in words.
 *
 * Every message is one msgpack map with string keys. Decoding takes bytes from anyone: sizes and counts are
 * held against the bytes that there are; unknown keys are ignored, missing or wrongly typed ones are named.
 * Threads: pure; any. Knows libc and msgpack only.
 */
#ifndef SKIPALIGN_PROTO_MESSAGE_H
#define SKIPALIGN_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSG_VERSION 1
#define MSG_NAME_MAX 64           /* bytes of a stream's, corpus' or job's name */
#define MSG_REQUEST_MAX 65536     /* bytes of a message to the feeder */
#define MSG_ALIGN 64              /* input_ids start at a multiple of it in a batch message */
#define MSG_TEXT_MAX 1024         /* bytes of an error's message, with its NUL */
#define MSG_CORPORA_MAX 4096      /* corpora of a stream */
#define MSG_TOKENS_MAX 0x3fffffff /* of a batch: a `bin` holds less than 4 GiB */
#define MSG_UNKNOWN UINT64_MAX    /* `steps` while the total is not known (nil on the wire) */

/* The names of <sys/socket.h> start with MSG_ too, hence MSG_TYPE_. */
enum msg_type {
    MSG_TYPE_OPEN,
    MSG_TYPE_CREDIT,
    MSG_TYPE_CLOSE,
    MSG_TYPE_OPENED,
    MSG_TYPE_CHANGED,
    MSG_TYPE_BATCH,
    MSG_TYPE_WAIT,
    MSG_TYPE_END,
    MSG_TYPE_ERROR,
    MSG_TYPE__COUNT,
};

enum msg_code {
    MSG_BAD_MESSAGE,
    MSG_BAD_VERSION,
    MSG_UNKNOWN_STREAM,
    MSG_BAD_WORLD,
    MSG_BAD_RANK,
    MSG_STEP_PAST_END,
    MSG_NOT_OPEN,
    MSG_DENIED,
    MSG_STREAM_FAILED,
    MSG_SHUTTING_DOWN,
    MSG_CODE__COUNT,
};
enum msg_reason { MSG_COMPLETE, MSG_REMOVED, MSG_FAILED, MSG_CHANGED, MSG_REASON__COUNT };
extern const char *const msg_type_names[MSG_TYPE__COUNT];
extern const char *const msg_code_names[MSG_CODE__COUNT];
extern const char *const msg_reason_names[MSG_REASON__COUNT];

struct msg_open {
    uint32_t version, world, rank;
    uint64_t step, credit;
    bool fixed_shape; /* rows and length may not change: `end` with MSG_CHANGED instead */
    char stream[MSG_NAME_MAX + 1], job[MSG_NAME_MAX + 1];
};

struct msg_credit {
    uint64_t credit;
    uint64_t done; /* MSG_UNKNOWN where absent */
};

struct msg_corpus {
    char name[MSG_NAME_MAX + 1];
    uint64_t records;
};

/* `opened`, and `changed` before the first batch of another generation. */
struct msg_opened {
    uint32_t version, generation;
    uint64_t step, steps;
    uint32_t rows, length, vocab_size, max_position;
    int32_t pad_id;
    bool packing;
    char server[MSG_NAME_MAX + 1], stream[MSG_NAME_MAX + 1], strategy[MSG_NAME_MAX + 1];
    char tokenizer[MSG_NAME_MAX + 1]; /* sha256, hex */
    struct msg_corpus *corpora;       /* encode: borrowed; decode: heap, msg_fini frees */
    uint32_t n_corpora;
};

/* Sent while a step is made that is beyond what is made out. */
struct msg_wait {
    uint64_t step, known; /* waited for; steps made out so far */
    uint64_t seconds;     /* until it comes, about; MSG_UNKNOWN: cannot be told yet */
};

struct msg_end {
    uint64_t step;
    enum msg_reason reason;
    uint64_t dropped;
};

struct msg_error {
    enum msg_code code; /* decode: MSG_CODE__COUNT for one we do not know */
    char code_name[MSG_NAME_MAX + 1];
    char message[MSG_TEXT_MAX];
    const uint32_t *worlds; /* for MSG_BAD_WORLD: the ones that divide; else n_worlds 0. decode: heap */
    uint32_t n_worlds;
    uint64_t steps; /* for MSG_STEP_PAST_END; else MSG_UNKNOWN */
};

/* A batch. Arrays are little-endian in the frame itself, each at a multiple of its element's size from the
 * frame's first byte (input_ids: of MSG_ALIGN), so on our machines they are used in place.
 * Shapes:  input_ids, position_ids, labels [rows*length]; tokens [rows]; cu_seqlens [n_docs+1];
 *          doc_corpus, doc_record [n_docs]. */
struct msg_batch {
    uint32_t generation, world, rank, rows, length, n_docs, max_seqlen;
    uint64_t step, epoch, supervised, supervised_global, hash;
    char stream[MSG_NAME_MAX + 1];
    int32_t *input_ids, *position_ids, *labels, *tokens, *cu_seqlens, *doc_corpus;
    int64_t *doc_record;
};

/* ---- encoding: the result is malloc'ed, the caller frees it; -ENOMEM. ---- */
int msg_encode_open(const struct msg_open *m, char **ret, size_t *ret_size);
int msg_encode_credit(const struct msg_credit *m, char **ret, size_t *ret_size);
int msg_encode_close(char **ret, size_t *ret_size);
int msg_encode_opened(const struct msg_opened *m, char **ret, size_t *ret_size);
int msg_encode_changed(const struct msg_opened *m, char **ret, size_t *ret_size);
int msg_encode_wait(const struct msg_wait *m, char **ret, size_t *ret_size);
int msg_encode_end(const struct msg_end *m, char **ret, size_t *ret_size);
int msg_encode_error(const struct msg_error *m, char **ret, size_t *ret_size);

/* msg_batch_size - bytes of the frame for b's stream name, rows, length and n_docs (other fields do not
 *      matter: every number in a batch's header has a fixed width); 0 where an array does not fit a `bin`.
 * msg_batch_layout - write the frame's skeleton into buf (that size, aligned to MSG_ALIGN) with all scalars
 *      as they stand in b, and point b's arrays into it, for the caller to fill.
 * msg_batch_seal - write the scalars again, when those that depend on the arrays are known: supervised,
 *      supervised_global, max_seqlen, hash. */
size_t msg_batch_size(const struct msg_batch *b);
void msg_batch_layout(struct msg_batch *b, char *buf);
void msg_batch_seal(const struct msg_batch *b, char *buf);

/* ---- decoding ---- */
struct msg {
    enum msg_type type;
    union {
        struct msg_open open;
        struct msg_credit credit;
        struct msg_opened opened; /* of `changed`, too */
        struct msg_wait wait;
        struct msg_batch batch; /* arrays borrow from the bytes, which must be 8-byte aligned to use them */
        struct msg_end end;
        struct msg_error error;
    };
};

/* msg_decode - any message.
 * Errors:  -EPROTO (not such a map; wrong type; out of range; inconsistent shapes), -ENOSYS (`version` of an
 *          `open` that is not ours), -ENOMSG (a sound map whose `type` is not known here: a trainer ignores
 *          it), -ENOMEM; why[n_why] says what and which key.
 * Owner:   *ret is the caller's: msg_fini frees what decode put on the heap. Untouched on an error. */
int msg_decode(const char *data, size_t size, struct msg *ret, char *why, size_t n_why);
void msg_fini(struct msg *m);

/* msg_parse_topic - "STREAM/WORLD/RANK/STEP/" or "STREAM/tap/" (*ret_tap). -EPROTO if neither. */
int msg_parse_topic(const char *data, size_t size, struct msg_open *ret, bool *ret_tap);

#endif
