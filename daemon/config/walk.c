#include "config/walk.h"

#include "config/check.h"
#include "config/document.h"
#include "config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Aliases can make a small file stand for a huge one (&a [*b, *b]): what is built from it is bounded as well.
 */
#define BUILT_BYTES (16u << 20)

static const struct key path_key = {
    .name = "path", .type = KEY_PATH, .min = 1, .max = 4096, .help = "a path is wanted"};
static const struct key piece_key = {
    .name = "piece", .type = KEY_TEXT, .min = 1, .max = 256, .help = "the symbol's text is wanted"};
static const struct key epoch_key = {
    .name = "epoch", .type = KEY_REAL, .real_min = 0, .real_max = 1e9, .help = "an epoch is wanted"};
static const struct key window_key = {.name = "max_position", .type = KEY_INT, .min = 1, .max = INT32_MAX};
static const struct key id_key = {.name = "id", .type = KEY_INT, .min = 0, .max = INT32_MAX};

struct walk {
    struct report *report;
    yaml_document_t *doc;
    char *folder; /* of the file; NULL: the current one */
    size_t built; /* bytes */
};

/* built - count what the file has us allocate; false ends the walk: too much, which is said, or nobody wants
 * to read more errors. */
static bool built(struct walk *w, uint32_t place, size_t bytes)
{
    if (w->built > BUILT_BYTES || w->report->rc != 0 || w->report->more)
        return false;
    w->built += bytes;
    if (w->built <= BUILT_BYTES)
        return true;
    report_add(w->report, place,
               "with its aliases written out the file is larger than %u MiB, more than we take",
               BUILT_BYTES >> 20);
    return false;
}

static void *field_of(const struct key *k, void *group)
{
    return (char *)group + k->offset;
}

static uint32_t *count_of(const struct key *k, void *group)
{
    return (uint32_t *)(void *)((char *)group + k->count_offset);
}

/* expect - is the node of that kind? If not, says what it is instead. */
static bool expect(struct walk *w, const yaml_node_t *node, yaml_node_type_t type, uint32_t place,
                   const char *wanted)
{
    static const char *const kinds[] = {[YAML_SCALAR_NODE] = "a single value",
                                        [YAML_SEQUENCE_NODE] = "a list",
                                        [YAML_MAPPING_NODE] = "a group of keys"};
    char shown[VALUE_ESCAPE];
    const char *tag = (const char *)node->tag;
    if (strncmp(tag, "tag:yaml.org,2002:", 18) != 0)
        report_add(w->report, place, "has a tag (%s), which means nothing here",
                   value_escape(slice_of(tag), shown));
    else if (node->type == type && !document_is_null(node))
        return true;
    else if (document_is_null(node))
        report_add(w->report, place, "has no value; wanted is %s", wanted);
    else
        report_add(w->report, place, "is %s; wanted is %s", kinds[node->type], wanted);
    return false;
}

static void set_scalar(struct walk *w, const yaml_node_t *node, const struct key *k, void *field,
                       uint32_t place)
{
    struct err err;
    char wanted[SCHEMA_RANGE + 64], range[SCHEMA_RANGE], shown[VALUE_ESCAPE];
    (void)snprintf(wanted, sizeof wanted, "a %s (%s)", schema_type(k), schema_range(k, range));
    if (!expect(w, node, YAML_SCALAR_NODE, place, wanted) || !built(w, place, node->data.scalar.length + 1))
        return;
    bool number = k->type == KEY_INT || k->type == KEY_REAL || k->type == KEY_BOOL;
    if (number && node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        report_add(w->report, place, "is text, \"%s\"; wanted is %s, without quotes",
                   value_escape(document_text(node), shown), wanted);
        return;
    }
    int rc = value_set(k, document_text(node), w->folder, field, &err);
    if (rc == -ENOMEM)
        w->report->rc = rc;
    else if (rc != 0)
        report_add(w->report, place, "%s", err.text);
}

