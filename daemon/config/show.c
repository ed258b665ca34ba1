#include "config/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_COLUMNS 100 /* of the example's comments */

static void visit_rows(const char *prefix, const struct key *rows,
                       void (*visit)(void *arg, const char *full_name, const struct key *k), void *arg)
{
    for (const struct key *k = rows; k->name != NULL; k++) {
        char name[128]; /* of the table's own words */
        (void)snprintf(name, sizeof name, "%s%s%s", prefix, k->name,
                       k->type == KEY_LIST && !k->lone ? "[]" : "");
        visit(arg, name, k);
        if (k->of == NULL)
            continue;
        (void)strncat(name, ".", sizeof name - strlen(name) - 1);
        visit_rows(name, k->of, visit, arg);
    }
}

void schema_visit(void (*visit)(void *arg, const char *full_name, const struct key *k), void *arg)
{
    visit_rows("", schema_keys, visit, arg);
}

/* What is said about a key in one line: "help; range unit; default" */
static char *describe(const struct key *k)
{
    char range[SCHEMA_RANGE];
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return NULL;
    fputs(k->help, f);
    bool numeric = k->type == KEY_INT || k->type == KEY_BYTES || k->type == KEY_REAL ||
                   k->type == KEY_CHOICE || k->type == KEY_BOOL;
    if (numeric)
        fprintf(f, "; %s%s%s", schema_range(k, range), k->unit != NULL ? " " : "",
                k->unit != NULL ? k->unit : "");
    if (k->dflt != NULL)
        fprintf(f, "; default %s", k->dflt);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* print_comment - a text as comment lines of at most LINE_COLUMNS. */
static void print_comment(const char *text, int indent, FILE *f)
{
    size_t room = (size_t)(LINE_COLUMNS - indent - 2);
    while (*text != '\0') {
        size_t n = strlen(text);
        if (n > room)
            for (n = room; n > 0 && text[n] != ' '; n--)
                ;
        if (n == 0)
            n = strcspn(text, " ");
        fprintf(f, "%*s# %.*s\n", indent, "", (int)n, text);
        text += n;
        text += strspn(text, " ");
    }
}

static bool is_required(const struct key *k)
{
    return !k->optional && k->dflt == NULL;
}

/* is_group - is it shown as one? */
static bool is_group(const struct key *k)
{
    return k->type == KEY_GROUP || k->lone;
}

/* is_active - does the example set the key, or only show it as a comment? A group: when it holds one that is.
 */
static bool is_active(const struct key *k)
{
    bool active = false;
    if (is_group(k) && !k->optional)
        for (const struct key *inner = k->of; inner->name != NULL; inner++)
            active = active || is_active(inner);
    return k->shown || (is_group(k) ? active : is_required(k));
}

static void print_rows(const struct key *rows, int indent, bool element, bool active, FILE *f);

static void print_row(const struct key *k, int indent, bool dash, bool active, FILE *f)
{
    char *about = describe(k);
    if (about != NULL)
        print_comment(about, dash ? indent - 2 : indent, f);
    free(about);
    fprintf(f, "%s%*s%s%s:", active ? "" : "#", dash ? indent - 2 : indent, "", dash ? "- " : "", k->name);
    if (k->of != NULL) {
        fputc('\n', f);
        print_rows(k->of, is_group(k) ? indent + 2 : indent + 4, !is_group(k), active, f);
    } else {
        fprintf(f, " %s\n", k->example != NULL ? k->example : k->dflt);
    }
}

static void print_rows(const struct key *rows, int indent, bool element, bool active, FILE *f)
{
    for (const struct key *k = rows; k->name != NULL; k++) {
        if (k->of == NULL && k->example == NULL && k->dflt == NULL)
            continue; /* one of many alike, of which another has an example */
        if (indent == 0)
            fputc('\n', f);
        print_row(k, indent, element && k == rows, active && is_active(k), f);
    }
}

static int written(FILE *f)
{
    return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}

int schema_print_example(FILE *f)
{
    fputs("# Configuration of skipalignd: an example of every key, as `skipalignd --example` prints it.\n"
          "# Keys behind a # have the default that stands there. Check a changed file with\n"
          "#     skipalignd -c FILE --check\n",
          f);
    print_rows(schema_keys, 0, false, true, f);
    return written(f);
}

static void print_key(void *arg, const char *full_name, const struct key *k)
{
    FILE *f = arg;
    char range[SCHEMA_RANGE];
    (void)schema_range(k, range);
    fprintf(f, "%s (%s", full_name, schema_type(k));
    if (range[0] != '\0' && strcmp(range, schema_type(k)) != 0)
        fprintf(f, ", %s", range);
    if (k->unit != NULL)
        fprintf(f, " %s", k->unit);
    if (k->dflt != NULL)
        fprintf(f, ", default %s", k->dflt);
    else if (!is_group(k))
        fputs(k->optional ? ", optional" : ", required", f);
    fprintf(f, ")%s%s\n    %s\n", k->batches ? " *" : "", k->restart ? " !" : "", k->help);
}

int schema_print_keys(FILE *f)
{
    schema_visit(print_key, f);
    fputs("\n* what a stream sends depends on it\n! a change takes a restart; every other key changes while "
          "the daemon runs\n",
          f);
    return written(f);
}
