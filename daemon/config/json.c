/* The table of keys, and the outcome of a check, for programs. */
#include "config/file.h"
#include "config/schema.h"
#include "config/value.h"

#include <errno.h>
#include <string.h>

static void print_member(const char *name, const char *text, FILE *f)
{
    fprintf(f, ", \"%s\": ", name);
    if (text != NULL)
        value_print_quoted(slice_of(text), f);
    else
        fputs("null", f);
}

struct keys {
    FILE *f;
    bool any;
};

static void print_key(void *arg, const char *full_name, const struct key *k)
{
    struct keys *keys = arg;
    char range[SCHEMA_RANGE];
    fputs(keys->any ? ",\n  {\"key\": " : "\n  {\"key\": ", keys->f);
    keys->any = true;
    value_print_quoted(slice_of(full_name), keys->f);
    print_member("type", schema_type(k), keys->f);
    print_member("range", schema_range(k, range), keys->f);
    print_member("default", k->dflt, keys->f);
    print_member("unit", k->unit, keys->f);
    print_member("help", k->help, keys->f);
    fprintf(keys->f, ", \"required\": %s, \"batches\": %s, \"restart\": %s}",
            !k->optional && k->dflt == NULL && k->type != KEY_GROUP && !k->lone ? "true" : "false",
            k->batches ? "true" : "false", k->restart ? "true" : "false");
}

int schema_print_keys_json(FILE *f)
{
    struct keys keys = {.f = f};
    putc('[', f);
    schema_visit(print_key, &keys);
    fputs("\n]\n", f);
    return fflush(f) == 0 ? 0 : -errno;
}

int conf_errors_print_json(const struct conf_errors *e, const char *path, FILE *f)
{
    fputs("{\"file\": ", f);
    value_print_quoted(slice_of(path), f);
    fprintf(f, ", \"good\": %s, \"errors\": [", e->text == NULL ? "true" : "false");
    for (const char *line = e->text, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        fputs(line == e->text ? "\n  " : ",\n  ", f);
        value_print_quoted((struct slice){line, (size_t)(end - line)}, f);
    }
    fputs(e->text == NULL ? "]}\n" : "\n]}\n", f);
    return fflush(f) == 0 ? 0 : -errno;
}
