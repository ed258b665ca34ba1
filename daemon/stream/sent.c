#include "stream/sent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SENT_MAGIC 0x31544e45534c4b53ull /* "SKLSENT1" */

/* A store of eight aligned bytes is whole or not there; the complement tells a damaged file. */
struct mark {
    uint64_t magic, unused;
    _Atomic uint64_t steps;
    _Atomic uint64_t complement;
};

struct sent {
    struct mark *mark;
};

static int path_of(const char *folder, char ret[PATH_MAX])
{
    return snprintf(ret, PATH_MAX, "%s/sent", folder) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A kill between the two stores leaves the complement of the mark before: the higher one counts. */
static uint64_t value_of(const struct mark *m)
{
    uint64_t steps = atomic_load_explicit(&m->steps, memory_order_relaxed),
             other = ~atomic_load_explicit(&m->complement, memory_order_relaxed);
    return steps > other ? steps : other;
}

int sent_open(const char *folder, struct sent **ret, bool *ret_new, struct err *reterr)
{
    char path[PATH_MAX];
    struct mark *m = MAP_FAILED, first = {.magic = SENT_MAGIC, .complement = UINT64_MAX}, have;
    int fd = -1, rc = path_of(folder, path);
    struct sent *s = calloc(1, sizeof *s);
    if (s == NULL)
        rc = -ENOMEM;
    if (rc == 0 && (fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644)) < 0)
        rc = -errno;
    if (rc == 0) {
        *ret_new = pread(fd, &have, sizeof have, 0) != (ssize_t)sizeof have || have.magic != SENT_MAGIC;
        ssize_t n = *ret_new ? pwrite(fd, &first, sizeof first, 0) : (ssize_t)sizeof first;
        if (n != (ssize_t)sizeof first)
            rc = n < 0 ? -errno : -ENOSPC;
    }
    if (rc == 0 && (m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        rc = -errno;
    if (fd >= 0)
        (void)close(fd);
    if (rc != 0) {
        free(s);
        return err_sys(reterr, rc, "%s/sent", folder);
    }
    s->mark = m;
    *ret = s;
    return 0;
}

void sent_close(struct sent *s)
{
    if (s == NULL)
        return;
    (void)munmap(s->mark, sizeof *s->mark);
    free(s);
}

uint64_t sent_get(const struct sent *s)
{
    return value_of(s->mark);
}

void sent_raise(struct sent *s, uint64_t mark)
{
    if (mark <= value_of(s->mark))
        return;
    atomic_store_explicit(&s->mark->steps, mark, memory_order_relaxed);
    atomic_store_explicit(&s->mark->complement, ~mark, memory_order_relaxed);
}

uint64_t sent_read(const char *folder)
{
    char path[PATH_MAX];
    struct mark have;
    int fd = path_of(folder, path) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    bool whole = pread(fd, &have, sizeof have, 0) == (ssize_t)sizeof have && have.magic == SENT_MAGIC;
    (void)close(fd);
    return whole ? value_of(&have) : 0;
}
