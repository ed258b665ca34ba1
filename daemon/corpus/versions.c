#include "corpus/versions.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 16u /* of a fingerprint, in hex */

/* state_dir/corpora/NAME<suffix> */
static int make_path(const char *state_dir, const char *name, const char *suffix, char ret[PATH_MAX],
                     struct err *reterr)
{
    int n = snprintf(ret, PATH_MAX, "%s/corpora/%s%s", state_dir, name, suffix);
    return n > 0 && n < PATH_MAX ? 0
                                 : err_sys(reterr, -ENAMETOOLONG, "%s/corpora/%s%s", state_dir, name, suffix);
}

static int make_kept_path(const char *state_dir, const char *name, uint64_t fingerprint, char ret[PATH_MAX],
                          struct err *reterr)
{
    char suffix[32];
    (void)snprintf(suffix, sizeof suffix, ".%016" PRIx64 ".index", fingerprint);
    return make_path(state_dir, name, suffix, ret, reterr);
}

/* ---- the newest ---- */

/* What stands at path goes to its name among the kept, unless it is damaged or says the same as new. */
static int keep(const char *state_dir, const char *name, const char *path, const struct index *new,
                struct err *reterr)
{
    char kept[PATH_MAX];
    struct index old;
    if (index_open(path, NULL, &old) != 1)
        return 0;
    uint64_t fingerprint = index_fingerprint(&old);
    index_close(&old);
    if (fingerprint == index_fingerprint(new))
        return 0;
    int rc = make_kept_path(state_dir, name, fingerprint, kept, reterr);
    if (rc != 0)
        return rc;
    return rename(path, kept) == 0 ? 0 : err_sys(reterr, -errno, "%s: rename to %s", path, kept);
}

static int put(const char *new_path, const char *path, struct err *reterr)
{
    if (rename(new_path, path) != 0)
        return err_sys(reterr, -errno, "%s: rename to %s", new_path, path);
    int rc = file_sync_folder(path);
    return rc == 0 ? 0 : err_sys(reterr, rc, "%s: its folder cannot be synced", path);
}

int versions_open_newest(const char *state_dir, const char *name, const struct catalog *c, enum io_kind io,
                         int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                         struct index *ret, bool *ret_scanned, struct err *reterr)
{
    char path[PATH_MAX], new_path[PATH_MAX];
    struct index new = {0};
    int rc = make_path(state_dir, "", "", path, reterr);
    if (rc != 0)
        return rc;
    rc = file_make_dir(path, reterr);
    if (rc != 0)
        return err_wrap(reterr, rc, "state_dir");
    rc = make_path(state_dir, name, ".index.new", new_path, reterr);
    if (rc == 0)
        rc = make_path(state_dir, name, ".index", path, reterr);
    if (rc != 0)
        return rc;
    *ret_scanned = index_open(path, c, ret) != 1;
    if (!*ret_scanned)
        return 0;
    rc = index_build(new_path, c, io, progress, arg, &new, reterr);
    if (rc != 0)
        return rc;
    rc = keep(state_dir, name, path, &new, reterr);
    if (rc == 0)
        rc = put(new_path, path, reterr);
    if (rc != 0) {
        (void)unlink(new_path);
        index_close(&new);
        return rc;
    }
    *ret = new;
    return 0;
}

/* ---- older ones ---- */

static bool open_if(const char *path, uint64_t fingerprint, struct index *ret)
{
    struct index x;
    if (index_open(path, NULL, &x) != 1)
        return false;
    if (index_fingerprint(&x) != fingerprint) {
        index_close(&x);
        return false;
    }
    *ret = x;
    return true;
}

