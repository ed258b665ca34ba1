#include "feed/door.h"

#include "base/log.h"
#include "proto/message.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A trainer's ROUTER connection is given up after a minute without a sign of life. ZeroMQ answers heartbeats
 * only while it has room to receive, so a peer must not give more credit than its receive queue (ZMQ_RCVHWM,
 * 1000) holds. A plain subscriber's queue is full whenever it is slow: there heartbeats would cut off the
 * very peers that XPUB_NODROP waits for (they did, with messages lost), and TCP's own keep-alive has to do.
 */
#define HEARTBEAT_MS 15000
#define SILENCE_MS 60000

#define ROUTER_SNDHWM (2 * FLIGHT_MAX) /* messages: a whole flight and some answers */
#define ROUTER_RCVHWM 1000
/* Of 384 KiB batches 4, 8 and 16 on their way came to 4.0, 4.3 and 3.4 GB/s: more do not stay in the cache.
 */
#define XPUB_SNDHWM 8
#define TOPIC_MAX                                                                                           \
    512 /* bytes; a longer subscription ends the connection: libzmq keeps even refused ones, some 6 bytes a \
           byte */
#define BACKLOG 1024

static const char *key_of(enum consumer_door kind)
{
    return kind == DOOR_ROUTER ? "feed.listen" : "feed.subscribe";
}

struct option {
    int name, value;
};

static int set_options(void *socket, const struct option *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, o[i].name, &o[i].value, sizeof o[i].value) != 0)
            return -zmq_errno();
    return 0;
}

#define SET(socket, options) set_options(socket, options, sizeof(options) / sizeof((options)[0]))

static int configure(void *socket, enum consumer_door kind, const char *endpoint)
{
    static const struct option both[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 60},
        {ZMQ_TCP_KEEPALIVE_INTVL, 15},
        {ZMQ_TCP_KEEPALIVE_CNT, 4},
    };
    static const struct option router[] = {
        {ZMQ_ROUTER_MANDATORY, 1},         {ZMQ_ROUTER_HANDOVER, 1},
        {ZMQ_SNDHWM, ROUTER_SNDHWM},       {ZMQ_RCVHWM, ROUTER_RCVHWM},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS}, {ZMQ_HEARTBEAT_TIMEOUT, SILENCE_MS},
        {ZMQ_HEARTBEAT_TTL, SILENCE_MS},
    };
    /* MANUAL passes every subscription and cancellation up, duplicates too; VERBOSER would add nothing to it.
     */
    static const struct option xpub[] = {
        {ZMQ_XPUB_MANUAL, 1},
        {ZMQ_XPUB_NODROP, 1},
        {ZMQ_SNDHWM, XPUB_SNDHWM},
        {ZMQ_RCVHWM, ROUTER_RCVHWM},
    };
    /* Only where it is asked for: an IPv4 endpoint then works on machines without IPv6, and is shown as
     * written. */
    const struct option ipv6[] = {{ZMQ_IPV6, strchr(endpoint, '[') != NULL}};
    int64_t size_max = kind == DOOR_ROUTER ? MSG_REQUEST_MAX : TOPIC_MAX;
    int rc = SET(socket, both);
    if (rc == 0)
        rc = SET(socket, ipv6);
    if (rc == 0)
        rc = kind == DOOR_ROUTER ? SET(socket, router) : SET(socket, xpub);
    if (rc == 0 && zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &size_max, sizeof size_max) != 0)
        rc = -zmq_errno();
    return rc;
}

/* The path of an ipc endpoint; NULL for others, and for abstract names, which leave no file. */
static const char *ipc_path(const char *endpoint)
{
    const char *path = strncmp(endpoint, "ipc://", 6) == 0 ? endpoint + 6 : NULL;
    return path == NULL || *path == '@' || *path == '*' || *path == '\0' ? NULL : path;
}

