#include "config/tree.h"

#include "base/err.h"
#include "config/document.h"
#include "config/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tree_new(const struct conf *c, size_t line, yaml_document_t *ret)
{
    struct mark mark;
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return -ENOMEM;
    int rc = conf_print(c, f) != 0 ? -ENOMEM : 0;
    if (fclose(f) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        rc = document_read((struct slice){text, size}, 0, ret, &mark, NULL);
    CHECK(rc == 0 || rc == -ENOMEM);
    free(text);
    for (yaml_node_t *n = ret->nodes.start; rc == 0 && n < ret->nodes.top; n++)
        n->start_mark.line += line;
    return rc;
}

static yaml_node_t *node_of(yaml_document_t *d, int node)
{
    return yaml_document_get_node(d, node);
}

static int at_line(yaml_document_t *d, int node, size_t line)
{
    if (node != 0)
        node_of(d, node)->start_mark.line = line;
    return node;
}

static int add_scalar(yaml_document_t *d, const char *tag, struct slice text, yaml_scalar_style_t style,
                      size_t line)
{
    return at_line(d,
                   yaml_document_add_scalar(d, (const yaml_char_t *)tag, (const yaml_char_t *)text.data,
                                            (int)text.size, style),
                   line);
}

int tree_text(yaml_document_t *d, struct slice text, size_t line)
{
    return add_scalar(d, NULL, text, YAML_DOUBLE_QUOTED_SCALAR_STYLE, line);
}

int tree_nothing(yaml_document_t *d, size_t line)
{
    return add_scalar(d, NULL, (struct slice){"", 0}, YAML_PLAIN_SCALAR_STYLE, line);
}

static int add_empty(yaml_document_t *d, const char *tag, yaml_node_type_t type, size_t line)
{
    return at_line(d,
                   type == YAML_MAPPING_NODE
                       ? yaml_document_add_mapping(d, (const yaml_char_t *)tag, YAML_FLOW_MAPPING_STYLE)
                       : yaml_document_add_sequence(d, (const yaml_char_t *)tag, YAML_FLOW_SEQUENCE_STYLE),
                   line);
}

int tree_empty(yaml_document_t *d, yaml_node_type_t type, size_t line)
{
    return add_empty(d, NULL, type, line);
}

int tree_copy(yaml_document_t *d, yaml_document_t *from, int node, size_t line)
{
    yaml_node_t *n = node_of(from, node);
    const char *tag = (const char *)n->tag;
    if (n->type == YAML_SCALAR_NODE)
        return add_scalar(d, tag, document_text(n), n->data.scalar.style, line);
    int copy = add_empty(d, tag, n->type, line);
    bool whole = copy != 0;
    if (n->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = n->data.sequence.items.start; whole && i < n->data.sequence.items.top; i++)
            whole = tree_add(d, copy, tree_copy(d, from, *i, line));
    else
        for (yaml_node_pair_t *p = n->data.mapping.pairs.start; whole && p < n->data.mapping.pairs.top; p++) {
            int key = tree_copy(d, from, p->key, line), value = tree_copy(d, from, p->value, line);
            whole = key != 0 && value != 0 && yaml_document_append_mapping_pair(d, copy, key, value);
        }
    return whole ? copy : 0;
}

static yaml_node_pair_t *find_pair(yaml_document_t *d, int map, const char *key)
{
    yaml_node_t *n = node_of(d, map);
    if (n->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *k = node_of(d, p->key);
        if (k->type == YAML_SCALAR_NODE && slice_is(document_text(k), key))
            return p;
    }
    return NULL;
}

int tree_get(yaml_document_t *d, int map, const char *key)
{
    yaml_node_pair_t *p = find_pair(d, map, key);
    return p != NULL ? p->value : 0;
}

bool tree_put(yaml_document_t *d, int map, const char *key, int value, size_t line)
{
    yaml_node_pair_t *p = find_pair(d, map, key);
    if (value != 0 && p != NULL) {
        p->value = value;
        return true;
    }
    int name = value != 0 ? tree_text(d, slice_of(key), line) : 0;
    return name != 0 && yaml_document_append_mapping_pair(d, map, name, value);
}

bool tree_put_name(yaml_document_t *d, int element, struct slice name, size_t line)
{
    if (!tree_put(d, element, "name", tree_text(d, name, line), line))
        return false;
    yaml_node_pair_t *first = node_of(d, element)->data.mapping.pairs.start;
    yaml_node_pair_t *p = find_pair(d, element, "name"), pair = *p;
    memmove(first + 1, first, (size_t)(p - first) * sizeof *p);
    *first = pair;
    return true;
}

void tree_drop(yaml_document_t *d, int map, const char *key)
{
    yaml_node_t *n = node_of(d, map);
    yaml_node_pair_t *p = find_pair(d, map, key);
    if (p == NULL)
        return;
    n->data.mapping.pairs.top--;
    memmove(p, p + 1, (size_t)(n->data.mapping.pairs.top - p) * sizeof *p);
}

int tree_count(yaml_document_t *d, int list)
{
    yaml_node_t *n = node_of(d, list);
    bool is_list = n->type == YAML_SEQUENCE_NODE;
    return is_list ? (int)(n->data.sequence.items.top - n->data.sequence.items.start) : 0;
}

int tree_nth(yaml_document_t *d, int list, int i)
{
    return node_of(d, list)->data.sequence.items.start[i];
}

bool tree_add(yaml_document_t *d, int list, int node)
{
    return node != 0 && yaml_document_append_sequence_item(d, list, node);
}

void tree_take(yaml_document_t *d, int list, int i)
{
    yaml_node_t *n = node_of(d, list);
    yaml_node_item_t *item = n->data.sequence.items.start + i;
    n->data.sequence.items.top--;
    memmove(item, item + 1, (size_t)(n->data.sequence.items.top - item) * sizeof *item);
}

void tree_replace(yaml_document_t *d, int list, int i, int node)
{
    node_of(d, list)->data.sequence.items.start[i] = node;
}

bool tree_is_text(yaml_document_t *d, int node, struct slice text)
{
    yaml_node_t *n = node_of(d, node);
    return n->type == YAML_SCALAR_NODE && n->data.scalar.length == text.size &&
           memcmp(n->data.scalar.value, text.data, text.size) == 0;
}

struct slice tree_name(yaml_document_t *d, int element)
{
    int name = tree_get(d, element, "name");
    bool text = name != 0 && node_of(d, name)->type == YAML_SCALAR_NODE;
    return text ? document_text(node_of(d, name)) : (struct slice){"", 0};
}

int tree_find(yaml_document_t *d, int list, struct slice name)
{
    for (int i = 0; i < tree_count(d, list); i++) {
        int other = tree_get(d, tree_nth(d, list, i), "name");
        if (other != 0 && tree_is_text(d, other, name))
            return i;
    }
    return -1;
}
