/* fields - what each message consists of: one table, which writing (encode.c) and reading (decode.c) both
 * walk.
 *
 * A row is a key of the map and a member of the message's struct. Adding a key is adding a member and a row.
 * Threads: constant.
 */
#ifndef SKIPALIGN_PROTO_FIELDS_H
#define SKIPALIGN_PROTO_FIELDS_H

#include "proto/message.h"

enum field_kind {
    FIELD_U32,
    FIELD_U64,
    FIELD_MAYBE, /* uint64_t: MSG_UNKNOWN is nil, or absent where the key is optional */
    FIELD_I32,
    FIELD_BOOL,
    FIELD_NAME, /* char[MSG_NAME_MAX + 1] */
    FIELD_TEXT, /* char[MSG_TEXT_MAX] */
    FIELD_CODE,
    FIELD_REASON,
    FIELD_WORLDS,
    FIELD_CORPORA,
    FIELD_ARRAY, /* of the batch: a pointer into the frame */
};

enum field_shape { SHAPE_TOKENS, SHAPE_ROWS, SHAPE_DOCS, SHAPE_BOUNDS };

struct field {
    const char *key;
    size_t off;
    enum field_kind kind;
    bool optional;
    enum field_shape shape; /* of an array: how many elements, */
    uint32_t width;         /* and the bytes of one */
};

#define FIELDS_MAX 24
struct fields {
    const struct field *rows;
    size_t n_rows;
};
extern const struct fields fields_of[MSG_TYPE__COUNT], fields_of_corpus;

/* field_bytes - of an array in a batch of this shape. */
uint64_t field_bytes(const struct field *f, const struct msg_batch *b);

#endif
