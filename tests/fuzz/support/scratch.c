#include "fuzz/support/scratch.h"

#include "base/err.h"
#include "base/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/dev/shm/skipalign-fuzz-XXXXXX";
static pid_t made_by; /* libFuzzer forks when it minimises */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    if (made_by == getpid())
        (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name)
{
    static char path[PATH_MAX];
    if (made_by == 0) {
        CHECK(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
        made_by = getpid();
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

const char *scratch_write(const char *name, const void *data, size_t size)
{
    const char *path = scratch_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    return path;
}

char *scratch_read(const char *name, size_t *ret_size)
{
    char *data;
    CHECK(file_read(scratch_path(name), SIZE_MAX / 2, &data, ret_size, NULL) == 0);
    return data;
}
