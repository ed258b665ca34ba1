/* tcp - bytes through a TCP connection on loopback, from one process to another, in blocks.
 * "BLOCKS SECONDS". */
#include "common.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WARM_BLOCKS 100

static void send_for_ever(struct sockaddr_in to, const char *block, size_t size)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        bench_fail("connect: no");
    for (size_t at = 0;;) {
        ssize_t n = send(fd, block + at, size - at, MSG_NOSIGNAL);
        if (n <= 0)
            _exit(0); /* the other side has had enough */
        at = (at + (size_t)n) % size;
    }
}

static void receive(int fd, char *block, size_t size)
{
    if (recv(fd, block, size, MSG_WAITALL) != (ssize_t)size)
        bench_fail("recv: the sender is gone");
}

int main(int argc, char **argv)
{
    static const char usage[] = "tcp BLOCK_BYTES SECONDS";
    size_t size = (size_t)bench_number(argc, argv, 1, usage);
    double limit = bench_number(argc, argv, 2, usage), n = 0;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_size = sizeof at;
    char *block = calloc(1, size);
    int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (block == NULL || door < 0 || bind(door, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(door, 1) != 0 || getsockname(door, (struct sockaddr *)&at, &at_size) != 0)
        bench_fail("no socket");
    pid_t sender = fork();
    if (sender == 0)
        send_for_ever(at, block, size);
    int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
    if (sender < 0 || fd < 0)
        bench_fail("no connection");
    for (int i = 0; i < WARM_BLOCKS; i++)
        receive(fd, block, size);
    double start = bench_seconds(), seconds = 0;
    for (; seconds < limit; n++, seconds = bench_seconds() - start)
        receive(fd, block, size);
    printf("%.0f %f\n", n, seconds);
    (void)close(fd);
    (void)kill(sender, SIGTERM);
    (void)waitpid(sender, NULL, 0);
    free(block);
    return 0;
}
