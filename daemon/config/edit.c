#include "config/edit.h"

#include "base/nearest.h"
#include "config/document.h"
#include "config/report.h"
#include "config/tree.h"
#include "config/value.h"
#include "config/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The way of a name through the table: streams "chat", corpora "tulu", repeat. */
struct step {
    const struct key *key;
    struct slice item; /* of a list: the element; without data: the list as such */
};

struct target {
    struct step steps[4];
    uint32_t n; /* 0: the name was refused */
};

struct editor {
    yaml_document_t doc;
    struct report report; /* lines are numbers of edits */
    const struct conf_edit *edits;
    uint32_t n, at; /* edits; the one that is looked at */
};

static const struct conf_edit *edit_of(const struct editor *e)
{
    return &e->edits[e->at];
}

static struct mark mark_of(const struct editor *e)
{
    return (struct mark){e->at + 1, 1};
}

#define REFUSE(e, ...) report_add_key(&(e)->report, 0, mark_of(e), edit_of(e)->name, __VA_ARGS__)

static bool is_word(struct slice text, const char *rest)
{
    return strncmp(rest, text.data, text.size) == 0 && (rest[text.size] == '\0' || rest[text.size] == '.');
}

/* after - what stands behind the first n bytes and a dot; NULL: nothing. */
static const char *after(const char *rest, size_t n)
{
    return rest[n] == '.' ? rest + n + 1 : NULL;
}

static const struct key *find_row(const struct key *rows, const char *rest)
{
    for (const struct key *k = rows; k->name != NULL; k++)
        if (is_word(slice_of(k->name), rest))
            return k;
    return NULL;
}

/* first_word - as a text of its own, cut where no key is so long. */
#define WORD 72
static const char *first_word(const char *rest, char ret[WORD])
{
    (void)snprintf(ret, WORD, "%.*s", (int)strcspn(rest, "."), rest);
    return ret;
}

static const char *what_is_in(const struct key *list)
{
    static const struct {
        const char *list, *element;
    } words[] = {{"corpora", "corpus"}, {"templates", "template"}, {"streams", "stream"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].list, list->name) == 0)
            return words[i].element;
    return "element";
}

/* refuse_unknown - a word that is neither a key (rows: NULL for none) nor an element (list: 0 for none). */
static void refuse_unknown(struct editor *e, const char *what, const char *rest, const struct key *rows,
                           int list)
{
    char word[WORD];
    size_t n = 0, n_rows = 0, n_items = list != 0 ? (size_t)tree_count(&e->doc, list) : 0;
    while (rows != NULL && rows[n_rows].name != NULL)
        n_rows++;
    const char **names = calloc(n_rows + n_items + 1, sizeof *names);
    if (names == NULL) {
        e->report.rc = -ENOMEM;
        return;
    }
    while (n < n_rows)
        names[n] = rows[n].name, n++;
    for (size_t i = 0; i < n_items; i++)
        names[n++] = tree_name(&e->doc, tree_nth(&e->doc, list, (int)i)).data;
    report_add_unknown(&e->report, 0, mark_of(e), edit_of(e)->name, what, first_word(rest, word), names, n);
    free(names);
}

static bool is_near_row(const struct key *rows, const char *rest)
{
    const char *names[64];
    char word[WORD];
    size_t n = 0;
    for (const struct key *k = rows; k->name != NULL; k++)
        names[n++] = k->name;
    return nearest(first_word(rest, word), names, n) != NULL;
}

/* item_size - how much of the rest is an element's name, which may have dots as well: one that is there where
 * a key of its kind follows; else a new one before such a key (may_add); else, where the edit is of a whole
 * element, all of it, unless that looks like a misspelt key of one that is there. */
