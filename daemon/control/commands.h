/* commands - what can be asked on the control socket: one table of rows, and a request on its way through
 * them.
 *
 * A row has a name, its arguments and a handler that writes the result. Requests come from anyone who may
 * open the socket; what does not fit the row is refused before the handler sees it. Threads: the main thread;
 * handlers reach the feed's by feed_call.
 */
#ifndef SKIPALIGN_CONTROL_COMMANDS_H
#define SKIPALIGN_CONTROL_COMMANDS_H

#include "control/control.h"
#include "proto/ctl.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum access { ACCESS_READ, ACCESS_WRITE };
enum argument_type { ARGUMENT_TEXT, ARGUMENT_UINT, ARGUMENT_BOOL, ARGUMENT_LIST /* of texts */ };

struct argument {
    const char *name;
    enum argument_type type;
    bool required;
    /* ARGUMENT_UINT: its range; ARGUMENT_TEXT: the most bytes (0: MSG_NAME_MAX); ARGUMENT_LIST: the least and
     * the most texts, of ARGUMENT_BYTES_MAX bytes each. */
    uint64_t dflt, min, max;
    const char *help;
};

#define ARGUMENTS_MAX 8
#define ARGUMENT_BYTES_MAX 32768

struct request;

struct command {
    const char *name;
    enum access access;
    const char *help;
    struct argument arguments[ARGUMENTS_MAX]; /* ended by a NULL name */
    void (*run)(struct request *q);           /* writes the members of the result, or fails */
};

struct request {
    const struct control_context *context;
    const struct command *command;
    struct {
        bool given;
        uint64_t number;
        const char *text; /* "" where it is not given */
        char **list;      /* [n]; of a text, too */
        uint32_t n;
    } arguments[ARGUMENTS_MAX]; /* as in the row */
    struct ctl_writer reply;
    bool failed;
    struct ctl_writer news;  /* a message that goes before the reply; empty: none */
    enum control_event then; /* what control_wait returns when this is answered; CONTROL_TIMEOUT: nothing */

    /* A handler that has to wait sets both: `again` is called until it is true, then the reply is there;
     * `drop`, if the daemon ends first. */
    bool (*again)(struct request *q);
    void (*drop)(struct request *q);
    void *waiting; /* the handler's own */
};

/* request_run - from the bytes of a request to its reply, or to `again`. */
void request_run(struct request *q, const struct control_context *context, const char *data, size_t size);
/* request_seal - when the handler is done: the reply is q->reply.buf. -ENOMEM: there is none. */
int request_seal(struct request *q);
void request_fini(struct request *q);

/* request_fail - the reply is an error instead; code is for programs, the words for people. */
void request_fail(struct request *q, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* request_tell - how far the work for a request is: a message that its client gets before the reply. Only the
 * latest one is kept until it goes out. */
void request_tell(struct request *q, const char *what, uint64_t done, uint64_t all);

/* request_stream - the configuration of the stream that the request names in `argument`; NULL: there is none,
 * and the request has failed. */
const struct conf_stream *request_stream(struct request *q, unsigned argument);

/* The handlers that have a file of their own. */
void command_status(struct request *q);
void command_preview(struct request *q);
void command_coverage(struct request *q);
void command_config(struct request *q);
void command_tail(struct request *q);
void command_quarantine(struct request *q);
void command_history(struct request *q);
void command_set(struct request *q);
void command_add(struct request *q);
void command_remove(struct request *q);
void command_reload(struct request *q);
void command_diff(struct request *q);
void command_revert(struct request *q);
void command_cancel(struct request *q);
void command_pause(struct request *q);
void command_resume(struct request *q);

#endif
