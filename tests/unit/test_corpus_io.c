/* The two backends, and the table above them against a backend that misbehaves as kernels may. */
#include "corpus/io.h"
#include "support/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEPTH 8

static const enum io_kind kinds[] = {IO_URING, IO_PREAD};

/* ---- a backend that reads from memory and answers as it is told ---- */

struct fake {
    const char *content;
    uint32_t size;
    uint32_t short_max; /* bytes a read at most; 0: all */
    int32_t error;      /* answered instead, error_times */
    uint32_t error_times;
    uint32_t n, n_queued_ever, freed;
    struct {
        uint64_t token;
        struct io_read read;
    } queue[DEPTH];
};

static void fake_queue(void *self, uint64_t token, const struct io_read *read)
{
    struct fake *f = self;
    assert_true(f->n < DEPTH);
    f->queue[f->n].token = token;
    f->queue[f->n++].read = *read;
    f->n_queued_ever++;
}

/* The youngest first, so that completions come in another order than requests. */
static uint32_t fake_collect(void *self, struct io_result *ret, uint32_t max)
{
    struct fake *f = self;
    if (f->n == 0 || max == 0)
        return 0;
    struct io_read *r = &f->queue[--f->n].read;
    ret->token = f->queue[f->n].token;
    if (f->error_times > 0) {
        f->error_times--;
        ret->result = f->error;
        return 1;
    }
    uint32_t left = r->offset < f->size ? f->size - (uint32_t)r->offset : 0;
    uint32_t n = r->size < left ? r->size : left;
    if (f->short_max > 0 && n > f->short_max)
        n = f->short_max;
    memcpy(r->data, f->content + r->offset, n);
    ret->result = (int32_t)n;
    return 1;
}

static void fake_free(void *self)
{
    ((struct fake *)self)->freed++;
}