static size_t item_size(struct editor *e, const struct key *list, int node, const char *rest, bool may_add)
{
    const char *value = edit_of(e)->value;
    bool whole = value == NULL || value[strspn(value, " ")] == '{';
    size_t exact = 0, keyed = 0, loose = 0;
    for (int i = 0; node != 0 && i < tree_count(&e->doc, node); i++) {
        struct slice name = tree_name(&e->doc, tree_nth(&e->doc, node, i));
        if (name.size == 0 || !is_word(name, rest))
            continue;
        const char *key = after(rest, name.size);
        size_t *best = key == NULL ? &exact : find_row(list->of, key) != NULL ? &keyed : &loose;
        *best = name.size > *best ? name.size : *best;
    }
    if (exact > 0 && (whole || keyed == 0))
        return exact;
    if (keyed > 0)
        return keyed;
    for (const char *dot = strchr(rest, '.'); may_add && dot != NULL; dot = strchr(dot + 1, '.'))
        if (find_row(list->of, dot + 1) != NULL)
            return (size_t)(dot - rest);
    if (may_add && whole && (loose == 0 || !is_near_row(list->of, rest + loose + 1)))
        return strlen(rest);
    return loose > 0 ? loose : strcspn(rest, ".");
}

/* is_edited - is there an edit of this key of the element that this edit's name begins with? */
static bool is_edited(const struct editor *e, size_t element, const char *key)
{
    for (uint32_t i = 0; i < e->n; i++) {
        const char *name = e->edits[i].name;
        if (strncmp(name, edit_of(e)->name, element) == 0 && name[element] == '.' &&
            is_word(slice_of(key), name + element + 1))
            return true;
    }
    return false;
}

/* is_meant_anew - may an element be a new one? Not what nobody could take out, has no good name, or is but a
 * misspelt one: its name is close to another's, and it is not given all that a new one needs. */
static bool is_meant_anew(struct editor *e, const struct key *list, int node, struct slice item)
{
    struct err err;
    char *name = NULL;
    const char *end = item.data + item.size;
    if (edit_of(e)->value == NULL) {
        refuse_unknown(e, what_is_in(list), item.data, NULL, node);
        return false;
    }
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%.*s", (int)item.size, item.data);
    int rc = value_set(&list->of[0], slice_of(copy), NULL, &name, &err);
    free(name);
    if (rc != 0) {
        REFUSE(e, "%s", err.text);
        return false;
    }
    bool lacks = false;
    for (const struct key *k = list->of + 1; *end == '.' && k->name != NULL; k++)
        lacks = lacks || (!k->optional && k->dflt == NULL && k->type != KEY_GROUP &&
                          !is_edited(e, (size_t)(end - edit_of(e)->name), k->name));
    if (!lacks || node == 0)
        return true;
    for (int i = 0; i < tree_count(&e->doc, node); i++) {
        const char *other = tree_name(&e->doc, tree_nth(&e->doc, node, i)).data;
        if (nearest(copy, &other, 1) == NULL)
            continue;
        REFUSE(e, "no such %s; did you mean \"%s\"?", what_is_in(list), other);
        return false;
    }
    return true;
}

/* begins_with_stream - a stream's keys go by its name alone. */
static bool begins_with_stream(struct editor *e, const char *rest)
{
    int streams = tree_get(&e->doc, TREE_ROOT, "streams");
    for (int i = 0; streams != 0 && i < tree_count(&e->doc, streams); i++) {
        struct slice name = tree_name(&e->doc, tree_nth(&e->doc, streams, i));
        if (name.size > 0 && is_word(name, rest))
            return true;
    }
    return false;
}

static bool is_spelt_well(struct editor *e)
{
    const char *name = edit_of(e)->name;
    char shown[VALUE_ESCAPE];
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '.' || *p == '_' || *p == '-' || (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
            (*p >= 'a' && *p <= 'z'))
            continue;
        report_add_key(
            &e->report, 0, mark_of(e), value_escape(slice_of(name), shown),
            "no such key; names of keys, streams and corpora have letters, digits, '.', '_' and '-'");
        return false;
    }
    for (uint32_t i = 0; i < e->at; i++) {
        if (strcmp(e->edits[i].name, name) != 0)
            continue;
        REFUSE(e, "is given twice; leave one out");
        return false;
    }
    return true;
}

