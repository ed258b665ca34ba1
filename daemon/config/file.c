#include "config/file.h"

#include "base/file.h"
#include "config/document.h"
#include "config/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (1u << 20)
#define ANCHORS_MAX 256

/* parse - named: what errors call the file; path: where it is. */
static int parse(const char *named, const char *path, struct slice text, struct conf **ret,
                 struct conf_errors *reterrors)
{
    struct report report;
    yaml_document_t doc;
    struct mark mark;
    struct err err;
    report_init(&report, named);
    /* libyaml takes a byte order mark for a column, and what stands below it for less indented. */
    if (text.size >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = (struct slice){text.data + 3, text.size - 3};
    int rc = document_read(text, ANCHORS_MAX, &doc, &mark, &err);
    bool whole = rc == 0;
    if (rc == ERR_CONFIG)
        report_add_file(&report, mark, "%s", err.text);
    else
        report.rc = rc;
    rc = walk_document(whole ? &doc : NULL, path, &report, ret, reterrors);
    if (whole)
        yaml_document_delete(&doc);
    report_fini(&report);
    return rc;
}

int conf_parse(const char *path, const char *text, size_t size, struct conf **ret,
               struct conf_errors *reterrors)
{
    return parse(path, path, (struct slice){text, size}, ret, reterrors);
}

/* Relative paths are to mean the same file wherever they are read again. */
static int make_absolute(const char *path, char **ret)
{
    char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (path[0] != '/' && folder == NULL)
        return -errno;
    int rc = asprintf(ret, "%s%s%s", folder != NULL ? folder : "", folder != NULL ? "/" : "", path);
    free(folder);
    return rc < 0 ? -ENOMEM : 0;
}

static int tell(int rc, const struct err *err, struct conf_errors *reterrors)
{
    char *line;
    if (asprintf(&line, "%s\n", err->text) < 0)
        return -ENOMEM;
    *reterrors = (struct conf_errors){.text = line, .n = 1};
    return rc == ERR_LIMIT ? ERR_CONFIG : rc;
}

int conf_load(const char *path, struct conf **ret, struct conf_errors *reterrors)
{
    struct err err;
    char *text, *absolute;
    size_t size;
    int rc = file_read(path, FILE_BYTES, &text, &size, &err);
    if (rc != 0)
        return tell(rc, &err, reterrors);
    rc = make_absolute(path, &absolute);
    if (rc != 0) {
        rc = tell(err_sys(&err, rc, "%s: the current folder", path), &err, reterrors);
    } else {
        rc = parse(path, absolute, (struct slice){text, size}, ret, reterrors);
        free(absolute);
    }
    free(text);
    return rc;
}