/* set_array - room for a counted field's n elements; false: too few, too many, no memory, which is said. */
static bool set_array(struct walk *w, const struct key *k, void *group, size_t n, size_t size, uint32_t place)
{
    char range[SCHEMA_RANGE];
    if (n < (size_t)k->min || n > (size_t)k->max) {
        report_add(w->report, place,
                   n == 0 ? "is empty (%zu entries); allowed are %s" : "has %zu entries; allowed are %s", n,
                   schema_range(k, range));
        return false;
    }
    if (n == 0 || !built(w, place, n * size))
        return false;
    void *array = calloc(n, size);
    if (array == NULL) {
        w->report->rc = -ENOMEM;
        return false;
    }
    *(void **)field_of(k, group) = array;
    *count_of(k, group) = (uint32_t)n;
    return true;
}

static uint32_t item_place(struct walk *w, const yaml_node_t *node, const struct key *k, uint32_t item,
                           const void *field, uint32_t list)
{
    return report_place(w->report, (struct place){.field = field,
                                                  .key = k,
                                                  .item = item,
                                                  .parent = list,
                                                  .mark = document_mark(node->start_mark),
                                                  .given = true});
}

static void walk_paths(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t place)
{
    bool one = node->type == YAML_SCALAR_NODE; /* paths: FILE is a list of one */
    if (!expect(w, node, one ? YAML_SCALAR_NODE : YAML_SEQUENCE_NODE, place, "a list of paths"))
        return;
    size_t n = one ? 1 : (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (!set_array(w, k, group, n, sizeof(char *), place))
        return;
    char **paths = *(char ***)field_of(k, group);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item = one ? node : yaml_document_get_node(w->doc, node->data.sequence.items.start[i]);
        set_scalar(w, item, &path_key, &paths[i], item_place(w, item, k, (uint32_t)i, &paths[i], place));
    }
}

static void walk_ids(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t place)
{
    if (!expect(w, node, YAML_MAPPING_NODE, place, "a map of texts to token ids ({\"<|im_start|>\": 32000})"))
        return;
    yaml_node_pair_t *pairs = node->data.mapping.pairs.start;
    size_t n = (size_t)(node->data.mapping.pairs.top - pairs);
    if (!set_array(w, k, group, n, sizeof(struct conf_special), place))
        return;
    struct conf_special *ids = *(struct conf_special **)field_of(k, group);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *key = yaml_document_get_node(w->doc, pairs[i].key);
        yaml_node_t *value = yaml_document_get_node(w->doc, pairs[i].value);
        uint32_t at = item_place(w, key, k, (uint32_t)i, &ids[i], place);
        int64_t id = -1;
        set_scalar(w, key, &piece_key, &ids[i].piece, at);
        set_scalar(w, value, &id_key, &id, item_place(w, value, k, (uint32_t)i, &ids[i], place));
        ids[i].id = (int32_t)id;
        for (size_t j = 0; j < i && ids[i].piece != NULL && id >= 0; j++) {
            char shown[VALUE_ESCAPE], earlier[VALUE_ESCAPE];
            if (ids[j].piece == NULL || (strcmp(ids[i].piece, ids[j].piece) != 0 && ids[i].id != ids[j].id))
                continue;
            report_add(w->report, at,
                       "\"%s\": %d goes against \"%s\": %d above; each text and each id may be there once",
                       value_escape(slice_of(ids[i].piece), shown), ids[i].id,
                       value_escape(slice_of(ids[j].piece), earlier), ids[j].id);
            break;
        }
    }
}

