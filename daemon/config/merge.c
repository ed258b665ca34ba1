#include "config/merge.h"

#include "config/report.h"
#include "config/tree.h"
#include "config/walk.h"

#include <errno.h>

/* put_over - the elements of one list; false: no memory. */
static bool put_over(yaml_document_t *base, yaml_document_t *over, const char *list)
{
    int from = tree_get(over, TREE_ROOT, list), to = tree_get(base, TREE_ROOT, list);
    if (from == 0)
        return true;
    if (to == 0) {
        to = tree_empty(base, YAML_SEQUENCE_NODE, 0);
        if (!tree_put(base, TREE_ROOT, list, to, 0))
            return false;
    }
    bool whole = true;
    for (int i = 0; whole && i < tree_count(over, from); i++) {
        int element = tree_nth(over, from, i);
        int at = tree_find(base, to, tree_name(over, element));
        int copy = tree_copy(base, over, element, 0);
        whole = copy != 0;
        if (whole && at >= 0)
            tree_replace(base, to, at, copy);
        else if (whole)
            whole = tree_add(base, to, copy);
    }
    return whole;
}

int conf_merge(const struct conf *base, const struct conf *over, struct conf **ret,
               struct conf_errors *reterrors)
{
    struct report report;
    yaml_document_t below, above;
    int rc = tree_new(base, 0, &below);
    if (rc != 0)
        return rc;
    rc = tree_new(over, 0, &above);
    if (rc != 0)
        goto out_below;
    int record_max = tree_copy(&below, &above, tree_get(&above, TREE_ROOT, "record_max"), 0);
    bool whole = tree_put(&below, TREE_ROOT, "record_max", record_max, 0) &&
                 put_over(&below, &above, "corpora") && put_over(&below, &above, "templates") &&
                 put_over(&below, &above, "streams");
    report_init(&report, NULL);
    if (!whole)
        report.rc = -ENOMEM;
    rc = walk_document(&below, base->path, &report, ret, reterrors);
    report_fini(&report);
    yaml_document_delete(&above);
out_below:
    yaml_document_delete(&below);
    return rc;
}
