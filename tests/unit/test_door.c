#include "feed/door.h"

#include "support/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    void *folder, *context;
    char endpoint[256];
};

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    assert_int_equal(folder_new(&x->folder), 0);
    x->context = zmq_ctx_new();
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    (void)zmq_ctx_term(x->context);
    assert_int_equal(folder_free(&x->folder), 0);
    free(x);
    return 0;
}

static const char *ipc(struct fixture *x, const char *name)
{
    (void)snprintf(x->endpoint, sizeof x->endpoint, "ipc://%s", folder_path(x->folder, name));
    return x->endpoint;
}

static void opens(struct fixture *x, struct door *d, enum consumer_door kind, const char *endpoint)
{
    struct err err = {""};
    if (door_open(d, kind, x->context, endpoint, &err) != 0)
        fail_msg("%s", err.text);
}

/* The error names the key and the endpoint, and says what to do. */
static void does_not_open(struct fixture *x, const char *endpoint, int rc, const char *what)
{
    struct err err = {""};
    struct door d;
    assert_int_equal(door_open(&d, DOOR_XPUB, x->context, endpoint, &err), rc);
    assert_null(d.socket);
    assert_non_null(strstr(err.text, "feed.subscribe: "));
    assert_non_null(strstr(err.text, endpoint));
    if (strstr(err.text, what) == NULL)
        fail_msg("'%s' is not in: %s", what, err.text);
}

static void door_without_an_endpoint_stays_shut(void **state)
{
    struct fixture *x = *state;
    struct door d;
    opens(x, &d, DOOR_ROUTER, "");
    assert_int_equal(door_fd(&d), -1);
    assert_false(door_pending(&d));
    assert_string_equal(d.endpoint, "");
    door_close(&d, 0);
}

static void port_that_is_not_given_is_found(void **state)
{
    struct fixture *x = *state;
    struct door d;
    unsigned port = 0;
    opens(x, &d, DOOR_ROUTER, "tcp://127.0.0.1:*");
    assert_int_equal(sscanf(d.endpoint, "tcp://127.0.0.1:%u", &port), 1);
    assert_true(port > 0);
    door_close(&d, 0);
}

static void address_in_use_is_refused(void **state)
{
    struct fixture *x = *state;
    struct door first;
    opens(x, &first, DOOR_ROUTER, "tcp://127.0.0.1:*");
    does_not_open(x, first.endpoint, -EADDRINUSE, "is in use");
    door_close(&first, 0);
    opens(x, &first, DOOR_ROUTER, ipc(x, "door"));
    does_not_open(x, first.endpoint, -EADDRINUSE, "is in use"); /* and is not taken away from its owner */
    door_close(&first, 0);
}

static void endpoints_that_cannot_be_are_refused(void **state)
{
    struct fixture *x = *state;
    char longest[300] = "ipc:///tmp/";
    memset(longest + strlen(longest), 'x', 200);
    does_not_open(x, "127.0.0.1:5757", -EINVAL, "tcp://ADDRESS:PORT");
    does_not_open(x, "inproc://feed", -EINVAL, "tcp://ADDRESS:PORT");
    does_not_open(x, "tcp://127.0.0.1", -EINVAL, "tcp://ADDRESS:PORT");
    does_not_open(x, "tcp://127.0.0.1:70000", -EINVAL, "tcp://ADDRESS:PORT");
    does_not_open(x, "tcp://192.0.2.1:5757", -EADDRNOTAVAIL, "not an address of this machine");
    does_not_open(x, ipc(x, "no/such/folder"), -ENOENT, "does not exist");
    does_not_open(x, longest, -ENAMETOOLONG, "too long");
}

static void file_at_the_path_is_not_removed(void **state)
{
    struct fixture *x = *state;
    struct stat st;
    const char *path = folder_write_text(x->folder, "precious", "words");
    does_not_open(x, ipc(x, "precious"), -EEXIST, "not a socket");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
}

static void socket_left_behind_is_replaced(void **state)
{
    struct fixture *x = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct door d;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", folder_path(x->folder, "stale"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(close(fd), 0); /* as a feeder leaves it that was killed */
    opens(x, &d, DOOR_ROUTER, ipc(x, "stale"));
    door_close(&d, 0);
}

static void ipc_socket_is_for_its_user_and_group(void **state)
{
    struct fixture *x = *state;
    struct door d;
    struct stat st;
    opens(x, &d, DOOR_XPUB, ipc(x, "door"));
    assert_int_equal(stat(folder_path(x->folder, "door"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    door_close(&d, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(door_without_an_endpoint_stays_shut),
        TEST(port_that_is_not_given_is_found),
        TEST(address_in_use_is_refused),
        TEST(endpoints_that_cannot_be_are_refused),
        TEST(file_at_the_path_is_not_removed),
        TEST(socket_left_behind_is_replaced),
        TEST(ipc_socket_is_for_its_user_and_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
