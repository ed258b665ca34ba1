/* ctl - what skipalignctl and a running daemon say to each other on the control socket.
 *
 * A request is one msgpack map {"version": 1, "command": "status", "arguments": {...}}, its reply another:
 * {"version": 1, "ok": true, "result": {...}} or {"version": 1, "ok": false, "code": "...", "error": "what,
 * where, what to do"}. Here is how both are written and read: a writer that counts the members of maps and
 * lists by itself, and look-ups in bytes that anyone may have sent (token.h), without copies. Threads: pure,
 * but for ctl_probe; a writer belongs to one thread.
 */
#ifndef SKIPALIGN_PROTO_CTL_H
#define SKIPALIGN_PROTO_CTL_H

#include "proto/token.h"

#include <msgpack.h>

#define CTL_VERSION 1
#define CTL_REQUEST_MAX 65536 /* bytes */
#define CTL_ENDPOINT "ipc:///run/skipalign/control"
#define CTL_DEPTH 16

/* ---- writing: key is the member's name in a map, NULL in a list ---- */
struct ctl_writer {
    msgpack_sbuffer buf; /* what was written: buf.data, buf.size */
    struct {
        size_t at; /* of the count, to be written when it is known */
        uint32_t n;
    } open[CTL_DEPTH];
    unsigned depth;
    int rc; /* 0, or -ENOMEM: what follows is not written */
};

void ctl_init(struct ctl_writer *w);
void ctl_fini(struct ctl_writer *w);
void ctl_put_map(struct ctl_writer *w, const char *key);
void ctl_put_list(struct ctl_writer *w, const char *key);
void ctl_put_end(struct ctl_writer *w); /* of the innermost map or list */
void ctl_put_nil(struct ctl_writer *w, const char *key);
void ctl_put_bool(struct ctl_writer *w, const char *key, bool value);
void ctl_put_uint(struct ctl_writer *w, const char *key, uint64_t value);
void ctl_put_int(struct ctl_writer *w, const char *key, int64_t value);
void ctl_put_real(struct ctl_writer *w, const char *key, double value);
/* What is not UTF-8 becomes U+FFFD: readers in other languages refuse the whole message otherwise. */
void ctl_put_bytes(struct ctl_writer *w, const char *key, const char *data, size_t size);
void ctl_put_text(struct ctl_writer *w, const char *key, const char *text); /* NULL: nil */

/* ---- reading: a value is the bytes from its start on; {NULL, NULL} stands for an absent one ---- */
struct token_cursor ctl_get(struct token_cursor map, const char *key);
uint64_t ctl_get_uint(struct token_cursor map, const char *key); /* 0 where absent or of another type */
double ctl_get_real(struct token_cursor map, const char *key);   /* an integer too; 0 where absent */
bool ctl_get_bool(struct token_cursor map, const char *key);
struct token ctl_get_text(struct token_cursor map, const char *key); /* TOKEN_STR; empty where absent */
bool ctl_is_nil(struct token_cursor value);                          /* nil or absent */
double ctl_real(const struct token *t, char head); /* of a TOKEN_FLOAT whose first byte was head */

/* ctl_get_list - how many members, and a cursor before the first.   ctl_take - the next one. */
uint64_t ctl_get_list(struct token_cursor map, const char *key, struct token_cursor *ret);
struct token_cursor ctl_take(struct token_cursor *list);

/* ctl_probe - does somebody listen on this Unix socket? 0 yes; -ENOENT: no such file; -ECONNREFUSED: left
 * behind by one that is gone; other -errno: -EACCES, -ENAMETOOLONG, -ENOTSOCK, ... */
int ctl_probe(const char *path);

#endif
