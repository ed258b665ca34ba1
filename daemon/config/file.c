#include "config/file.h"

#include "base/file.h"
#include "base/nearest.h"
#include "config/check.h"
#include "config/report.h"
#include "config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_BYTES (1u << 20)
/* Aliases can make a small file stand for a huge one (&a [*b, *b]): what is built from it is bounded as well.
 */
#define BUILT_BYTES (16u << 20)
/* libyaml takes time in the square of nesting and of anchors; our deepest key is at level 6. */
#define DEPTH_MAX 32
#define ANCHORS_MAX 256

static const struct key path_key = {
    .name = "path", .type = KEY_PATH, .min = 1, .max = 4096, .help = "a path is wanted"};
static const struct key piece_key = {
    .name = "piece", .type = KEY_TEXT, .min = 1, .max = 256, .help = "the symbol's text is wanted"};
static const struct key id_key = {.name = "id", .type = KEY_INT, .min = 0, .max = INT32_MAX};

struct walk {
    struct report report;
    yaml_document_t doc;
    char *folder; /* of the file; NULL: the current one */
    size_t built; /* bytes */
};

static struct mark mark_of(yaml_mark_t m)
{
    return (struct mark){(uint32_t)m.line + 1, (uint32_t)m.column + 1};
}

/* built - count what the file has us allocate; false ends the walk: too much, which is said, or nobody wants
 * to read more errors. */
static bool built(struct walk *w, uint32_t place, size_t bytes)
{
    if (w->built > BUILT_BYTES || w->report.rc != 0 || w->report.more)
        return false;
    w->built += bytes;
    if (w->built <= BUILT_BYTES)
        return true;
    report_add(&w->report, place,
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

static struct slice text_of(const yaml_node_t *node)
{
    return (struct slice){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_is(text_of(node), words[i]))
            return true;
    return false;
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
        report_add(&w->report, place, "has a tag (%s), which means nothing here",
                   value_escape(slice_of(tag), shown));
    else if (node->type == type && !is_null(node))
        return true;
    else if (is_null(node))
        report_add(&w->report, place, "has no value; wanted is %s", wanted);
    else
        report_add(&w->report, place, "is %s; wanted is %s", kinds[node->type], wanted);
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
        report_add(&w->report, place, "is text, \"%s\"; wanted is %s, without quotes",
                   value_escape(text_of(node), shown), wanted);
        return;
    }
    int rc = value_set(k, text_of(node), w->folder, field, &err);
    if (rc == -ENOMEM)
        w->report.rc = rc;
    else if (rc != 0)
        report_add(&w->report, place, "%s", err.text);
}

/* set_array - room for a counted field's n elements; false: too few, too many, no memory, which is said. */
static bool set_array(struct walk *w, const struct key *k, void *group, size_t n, size_t size, uint32_t place)
{
    char range[SCHEMA_RANGE];
    if (n < (size_t)k->min || n > (size_t)k->max) {
        report_add(&w->report, place,
                   n == 0 ? "is empty (%zu entries); allowed are %s" : "has %zu entries; allowed are %s", n,
                   schema_range(k, range));
        return false;
    }
    if (n == 0 || !built(w, place, n * size))
        return false;
    void *array = calloc(n, size);
    if (array == NULL) {
        w->report.rc = -ENOMEM;
        return false;
    }
    *(void **)field_of(k, group) = array;
    *count_of(k, group) = (uint32_t)n;
    return true;
}

static uint32_t item_place(struct walk *w, const yaml_node_t *node, const struct key *k, uint32_t item,
                           const void *field, uint32_t list)
{
    return report_place(&w->report, (struct place){.field = field,
                                                   .key = k,
                                                   .item = item,
                                                   .parent = list,
                                                   .mark = mark_of(node->start_mark),
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
        yaml_node_t *item = one ? node : yaml_document_get_node(&w->doc, node->data.sequence.items.start[i]);
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
        yaml_node_t *key = yaml_document_get_node(&w->doc, pairs[i].key);
        yaml_node_t *value = yaml_document_get_node(&w->doc, pairs[i].value);
        uint32_t at = item_place(w, key, k, (uint32_t)i, &ids[i], place);
        int64_t id = -1;
        set_scalar(w, key, &piece_key, &ids[i].piece, at);
        set_scalar(w, value, &id_key, &id, item_place(w, value, k, (uint32_t)i, &ids[i], place));
        ids[i].id = (int32_t)id;
        for (size_t j = 0; j < i && ids[i].piece != NULL && id >= 0; j++) {
            char shown[VALUE_ESCAPE], earlier[VALUE_ESCAPE];
            if (ids[j].piece == NULL || (strcmp(ids[i].piece, ids[j].piece) != 0 && ids[i].id != ids[j].id))
                continue;
            report_add(&w->report, at,
                       "\"%s\": %d goes against \"%s\": %d above; each text and each id may be there once",
                       value_escape(slice_of(ids[i].piece), shown), ids[i].id,
                       value_escape(slice_of(ids[j].piece), earlier), ids[j].id);
            break;
        }
    }
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
            report_add(&w->report, report_find(&w->report, name),
                       "\"%s\" is already in the list, in line %u; each name may be there once", *name,
                       w->report.places[report_find(&w->report, earlier)].mark.line);
            break;
        }
    }
}