static int by_epoch(const void *a, const void *b)
{
    const struct conf_stage *x = a, *y = b;
    return (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

static void walk_stages(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t place)
{
    if (!expect(w, node, YAML_MAPPING_NODE, place, "a map of epochs to max_position ({0.5: 131072})"))
        return;
    yaml_node_pair_t *pairs = node->data.mapping.pairs.start;
    size_t n = (size_t)(node->data.mapping.pairs.top - pairs);
    if (!set_array(w, k, group, n, sizeof(struct conf_stage), place))
        return;
    struct conf_stage *stages = *(struct conf_stage **)field_of(k, group);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *key = yaml_document_get_node(w->doc, pairs[i].key);
        yaml_node_t *value = yaml_document_get_node(w->doc, pairs[i].value);
        uint32_t at = item_place(w, key, k, (uint32_t)i, &stages[i], place);
        if (key->type == YAML_SCALAR_NODE) /* JSON has no keys but texts */
            key->data.scalar.style = YAML_PLAIN_SCALAR_STYLE;
        stages[i].epoch = -1;
        set_scalar(w, key, &epoch_key, &stages[i].epoch, at);
        set_scalar(w, value, &window_key, &stages[i].max_position,
                   item_place(w, value, k, (uint32_t)i, &stages[i].max_position, place));
        for (size_t j = 0; j < i; j++)
            if (stages[j].epoch == stages[i].epoch && stages[i].epoch >= 0) {
                report_add(w->report, at, "epoch %g is given twice; leave one out", stages[i].epoch);
                break;
            }
    }
    qsort(stages, n, sizeof stages[0], by_epoch);
}

/* check_names - where elements have names, each has its own. */
static void check_names(struct walk *w, const struct key *k, char *items, uint32_t n)
{
    if (k->of[0].type != KEY_NAME)
        return;
    for (uint32_t i = 0; i < n; i++) {
        char **name = field_of(&k->of[0], items + i * k->size);
        for (uint32_t j = 0; j < i && *name != NULL; j++) {
            char **earlier = field_of(&k->of[0], items + j * k->size);
            if (*earlier == NULL || strcmp(*name, *earlier) != 0)
                continue;
            if (w->report->path != NULL)
                report_add(w->report, report_find(w->report, name),
                           "\"%s\" is already in the list, in line %u; each name may be there once", *name,
                           w->report->places[report_find(w->report, earlier)].mark.line);
            else
                report_add(w->report, report_find(w->report, name),
                           "is in the list twice; each name may be there once");
            break;
        }
    }
}

static void walk_group(struct walk *w, yaml_node_t *node, const struct key *rows, void *group,
                       uint32_t place);

static void walk_list(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t place)
{
    if (k->lone && node->type != YAML_SEQUENCE_NODE) {
        if (expect(w, node, YAML_MAPPING_NODE, place, "a group of keys, or a list of groups") &&
            set_array(w, k, group, 1, k->size, place))
            walk_group(w, node, k->of, *(void **)field_of(k, group), place);
        return;
    }
    if (!expect(w, node, YAML_SEQUENCE_NODE, place, "a list of groups (- name: ...)"))
        return;
    yaml_node_item_t *nodes = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - nodes);
    if (!set_array(w, k, group, n, k->size, place))
        return;
    char *items = *(char **)field_of(k, group);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item = yaml_document_get_node(w->doc, nodes[i]);
        char *element = items + i * k->size;
        walk_group(w, item, k->of, element, item_place(w, item, k, (uint32_t)i, element, place));
    }
    check_names(w, k, items, (uint32_t)n);
}

static void walk_value(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t parent)
{
    void *field = field_of(k, group);
    uint32_t place = report_place(w->report, (struct place){.field = field,
                                                            .key = k,
                                                            .item = NOT_ITEM,
                                                            .parent = parent,
                                                            .mark = document_mark(node->start_mark),
                                                            .given = true});
    switch (k->type) {
    case KEY_GROUP:
        walk_group(w, node, k->of, field, place);
        break;
    case KEY_LIST:
        walk_list(w, node, k, group, place);
        break;
    case KEY_PATHS:
        walk_paths(w, node, k, group, place);
        break;
    case KEY_IDS:
        walk_ids(w, node, k, group, place);
        break;
    case KEY_STAGES:
        walk_stages(w, node, k, group, place);
        break;
    default:
        set_scalar(w, node, k, field, place);
    }
}

