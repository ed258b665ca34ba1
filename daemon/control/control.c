#include "control/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#define MESSAGE_MAX \
    (1 << 20) /* bytes; libzmq hangs up on more, what is between this and CTL_REQUEST_MAX gets an error */
#define QUEUE_MAX                                                                                            \
    64                /* messages a client may have on its way, each direction; it loses replies beyond that \
                       */
#define WAITING_MAX 8 /* requests that wait for a step at one time; one more place is kept for a change */
#define AGAIN_MS 10   /* how often those look */
#define LINGER_MS 1000
#define LOG_BURST 20

/* Where a reply goes: a ROUTER puts the peer's name before each message, a REQ an empty frame after it. */
struct envelope {
    char peer[255]; /* ZeroMQ's limit */
    size_t n_peer;  /* 0: nobody waits for it */
    bool delimiter;
};

struct waiting {
    struct request request;
    struct envelope to;
};

struct control {
    const struct control_context *context;
    void *zmq, *socket;
    struct waiting *waiting[WAITING_MAX + 1];
    uint32_t n_waiting;
    enum control_event asked; /* CONTROL_TIMEOUT: nothing */
    struct log_gate refusals;
};

/* ---- opening ---- */

/* libzmq would remove whatever is in the way of an ipc endpoint, a living daemon's socket included. */
static int check_path(const char *path, struct err *reterr)
{
    char folder[4096];
    struct stat st;
    const char *slash = strrchr(path, '/');
    const int n = snprintf(folder, sizeof folder, "%.*s",
                           slash == NULL   ? 1
                           : slash == path ? 1
                                           : (int)(slash - path),
                           slash == NULL ? "." : path);
    if (n < 0 || (size_t)n >= sizeof folder)
        return err_set(reterr, -ENAMETOOLONG, "its path is too long; a Unix socket's has at most 107 bytes");
    if (stat(folder, &st) != 0)
        return err_set(reterr, -errno, "the folder %s: %s; create it, or let systemd (RuntimeDirectory=)",
                       folder, err_str(errno));
    switch (ctl_probe(path)) {
    case 0:
        return err_set(reterr, -EADDRINUSE,
                       "another daemon answers there; stop it, or give this one a socket of its own");
    case -ENOTSOCK:
        return err_set(reterr, -ENOTSOCK, "%s exists and is not a socket; choose another path or remove it",
                       path);
    case -ENAMETOOLONG:
        return err_set(reterr, -ENAMETOOLONG, "its path has %zu bytes; a Unix socket's has at most 107",
                       strlen(path));
    default:
        return 0; /* nothing there, or left behind: libzmq replaces it */
    }
}

static int bind_endpoint(struct control *c, const char *endpoint, struct err *reterr)
{
    const bool file = strncmp(endpoint, "ipc://", 6) == 0 && endpoint[6] != '@' && endpoint[6] != '*';
    int rc = file ? check_path(endpoint + 6, reterr) : 0;
    if (rc != 0)
        return rc;
    if (zmq_bind(c->socket, endpoint) != 0)
        return err_set(reterr, -errno, "%s; %s", zmq_strerror(errno),
                       errno == EADDRINUSE ? "stop what uses it, or choose another port"
                                           : "an endpoint is ipc:///path/of/socket or tcp://127.0.0.1:port");
    if (file && chmod(endpoint + 6, 0660) != 0)
        return err_sys(reterr, -errno, "setting the socket's mode to 0660");
    return 0;
}

static int open_socket(struct control *c, struct err *reterr)
{
    static const struct {
        int name, value;
    } options[] = {
        {ZMQ_LINGER, LINGER_MS},
        {ZMQ_SNDHWM, QUEUE_MAX},
        {ZMQ_RCVHWM, QUEUE_MAX},
        {ZMQ_IPV6, 1},
    };
    const int64_t max = MESSAGE_MAX;
    c->zmq = zmq_ctx_new();
    c->socket = c->zmq != NULL ? zmq_socket(c->zmq, ZMQ_ROUTER) : NULL;
    int rc = c->socket != NULL ? zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &max, sizeof max) : -1;
    for (size_t i = 0; i < sizeof options / sizeof *options && rc == 0; i++)
        rc = zmq_setsockopt(c->socket, options[i].name, &options[i].value, sizeof options[i].value);
    return rc == 0 ? 0 : err_set(reterr, -errno, "making a socket: %s", zmq_strerror(errno));
}

