#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEPARATORS ", \t\n"
#define HEARTBEAT_MS_MAX 3000
#define HEARTBEAT_TTL_MS 15000 /* the feeder forgets us after this much silence: several heartbeats */
#define HWM_MIN 1000           /* libzmq's own */
#define GONE (ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED)

uint64_t link_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A wrong one in the list must not wait for the day on which its turn comes. */
static bool is_endpoint(const char *text)
{
    const char *port = strrchr(text, ':');
    if (strncmp(text, "ipc://", 6) == 0)
        return text[6] != '\0';
    char *end;
    return strncmp(text, "tcp://", 6) == 0 && port > text + 6 && strtoul(port + 1, &end, 10) <= UINT16_MAX &&
           end > port + 1 && *end == '\0';
}

int link_init(struct link *l, const char *endpoints, char *why, size_t n_why)
{
    char *rest = NULL;
    *l = (struct link){.list = strdup(endpoints), .names = strdup(endpoints)};
    l->endpoints = calloc(strlen(endpoints) / 2 + 1, sizeof *l->endpoints);
    l->ctx = zmq_ctx_new();
    if (l->list == NULL || l->names == NULL || l->endpoints == NULL || l->ctx == NULL)
        return -ENOMEM;
    for (char *one = strtok_r(l->names, SEPARATORS, &rest); one != NULL;
         one = strtok_r(NULL, SEPARATORS, &rest))
        l->endpoints[l->n++] = one;
    for (uint32_t i = 0; i < l->n || l->n == 0; i++) {
        const char *one = l->n == 0 ? "" : l->endpoints[i];
        if (is_endpoint(one))
            continue;
        (void)snprintf(why, n_why, "endpoint '%s': a feeder's is like tcp://127.0.0.1:5757", one);
        return -EINVAL;
    }
    return 0;
}

void link_fini(struct link *l)
{
    link_close(l, 0);
    while (l->ctx != NULL && zmq_ctx_term(l->ctx) < 0 && errno == EINTR)
        ;
    free(l->list);
    free(l->names);
    free(l->endpoints);
}

const char *link_where(const struct link *l)
{
    return l->endpoints[l->at];
}

void link_turn(struct link *l)
{
    link_close(l, 0);
    l->at = (l->at + 1) % l->n;
}

static int set_option(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int watch(struct link *l)
{
    char name[32];
    (void)snprintf(name, sizeof name, "inproc://monitor-%u", l->n_sockets++);
    if (zmq_socket_monitor(l->socket, name, GONE) < 0)
        return -1;
    l->monitor = zmq_socket(l->ctx, ZMQ_PAIR);
    return l->monitor == NULL || set_option(l->monitor, ZMQ_LINGER, 0) < 0 ? -1
                                                                           : zmq_connect(l->monitor, name);
}

/* The feeder is asked at latest after one interval, and then has the rest of dead_ms to answer. */
static int set_heartbeat(void *socket, uint32_t dead_ms)
{
    const int ms = dead_ms / 5 < HEARTBEAT_MS_MAX ? (int)(dead_ms / 5) + 1 : HEARTBEAT_MS_MAX;
    return set_option(socket, ZMQ_HEARTBEAT_IVL, ms) < 0 ||
                   set_option(socket, ZMQ_HEARTBEAT_TIMEOUT, (int)dead_ms - ms) < 0
               ? -1
               : set_option(socket, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TTL_MS);
}

int link_connect(struct link *l, uint64_t credit, uint32_t dead_ms)
{
    const char *endpoint = link_where(l);
    const int hwm = credit > INT32_MAX ? 0 : credit > HWM_MIN ? (int)credit : HWM_MIN; /* 0: no limit */
    link_close(l, 0);
    l->socket = zmq_socket(l->ctx, ZMQ_DEALER);
    if (l->socket == NULL || set_option(l->socket, ZMQ_LINGER, 0) < 0 ||
        set_option(l->socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL) < 0 ||
        set_option(l->socket, ZMQ_RCVHWM, hwm) < 0 || set_heartbeat(l->socket, dead_ms) < 0 || watch(l) < 0 ||
        zmq_connect(l->socket, endpoint) < 0)
        return -errno;
    return 0;
}

void link_close(struct link *l, int linger_ms)
{
    if (l->socket != NULL) {
        (void)zmq_socket_monitor(l->socket, NULL, 0);
        (void)set_option(l->socket, ZMQ_LINGER, linger_ms);
        (void)zmq_close(l->socket);
    }
    if (l->monitor != NULL)
        (void)zmq_close(l->monitor);
    l->socket = l->monitor = NULL;
}

int link_send(struct link *l, const char *data, size_t size)
{
    return zmq_send(l->socket, data, size, ZMQ_DONTWAIT) < 0 && errno != EAGAIN ? -errno : 0;
}

/* Until something may have come, or until_ms. */
static int wait_for_news(const struct link *l, uint64_t until_ms)
{
    const uint64_t now = link_now_ms(), left = until_ms > now ? until_ms - now : 0;
    const int ms = left < INT32_MAX ? (int)left : INT32_MAX;
    zmq_pollitem_t items[] = {{.socket = l->socket, .events = ZMQ_POLLIN},
                              {.socket = l->monitor, .events = ZMQ_POLLIN}};
    return (l->socket == NULL ? poll(NULL, 0, ms) : zmq_poll(items, 2, ms)) < 0 ? -errno : 0;
}

int link_receive(struct link *l, zmq_msg_t *ret, uint64_t until_ms)
{
    int rc = 0;
    while (rc == 0) {
        if (l->socket != NULL && zmq_msg_recv(ret, l->socket, ZMQ_DONTWAIT) >= 0)
            return 0;
        if (l->socket != NULL && errno != EAGAIN)
            return -errno;
        if (l->socket != NULL && zmq_recv(l->monitor, NULL, 0, ZMQ_DONTWAIT) >= 0)
            return LINK_GONE;
        if (link_now_ms() >= until_ms)
            return LINK_NOTHING;
        rc = wait_for_news(l, until_ms);
    }
    return rc;
}
