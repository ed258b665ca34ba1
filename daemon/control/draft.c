#include "control/draft.h"

#include "config/merge.h"
#include "text/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What only the stage behind the file can tell: whether the templates are there. Of a file, its name stands
 * before each line. */
static int check_templates(const struct conf *conf, const char *file, struct conf_errors *reterrors)
{
    struct err e;
    size_t size;
    FILE *f = open_memstream(&reterrors->text, &size);
    if (f == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < conf->n_streams; i++) {
        const struct conf_stream *s = &conf->streams[i];
        if (template_check_name(s->template_name, conf->templates, conf->n_templates, &e) == 0)
            continue;
        reterrors->n++;
        if (file != NULL)
            fprintf(f, "%s: streams[%u].template: %s\n", file, i, e.text);
        else
            fprintf(f, "%s.template: %s\n", s->name, e.text);
    }
    if (fclose(f) != 0)
        return -ENOMEM;
    if (reterrors->n > 0)
        return ERR_CONFIG;
    conf_errors_fini(reterrors);
    return 0;
}

static int checked(int rc, struct conf *conf, const char *file, struct conf **ret,
                   struct conf_errors *reterrors)
{
    if (rc != 0)
        return rc;
    rc = check_templates(conf, file, reterrors);
    if (rc == 0)
        *ret = conf;
    else
        conf_free(conf);
    return rc;
}

int draft_load(const char *path, const char *state_dir, struct conf **ret, struct conf_errors *reterrors)
{
    struct conf *conf = NULL;
    int rc = conf_load(path, &conf, reterrors);
    if (rc == 0 && state_dir != NULL) {
        free(conf->state_dir);
        if ((conf->state_dir = strdup(state_dir)) == NULL) {
            conf_free(conf);
            return -ENOMEM;
        }
    }
    return checked(rc, conf, path, ret, reterrors);
}

int draft_edit(const struct conf *running, const struct conf_edit *edits, uint32_t n, struct conf **ret,
               struct conf_errors *reterrors)
{
    struct conf *conf = NULL;
    int rc = conf_edit(running, edits, n, &conf, reterrors);
    return checked(rc, conf, NULL, ret, reterrors);
}

int draft_entry(const struct timeline_entry *e, struct conf **ret, struct conf_errors *reterrors)
{
    char name[32];
    struct conf *conf = NULL;
    (void)snprintf(name, sizeof name, "generation %u", e->generation);
    int rc = conf_parse(name, e->config, strlen(e->config), &conf, reterrors);
    return checked(rc, conf, name, ret, reterrors);
}

int draft_revert(const struct conf *running, const struct timeline_entry *e, struct conf **ret,
                 struct conf_errors *reterrors)
{
    struct conf *of_entry, *conf = NULL;
    int rc = draft_entry(e, &of_entry, reterrors);
    if (rc != 0)
        return rc;
    rc = conf_merge(running, of_entry, &conf, reterrors);
    conf_free(of_entry);
    return checked(rc, conf, NULL, ret, reterrors);
}