int control_open(const struct control_context *context, struct control **ret, struct err *reterr)
{
    const char *endpoint = context->roster->running->control_listen;
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(reterr, -ENOMEM, "control: no memory");
    c->context = context;
    if (endpoint != NULL && *endpoint != '\0') {
        int rc = open_socket(c, reterr);
        if (rc == 0)
            rc = bind_endpoint(c, endpoint, reterr);
        if (rc != 0) {
            control_close(c);
            return err_wrap(reterr, rc, "control.listen: cannot listen on '%s'", endpoint);
        }
        if (strncmp(endpoint, "ipc://", 6) != 0 && strstr(endpoint, "//127.") == NULL &&
            strstr(endpoint, "//[::1]") == NULL)
            log_warn("control: whoever reaches %s can read the corpora and stop this daemon", endpoint);
    }
    *ret = c;
    return 0;
}

/* ---- requests ---- */

static bool send_message(struct control *c, struct envelope *to, const msgpack_sbuffer *message)
{
    if (to->n_peer == 0 || zmq_send(c->socket, to->peer, to->n_peer, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return false;
    if (to->delimiter)
        (void)zmq_send(c->socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    return zmq_send(c->socket, message->data, message->size, ZMQ_DONTWAIT) >= 0;
}

/* What was to be changed and was not: whoever looks for it later finds it. */
static void log_refusal(struct control *c, const struct request *q)
{
    const struct token_cursor reply = {q->reply.buf.data, q->reply.buf.data + q->reply.buf.size};
    const struct token code = ctl_get_text(reply, "code"), text = ctl_get_text(reply, "error");
    const char *end = memchr(text.data, '\n', text.size);
    uint32_t held;
    char more[LOG_HELD];
    if (log_gate_pass(&c->refusals, LOG_BURST, &held))
        log_info("control: '%s' refused (%.*s): %.*s%s", q->command->name, (int)code.size, code.data,
                 (int)(end != NULL ? (size_t)(end - text.data) : text.size), text.data, log_held(held, more));
}

/* A peer that is gone or does not read loses its reply and nothing else: a ROUTER drops what it cannot
 * deliver. */
static void send_reply(struct control *c, struct envelope *to, struct request *q)
{
    if (request_seal(q) == 0)
        (void)send_message(c, to, &q->reply.buf);
    if (q->failed && q->command != NULL && q->command->access == ACCESS_WRITE)
        log_refusal(c, q);
    if (q->then != CONTROL_TIMEOUT)
        c->asked = q->then;
    request_fini(q);
}

static void keep_waiting(struct control *c, struct envelope *to, struct request *q)
{
    const uint32_t max = WAITING_MAX + (q->command->access == ACCESS_WRITE);
    struct waiting *w = c->n_waiting < max ? malloc(sizeof *w) : NULL;
    if (w == NULL) {
        q->drop(q);
        request_fail(q, "busy", "%u requests wait for their steps already; try again when one is through",
                     c->n_waiting);
        send_reply(c, to, q);
        return;
    }
    *w = (struct waiting){*q, *to};
    c->waiting[c->n_waiting++] = w;
}

static void serve(struct control *c, struct envelope *to, const char *data, size_t size)
{
    struct request q;
    request_run(&q, c->context, data, size);
    if (q.again != NULL)
        keep_waiting(c, to, &q);
    else
        send_reply(c, to, &q);
}

/* One message: the peer's name, perhaps an empty frame, the request. Of more frames than that only the last
 * counts. */
static bool receive(struct control *c)
{
    struct envelope to;
    zmq_msg_t body;
    const int n_peer = zmq_recv(c->socket, to.peer, sizeof to.peer, ZMQ_DONTWAIT);
    if (n_peer < 0)
        return false;
    to.n_peer = (size_t)n_peer;
    to.delimiter = false;
    (void)zmq_msg_init(&body);
    for (bool more = true, first = true; more && zmq_msg_recv(&body, c->socket, 0) >= 0; first = false) {
        more = zmq_msg_more(&body);
        to.delimiter |= first && more && zmq_msg_size(&body) == 0;
    }
    serve(c, &to, zmq_msg_data(&body), zmq_msg_size(&body));
    (void)zmq_msg_close(&body);
    return true;
}

static void send_news(struct control *c, struct waiting *w)
{
    struct ctl_writer *news = &w->request.news;
    if (news->rc == 0 && news->buf.size > 0)
        (void)send_message(c, &w->to, &news->buf);
    ctl_fini(news);
    ctl_init(news);
}

static void look_again(struct control *c)
{
    for (uint32_t i = 0; i < c->n_waiting;) {
        struct waiting *w = c->waiting[i];
        if (!w->request.again(&w->request)) {
            send_news(c, w);
            i++;
            continue;
        }
        c->waiting[i] = c->waiting[--c->n_waiting];
        send_reply(c, &w->to, &w->request);
        free(w);
    }
}

static int left_ms(uint64_t start_ns, int timeout_ms)
{
    const uint64_t spent_ms = (clock_ns() - start_ns) / NS_PER_MS;
    return timeout_ms < 0 ? -1 : spent_ms < (uint64_t)timeout_ms ? timeout_ms - (int)spent_ms : 0;
}

enum control_event control_wait(struct control *c, int fd, int timeout_ms)
{
    const uint64_t start_ns = clock_ns();
    zmq_pollitem_t items[2];
    int n_items = 0;
    if (fd >= 0)
        items[n_items++] = (zmq_pollitem_t){.fd = fd, .events = ZMQ_POLLIN};
    if (c->socket != NULL)
        items[n_items++] = (zmq_pollitem_t){.socket = c->socket, .events = ZMQ_POLLIN};
    for (int left = timeout_ms; c->asked == CONTROL_TIMEOUT; left = left_ms(start_ns, timeout_ms)) {
        const int wait_ms = c->n_waiting > 0 && (left < 0 || left > AGAIN_MS) ? AGAIN_MS : left;
        const int n = zmq_poll(items, n_items, wait_ms);
        if (n > 0 && fd >= 0 && items[0].revents != 0)
            return CONTROL_FD;
        for (int i = 0; c->socket != NULL && i < QUEUE_MAX && receive(c); i++)
            ;
        look_again(c);
        if (n == 0 && left == 0)
            return CONTROL_TIMEOUT;
    }
    const enum control_event asked = c->asked;
    c->asked = CONTROL_TIMEOUT;
    return asked;
}

void control_reload(struct control *c)
{
    struct envelope nobody = {.n_peer = 0};
    struct ctl_writer w;
    ctl_init(&w);
    ctl_put_map(&w, NULL);
    ctl_put_uint(&w, "version", CTL_VERSION);
    ctl_put_text(&w, "command", "reload");
    ctl_put_map(&w, "arguments");
    ctl_put_text(&w, "who", "SIGHUP");
    ctl_put_end(&w);
    ctl_put_end(&w);
    if (w.rc == 0)
        serve(c, &nobody, w.buf.data, w.buf.size);
    else
        log_error("reload: %s", err_str(w.rc));
    ctl_fini(&w);
}

void control_close(struct control *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n_waiting; i++) {
        struct waiting *w = c->waiting[i];
        w->request.drop(&w->request);
        request_fail(&w->request, "shutting-down", "the daemon ends; ask again when it runs");
        send_reply(c, &w->to, &w->request);
        free(w);
    }
    if (c->socket != NULL)
        (void)zmq_close(c->socket);
    if (c->zmq != NULL)
        (void)zmq_ctx_term(c->zmq);
    free(c);
}
