/* tree - a configuration as a YAML document that can be changed; private to the config stage.
 *
 * Nodes are libyaml's numbers, from 1; 0 is none. Adding one may move all others in memory, so nobody holds
 * pointers. Where a node is added, 0 means that there is no memory, or, without ENOMEM in errno, that a text
 * is not UTF-8.
 */
#ifndef SKIPALIGN_CONFIG_TREE_H
#define SKIPALIGN_CONFIG_TREE_H

#include "base/slice.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stdint.h>
#include <yaml.h>

enum { TREE_ROOT = 1 };

/* tree_new - of a configuration; its lines begin at `line`. Errors are told in the order of lines.
 * Errors: -ENOMEM.   Owner: the caller: yaml_document_delete(ret). */
int tree_new(const struct conf *c, size_t line, yaml_document_t *ret);

/* tree_text, tree_nothing, tree_empty - a new node: a text, which is never taken for anything else; no value;
 * a map or a list without entries. line: from 0. */
int tree_text(yaml_document_t *d, struct slice text, size_t line);
int tree_nothing(yaml_document_t *d, size_t line);
int tree_empty(yaml_document_t *d, yaml_node_type_t type, size_t line);

/* tree_copy - a node of another document, with all that is in it. */
int tree_copy(yaml_document_t *d, yaml_document_t *from, int node, size_t line);

/* tree_get, tree_put, tree_drop - a map's value by its key; what is no map has none. tree_put takes the place
 * of one that is there, and is false where there is no memory. */
int tree_get(yaml_document_t *d, int map, const char *key);
bool tree_put(yaml_document_t *d, int map, const char *key, int value, size_t line);
bool tree_put_name(yaml_document_t *d, int element, struct slice name, size_t line);
void tree_drop(yaml_document_t *d, int map, const char *key);

/* tree_count, tree_nth, tree_add - of a list; what is no list has no elements. tree_take - the i-th goes.
 * tree_replace - another in its place. tree_is_text - is a node that text?   tree_name - of an element; ""
 * where it has none. tree_find - the place of the element of that name; -1: none. */
int tree_count(yaml_document_t *d, int list);
int tree_nth(yaml_document_t *d, int list, int i);
bool tree_add(yaml_document_t *d, int list, int node);
void tree_take(yaml_document_t *d, int list, int i);
void tree_replace(yaml_document_t *d, int list, int i, int node);
bool tree_is_text(yaml_document_t *d, int node, struct slice text);
struct slice tree_name(yaml_document_t *d, int element);
int tree_find(yaml_document_t *d, int list, struct slice name);

#endif
