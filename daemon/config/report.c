#include "config/report.h"

#include "base/array.h"
#include "base/nearest.h"
#include "config/field.h"
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void report_init(struct report *r, const char *path)
{
    *r = (struct report){.path = path};
    (void)report_place(r, (struct place){.item = NOT_ITEM, .mark = {1, 1}, .given = true});
}

void report_fini(struct report *r)
{
    for (size_t i = 0; i < r->n_issues; i++)
        free(r->issues[i].text);
    free(r->issues);
    free(r->places);
    *r = (struct report){0};
}

uint32_t report_place(struct report *r, struct place place)
{
    if (r->rc == 0)
        r->rc = array_grow(&r->places, &r->places_cap, r->n_places + 1);
    if (r->rc != 0)
        return 0;
    r->places[r->n_places] = place;
    return (uint32_t)r->n_places++;
}

uint32_t report_find(const struct report *r, const void *field)
{
    for (size_t i = 1; i < r->n_places; i++) {
        const struct place *p = &r->places[i];
        /* A group and an element of a list begin where their first field does. */
        if (p->field == field && p->item == NOT_ITEM && p->key->type != KEY_GROUP)
            return (uint32_t)i;
    }
    return 0;
}

/* By the names of elements: "chat.positions.sampler", a stream's alone, an element's name as the element. */
static void print_full_name(const struct report *r, const struct place *p, FILE *f)
{
    const struct place *parent = &r->places[p->parent];
    if (p == r->places)
        return;
    bool element = p->item != NOT_ITEM && p->key->type == KEY_LIST;
    const char *name = element ? field_name(p->key, p->field) : NULL;
    bool of_element = parent->item != NOT_ITEM && parent->key->of == p->key;
    if (of_element && field_text(p->key, parent->field) != NULL) {
        print_full_name(r, parent, f);
    } else if (name != NULL && strcmp(p->key->name, "streams") == 0) {
        fputs(name, f);
    } else {
        print_full_name(r, parent, f);
        if (name != NULL)
            fprintf(f, ".%s", name);
        else if (p->item != NOT_ITEM)
            fprintf(f, "[%" PRIu32 "]", p->item);
        else
            fprintf(f, "%s%s", p->parent != 0 ? "." : "", p->key->name);
    }
}

/* By places in the file: "streams[0].positions.sampler"; nothing for the root. */
static void print_name(const struct report *r, uint32_t place, FILE *f)
{
    if (place == 0)
        return;
    const struct place *p = &r->places[place];
    print_name(r, p->parent, f);
    if (p->item != NOT_ITEM)
        fprintf(f, "[%" PRIu32 "]", p->item);
    else
        fprintf(f, "%s%s", p->parent != 0 ? "." : "", p->key->name);
}

static void add(struct report *r, uint32_t place, struct mark mark, const char *key, const char *fmt,
                va_list ap)
{
    if (r->rc != 0)
        return;
    if (r->n_issues == REPORT_MAX) {
        r->more = true;
        return;
    }
    r->rc = array_grow(&r->issues, &r->issues_cap, r->n_issues + 1);
    if (r->rc != 0)
        return;
    struct issue *issue = &r->issues[r->n_issues];
    *issue = (struct issue){.mark = mark};
    size_t size;
    FILE *f = open_memstream(&issue->text, &size);
    if (f == NULL) {
        r->rc = -ENOMEM;
        return;
    }
    if (r->path != NULL) {
        fprintf(f, "%s:%" PRIu32 ":%" PRIu32 ": ", r->path, mark.line, mark.column);
        print_name(r, place, f);
    } else {
        print_full_name(r, &r->places[place], f);
    }
    if (key != NULL)
        fprintf(f, "%s%s", place != 0 ? "." : "", key);
    if (key != NULL || place != 0)
        fputs(": ", f);
    vfprintf(f, fmt, ap);
    fputc('\n', f);
    if (fclose(f) != 0) {
        free(issue->text);
        r->rc = -ENOMEM;
        return;
    }
    r->n_issues++;
}

void report_add(struct report *r, uint32_t place, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (r->rc == 0)
        add(r, place, r->places[place].mark, NULL, fmt, ap);
    va_end(ap);
}

void report_add_key(struct report *r, uint32_t group, struct mark mark, const char *key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, group, mark, key, fmt, ap);
    va_end(ap);
}

void report_add_file(struct report *r, struct mark mark, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, 0, mark, NULL, fmt, ap);
    va_end(ap);
}

void report_add_unknown(struct report *r, uint32_t group, struct mark mark, const char *key, const char *what,
                        const char *word, const char *const *names, size_t n)
{
    const char *near = nearest(word, names, n);
    if (near != NULL) {
        report_add_key(r, group, mark, key, "no such %s; did you mean \"%s\"?", what, near);
        return;
    }
    char all[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < n && used < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", names[i]);
    report_add_key(r, group, mark, key, "no such %s; there %s%s", what, n > 0 ? "are " : "is none", all);
}

static int by_mark(const void *a, const void *b)
{
    const struct issue *x = a, *y = b;
    if (x->mark.line != y->mark.line)
        return x->mark.line < y->mark.line ? -1 : 1;
    if (x->mark.column != y->mark.column)
        return x->mark.column < y->mark.column ? -1 : 1;
    return strcmp(x->text, y->text);
}

int report_take(struct report *r, struct conf_errors *ret)
{
    if (r->rc != 0)
        return r->rc;
    if (r->n_issues == 0)
        return 0;
    qsort(r->issues, r->n_issues, sizeof *r->issues, by_mark);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < r->n_issues; i++)
        fputs(r->issues[i].text, f);
    if (r->more)
        fprintf(f, "%s%sthere are more errors; these are %d of them\n", r->path != NULL ? r->path : "",
                r->path != NULL ? ": " : "", REPORT_MAX);
    if (fclose(f) != 0) {
        free(text);
        return -ENOMEM;
    }
    *ret = (struct conf_errors){.text = text, .n = (uint32_t)r->n_issues};
    return ERR_CONFIG;
}

void conf_errors_fini(struct conf_errors *e)
{
    free(e->text);
    *e = (struct conf_errors){0};
}
