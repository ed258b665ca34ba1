#include "config/print.h"

#include "config/field.h"
#include "config/flow.h"

#include <errno.h>
#include <string.h>

static void print_row(const struct key *k, const void *group, const char *lead, FILE *f)
{
    fprintf(f, "%s%s: ", lead, k->name);
    flow_print(k, group, f);
    fputc('\n', f);
}

/* One line a key; what is in a key is in its line. */
static void print_element(const struct key *rows, const void *element, FILE *f)
{
    for (const struct key *k = rows; k->name != NULL; k++)
        if (field_is_set(k, element))
            print_row(k, element, k == rows ? "  - " : "    ", f);
}

static void print_corpus(const struct conf_corpus *c, FILE *f)
{
    print_element(schema_row("corpora")->of, c, f);
}

static void print_template(const struct conf_template *t, FILE *f)
{
    print_element(schema_row("templates")->of, t, f);
}

static void print_stream(const struct conf_stream *s, FILE *f)
{
    struct conf_positions positions[FLOW_POSITIONS];
    const struct conf_stream bare = flow_stream(s, positions);
    print_element(schema_row("streams")->of, &bare, f);
}

static int written(FILE *f)
{
    return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}

int conf_print(const struct conf *c, FILE *f)
{
    for (const struct key *k = schema_keys; k->name != NULL; k++)
        if (k->type != KEY_LIST)
            print_row(k, c, "", f);
    fputs("corpora:\n", f);
    for (uint32_t i = 0; i < c->n_corpora; i++)
        print_corpus(&c->corpora[i], f);
    fputs(c->n_templates > 0 ? "templates:\n" : "", f);
    for (uint32_t i = 0; i < c->n_templates; i++)
        print_template(&c->templates[i], f);
    fputs("streams:\n", f);
    for (uint32_t i = 0; i < c->n_streams; i++)
        print_stream(&c->streams[i], f);
    return written(f);
}

static bool uses_corpus(const struct conf_stream *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_corpora; i++)
        if (strcmp(s->corpora[i].corpus, name) == 0)
            return true;
    return false;
}

int conf_print_stream(const struct conf *c, const struct conf_stream *s, FILE *f)
{
    struct conf most = {.memory = schema_row("memory")->max};
    print_row(schema_row("memory"), &most, "", f);
    print_row(schema_row("record_max"), c, "", f);
    fputs("corpora:\n", f);
    for (uint32_t i = 0; i < c->n_corpora; i++)
        if (uses_corpus(s, c->corpora[i].name))
            print_corpus(&c->corpora[i], f);
    for (uint32_t i = 0; i < c->n_templates; i++) {
        if (strcmp(c->templates[i].name, s->template_name) != 0)
            continue;
        fputs("templates:\n", f);
        print_template(&c->templates[i], f);
    }
    fputs("streams:\n", f);
    print_stream(s, f);
    return written(f);
}
