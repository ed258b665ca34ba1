#include "corpus/paths.h"

#include "base/array.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void paths_fini(struct paths *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i]);
    free(p->list);
    *p = (struct paths){0};
}

static int paths_add(struct paths *p, const char *path)
{
    if (array_grow(&p->list, &p->cap, p->n + 1) != 0)
        return -ENOMEM;
    p->list[p->n] = strdup(path);
    return p->list[p->n] == NULL ? -ENOMEM : (p->n++, 0);
}

/* Asked by glob: a folder that is not there matches nothing; one that does not open may hide files. */
static int folder_unreadable(const char *folder, int error)
{
    (void)folder;
    return error != ENOENT && error != ENOTDIR;
}

int paths_expand(struct paths *p, const char *pattern, struct err *reterr)
{
    struct stat st;
    if (lstat(pattern, &st) == 0)
        return paths_add(p, pattern) == 0 ? 0 : err_sys(reterr, -ENOMEM, "%s", pattern);
    if (errno != ENOENT && errno != ENOTDIR)
        return err_sys(reterr, -errno, "%s: a folder of it cannot be searched", pattern);
    glob_t g;
    int rc = glob(pattern, GLOB_NOSORT, folder_unreadable, &g);
    if (rc == GLOB_NOMATCH)
        return err_set(reterr, -ENOENT,
                       "%s: no such file, or nothing matches; check the path and its spelling", pattern);
    if (rc == GLOB_ABORTED)
        return err_sys(reterr, -EACCES, "%s: a folder of it cannot be read", pattern);
    if (rc != 0)
        return err_sys(reterr, -ENOMEM, "%s", pattern);
    for (size_t i = 0; i < g.gl_pathc && rc == 0; i++)
        rc = paths_add(p, g.gl_pathv[i]);
    globfree(&g);
    return rc == 0 ? 0 : err_sys(reterr, rc, "%s", pattern);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void paths_sort_unique(struct paths *p)
{
    size_t n = 0;
    if (p->n > 0) /* else there may be no list */
        qsort(p->list, p->n, sizeof p->list[0], compare_paths);
    for (size_t i = 0; i < p->n; i++) {
        if (n > 0 && strcmp(p->list[n - 1], p->list[i]) == 0)
            free(p->list[i]);
        else
            p->list[n++] = p->list[i];
    }
    p->n = n;
}