/* set_absent - a row that the file does not have: its default, nothing, or an error. */
static void set_absent(struct walk *w, const struct key *k, void *group, uint32_t parent)
{
    char range[SCHEMA_RANGE];
    struct mark mark = w->report->places[parent].mark;
    uint32_t place = report_place(
        w->report,
        (struct place){
            .field = field_of(k, group), .key = k, .item = NOT_ITEM, .parent = parent, .mark = mark});
    if (w->report->rc != 0)
        return;
    if (k->type == KEY_GROUP)
        for (const struct key *inner = k->of; inner->name != NULL; inner++)
            set_absent(w, inner, field_of(k, group), place);
    else if (k->lone && set_array(w, k, group, 1, k->size, place))
        for (const struct key *inner = k->of; inner->name != NULL; inner++)
            set_absent(w, inner, *(void **)field_of(k, group), place);
    else if (k->dflt != NULL)
        w->report->rc = value_set(k, slice_of(k->dflt), NULL, field_of(k, group), NULL);
    else if (!k->optional)
        report_add(w->report, place, "is missing; wanted is a %s (%s): %s", schema_type(k),
                   schema_range(k, range), k->help);
}

static const struct key *find_row(const struct key *rows, struct slice name)
{
    for (const struct key *k = rows; k->name != NULL; k++)
        if (slice_is(name, k->name))
            return k;
    return NULL;
}

static void unknown_key(struct walk *w, const yaml_node_t *key, const struct key *rows, uint32_t place)
{
    const char *names[64];
    size_t n = 0;
    char shown[VALUE_ESCAPE];
    for (const struct key *k = rows; k->name != NULL; k++)
        names[n++] = k->name;
    report_add_unknown(w->report, place, document_mark(key->start_mark),
                       value_escape(document_text(key), shown), "key", (const char *)key->data.scalar.value,
                       names, n);
}

static void walk_group(struct walk *w, yaml_node_t *node, const struct key *rows, void *group, uint32_t place)
{
    uint64_t seen = 0;
    if (!expect(w, node, YAML_MAPPING_NODE, place, "a group of keys"))
        return;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(w->doc, p->key);
        if (key->type != YAML_SCALAR_NODE) {
            report_add_key(w->report, place, document_mark(key->start_mark), "?",
                           "a key is a word, not a list or a group");
            continue;
        }
        if (!built(w, place, sizeof(struct place) + key->data.scalar.length))
            return;
        const struct key *row = find_row(rows, document_text(key));
        if (row == NULL)
            unknown_key(w, key, rows, place);
        else if ((seen & UINT64_C(1) << (row - rows)) != 0)
            report_add_key(w->report, place, document_mark(key->start_mark), row->name,
                           "is given twice; leave one out");
        else
            walk_value(w, yaml_document_get_node(w->doc, p->value), row, group, place);
        if (row != NULL)
            seen |= UINT64_C(1) << (row - rows);
    }
    for (const struct key *k = rows; k->name != NULL; k++)
        if ((seen & UINT64_C(1) << (k - rows)) == 0)
            set_absent(w, k, group, place);
}

static void walk_root(struct walk *w, struct conf *c)
{
    yaml_node_t *root = yaml_document_get_root_node(w->doc);
    if (root == NULL || document_is_null(root))
        report_add_file(
            w->report, (struct mark){1, 1},
            "the file is empty; it needs at least corpora and streams (skipalignd --example shows one)");
    else
        walk_group(w, root, schema_keys, c, 0);
}

int walk_document(yaml_document_t *doc, const char *path, struct report *r, struct conf **ret,
                  struct conf_errors *reterrors)
{
    struct walk w = {.report = r, .doc = doc};
    const char *slash = strrchr(path, '/');
    struct conf *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->refs = 1;
    if (slash != NULL)
        w.folder = slash == path ? strdup("/.") : strndup(path, (size_t)(slash - path));
    if (c == NULL || (c->path = strdup(path)) == NULL || (slash != NULL && w.folder == NULL))
        r->rc = -ENOMEM;
    if (r->rc == 0 && doc != NULL)
        walk_root(&w, c);
    if (r->rc == 0 && doc != NULL)
        check_conf(c, r);
    int rc = report_take(r, reterrors);
    if (rc == 0)
        *ret = c;
    else
        conf_free(c);
    free(w.folder);
    return rc;
}
