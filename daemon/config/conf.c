#include "config/conf.h"

#include "base/err.h"
#include "config/field.h"
#include "config/schema.h"
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const io_kind_names[IO__COUNT] = {"auto", "uring", "pread"};
const char *const tokenizer_path_names[TOKENIZER_PATH__COUNT] = {"auto", "library"};
const char *const corpus_format_names[FORMAT__COUNT] = {
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "text",
};
const char *const field_names[FIELD__COUNT] = {
    "messages",    "role",  "content", "conversations", "from",   "value",      "system",
    "instruction", "input", "output",  "history",       "prompt", "completion", "text",
};
const char *const pos_strategy_names[POS__COUNT] = {
    "none",    "skip_all", "skip_inner", "skip_outer", "pose",
    "randpos", "cream",    "longrecipe", "stretch",    "shift",
};
const char *const pos_sampler_names[SAMPLER__COUNT] = {"sorted", "sequential", "even", "pinned"};
const char *const overlong_names[OVERLONG__COUNT] = {"truncate", "drop", "split"};
const char *const not_text_names[NOT_TEXT__COUNT] = {"quarantine", "leave_out"};
const char *const duplicates_names[DUPLICATES__COUNT] = {"keep", "drop"};
const char *const train_on_names[TRAIN__COUNT] = {"all", "last"};
const char *const last_step_names[LAST__COUNT] = {"drop", "pad"};

const struct conf_corpus *conf_find_corpus(const struct conf *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_corpora; i++)
        if (c->corpora[i].name != NULL && strcmp(c->corpora[i].name, name) == 0)
            return &c->corpora[i];
    return NULL;
}

const struct conf_stream *conf_find_stream(const struct conf *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_streams; i++)
        if (c->streams[i].name != NULL && strcmp(c->streams[i].name, name) == 0)
            return &c->streams[i];
    return NULL;
}

static void free_group(const struct key *rows, const void *group)
{
    for (const struct key *k = rows; k->name != NULL; k++) {
        const void *field = field_at(k, group);
        char **texts;
        struct conf_special *ids;
        switch (k->type) {
        case KEY_TEXT:
        case KEY_NAME:
        case KEY_PATH:
        case KEY_ENDPOINT:
        case KEY_STAGES:
            free(*(void *const *)field);
            break;
        case KEY_PATHS:
            texts = *(char **const *)field;
            for (uint32_t i = 0; i < field_count(k, group); i++)
                free(texts[i]);
            free(texts);
            break;
        case KEY_IDS:
            ids = *(struct conf_special *const *)field;
            for (uint32_t i = 0; i < field_count(k, group); i++)
                free(ids[i].piece);
            free(ids);
            break;
        case KEY_GROUP:
            free_group(k->of, field);
            break;
        case KEY_LIST:
            for (uint32_t i = 0; i < field_count(k, group); i++)
                free_group(k->of, field_item(k, group, i));
            free(*(void *const *)field);
            break;
        default:
            break;
        }
    }
}

struct conf *conf_ref(const struct conf *c)
{
    struct conf *mine = (struct conf *)c;
    CHECK(__atomic_fetch_add(&mine->refs, 1, __ATOMIC_RELAXED) > 0);
    return mine;
}

