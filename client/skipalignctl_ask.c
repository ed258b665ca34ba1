/* One request to a feeder and its reply: progress on the way, Ctrl-C, and a feeder that is not there or ends.
 */
#include "skipalignctl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MONITOR "inproc://monitor"
#define ASIDE_LINGER_MS 500
#define LINE_AGAIN "\r\033[K" /* the cursor to the line's start, and the line empty */

static int fail_nobody(const struct call *c, const char *why)
{
    (void)fprintf(stderr,
                  "skipalignctl: no feeder answers at %s: %s.\n"
                  "Does it run (`systemctl status skipalignd`)? Is this its control.listen? Another one: -e "
                  "ENDPOINT or "
                  "$SKIPALIGN_CONTROL.\n",
                  c->endpoint, why);
    return EXIT_NOBODY;
}

/* A socket's file tells at once whether somebody listens; ZeroMQ alone would wait for one who might come. */
static int probe(const struct call *c)
{
    if (strncmp(c->endpoint, "ipc://", 6) != 0 || c->endpoint[6] == '@')
        return 0;
    const int rc = ctl_probe(c->endpoint + 6);
    switch (-rc) {
    case 0:
        return 0;
    case ENOENT:
        return fail_nobody(c, "there is no such socket");
    case ECONNREFUSED:
        return fail_nobody(c, "the socket is left over from one that is gone");
    case EACCES:
        return fail_nobody(c, "this user may not use the socket; its group may");
    default:
        return fail_nobody(c, strerror(-rc));
    }
}

static void *open_socket(struct call *c, int type, int linger_ms)
{
    const int one = 1;
    void *socket = zmq_socket(c->zmq, type);
    if (socket != NULL && zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms) == 0 &&
        zmq_setsockopt(socket, ZMQ_IPV6, &one, sizeof one) == 0)
        return socket;
    if (socket != NULL)
        (void)zmq_close(socket);
    return NULL;
}

/* Not ZMQ_IMMEDIATE: with it a reply that is followed by the daemon's end (as stop's is) can be lost on our
 * side. The monitor tells that it ended without a reply. */
