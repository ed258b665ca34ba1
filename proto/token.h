/* token - msgpack from bytes that anyone may have sent, one value at a time.
 *
 * Nothing is allocated, copied or recursed into: a header that promises more than the bytes hold is refused
 * where it stands, so what a message costs is bounded by its size, however it counts and nests.
 * Source:  the msgpack specification, github.com/msgpack/msgpack/blob/master/spec.md.
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_PROTO_TOKEN_H
#define SKIPALIGN_PROTO_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum token_kind {
    TOKEN_NIL,
    TOKEN_BOOL,
    TOKEN_UINT,     /* number */
    TOKEN_NEGATIVE, /* number, as int64_t */
    TOKEN_FLOAT,
    TOKEN_STR,
    TOKEN_BIN,
    TOKEN_EXT,
    TOKEN_ARRAY, /* number of values follow */
    TOKEN_MAP,   /* number of pairs follow */
};

struct token {
    enum token_kind kind;
    uint64_t number;  /* a value, or a count */
    const char *data; /* of str, bin, ext: borrowed from the bytes read */
    size_t size;
};

struct token_cursor {
    const char *at, *end;
};

/* token_next - one token; an array's or a map's members are the tokens after it. False, with the cursor where
 * it was: the bytes end too early, or are not msgpack. */
bool token_next(struct token_cursor *c, struct token *ret);

/* token_skip - one whole value with all its members. False: as above; the cursor is anywhere then. */
bool token_skip(struct token_cursor *c);

bool token_is(const struct token *t, const char *str);

#endif
