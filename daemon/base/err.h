/* err - error codes and messages.
 *
 * Functions return 0 or a negative code: -errno for the system's errors, one of the codes below for ours.
 * The message says what, where and what to do; context is added at boundaries, cause last:
 * err_wrap(reterr, rc, "corpus '%s'", name) turns "open: no such file" into "corpus 'a': open: no such file".
 *
 * Owner:   the caller keeps the struct err.   Threads: any; a struct err belongs to one at a time.
 */
#ifndef SKIPALIGN_BASE_ERR_H
#define SKIPALIGN_BASE_ERR_H

enum {
    ERR_CONFIG = -1000,    /* the configuration is wrong */
    ERR_FORMAT = -1001,    /* a file is not what it should be */
    ERR_CHANGED = -1002,   /* a file is no longer what it was */
    ERR_MODEL = -1003,     /* a tokenizer model cannot be used */
    ERR_LIMIT = -1004,     /* more than a limit of ours allows */
    ERR_UNUSABLE = -1005,  /* too much of a corpus cannot be used */
    ERR_CANCELLED = -1006, /* given up because we are stopping */
    ERR__LAST = -1006,
};

struct err {
    char text[1024];
};

/* err_set - write the message (e may be NULL); err_wrap - put context before it. Both return rc. */
int err_set(struct err *e, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_wrap(struct err *e, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* err_sys - err_set with ": <text of the errno>" appended; rc is a negative errno. */
int err_sys(struct err *e, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* err_str - the words for a code, ours or the system's; static or thread-local text. */
const char *err_str(int rc);

/* CHECK - for our own mistakes, never for bytes from a file, a peer or a user: says where and aborts. */
#define CHECK(x) ((x) ? (void)0 : err_check_failed(#x, __FILE__, __LINE__))
void err_check_failed(const char *what, const char *file, int line) __attribute__((noreturn));

#endif