static void refuse_key(struct editor *e, const struct key *rows, bool element, const char *rest)
{
    if (rows == schema_keys)
        refuse_unknown(e, "key or stream", rest, rows, tree_get(&e->doc, TREE_ROOT, "streams"));
    else if (element && is_word(slice_of(rows[0].name), rest))
        REFUSE(e, "a name stays; take the element out and add another");
    else
        refuse_unknown(e, "key", rest, element ? rows + 1 : rows, 0);
}

/* Where in the table and in the tree a name has led so far. */
struct spot {
    const struct key *rows;
    const char *rest; /* of the name; NULL: this is it */
    int map;          /* that holds the rows' keys; 0: not there yet */
    bool element;     /* is it an element of a list, whose first row is its name? */
};

/* go_to_item - into an element of a list, which is there or comes anew. */
static bool go_to_item(struct editor *e, struct spot *spot, struct step *s, bool may_add)
{
    int list = spot->map;
    s->item = (struct slice){spot->rest, item_size(e, s->key, list, spot->rest, may_add)};
    int i = list != 0 ? tree_find(&e->doc, list, s->item) : -1;
    if (i < 0 && !is_meant_anew(e, s->key, list, s->item))
        return false;
    spot->map = i >= 0 ? tree_nth(&e->doc, list, i) : 0;
    spot->rest = after(spot->rest, s->item.size);
    return true;
}

/* is_lone - does a list stand, or is it to stand, as a group alone? rest: the name from there on. */
static bool is_lone(struct editor *e, const struct key *list, int node, const char *rest)
{
    if (!list->lone)
        return false;
    return node != 0 ? tree_count(&e->doc, node) == 0 : find_row(list->of, rest) != NULL;
}

/* refuse_bare - a key of an element, where nothing says of which. */
static void refuse_bare(struct editor *e, const struct key *list, int node)
{
    struct slice first = tree_name(&e->doc, tree_nth(&e->doc, node, 0));
    REFUSE(e, "%s is a list here; say of which element, as in %s.%.*s.KEY", list->name, list->name,
           first.size > 0 ? (int)first.size : 4, first.size > 0 ? first.data : "NAME");
}

/* resolve - the way of a name; false: refused, which is said. */
static bool resolve(struct editor *e, struct target *t)
{
    struct spot spot = {schema_keys, edit_of(e)->name, TREE_ROOT, false};
    while (spot.rest != NULL) {
        const struct key *k = find_row(spot.rows, spot.rest);
        bool stream = k == NULL && spot.rows == schema_keys && begins_with_stream(e, spot.rest);
        if (stream)
            k = schema_row("streams");
        if (k == NULL || (spot.element && k == spot.rows)) {
            refuse_key(e, spot.rows, spot.element, spot.rest);
            return false;
        }
        struct step *s = &t->steps[t->n++];
        *s = (struct step){.key = k};
        spot.rest = stream ? spot.rest : after(spot.rest, strlen(k->name));
        if (spot.rest == NULL)
            break;
        if (k->of == NULL) {
            REFUSE(e, "no such key; %s is a %s and has no keys in it", k->name, schema_type(k));
            return false;
        }
        spot.map = spot.map != 0 ? tree_get(&e->doc, spot.map, k->name) : 0;
        spot.element = k->type == KEY_LIST && !is_lone(e, k, spot.map, spot.rest);
        if (spot.element && k->lone && find_row(k->of, spot.rest) != NULL &&
            tree_find(&e->doc, spot.map, (struct slice){spot.rest, strcspn(spot.rest, ".")}) < 0) {
            refuse_bare(e, k, spot.map);
            return false;
        }
        spot.rows = k->of;
        if (spot.element && !go_to_item(e, &spot, s, !stream))
            return false;
    }
    return true;
}

static int no_memory(struct editor *e)
{
    e->report.rc = -ENOMEM;
    return 0;
}

static bool is_literal(const struct key *k, const char *value)
{
    char first = value[strspn(value, " ")];
    if (k->type == KEY_PATHS)
        return first != '"' && first != '\'' && first != '[';
    return k->type <= KEY_ENDPOINT && first != '"' && first != '\'';
}

