#include "support/folder.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int folder_new(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    (void)snprintf(f->path, sizeof f->path, "/tmp/skipalign-test-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int folder_free(void **state)
{
    struct folder *f = *state;
    int rc = nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return rc;
}

const char *folder_path(struct folder *f, const char *name)
{
    (void)snprintf(f->file, sizeof f->file, "%s/%s", f->path, name);
    return f->file;
}

const char *folder_write(struct folder *f, const char *name, const void *data, size_t size)
{
    const char *path = folder_path(f, name), *p = data;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        assert_true(n > 0);
        p += n;
        size -= (size_t)n;
    }
    assert_int_equal(close(fd), 0);
    return path;
}

const char *folder_write_text(struct folder *f, const char *name, const char *text)
{
    return folder_write(f, name, text, strlen(text));
}