static const struct io_backend fake_backend = {fake_queue, fake_collect, fake_free};
static const char content[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* Read all of content in one go through the fake; the error that comes of it. */
static uint32_t fake_read(struct fake *f, char ret[sizeof content], uint64_t *ret_resubmitted)
{
    f->content = content;
    f->size = f->size == 0 ? sizeof content : f->size;
    struct io *io = io_new(&fake_backend, f, DEPTH);
    assert_non_null(io);
    struct io_done done;
    io_queue(io, &(struct io_read){.size = sizeof content, .data = ret, .owner = f, .index = 7});
    assert_int_equal(io_in_flight(io), 1);
    assert_int_equal(io_collect(io, &done, 1), 1);
    assert_int_equal(io_in_flight(io), 0);
    assert_ptr_equal(done.owner, f);
    assert_int_equal(done.index, 7);
    *ret_resubmitted = io_resubmitted(io);
    assert_int_equal(io_collect(io, &done, 1), 0);
    io_close(io);
    assert_int_equal(f->freed, 1);
    return done.error;
}

static void test_short_reads_go_on(void **state)
{
    (void)state;
    char got[sizeof content];
    uint64_t again;
    struct fake f = {.short_max = 5};
    assert_int_equal(fake_read(&f, got, &again), 0);
    assert_memory_equal(got, content, sizeof content);
    assert_int_equal(again, (sizeof content + 4) / 5 - 1);
}

static void test_interrupted_reads_go_again(void **state)
{
    (void)state;
    const int32_t errors[] = {-EINTR, -EAGAIN};
    for (size_t i = 0; i < 2; i++) {
        char got[sizeof content];
        uint64_t again;
        struct fake f = {.error = errors[i], .error_times = 3};
        assert_int_equal(fake_read(&f, got, &again), 0);
        assert_memory_equal(got, content, sizeof content);
        assert_int_equal(again, 3);
    }
}

static void test_no_progress_ends(void **state)
{
    (void)state;
    char got[sizeof content];
    uint64_t again;
    struct fake f = {.error = -EAGAIN, .error_times = UINT32_MAX};
    assert_int_equal(fake_read(&f, got, &again), EAGAIN);
    assert_true(again < 1000);
}

static void test_errors_pass(void **state)
{
    (void)state;
    char got[sizeof content];
    uint64_t again;
    struct fake f = {.error = -EIO, .error_times = 1};
    assert_int_equal(fake_read(&f, got, &again), EIO);
    assert_int_equal(again, 0);
    struct fake early = {.size = 10, .short_max = 4};
    assert_int_equal(fake_read(&early, got, &again), ENODATA);
    assert_memory_equal(got, content, 10);
}

static void test_close_waits(void **state)
{
    (void)state;
    char got[DEPTH];
    struct fake f = {.content = content, .size = sizeof content};
    struct io *io = io_new(&fake_backend, &f, DEPTH);
    assert_non_null(io);
    for (uint32_t i = 0; i < DEPTH; i++) {
        assert_false(io_full(io));
        io_queue(io, &(struct io_read){.size = 1, .offset = i, .data = got + i});
    }
    assert_true(io_full(io));
    io_close(io);
    assert_memory_equal(got, content, DEPTH);
    assert_int_equal(f.n_queued_ever, DEPTH);
}

/* ---- the real ones ---- */

static struct io *open_kind(enum io_kind kind, uint32_t depth)
{
    struct io *io = NULL;
    enum io_kind became;
    struct err err;
    int rc = io_open(kind, depth, &io, &became, &err);
    if (rc != 0 && kind == IO_URING) {
        print_message("io_uring: skipped: %s\n", err.text);
        return NULL;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(became, kind);
    assert_string_equal(err.text, "");
    return io;
}

/* More reads than the table holds, checked byte by byte. */
static void read_everywhere(struct io *io, int fd, const char *bytes, uint32_t size, char *memory)
{
    enum { READS = 500, MAX = 1000 };
    static uint32_t offsets[READS], sizes[READS];
    uint32_t started = 0, ended = 0;
    struct io_done done[4];
    srand(5);
    while (ended < READS) {
        for (; started < READS && !io_full(io); started++) {
            offsets[started] = (uint32_t)rand() % (size - MAX);
            sizes[started] = 1 + (uint32_t)rand() % MAX;
            io_queue(io, &(struct io_read){.fd = fd,
                                           .size = sizes[started],
                                           .offset = offsets[started],
                                           .data = memory + started * MAX,
                                           .owner = io,
                                           .index = started});
        }
        uint32_t n = io_collect(io, done, 4);
        assert_in_range(n, 1, 4);
        for (uint32_t i = 0; i < n; i++, ended++) {
            uint32_t k = done[i].index;
            assert_int_equal(done[i].error, 0);
            assert_memory_equal(memory + k * MAX, bytes + offsets[k], sizes[k]);
        }
    }
    assert_int_equal(io_in_flight(io), 0);
}

static void test_reads_are_the_files_bytes(void **state)
{
    enum { SIZE = 300000, MEMORY = 500 * 1000 };
    char *bytes = malloc(SIZE), *memory = malloc(MEMORY);
    assert_non_null(bytes);
    assert_non_null(memory);
    for (uint32_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    int fd = open(folder_write(*state, "f", bytes, SIZE), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t k = 0; k < 2; k++) {
        struct io *io = open_kind(kinds[k], 16);
        if (io == NULL)
            continue;
        memset(memory, 0, MEMORY);
        read_everywhere(io, fd, bytes, SIZE, memory);
        io_close(io);
    }
    (void)close(fd);
    free(memory);
    free(bytes);
}

static void test_end_of_file_and_bad_fd(void **state)
{
    int fd = open(folder_write_text(*state, "f", "hello"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t k = 0; k < 2; k++) {
        struct io *io = open_kind(kinds[k], 4);
        if (io == NULL)
            continue;
        char got[3][8] = {{0}};
        struct io_done done[4];
        io_queue(io, &(struct io_read){.fd = fd, .size = 8, .data = got[0], .index = 0});
        io_queue(io, &(struct io_read){.fd = fd, .size = 5, .data = got[1], .index = 1});
        io_queue(io, &(struct io_read){.fd = -1, .size = 5, .data = got[2], .index = 2});
        uint32_t errors[3] = {0};
        for (uint32_t ended = 0; ended < 3;) {
            uint32_t n = io_collect(io, done, 4);
            for (uint32_t i = 0; i < n; i++, ended++)
                errors[done[i].index] = done[i].error;
        }
        assert_int_equal(errors[0], ENODATA);
        assert_int_equal(errors[1], 0);
        assert_int_equal(errors[2], EBADF);
        assert_memory_equal(got[1], "hello", 5);
        io_close(io);
    }
    (void)close(fd);
}

/* ---- where the kernel says no: in a child, for a seccomp filter stays until the process ends ---- */

static void forbid_io_uring(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(70);
}

/* What the child found wrong, by line; 0: nothing. */
static int child_falls_back(int fd, int error, const char *why)
{
    struct io *io = NULL;
    enum io_kind became = IO_AUTO;
    struct err err;
    struct io_done done;
    char got[5];
    forbid_io_uring(error);
    if (io_open(IO_URING, 4, &io, &became, &err) != -error || io != NULL || strstr(err.text, why) == NULL)
        return 1;
    if (io_open(IO_AUTO, 4, &io, &became, &err) != 0 || became != IO_PREAD || strstr(err.text, why) == NULL)
        return 2;
    io_queue(io, &(struct io_read){.fd = fd, .size = 5, .data = got});
    if (io_collect(io, &done, 1) != 1 || done.error != 0 || memcmp(got, "hello", 5) != 0)
        return 3;
    io_close(io);
    return 0;
}

static void test_refused_by_the_kernel(void **state)
{
    static const struct {
        int error;
        const char *why;
    } cases[] = {{EPERM, "io_uring is refused"},
                 {EACCES, "seccomp"},
                 {ENOSYS, "kernel is too old"},
                 {ENOMEM, "RLIMIT_MEMLOCK"},
                 {EMFILE, "Too many open"}};
    int fd = open(folder_write_text(*state, "f", "hello"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(child_falls_back(fd, cases[i].error, cases[i].why));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_reads_go_on),
        cmocka_unit_test(test_interrupted_reads_go_again),
        cmocka_unit_test(test_no_progress_ends),
        cmocka_unit_test(test_errors_pass),
        cmocka_unit_test(test_close_waits),
        cmocka_unit_test_setup_teardown(test_reads_are_the_files_bytes, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_end_of_file_and_bad_fd, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_refused_by_the_kernel, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