void conf_free(struct conf *c)
{
    if (c == NULL || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free_group(schema_keys, c);
    free(c->path);
    free(c);
}

int conf_corpus_copy(const struct conf_corpus *from, struct conf_corpus *ret)
{
    struct conf_corpus c = {
        .format = from->format, .duplicates = from->duplicates, .not_text = from->not_text};
    bool whole =
        (c.name = strdup(from->name)) != NULL && (c.paths = calloc(from->n_paths, sizeof *c.paths)) != NULL;
    for (uint32_t i = 0; whole && i < from->n_paths; i++, c.n_paths++)
        whole = (c.paths[i] = strdup(from->paths[i])) != NULL;
    for (int i = 0; whole && i < FIELD__COUNT; i++)
        whole = from->fields[i] == NULL || (c.fields[i] = strdup(from->fields[i])) != NULL;
    if (!whole) {
        conf_corpus_fini(&c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void conf_corpus_fini(struct conf_corpus *c)
{
    free_group(schema_row("corpora")->of, c);
    *c = (struct conf_corpus){0};
}

struct visitor {
    int (*value)(void *arg, const char *full_name, const struct key *k, const void *group);
    void *arg;
};

static int visit_group(const struct visitor *v, const char *prefix, const struct key *rows,
                       const void *group);

/* Elements of a list go by their names; streams by these alone, as in `skipalignctl set chat.seq_len 8192`.
 */
static int visit_list(const struct visitor *v, const char *full_name, const struct key *k, const void *group)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < field_count(k, group); i++) {
        char *prefix;
        const void *item = field_item(k, group, i);
        const char *name = field_name(k, item);
        bool bare = strcmp(full_name, "streams") == 0, lone = field_is_lone(k, group);
        if (asprintf(&prefix, "%s%s%s.", bare ? "" : full_name, bare || lone ? "" : ".", lone ? "" : name) <
            0)
            return -ENOMEM;
        rc = visit_group(v, prefix, k->of + 1, item);
        free(prefix);
    }
    return rc;
}

static int visit_group(const struct visitor *v, const char *prefix, const struct key *rows, const void *group)
{
    int rc = 0;
    for (const struct key *k = rows; rc == 0 && k->name != NULL; k++) {
        char *name;
        if (asprintf(&name, "%s%s%s", prefix, k->name, k->type == KEY_GROUP ? "." : "") < 0)
            return -ENOMEM;
        if (k->type == KEY_GROUP)
            rc = visit_group(v, name, k->of, field_at(k, group));
        else if (k->type == KEY_LIST)
            rc = visit_list(v, name, k, group);
        else if (field_is_set(k, group))
            rc = v->value(v->arg, name, k, group);
        free(name);
    }
    return rc;
}

struct told {
    void (*visit)(void *arg, const char *full_name, const char *value);
    void *arg;
};

static int tell(void *arg, const char *full_name, const struct key *k, const void *group)
{
    const struct told *t = arg;
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return -ENOMEM;
    value_print(k, group, false, f);
    if (fclose(f) != 0) {
        free(text);
        return -ENOMEM;
    }
    t->visit(t->arg, full_name, text);
    free(text);
    return 0;
}

int conf_visit(const struct conf *c, void (*visit)(void *arg, const char *full_name, const char *value),
               void *arg)
{
    struct told t = {visit, arg};
    return visit_group(&(struct visitor){tell, &t}, "", schema_keys, c);
}

/* A file's bytes count, which the tokenizer's and the corpora's hashes say, not where it lies. */
static int print_canonical(void *arg, const char *full_name, const struct key *k, const void *group)
{
    FILE *f = arg;
    if (!k->batches || k->type == KEY_PATH || k->type == KEY_PATHS)
        return 0;
    fprintf(f, "%s=", full_name);
    value_print(k, group, true, f);
    fputc('\n', f);
    return 0;
}

static int print_all(const struct visitor *v, const struct conf *c, const struct conf_stream *s)
{
    int rc = visit_group(v, "", schema_row("streams")->of + 1, s);
    for (uint32_t i = 0; rc == 0 && i < s->n_corpora; i++) {
        char prefix[128];
        (void)snprintf(prefix, sizeof prefix, "corpus.%s.", s->corpora[i].corpus);
        rc = visit_group(v, prefix, schema_row("corpora")->of + 1, conf_find_corpus(c, s->corpora[i].corpus));
    }
    for (uint32_t i = 0; rc == 0 && i < c->n_templates; i++)
        if (strcmp(c->templates[i].name, s->template_name) == 0)
            rc = visit_group(v, "template.", schema_row("templates")->of + 1, &c->templates[i]);
    return rc;
}

int conf_stream_canonical(const struct conf *c, const struct conf_stream *s, char **ret)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return -ENOMEM;
    fprintf(f, "record_max=%" PRId64 "\n", c->record_max);
    int rc = print_all(&(struct visitor){print_canonical, f}, c, s);
    if (fclose(f) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        *ret = text;
    else
        free(text);
    return rc;
}