int versions_find(const char *state_dir, const char *name, uint64_t fingerprint, struct index *ret,
                  struct err *reterr)
{
    char path[PATH_MAX], kept[PATH_MAX];
    int rc = make_path(state_dir, name, ".index", path, reterr);
    if (rc == 0)
        rc = make_kept_path(state_dir, name, fingerprint, kept, reterr);
    if (rc != 0)
        return rc;
    if (open_if(kept, fingerprint, ret) || open_if(path, fingerprint, ret))
        return 0;
    if (access(kept, F_OK) == 0)
        return err_set(reterr, ERR_CHANGED,
                       "%s: is damaged, or cannot be read; it alone tells where these records were", kept);
    return err_set(reterr, ERR_CHANGED,
                   "the files have changed, and how they were is not kept (there is no %s)", kept);
}

/* Is file of a kept version of name: its index, or what is known of its duplicates? */
static bool is_kept(const char *file, const char *name, uint64_t *ret_fingerprint)
{
    size_t n = strlen(name);
    if (strncmp(file, name, n) != 0 || file[n] != '.' || strspn(file + n + 1, "0123456789abcdef") != DIGITS ||
        (strcmp(file + n + 1 + DIGITS, ".index") != 0 && strcmp(file + n + 1 + DIGITS, ".duplicates") != 0))
        return false;
    *ret_fingerprint = strtoull(file + n + 1, NULL, 16);
    return true;
}

static bool is_wanted(uint64_t fingerprint, const uint64_t *keep, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (keep[i] == fingerprint)
            return true;
    return false;
}

/* visit the kept ones, by name and fingerprint, as long as it returns 0, a negative errno otherwise. */
static int visit_kept(const char *state_dir, const char *name,
                      int (*visit)(void *arg, int folder_fd, const char *file, uint64_t fingerprint),
                      void *arg, struct err *reterr)
{
    char path[PATH_MAX];
    uint64_t fingerprint;
    int rc = make_path(state_dir, "", "", path, reterr);
    if (rc != 0)
        return rc;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return errno == ENOENT ? 0 : err_sys(reterr, -errno, "%s", path);
    const struct dirent *e;
    while (rc == 0 && (errno = 0, e = readdir(folder)) != NULL)
        if (is_kept(e->d_name, name, &fingerprint) &&
            (rc = visit(arg, dirfd(folder), e->d_name, fingerprint)) != 0)
            (void)err_sys(reterr, rc, "%s%s", path, e->d_name);
    if (rc == 0 && errno != 0)
        rc = err_sys(reterr, -errno, "%s", path);
    (void)closedir(folder);
    return rc;
}

struct pruning {
    const uint64_t *keep;
    uint32_t n;
};

static int prune_kept(void *arg, int folder_fd, const char *file, uint64_t fingerprint)
{
    const struct pruning *p = arg;
    if (is_wanted(fingerprint, p->keep, p->n))
        return 0;
    return unlinkat(folder_fd, file, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int versions_prune(const char *state_dir, const char *name, const uint64_t *keep, uint32_t n,
                   struct err *reterr)
{
    return visit_kept(state_dir, name, prune_kept, &(struct pruning){keep, n}, reterr);
}

struct visitor {
    const char *state_dir;
    int (*visit)(void *arg, const struct index *x);
    void *arg;
};

static int visit_index(const struct visitor *v, const char *path)
{
    struct index x;
    if (index_open(path, NULL, &x) != 1)
        return 0;
    int rc = v->visit(v->arg, &x);
    index_close(&x);
    return rc;
}

static int visit_kept_index(void *arg, int folder_fd, const char *file, uint64_t fingerprint)
{
    const struct visitor *v = arg;
    char path[PATH_MAX];
    (void)folder_fd, (void)fingerprint;
    int rc = make_path(v->state_dir, file, "", path, NULL);
    return rc == 0 ? visit_index(v, path) : rc;
}

int versions_visit(const char *state_dir, const char *name, int (*visit)(void *arg, const struct index *x),
                   void *arg, struct err *reterr)
{
    struct visitor v = {state_dir, visit, arg};
    char path[PATH_MAX];
    int rc = make_path(state_dir, name, ".index", path, reterr);
    if (rc != 0)
        return rc;
    if ((rc = visit_index(&v, path)) != 0)
        return err_sys(reterr, rc, "%s", path);
    return visit_kept(state_dir, name, visit_kept_index, &v, reterr);
}