/* read_value - the edit's value as a node; 0: refused, which is said. */
static int read_value(struct editor *e, const struct step *s)
{
    const char *value = edit_of(e)->value;
    yaml_document_t doc;
    struct mark mark;
    struct err err;
    if (s->item.data == NULL && is_literal(s->key, value)) {
        errno = 0;
        int node = tree_text(&e->doc, slice_of(value), e->at);
        if (node == 0 && errno == ENOMEM)
            return no_memory(e);
        if (node == 0)
            REFUSE(e, "the value is not UTF-8 text");
        return node;
    }
    int rc = document_read(slice_of(value), 0, &doc, &mark, &err);
    if (rc == -ENOMEM)
        return no_memory(e);
    if (rc != 0) {
        REFUSE(e, "%s", err.text);
        return 0;
    }
    bool empty = yaml_document_get_root_node(&doc) == NULL;
    int node = empty ? tree_nothing(&e->doc, e->at) : tree_copy(&e->doc, &doc, TREE_ROOT, e->at);
    yaml_document_delete(&doc);
    return node != 0 ? node : no_memory(e);
}

/* is_fit - what other edits may go into is to be what it should, and a whole element to have its own name. */
static bool is_fit(struct editor *e, const struct step *s, int node)
{
    yaml_node_type_t type = yaml_document_get_node(&e->doc, node)->type;
    bool map = s->item.data != NULL || s->key->type == KEY_GROUP;
    if (s->key->lone && !map) {
        map = true;
        if (type == YAML_SEQUENCE_NODE)
            return true;
    }
    if (map && type != YAML_MAPPING_NODE) {
        REFUSE(e, "is %s; wanted is a group of keys ({KEY: VALUE, ...})",
               type == YAML_SCALAR_NODE ? "a single value" : "a list");
        return false;
    }
    if (!map && s->key->type == KEY_LIST && type != YAML_SEQUENCE_NODE) {
        REFUSE(e, "is %s; wanted is a list of groups ([{name: ..., ...}, ...])",
               type == YAML_SCALAR_NODE ? "a single value" : "a group of keys");
        return false;
    }
    int name = s->item.data != NULL ? tree_get(&e->doc, node, "name") : 0;
    if (name == 0 || tree_is_text(&e->doc, name, s->item))
        return true;
    REFUSE(e, "has another name in it; leave it out");
    return false;
}

/* item_of - the element of a list, made where it is not there; 0: as inner. */
static int item_of(struct editor *e, int list, struct slice name)
{
    int i = tree_find(&e->doc, list, name);
    if (i >= 0)
        return tree_nth(&e->doc, list, i);
    int item = tree_empty(&e->doc, YAML_MAPPING_NODE, e->at);
    bool whole = item != 0 && tree_put_name(&e->doc, item, name, e->at) && tree_add(&e->doc, list, item);
    return whole ? item : no_memory(e);
}

/* inner - the value of a step that lies in a map, made where it is not there.
 * 0: no memory, or an edit has put what does not belong there, which the walk will say. */
static int inner(struct editor *e, int map, const struct step *s)
{
    bool list = s->key->type == KEY_LIST && !(s->key->lone && s->item.data == NULL);
    yaml_node_type_t type = list ? YAML_SEQUENCE_NODE : YAML_MAPPING_NODE;
    int node = tree_get(&e->doc, map, s->key->name);
    if (node == 0) {
        node = tree_empty(&e->doc, type, e->at);
        if (!tree_put(&e->doc, map, s->key->name, node, e->at))
            return no_memory(e);
    }
    return yaml_document_get_node(&e->doc, node)->type == type ? node : 0;
}

