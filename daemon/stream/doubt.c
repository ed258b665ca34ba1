#include "stream/doubt.h"

#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX 65536
#define FIRST_LINES "skipalign doubt 1\nrelease " SKIPALIGN_VERSION "\n"

/* A file of ours and of this release: what comes after its first lines; NULL: none. *ret_rc: why. */
static char *read_rest(const char *path, int *ret_rc)
{
    char *text = NULL, *rest = NULL;
    size_t size;
    *ret_rc = file_read(path, BYTES_MAX, &text, &size, NULL);
    if (*ret_rc == 0 && strncmp(text, FIRST_LINES, strlen(FIRST_LINES)) == 0)
        rest = strdup(text + strlen(FIRST_LINES));
    free(text);
    return rest;
}

static int write_text(const char *path, const char *rest, struct err *reterr)
{
    char *text;
    const int n = asprintf(&text, FIRST_LINES "%s", rest);
    if (n < 0)
        return err_sys(reterr, -ENOMEM, "%s", path);
    int rc = file_replace(path, text, (size_t)n, true, reterr);
    free(text);
    return rc < 0 ? rc : 0;
}

/* ---- of a model ---- */

void doubt_model_path(const char *state_dir, const char *sha256, char ret[PATH_MAX])
{
    (void)snprintf(ret, PATH_MAX, "%s/tokenizers/%s", state_dir, sha256);
}

bool doubt_model_known(const char *state_dir, const char *sha256)
{
    char path[PATH_MAX];
    int rc;
    doubt_model_path(state_dir, sha256, path);
    char *rest = read_rest(path, &rc);
    free(rest);
    return rest != NULL || (rc != 0 && rc != -ENOENT && rc != -ENOTDIR);
}

int doubt_model_write(const char *state_dir, const struct tokenizer *t, struct err *reterr)
{
    char path[PATH_MAX], folder[PATH_MAX], *rest;
    (void)snprintf(folder, sizeof folder, "%s/tokenizers", state_dir);
    int rc = file_make_dir(folder, reterr);
    if (rc != 0)
        return rc;
    doubt_model_path(state_dir, tokenizer_sha256(t), path);
    if (asprintf(
            &rest,
            "model %s\nThe fast path of this release has given other ids than libsentencepiece for a text "
            "with this model,\nso libsentencepiece tokenises for it as long as this file is here.\n",
            tokenizer_path(t)) < 0)
        return err_sys(reterr, -ENOMEM, "%s", path);
    rc = write_text(path, rest, reterr);
    free(rest);
    return rc;
}

/* ---- of a generation ---- */

static void path_of(const char *folder, uint32_t generation, char ret[PATH_MAX])
{
    (void)snprintf(ret, PATH_MAX, "%s/%" PRIu32 ".doubt", folder, generation);
}

int doubt_read(const char *folder, uint32_t generation, uint64_t fingerprint, struct doubt *ret)
{
    char path[PATH_MAX];
    struct doubt d;
    uint64_t of;
    int rc;
    path_of(folder, generation, path);
    char *rest = read_rest(path, &rc);
    const bool good = rest != NULL &&
                      sscanf(rest, "ledger %" SCNx64 "\nwindows %" SCNu64 "\nsteps %" SCNu64 " %" SCNu64 "\n",
                             &of, &d.windows, &d.first_step, &d.end_step) == 4 &&
                      of == fingerprint;
    free(rest);
    if (good)
        *ret = d;
    return good;
}

int doubt_write(const char *folder, uint32_t generation, uint64_t fingerprint, const struct doubt *d,
                struct err *reterr)
{
    char path[PATH_MAX], rest[256];
    path_of(folder, generation, path);
    (void)snprintf(rest, sizeof rest,
                   "ledger %016" PRIx64 "\nwindows %" PRIu64 "\nsteps %" PRIu64 " %" PRIu64 "\n", fingerprint,
                   d->windows, d->first_step, d->end_step);
    return write_text(path, rest, reterr);
}
