#include "config/diff.h"

#include "base/array.h"
#include "config/field.h"
#include "config/flow.h"
#include "config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct diff {
    struct conf_change *changes;
    size_t n, cap;
    const char *stream; /* whose keys are looked at; NULL: not one's */
    int rc;
};

static void print_value(const struct key *k, const void *group, FILE *f)
{
    if (k->type == KEY_LIST)
        flow_print(k, group, f);
    else
        value_print(k, group, false, f);
}

/* Without its name, which the change's name says. */
static void print_element(const struct key *list, const void *element, FILE *f)
{
    if (list == schema_row("streams")) {
        struct conf_positions positions[FLOW_POSITIONS];
        const struct conf_stream bare = flow_stream(element, positions);
        flow_print_rows(list->of + 1, &bare, f);
    } else {
        flow_print_rows(list->of + 1, element, f);
    }
}

static char *write_text(struct diff *d, void (*print)(const struct key *k, const void *group, FILE *f),
                        const struct key *k, const void *group)
{
    char *text = NULL;
    size_t size;
    FILE *f = d->rc == 0 ? open_memstream(&text, &size) : NULL;
    if (f != NULL) {
        print(k, group, f);
        if (fclose(f) == 0)
            return text;
        free(text);
    }
    d->rc = -ENOMEM;
    return NULL;
}

/* add_change - takes the texts. */
static void add_change(struct diff *d, const struct key *k, char *name, char *before, char *after)
{
    if (d->rc == 0)
        d->rc = array_grow(&d->changes, &d->cap, d->n + 1);
    if (d->rc != 0) {
        free(name);
        free(before);
        free(after);
        return;
    }
    struct conf_change *c = &d->changes[d->n++];
    *c = (struct conf_change){.name = name, .before = before, .after = after, .restart = k->restart};
    (void)snprintf(c->stream, sizeof c->stream, "%s", d->stream != NULL ? d->stream : "");
}

/* join - "PREFIXNAME"; NULL and rc where there is no memory. */
static char *join(struct diff *d, const char *prefix, const char *name, const char *end)
{
    char *text = NULL;
    if (d->rc == 0 && asprintf(&text, "%s%s%s", prefix, name, end) < 0) {
        d->rc = -ENOMEM;
        text = NULL;
    }
    return text;
}

static void diff_value(struct diff *d, const char *name, const struct key *k, const void *a, const void *b)
{
    char *before = field_is_set(k, a) ? write_text(d, print_value, k, a) : NULL;
    char *after = field_is_set(k, b) ? write_text(d, print_value, k, b) : NULL;
    if (before == NULL || after == NULL ? before != after : strcmp(before, after) != 0) {
        add_change(d, k, join(d, "", name, ""), before, after);
    } else {
        free(before);
        free(after);
    }
}

static const void *find_item(const struct key *list, const void *group, const char *name)
{
    for (uint32_t i = 0; i < field_count(list, group); i++)
        if (strcmp(field_name(list, field_item(list, group, i)), name) == 0)
            return field_item(list, group, i);
    return NULL;
}

/* same_order - of the elements that both have; what is sent depends on it where the name counts. */
static bool same_order(const struct key *list, const void *a, const void *b)
{
    uint32_t j = 0;
    for (uint32_t i = 0; i < field_count(list, a); i++) {
        const char *name = field_name(list, field_item(list, a, i));
        if (find_item(list, b, name) == NULL)
            continue;
        while (j < field_count(list, b) && strcmp(field_name(list, field_item(list, b, j)), name) != 0)
            j++;
        if (j == field_count(list, b))
            return false;
    }
    return true;
}

static void diff_rows(struct diff *d, const char *prefix, const struct key *rows, const void *a,
                      const void *b);

static void diff_item(struct diff *d, const struct key *list, const char *prefix, const void *before,
                      const void *after)
{
    bool streams = list == schema_row("streams");
    const char *name = field_name(list, before != NULL ? before : after);
    if (streams)
        d->stream = name;
    if (before == NULL || after == NULL) {
        char *full = join(d, prefix, name, "");
        char *old = before != NULL ? write_text(d, print_element, list, before) : NULL;
        char *new = after != NULL ? write_text(d, print_element, list, after) : NULL;
        add_change(d, list, full, old, new);
    } else {
        char *inner = join(d, streams ? "" : prefix, name, ".");
        if (inner != NULL)
            diff_rows(d, inner, list->of + 1, before, after);
        free(inner);
    }
    if (streams)
        d->stream = NULL;
}

static void diff_list(struct diff *d, const char *name, const struct key *k, const void *a, const void *b)
{
    bool lone = field_is_lone(k, a);
    if (lone != field_is_lone(k, b) || (!lone && k->of[0].batches && !same_order(k, a, b))) {
        diff_value(d, name, k, a, b);
        return;
    }
    char *prefix = join(d, name, ".", "");
    if (lone && prefix != NULL)
        diff_rows(d, prefix, k->of, field_item(k, a, 0), field_item(k, b, 0));
    if (lone) {
        free(prefix);
        return;
    }
    for (uint32_t i = 0; d->rc == 0 && i < field_count(k, a); i++) {
        const void *before = field_item(k, a, i);
        diff_item(d, k, prefix, before, find_item(k, b, field_name(k, before)));
    }
    for (uint32_t i = 0; d->rc == 0 && i < field_count(k, b); i++) {
        const void *after = field_item(k, b, i);
        if (find_item(k, a, field_name(k, after)) == NULL)
            diff_item(d, k, prefix, NULL, after);
    }
    free(prefix);
}

static void diff_rows(struct diff *d, const char *prefix, const struct key *rows, const void *a,
                      const void *b)
{
    for (const struct key *k = rows; d->rc == 0 && k->name != NULL; k++) {
        char *name = join(d, prefix, k->name, k->type == KEY_GROUP ? "." : "");
        if (name == NULL)
            return;
        if (k->type == KEY_GROUP)
            diff_rows(d, name, k->of, field_at(k, a), field_at(k, b));
        else if (k->type == KEY_LIST)
            diff_list(d, name, k, a, b);
        else
            diff_value(d, name, k, a, b);
        free(name);
    }
}

int conf_diff(const struct conf *a, const struct conf *b, struct conf_change **ret, uint32_t *ret_n)
{
    struct diff d = {0};
    diff_rows(&d, "", schema_keys, a, b);
    if (d.rc != 0) {
        conf_changes_free(d.changes, (uint32_t)d.n);
        return d.rc;
    }
    *ret = d.changes;
    *ret_n = (uint32_t)d.n;
    return 0;
}

void conf_changes_free(struct conf_change *changes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free(changes[i].name);
        free(changes[i].before);
        free(changes[i].after);
    }
    free(changes);
}