static void set(struct editor *e, const struct target *t)
{
    const struct step *last = &t->steps[t->n - 1];
    int value = read_value(e, last), map = TREE_ROOT;
    if (value == 0 || !is_fit(e, last, value))
        return;
    for (const struct step *s = t->steps; map != 0 && s < last; s++) {
        map = inner(e, map, s);
        if (map != 0 && s->item.data != NULL)
            map = item_of(e, map, s->item);
    }
    if (map == 0)
        return;
    if (last->item.data == NULL) {
        if (!tree_put(&e->doc, map, last->key->name, value, e->at))
            (void)no_memory(e);
        return;
    }
    int list = inner(e, map, last), i = list != 0 ? tree_find(&e->doc, list, last->item) : -1;
    if (list == 0)
        return;
    bool named = tree_put_name(&e->doc, value, last->item, e->at);
    if (named && i >= 0)
        tree_replace(&e->doc, list, i, value);
    else if (!named || !tree_add(&e->doc, list, value))
        (void)no_memory(e);
}

/* take - a key or an element goes; what is not there is gone already. */
static void take(struct editor *e, const struct target *t)
{
    const struct step *last = &t->steps[t->n - 1];
    int map = TREE_ROOT;
    for (const struct step *s = t->steps; map != 0 && s < last; s++) {
        map = tree_get(&e->doc, map, s->key->name);
        if (map == 0 || s->item.data == NULL)
            continue;
        int i = tree_find(&e->doc, map, s->item);
        map = i >= 0 ? tree_nth(&e->doc, map, i) : 0;
    }
    if (map == 0)
        return;
    if (last->item.data == NULL) {
        tree_drop(&e->doc, map, last->key->name);
        return;
    }
    int list = tree_get(&e->doc, map, last->key->name);
    int i = list != 0 ? tree_find(&e->doc, list, last->item) : -1;
    if (i >= 0)
        tree_take(&e->doc, list, i);
}

/* takes_used - does the edit take out what a stream may use? */
static bool takes_used(const struct editor *e, const struct target *t)
{
    return edit_of(e)->value == NULL && t->n == 1 && t->steps[0].item.data != NULL &&
           t->steps[0].key != schema_row("streams");
}

/* is_used - by a stream, which is said. */
static bool is_used(struct editor *e, const struct step *s)
{
    bool corpus = s->key == schema_row("corpora");
    int streams = tree_get(&e->doc, TREE_ROOT, "streams");
    for (int i = 0; streams != 0 && i < tree_count(&e->doc, streams); i++) {
        int stream = tree_nth(&e->doc, streams, i);
        const char *name = tree_name(&e->doc, stream).data;
        int value = tree_get(&e->doc, stream, corpus ? "corpora" : "template");
        if (value != 0 && corpus && tree_find(&e->doc, value, s->item) >= 0)
            REFUSE(e, "stream %s is mixed from it; take %s.corpora.%s out as well", name, name, s->item.data);
        else if (value != 0 && !corpus && tree_is_text(&e->doc, value, s->item))
            REFUSE(e, "stream %s uses it; give %s.template another first", name, name);
        else
            continue;
        return true;
    }
    return false;
}

static void edit_all(struct editor *e, struct target *targets)
{
    for (e->at = 0; e->at < e->n; e->at++) {
        struct target *t = &targets[e->at];
        if (!is_spelt_well(e) || !resolve(e, t))
            t->n = 0;
        else if (edit_of(e)->value != NULL)
            set(e, t);
        else if (!takes_used(e, t))
            take(e, t);
    }
    /* Last, when it stands what the streams use. */
    for (e->at = 0; e->at < e->n; e->at++) {
        const struct target *t = &targets[e->at];
        if (t->n > 0 && takes_used(e, t) && !is_used(e, t->steps))
            take(e, t);
    }
}

int conf_edit(const struct conf *c, const struct conf_edit *edits, uint32_t n, struct conf **ret,
              struct conf_errors *reterrors)
{
    struct editor e = {.edits = edits, .n = n};
    struct target *targets = calloc((size_t)n + 1, sizeof *targets);
    if (targets == NULL)
        return -ENOMEM;
    int rc = tree_new(c, n, &e.doc);
    if (rc == 0) {
        report_init(&e.report, NULL);
        edit_all(&e, targets);
        rc = walk_document(&e.doc, c->path, &e.report, ret, reterrors);
        report_fini(&e.report);
        yaml_document_delete(&e.doc);
    }
    free(targets);
    return rc;
}
