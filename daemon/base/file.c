#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, size_t max, char **ret, size_t *ret_size, struct err *reterr)
{
    char *data = NULL;
    size_t size = 0;
    struct stat st;
    int rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0)
        return err_sys(reterr, -errno, "%s: open", path);
    if (fstat(fd, &st) != 0) {
        rc = err_sys(reterr, -errno, "%s", path);
        goto out_close;
    }
    if (S_ISDIR(st.st_mode)) {
        rc = err_set(reterr, -EISDIR, "%s: is a directory, a file is wanted", path);
        goto out_close;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(reterr, -EINVAL, "%s: is not a regular file", path);
        goto out_close;
    }
    if ((uint64_t)st.st_size > max) {
        rc = err_set(reterr, ERR_LIMIT, "%s: %lld bytes, at most %zu are taken", path, (long long)st.st_size,
                     max);
        goto out_close;
    }
    data = malloc((size_t)st.st_size + 1);
    if (data == NULL) {
        rc = err_sys(reterr, -ENOMEM, "%s", path);
        goto out_close;
    }
    while (size < (size_t)st.st_size) {
        ssize_t n = read(fd, data + size, (size_t)st.st_size - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = err_sys(reterr, -errno, "%s: read", path);
            goto out_close;
        }
        if (n == 0)
            break;
        size += (size_t)n;
    }
    data[size] = '\0';
    *ret = data;
    *ret_size = size;
    data = NULL;
    rc = 0;
out_close:
    free(data);
    (void)close(fd);
    return rc;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENOSPC;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

int file_replace(const char *path, const void *data, size_t size, bool sync, struct err *reterr)
{
    char new[PATH_MAX];
    if (snprintf(new, sizeof new, "%s.new", path) >= (int)sizeof new)
        return err_sys(reterr, -ENAMETOOLONG, "%s", path);
    if (unlink(new) != 0 && errno != ENOENT)
        return err_sys(reterr, -errno, "%s: remove", new);
    int fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(reterr, -errno, "%s: create", new);
    int rc = write_all(fd, data, size);
    if (rc == 0 && sync && fsync(fd) != 0)
        rc = -errno;
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    if (rc != 0)
        (void)err_sys(reterr, rc, "%s: write", new);
    else if (rename(new, path) != 0)
        rc = err_sys(reterr, -errno, "%s: rename to %s", new, path);
    if (rc != 0) {
        (void)unlink(new);
        return rc;
    }
    if (sync && (rc = file_sync_folder(path)) != 0) {
        (void)err_sys(reterr, rc, "%s: flush its folder to the disk", path);
        return 1;
    }
    return 0;
}

int file_sync_folder(const char *path)
{
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return rc;
}

int file_make_dir(const char *path, struct err *reterr)
{
    char part[PATH_MAX];
    int n = snprintf(part, sizeof part, "%s", path);
    if (n <= 0 || (size_t)n >= sizeof part)
        return err_sys(reterr, -ENAMETOOLONG, "%s", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char old = *p;
        *p = '\0';
        struct stat st;
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return err_sys(reterr, -errno, "%s: make directory", part);
        if (stat(part, &st) != 0)
            return err_sys(reterr, -errno, "%s", part);
        if (!S_ISDIR(st.st_mode))
            return err_set(reterr, -ENOTDIR, "%s: is not a directory", part);
        *p = old;
        if (old == '\0')
            return 0;
    }
}
