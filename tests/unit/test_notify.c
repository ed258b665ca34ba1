/* What systemd hears, on a socket of our own; and the signals that it sends. */
#include "service/notify.h"
#include "service/signals.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* An abstract address: nothing to clean up. */
static int listen_as_systemd(void)
{
    char name[64];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(name, sizeof name, "@skipalign-test-%d", (int)getpid());
    memcpy(a.sun_path + 1, name + 1, (size_t)n - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, size), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void heard(int fd, const char *expected)
{
    char text[1024] = "";
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    assert_string_equal(text, expected);
}

static void test_systemd_hears_each_message(void **state)
{
    (void)state;
    int fd = listen_as_systemd();
    notify_status("corpus '%s': %d %% indexed", "a", 42);
    heard(fd, "STATUS=corpus 'a': 42 % indexed");
    notify_extend(4000);
    heard(fd, "EXTEND_TIMEOUT_USEC=4000000000");
    notify_ready();
    heard(fd, "READY=1");
    notify_stopping();
    heard(fd, "STOPPING=1");
    (void)close(fd);
    (void)unsetenv("NOTIFY_SOCKET");
}

static void test_a_status_stays_one_line(void **state)
{
    (void)state;
    int fd = listen_as_systemd();
    notify_status("%s", "broken\nREADY=1");
    heard(fd, "STATUS=broken");
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    notify_status("%s", longer);
    char text[2048];
    assert_int_equal(recv(fd, text, sizeof text, 0), strlen("STATUS=") + 511);
    (void)close(fd);
    (void)unsetenv("NOTIFY_SOCKET");
}

static void test_without_systemd_nothing_happens(void **state)
{
    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    notify_ready();
    notify_status("%s", "x");
    notify_extend(1);
    notify_stopping();
}

static void test_signals_come_as_numbers(void **state)
{
    (void)state;
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct err err;
    int fd = signals_open(&err);
    assert_true(fd >= 0);
    assert_int_equal(signals_read(fd), 0);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(raise(numbers[i]), 0);
        assert_int_equal(poll(&p, 1, 0), 1);
        assert_int_equal(signals_read(fd), numbers[i]);
        assert_int_equal(signals_read(fd), 0);
    }
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_systemd_hears_each_message),
        cmocka_unit_test(test_a_status_stays_one_line),
        cmocka_unit_test(test_without_systemd_nothing_happens),
        cmocka_unit_test(test_signals_come_as_numbers),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