static void walk_group(struct walk *w, yaml_node_t *node, const struct key *rows, void *group,
                       uint32_t place);

static void walk_list(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t place)
{
    if (!expect(w, node, YAML_SEQUENCE_NODE, place, "a list of groups (- name: ...)"))
        return;
    yaml_node_item_t *nodes = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - nodes);
    if (!set_array(w, k, group, n, k->size, place))
        return;
    char *items = *(char **)field_of(k, group);
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *item = yaml_document_get_node(&w->doc, nodes[i]);
        char *element = items + i * k->size;
        walk_group(w, item, k->of, element, item_place(w, item, k, (uint32_t)i, element, place));
    }
    check_names(w, k, items, (uint32_t)n);
}

static void walk_value(struct walk *w, yaml_node_t *node, const struct key *k, void *group, uint32_t parent)
{
    void *field = field_of(k, group);
    uint32_t place = report_place(&w->report, (struct place){.field = field,
                                                             .key = k,
                                                             .item = NOT_ITEM,
                                                             .parent = parent,
                                                             .mark = mark_of(node->start_mark),
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
    default:
        set_scalar(w, node, k, field, place);
    }
}

/* set_absent - a row that the file does not have: its default, nothing, or an error. */
static void set_absent(struct walk *w, const struct key *k, void *group, uint32_t parent)
{
    char range[SCHEMA_RANGE];
    struct mark mark = w->report.places[parent].mark;
    uint32_t place = report_place(
        &w->report,
        (struct place){
            .field = field_of(k, group), .key = k, .item = NOT_ITEM, .parent = parent, .mark = mark});
    if (w->report.rc != 0)
        return;
    if (k->type == KEY_GROUP)
        for (const struct key *inner = k->of; inner->name != NULL; inner++)
            set_absent(w, inner, field_of(k, group), place);
    else if (k->dflt != NULL)
        w->report.rc = value_set(k, slice_of(k->dflt), NULL, field_of(k, group), NULL);
    else if (!k->optional)
        report_add(&w->report, place, "is missing; wanted is a %s (%s): %s", schema_type(k),
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
    const char *near = nearest((const char *)key->data.scalar.value, names, n);
    struct mark mark = mark_of(key->start_mark);
    const char *text = value_escape(text_of(key), shown);
    if (near != NULL)
        report_add_key(&w->report, place, mark, text, "no such key; did you mean \"%s\"?", near);
    else {
        char all[1024] = "";
        size_t used = 0;
        for (size_t i = 0; i < n && used < sizeof all; i++)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", names[i]);
        report_add_key(&w->report, place, mark, text, "no such key; there are %s", all);
    }
}

static void walk_group(struct walk *w, yaml_node_t *node, const struct key *rows, void *group, uint32_t place)
{
    uint64_t seen = 0;
    if (!expect(w, node, YAML_MAPPING_NODE, place, "a group of keys"))
        return;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(&w->doc, p->key);
        if (key->type != YAML_SCALAR_NODE) {
            report_add_key(&w->report, place, mark_of(key->start_mark), "?",
                           "a key is a word, not a list or a group");
            continue;
        }
        if (!built(w, place, sizeof(struct place) + key->data.scalar.length))
            return;
        const struct key *row = find_row(rows, text_of(key));
        if (row == NULL)
            unknown_key(w, key, rows, place);
        else if ((seen & UINT64_C(1) << (row - rows)) != 0)
            report_add_key(&w->report, place, mark_of(key->start_mark), row->name,
                           "is given twice; leave one out");
        else
            walk_value(w, yaml_document_get_node(&w->doc, p->value), row, group, place);
        if (row != NULL)
            seen |= UINT64_C(1) << (row - rows);
    }
    for (const struct key *k = rows; k->name != NULL; k++)
        if ((seen & UINT64_C(1) << (k - rows)) == 0)
            set_absent(w, k, group, place);
}

/* mark_at - where in the text a byte is, columns counted in bytes: for what libyaml says by offset. */
static struct mark mark_at(const char *text, size_t size, size_t offset)
{
    struct mark m = {1, 1};
    for (size_t i = 0; i < size && i < offset; i++) {
        m.column++;
        if (text[i] == '\n')
            m = (struct mark){m.line + 1, 1};
    }
    return m;
}

static void syntax_error(struct walk *w, const yaml_parser_t *y, const char *text, size_t size)
{
    if (y->error == YAML_MEMORY_ERROR)
        w->report.rc = -ENOMEM;
    else if (y->error == YAML_READER_ERROR)
        report_add_file(&w->report, mark_at(text, size, y->problem_offset),
                        "%s; the file is to be UTF-8 text without control characters", y->problem);
    else
        report_add_file(&w->report, mark_of(y->problem_mark), "not YAML: %s%s%s", y->problem,
                        y->context != NULL ? ", " : "", y->context != NULL ? y->context : "");
}

static void start_parser(yaml_parser_t *y, const char *text, size_t size)
{
    yaml_parser_set_encoding(y, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(y, (const unsigned char *)text, size);
}

struct bounds {
    uint32_t depth, anchors, documents;
};

static const char *bounds_exceeded(struct bounds *b, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL;
    if (e->type == YAML_SEQUENCE_START_EVENT) {
        b->depth++;
        anchor = e->data.sequence_start.anchor;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        b->depth++;
        anchor = e->data.mapping_start.anchor;
    } else if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
    } else if (e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT) {
        b->depth--;
    } else if (e->type == YAML_DOCUMENT_START_EVENT) {
        b->documents++;
    }
    b->anchors += anchor != NULL;
    if (b->depth > DEPTH_MAX)
        return "lists and groups are nested too deep; no key is deeper than level 6";
    if (b->anchors > ANCHORS_MAX)
        return "too many anchors (&name); at most 256 are taken";
    return b->documents > 1 ? "a second document begins; the file is to be one" : NULL;
}

/* pre_scan - the whole file as events: syntax, and bounds on what would cost libyaml more than time in
 * proportion. */
static bool pre_scan(struct walk *w, const char *text, size_t size)
{
    yaml_parser_t y;
    yaml_event_t e;
    struct bounds bounds = {0};
    bool good = true, done = false;
    if (!yaml_parser_initialize(&y)) {
        w->report.rc = -ENOMEM;
        return false;
    }
    start_parser(&y, text, size);
    while (good && !done) {
        if (!yaml_parser_parse(&y, &e)) {
            syntax_error(w, &y, text, size);
            good = false;
            break;
        }
        const char *wrong = bounds_exceeded(&bounds, &e);
        if (wrong != NULL)
            report_add_file(&w->report, mark_of(e.start_mark), "%s", wrong);
        good = wrong == NULL;
        done = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&y);
    return good;
}

static void walk_document(struct walk *w, struct conf *c)
{
    yaml_node_t *root = yaml_document_get_root_node(&w->doc);
    if (root == NULL || is_null(root))
        report_add_file(
            &w->report, (struct mark){1, 1},
            "the file is empty; it needs at least corpora and streams (skipalignd --example shows one)");
    else
        walk_group(w, root, schema_keys, c, 0);
}

static void read_text(struct walk *w, const char *text, size_t size, struct conf *c)
{
    yaml_parser_t y;
    if (!pre_scan(w, text, size))
        return;
    if (!yaml_parser_initialize(&y)) {
        w->report.rc = -ENOMEM;
        return;
    }
    start_parser(&y, text, size);
    if (!yaml_parser_load(&y, &w->doc)) {
        syntax_error(w, &y, text, size);
    } else {
        walk_document(w, c);
        yaml_document_delete(&w->doc);
    }
    yaml_parser_delete(&y);
}

int conf_parse(const char *path, const char *text, size_t size, struct conf **ret,
               struct conf_errors *reterrors)
{
    struct walk w = {0};
    const char *slash = strrchr(path, '/');
    struct conf *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->refs = 1;
    report_init(&w.report, path);
    /* libyaml takes a byte order mark for a column, and what stands below it for less indented. */
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    if (slash != NULL)
        w.folder = slash == path ? strdup("/.") : strndup(path, (size_t)(slash - path));
    if (c == NULL || (c->path = strdup(path)) == NULL || (slash != NULL && w.folder == NULL))
        w.report.rc = -ENOMEM;
    if (w.report.rc == 0)
        read_text(&w, text, size, c);
    if (w.report.rc == 0)
        check_conf(c, &w.report);
    int rc = report_take(&w.report, reterrors);
    if (rc == 0)
        *ret = c;
    else
        conf_free(c);
    free(w.folder);
    report_fini(&w.report);
    return rc;
}

int conf_load(const char *path, struct conf **ret, struct conf_errors *reterrors)
{
    struct err err;
    char *text;
    size_t size;
    int rc = file_read(path, FILE_BYTES, &text, &size, &err);
    if (rc == 0) {
        rc = conf_parse(path, text, size, ret, reterrors);
        free(text);
        return rc;
    }
    char *line;
    if (asprintf(&line, "%s\n", err.text) < 0)
        return -ENOMEM;
    *reterrors = (struct conf_errors){.text = line, .n = 1};
    return rc == ERR_LIMIT ? ERR_CONFIG : rc;
}