/* ZeroMQ removes whatever lies at the path before it binds: look first. */
static int check_ipc(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    if (lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    (void)strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc =
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN ? -EADDRINUSE : 0;
    (void)close(fd);
    return rc;
}

static int bind_error(const char *key, const char *endpoint, int rc, struct err *reterr)
{
    switch (-rc) {
    case EADDRINUSE:
        return err_set(
            reterr, rc,
            "%s: %s is in use; stop the program that listens there (another skipalignd?) or choose another "
            "address",
            key, endpoint);
    case EADDRNOTAVAIL:
    case ENODEV:
        return err_set(reterr, rc,
                       "%s: %s is not an address of this machine; choose one of its own, or tcp://*:PORT",
                       key, endpoint);
    case EACCES:
    case EPERM:
        return err_set(
            reterr, rc,
            "%s: %s may not be used by this user; choose a port from 1024 on, or a folder it may write", key,
            endpoint);
    case ENOENT:
    case ENOTDIR:
        return err_set(reterr, rc, "%s: %s: the folder does not exist; create it or choose another path", key,
                       endpoint);
    case ENAMETOOLONG:
        return err_set(reterr, rc, "%s: %s: the path is too long for a socket; at most %zu bytes", key,
                       endpoint, sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    case EEXIST:
        return err_set(reterr, rc, "%s: %s: the file there is not a socket; remove it or choose another path",
                       key, endpoint);
    case EINVAL:
    case EPROTONOSUPPORT:
    case ENOCOMPATPROTO:
        return err_set(reterr, rc, "%s: %s is not an endpoint; write tcp://ADDRESS:PORT or ipc:///PATH", key,
                       endpoint);
    default:
        return err_set(reterr, rc, "%s: %s: %s", key, endpoint, zmq_strerror(-rc));
    }
}

static bool is_local(const char *endpoint)
{
    if (strncmp(endpoint, "ipc://", 6) == 0)
        return true;
    const char *start = endpoint + strlen("tcp://"), *end = strrchr(start, ':');
    char host[256];
    if (end == NULL || (size_t)(end - start) >= sizeof host)
        return false;
    bool bracket = *start == '[';
    (void)snprintf(host, sizeof host, "%.*s", (int)(end - start) - 2 * bracket, start + bracket);
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return strcmp(host, "localhost") == 0;
}

/* ZeroMQ takes port 70000 for 4464, and has other transports that have no place here. */
static bool is_endpoint(const char *endpoint)
{
    if (strncmp(endpoint, "ipc://", 6) == 0)
        return endpoint[6] != '\0';
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon < endpoint + 7)
        return false;
    if (strcmp(colon + 1, "*") == 0)
        return true;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    return colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && port <= UINT16_MAX;
}

static int bind_socket(struct door *d, const char *endpoint)
{
    const char *path = ipc_path(endpoint);
    if (!is_endpoint(endpoint))
        return -EINVAL;
    int rc = path != NULL ? check_ipc(path) : 0;
    if (rc != 0)
        return rc;
    if (zmq_bind(d->socket, endpoint) != 0)
        return -zmq_errno();
    if (path != NULL && chmod(path, 0660) != 0) /* its user and group may connect, whatever the umask says */
        return -errno;
    size_t size = sizeof d->endpoint;
    return zmq_getsockopt(d->socket, ZMQ_LAST_ENDPOINT, d->endpoint, &size) == 0 ? 0 : -zmq_errno();
}

int door_open(struct door *d, enum consumer_door kind, void *context, const char *endpoint,
              struct err *reterr)
{
    *d = (struct door){.kind = kind};
    if (endpoint == NULL || *endpoint == '\0')
        return 0;
    d->socket = zmq_socket(context, kind == DOOR_ROUTER ? ZMQ_ROUTER : ZMQ_XPUB);
    int rc = d->socket == NULL ? -zmq_errno() : configure(d->socket, kind, endpoint);
    if (rc == 0)
        rc = bind_socket(d, endpoint);
    if (rc != 0) {
        door_close(d, 0);
        return bind_error(key_of(kind), endpoint, rc, reterr);
    }
    log_info("%s: listening on %s", key_of(kind), d->endpoint);
    if (!is_local(endpoint))
        log_warn("%s: %s can be reached from other machines, and there is no authentication yet: whoever "
                 "connects can "
                 "read the data",
                 key_of(kind), d->endpoint);
    return 0;
}

void door_close(struct door *d, int linger_ms)
{
    if (d->socket == NULL)
        return;
    (void)zmq_setsockopt(d->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    (void)zmq_close(d->socket);
    d->socket = NULL;
}

/* Both parts or nothing: a peer that has room for the prefix has room for the message it begins, so once the
 * prefix is accepted the rest is. Closes msg where it is not sent. */
static int send_message(struct door *d, struct slice prefix, zmq_msg_t *msg)
{
    if (zmq_send(d->socket, prefix.data, prefix.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        int rc = -zmq_errno();
        (void)zmq_msg_close(msg);
        return rc;
    }
    CHECK(zmq_msg_send(msg, d->socket, ZMQ_DONTWAIT) >= 0);
    return 0;
}

int door_send(struct door *d, struct slice prefix, const char *data, size_t size)
{
    zmq_msg_t msg;
    if (zmq_msg_init_size(&msg, size) != 0)
        return -ENOMEM;
    memcpy(zmq_msg_data(&msg), data, size);
    return send_message(d, prefix, &msg);
}

int door_send_frame(struct door *d, struct slice prefix, struct frame *f, struct flight *flight)
{
    zmq_msg_t msg;
    struct parcel *p = parcel_new(f);
    if (p == NULL)
        return -ENOMEM;
    int rc = parcel_wrap(p, &msg);
    if (rc == 0)
        rc = send_message(d, prefix, &msg);
    if (rc == 0 && parcel_returned(p))
        rc = -EHOSTUNREACH;
    if (rc == 0)
        flight_add(flight, p);
    else
        parcel_unref(p);
    return rc;
}

uint32_t door_receive(struct door *d, zmq_msg_t *msgs, uint32_t cap)
{
    uint32_t n = 0;
    for (bool more = true; more; n++) {
        zmq_msg_t ignored, *m = n < cap ? &msgs[n] : &ignored;
        (void)zmq_msg_init(m);
        if (zmq_msg_recv(m, d->socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(m);
            break;
        }
        more = zmq_msg_more(m) != 0;
        if (m == &ignored)
            (void)zmq_msg_close(m);
    }
    return n;
}

void door_release(zmq_msg_t *msgs, uint32_t cap, uint32_t n_parts)
{
    for (uint32_t i = 0; i < cap && i < n_parts; i++)
        (void)zmq_msg_close(&msgs[i]);
}

int door_fd(const struct door *d)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (d->socket != NULL)
        (void)zmq_getsockopt(d->socket, ZMQ_FD, &fd, &size);
    return fd;
}

bool door_pending(const struct door *d)
{
    int events = 0;
    size_t size = sizeof events;
    if (d->socket != NULL)
        (void)zmq_getsockopt(d->socket, ZMQ_EVENTS, &events, &size);
    return (events & ZMQ_POLLIN) != 0;
}
