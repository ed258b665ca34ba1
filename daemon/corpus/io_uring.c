/* io_uring - the backend that keeps many reads in flight with one system call for a batch of them. */
#include "corpus/io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

struct uring {
    struct io_uring ring;
};

/* The value of kernel.io_uring_disabled, '0' where the kernel has no such switch. */
static char disabled_switch(void)
{
    char c = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return c;
    if (read(fd, &c, 1) != 1)
        c = '0';
    (void)close(fd);
    return c;
}

static const char *likely_cause(int rc)
{
    char disabled = disabled_switch();
    if (rc == -EPERM && disabled == '2')
        return "the sysctl kernel.io_uring_disabled is 2, which forbids it to all";
    if (rc == -EPERM && disabled == '1')
        return "the sysctl kernel.io_uring_disabled is 1, which forbids it outside kernel.io_uring_group";
    if (rc == -EPERM || rc == -EACCES)
        return "a seccomp filter, of the container or of the service, forbids it (systemd: "
               "SystemCallFilter=@aio)";
    if (rc == -ENOSYS)
        return "the kernel is too old (5.6 is needed), or a seccomp filter hides it";
    if (rc == -ENOMEM)
        return "RLIMIT_MEMLOCK is too low for its queues (systemd: LimitMEMLOCK=)";
    if (rc == -EOPNOTSUPP)
        return "the kernel is too old: 5.6 is needed";
    return "no usual cause";
}

static int probe(struct io_uring *ring)
{
    struct io_uring_probe *p = io_uring_get_probe_ring(ring);
    if (p == NULL)
        return -EOPNOTSUPP;
    int ok = io_uring_opcode_supported(p, IORING_OP_READ);
    io_uring_free_probe(p);
    return ok ? 0 : -EOPNOTSUPP;
}

static void uring_queue(void *self, uint64_t token, const struct io_read *read)
{
    struct uring *u = self;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    /* The queue has room for all of io.h's requests, and all queued before were sent by the last collect. */
    CHECK(sqe != NULL);
    /* Into plain memory: files are read through the page cache, where registered buffers cost 5 % more. */
    io_uring_prep_read(sqe, read->fd, read->data, read->size, read->offset);
    io_uring_sqe_set_data64(sqe, token);
}

static uint32_t uring_collect(void *self, struct io_result *ret, uint32_t max)
{
    struct uring *u = self;
    struct io_uring_cqe *cqe;
    unsigned head;
    uint32_t n = 0;
    int rc = io_uring_submit_and_wait(&u->ring, 1);
    /* Interrupted, or the kernel is short of something for a moment: what has ended frees it; the rest stays
     * queued. */
    CHECK(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        if (n == max)
            break;
        ret[n++] = (struct io_result){io_uring_cqe_get_data64(cqe), cqe->res};
    }
    io_uring_cq_advance(&u->ring, n);
    return n;
}

static void uring_free(void *self)
{
    struct uring *u = self;
    io_uring_queue_exit(&u->ring);
    free(u);
}

int io_uring_backend(uint32_t depth, const struct io_backend **ret, void **ret_self, struct err *reterr)
{
    static const struct io_backend backend = {
        .queue = uring_queue, .collect = uring_collect, .free = uring_free};
    struct uring *u = calloc(1, sizeof *u);
    if (u == NULL)
        return err_sys(reterr, -ENOMEM, "reading files");
    /* Kernels before 6.1 do not know these two, which save work for a ring that lives in one thread. */
    int rc = io_uring_queue_init(depth, &u->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (rc == -EINVAL)
        rc = io_uring_queue_init(depth, &u->ring, 0);
    if (rc != 0)
        goto out_free;
    rc = probe(&u->ring);
    if (rc != 0)
        goto out_exit;
    *ret = &backend;
    *ret_self = u;
    return 0;

out_exit:
    io_uring_queue_exit(&u->ring);
out_free:
    free(u);
    return err_set(reterr, rc, "io_uring is refused (%s): %s", err_str(rc), likely_cause(rc));
}