static int connect_feeder(struct call *c)
{
    int rc = probe(c);
    if (rc != 0)
        return rc;
    c->zmq = zmq_ctx_new();
    c->socket = c->zmq != NULL ? open_socket(c, ZMQ_DEALER, 0) : NULL;
    c->monitor = c->socket != NULL ? open_socket(c, ZMQ_PAIR, 0) : NULL;
    if (c->monitor == NULL || zmq_socket_monitor(c->socket, MONITOR, ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(c->monitor, MONITOR) != 0) {
        (void)fprintf(stderr, "skipalignctl: cannot make a socket: %s\n", zmq_strerror(zmq_errno()));
        return EXIT_NOBODY;
    }
    if (zmq_connect(c->socket, c->endpoint) == 0)
        return 0;
    (void)fprintf(stderr, "skipalignctl: '%s': %s; an endpoint is ipc:///path/of/socket or tcp://host:port\n",
                  c->endpoint, zmq_strerror(zmq_errno()));
    return EXIT_USAGE;
}

void call_send_aside(struct call *c, const char *data, size_t size)
{
    if (c->aside == NULL)
        c->aside = open_socket(c, ZMQ_DEALER, ASIDE_LINGER_MS);
    if (c->aside != NULL && zmq_connect(c->aside, c->endpoint) == 0)
        (void)zmq_send(c->aside, data, size, ZMQ_DONTWAIT);
}

/* One value that nests no deeper than our own messages do. */
static bool walk(struct token_cursor *at, unsigned depth)
{
    struct token t;
    if (depth == 0 || !token_next(at, &t))
        return false;
    uint64_t n = t.kind == TOKEN_MAP ? 2 * t.number : t.kind == TOKEN_ARRAY ? t.number : 0;
    while (n > 0 && walk(at, depth - 1))
        n--;
    return n == 0;
}

/* Errors of a configuration come one a line, and often several. */
static void print_refusal(const struct token *why)
{
    const char *end = why->data + why->size;
    struct paper p;
    paper_open(&p, stderr);
    while (end > why->data && end[-1] == '\n')
        end--;
    const bool several = why->size > 0 && memchr(why->data, '\n', (size_t)(end - why->data)) != NULL;
    paper_put(&p, STYLE_PLAIN, "skipalignctl: %s", several ? "refused:" : "");
    for (const char *line = why->data, *next; line != NULL && line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next != NULL ? next : end;
        if (several)
            (void)fputs("\n  ", stderr);
        paper_put_text(&p, STYLE_PLAIN, line, (size_t)(next - line));
    }
    paper_end(&p);
}

/* ---- Ctrl-C ----
 * The first one cancels the change, the second one leaves at once. It is read from a descriptor that is
 * waited for beside the sockets: what a handler notes after the last look and before the wait would be seen
 * by nobody.
 */

static sigset_t interrupt_set(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    return set;
}

static void watch_for_interrupt(struct call *c)
{
    const sigset_t set = interrupt_set();
    c->interrupts = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (c->interrupts >= 0)
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static void end_watch(struct call *c)
{
    const sigset_t set = interrupt_set();
    if (c->interrupts < 0)
        return;
    (void)close(c->interrupts);
    c->interrupts = -1;
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static bool take_interrupt(struct call *c)
{
    struct signalfd_siginfo info;
    if (c->interrupts < 0 || read(c->interrupts, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    c->interrupted = true;
    end_watch(c);
    return true;
}

static int read_reply(struct call *c, struct token_cursor message, struct token_cursor *ret)
{
    const struct token code = ctl_get_text(message, "code"), why = ctl_get_text(message, "error");
    (void)take_interrupt(c);
    if (c->interrupted && !token_is(&code, "cancelled"))
        (void)fputs("skipalignctl: too late to cancel\n", stderr);
    if (ctl_get_bool(message, "ok")) {
        *ret = ctl_get(message, "result");
        return 0;
    }
    if (c->json)
        json_print(stdout, message);
    else
        print_refusal(&why);
    return EXIT_REFUSED;
}

/* ---- waiting for the reply ---- */

static void show_progress(struct token_cursor progress)
{
    const struct token what = ctl_get_text(progress, "what");
    const double done = ctl_get_real(progress, "done"), all = ctl_get_real(progress, "all");
    struct paper p;
    paper_open(&p, stderr);
    if (!p.terminal)
        return;
    (void)fputs(LINE_AGAIN, stderr);
    paper_put_text(&p, STYLE_PLAIN, what.data, what.size);
    if (all > 0)
        paper_put(&p, STYLE_BOLD, "  %.0f %%", 100 * done / all);
    else if (done > 0)
        paper_put(&p, STYLE_BOLD, "  %s", paper_short(done));
    paper_put(&p, STYLE_DIM, "  (Ctrl-C cancels)");
    (void)fflush(stderr);
}

static void end_progress(void)
{
    struct paper p;
    paper_open(&p, stderr);
    if (p.terminal)
        (void)fputs(LINE_AGAIN, stderr);
}

static bool has_message(struct call *c)
{
    return zmq_msg_recv(&c->reply, c->socket, ZMQ_DONTWAIT) >= 0;
}

/* The next message into c->reply. What the feeder said before it ended is there when the monitor says so. */
static int wait_message(struct call *c)
{
    zmq_pollitem_t items[] = {{.socket = c->socket, .events = ZMQ_POLLIN},
                              {.socket = c->monitor, .events = ZMQ_POLLIN},
                              {.fd = c->interrupts, .events = ZMQ_POLLIN}};
    while (!has_message(c)) {
        if (take_interrupt(c)) {
            end_progress();
            (void)fputs("skipalignctl: cancelling\n", stderr);
            call_cancel(c);
        }
        const int n = zmq_poll(items, c->interrupts >= 0 ? 3 : 2, c->timeout_ms);
        if (n == 0)
            return fail_nobody(c, "nothing came in time (--timeout)");
        if (n < 0 && zmq_errno() != EINTR)
            return fail_nobody(c, zmq_strerror(zmq_errno()));
        if (n > 0 && items[1].revents != 0 && !has_message(c))
            return fail_nobody(c, c->command->prepares
                                      ? "it ended before it answered; `history` tells whether the "
                                        "change was made"
                                      : "it ended before it answered");
        if (n > 0 && items[1].revents != 0)
            return 0;
    }
    return 0;
}

int call_take(struct call *c, const char *data, size_t size, struct token_cursor *ret)
{
    const struct token_cursor message = {data, data + size};
    struct token_cursor at = message;
    const bool sound = walk(&at, CTL_DEPTH + 1) && at.at == at.end;
    const struct token_cursor progress = sound ? ctl_get(message, "progress") : message;
    if (sound && !ctl_is_nil(progress)) {
        show_progress(progress);
        return CALL_MORE;
    }
    end_progress();
    if (!sound || ctl_is_nil(ctl_get(message, "ok")))
        return fail_nobody(c, "what answers there is not a feeder's control socket");
    return read_reply(c, message, ret);
}

static int wait_reply(struct call *c, struct token_cursor *ret)
{
    int rc = CALL_MORE;
    while (rc == CALL_MORE)
        if ((rc = wait_message(c)) == 0)
            rc = call_take(c, zmq_msg_data(&c->reply), zmq_msg_size(&c->reply), ret);
    end_watch(c);
    return rc;
}

int call_ask(struct call *c, struct ctl_writer *w, struct token_cursor *ret)
{
    ctl_put_end(w);
    ctl_put_end(w);
    int rc = w->rc == 0 ? 0 : EXIT_REFUSED;
    if (rc == 0 && c->command->prepares)
        watch_for_interrupt(c); /* before ZeroMQ has threads, which would not block it */
    if (rc == 0 && c->socket == NULL)
        rc = connect_feeder(c);
    if (rc == 0 && zmq_send(c->socket, w->buf.data, w->buf.size, ZMQ_DONTWAIT) < 0)
        rc = fail_nobody(c, zmq_strerror(zmq_errno()));
    ctl_fini(w);
    return rc == 0 ? wait_reply(c, ret) : rc;
}
