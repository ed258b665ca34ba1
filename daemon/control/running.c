/* running - the configuration as it runs, walked by the table of its keys: what is written is a file that the
 * daemon could be started with, defaults filled in. */
#include "config/schema.h"
#include "control/commands.h"

static bool is_absent(const struct key *k, const char *group);

static const char *field_of(const struct key *k, const char *group)
{
    return group + k->offset;
}

static uint32_t count_of(const struct key *k, const char *group)
{
    return *(const uint32_t *)(const void *)(group + k->count_offset);
}

static const char *text_of(const struct key *k, const char *group)
{
    return *(const char *const *)(const void *)field_of(k, group);
}

static bool all_absent(const struct key *keys, const char *group)
{
    while (keys->name != NULL && is_absent(keys, group))
        keys++;
    return keys->name == NULL;
}

static bool is_absent(const struct key *k, const char *group)
{
    switch (k->type) {
    case KEY_TEXT:
    case KEY_NAME:
    case KEY_PATH:
    case KEY_ENDPOINT:
        return text_of(k, group) == NULL;
    case KEY_PATHS:
    case KEY_IDS:
    case KEY_LIST:
        return count_of(k, group) == 0;
    case KEY_GROUP:
        return all_absent(k->of, field_of(k, group));
    default:
        return false;
    }
}

static void put_group(struct ctl_writer *w, const struct key *keys, const char *group);

static void put_paths(struct ctl_writer *w, const struct key *k, const char *group)
{
    char *const *paths = *(char *const *const *)(const void *)field_of(k, group);
    ctl_put_list(w, k->name);
    for (uint32_t i = 0; i < count_of(k, group); i++)
        ctl_put_text(w, NULL, paths[i]);
    ctl_put_end(w);
}

static void put_ids(struct ctl_writer *w, const struct key *k, const char *group)
{
    const struct conf_special *ids = *(const struct conf_special *const *)(const void *)field_of(k, group);
    ctl_put_map(w, k->name);
    for (uint32_t i = 0; i < count_of(k, group); i++)
        ctl_put_int(w, ids[i].piece, ids[i].id);
    ctl_put_end(w);
}

static void put_elements(struct ctl_writer *w, const struct key *k, const char *group)
{
    const char *elements = *(const char *const *)(const void *)field_of(k, group);
    ctl_put_list(w, k->name);
    for (uint32_t i = 0; i < count_of(k, group); i++) {
        ctl_put_map(w, NULL);
        put_group(w, k->of, elements + i * k->size);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void put_value(struct ctl_writer *w, const struct key *k, const char *group)
{
    const void *field = field_of(k, group);
    switch (k->type) {
    case KEY_TEXT:
    case KEY_NAME:
    case KEY_PATH:
    case KEY_ENDPOINT:
        ctl_put_text(w, k->name, text_of(k, group));
        break;
    case KEY_INT:
    case KEY_BYTES:
        ctl_put_int(w, k->name, *(const int64_t *)field);
        break;
    case KEY_REAL:
        ctl_put_real(w, k->name, *(const double *)field);
        break;
    case KEY_BOOL:
        ctl_put_bool(w, k->name, *(const bool *)field);
        break;
    case KEY_CHOICE:
        ctl_put_text(w, k->name, k->choices[*(const int32_t *)field]);
        break;
    case KEY_PATHS:
        put_paths(w, k, group);
        break;
    case KEY_IDS:
        put_ids(w, k, group);
        break;
    case KEY_LIST:
        put_elements(w, k, group);
        break;
    case KEY_GROUP:
        ctl_put_map(w, k->name);
        put_group(w, k->of, field);
        ctl_put_end(w);
        break;
    case KEY__COUNT:
        break;
    }
}

static void put_group(struct ctl_writer *w, const struct key *keys, const char *group)
{
    for (const struct key *k = keys; k->name != NULL; k++)
        if (!is_absent(k, group))
            put_value(w, k, group);
}

void command_config(struct request *q)
{
    put_group(&q->reply, schema_keys, (const char *)q->context->roster->running);
}
