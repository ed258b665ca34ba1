/* faults - a disk that fails, or a process that dies, at its n-th change of a file: for LD_PRELOAD.
 *
 * SKIPALIGN_FAULTS names a file of one struct faults, which both this process and the test that started it
 * map. SKIPALIGN_FAULTS_DIR names the folder that counts (absolute): open for writing, write, pwrite,
 * ftruncate, fsync, fdatasync and rename in it are numbered 1, 2, 3, ... At number `at`, or the first one
 * above it, `what` happens: the process dies once; a disk that fails goes on failing until `what` is
 * FAULT_NONE again. Limits: what goes past libc's exported functions (io_uring, a FILE, mmap) is not seen.
 *
 * Threads: any.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum fault {
    FAULT_NONE,
    FAULT_DIE_BEFORE,
    FAULT_DIE_AFTER,
    FAULT_DIE_HALFWAY, /* of a write; anything else: after it */
    FAULT_NO_SPACE,    /* the first write still gets half of its bytes down */
    FAULT_IO_ERROR,
};

struct faults {
    _Atomic uint64_t count, at;
    _Atomic uint32_t what, happened; /* happened: how often */
};
_Static_assert(sizeof(struct faults) == 24, "tests/fault/history reads and writes it");

static struct faults *faults;
static const char *folder;
static size_t folder_size;

__attribute__((constructor)) static void faults_map(void)
{
    const char *path = getenv("SKIPALIGN_FAULTS");
    folder = getenv("SKIPALIGN_FAULTS_DIR");
    int fd = path != NULL && folder != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        perror("faults: SKIPALIGN_FAULTS, SKIPALIGN_FAULTS_DIR");
        abort();
    }
    (void)close(fd);
    folder_size = strlen(folder);
    faults = map;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool path_counts(const char *path)
{
    return faults != NULL && strncmp(path, folder, folder_size) == 0 && path[folder_size] == '/';
}

static bool fd_counts(int fd)
{
    char link[32], path[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = faults != NULL ? readlink(link, path, sizeof path - 1) : -1;
    if (n < 0)
        return false;
    path[n] = '\0';
    return path_counts(path);
}

/* Unless the test has thought better of it while the call took its time. */
static void die(void)
{
    if (atomic_load(&faults->what) == FAULT_NONE)
        return;
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* What happens at this call, which counts. Errors: a disk that fails; errno says how. */
static enum fault meet(bool *ret_first)
{
    uint64_t number = atomic_fetch_add(&faults->count, 1) + 1;
    enum fault what =
        number >= atomic_load(&faults->at) ? (enum fault)atomic_load(&faults->what) : FAULT_NONE;
    *ret_first = what != FAULT_NONE && atomic_fetch_add(&faults->happened, 1) == 0;
    if (what == FAULT_DIE_BEFORE)
        die();
    if (what == FAULT_NO_SPACE)
        errno = ENOSPC;
    if (what == FAULT_IO_ERROR)
        errno = EIO;
    return what;
}

/* Around a call that gives up or ends whole: NAME, what says whether it counts, and the call. */
#define AROUND(counts, failed, call)                              \
    do {                                                          \
        bool first;                                               \
        enum fault what = (counts) ? meet(&first) : FAULT_NONE;   \
        if (what == FAULT_NO_SPACE || what == FAULT_IO_ERROR)     \
            return failed;                                        \
        __typeof__(call) result = call;                           \
        if (what == FAULT_DIE_AFTER || what == FAULT_DIE_HALFWAY) \
            die();                                                \
        return result;                                            \
    } while (0)

/* Around a write of n bytes, which may also end halfway. */
#define AROUND_WRITE(fd, n, call_of)                                                \
    do {                                                                            \
        bool first = false;                                                         \
        enum fault what = fd_counts(fd) ? meet(&first) : FAULT_NONE;                \
        bool half = what == FAULT_DIE_HALFWAY || (what == FAULT_NO_SPACE && first); \
        if (what == FAULT_IO_ERROR || (what == FAULT_NO_SPACE && (!half || n < 2))) \
            return -1;                                                              \
        ssize_t result = call_of(half ? n / 2 : n);                                 \
        if (what == FAULT_DIE_AFTER || what == FAULT_DIE_HALFWAY)                   \
            die();                                                                  \
        return result;                                                              \
    } while (0)

#define WRITES(flags) (((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0)

static mode_t mode_of(int flags, va_list ap)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                              \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        va_list ap;                                                                    \
        va_start(ap, flags);                                                           \
        mode_t mode = mode_of(flags, ap);                                              \
        va_end(ap);                                                                    \
        AROUND(WRITES(flags) && path_counts(path), -1, REAL(name)(path, flags, mode)); \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                                   \
    int name(int at, const char *path, int flags, ...)                                        \
    {                                                                                         \
        va_list ap;                                                                           \
        va_start(ap, flags);                                                                  \
        mode_t mode = mode_of(flags, ap);                                                     \
        va_end(ap);                                                                           \
        AROUND(WRITES(flags) && (path_counts(path) || (path[0] != '/' && fd_counts(at))), -1, \
               REAL(name)(at, path, flags, mode));                                            \
    }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size)
{
#define CALL(n) REAL(write)(fd, data, n)
    AROUND_WRITE(fd, size, CALL);
#undef CALL
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
#define CALL(n) REAL(pwrite)(fd, data, n, at)
    AROUND_WRITE(fd, size, CALL);
#undef CALL
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
#define CALL(n) REAL(pwrite64)(fd, data, n, at)
    AROUND_WRITE(fd, size, CALL);
#undef CALL
}

int ftruncate(int fd, off_t size)
{
    AROUND(fd_counts(fd), -1, REAL(ftruncate)(fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    AROUND(fd_counts(fd), -1, REAL(ftruncate64)(fd, size));
}

int fsync(int fd)
{
    AROUND(fd_counts(fd), -1, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    AROUND(fd_counts(fd), -1, REAL(fdatasync)(fd));
}

int rename(const char *from, const char *to)
{
    AROUND(path_counts(to), -1, REAL(rename)(from, to));
}
