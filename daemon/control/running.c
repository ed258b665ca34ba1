/* running - the configuration as it runs, walked by the table of its keys: what is written is a file that the
 * daemon could be started with, defaults filled in. */
#include "config/field.h"
#include "control/commands.h"

static void put_group(struct ctl_writer *w, const struct key *keys, const void *group);

static void put_paths(struct ctl_writer *w, const struct key *k, const void *group)
{
    char *const *paths = *(char *const *const *)field_at(k, group);
    ctl_put_list(w, k->name);
    for (uint32_t i = 0; i < field_count(k, group); i++)
        ctl_put_text(w, NULL, paths[i]);
    ctl_put_end(w);
}

static void put_ids(struct ctl_writer *w, const struct key *k, const void *group)
{
    const struct conf_special *ids = *(const struct conf_special *const *)field_at(k, group);
    ctl_put_map(w, k->name);
    for (uint32_t i = 0; i < field_count(k, group); i++)
        ctl_put_int(w, ids[i].piece, ids[i].id);
    ctl_put_end(w);
}

static void put_stages(struct ctl_writer *w, const struct key *k, const void *group)
{
    const struct conf_stage *stages = *(const struct conf_stage *const *)field_at(k, group);
    char epoch[32];
    ctl_put_map(w, k->name);
    for (uint32_t i = 0; i < field_count(k, group); i++) {
        (void)snprintf(epoch, sizeof epoch, "%.17g", stages[i].epoch);
        ctl_put_int(w, epoch, stages[i].max_position);
    }
    ctl_put_end(w);
}

static void put_elements(struct ctl_writer *w, const struct key *k, const void *group)
{
    ctl_put_list(w, k->name);
    for (uint32_t i = 0; i < field_count(k, group); i++) {
        ctl_put_map(w, NULL);
        put_group(w, k->of, field_item(k, group, i));
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void put_value(struct ctl_writer *w, const struct key *k, const void *group)
{
    const void *field = field_at(k, group);
    switch (k->type) {
    case KEY_TEXT:
    case KEY_NAME:
    case KEY_PATH:
    case KEY_ENDPOINT:
        ctl_put_text(w, k->name, field_text(k, group));
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
    case KEY_STAGES:
        put_stages(w, k, group);
        break;
    case KEY_LIST:
        if (field_is_lone(k, group)) {
            ctl_put_map(w, k->name);
            put_group(w, k->of, field_item(k, group, 0));
            ctl_put_end(w);
        } else {
            put_elements(w, k, group);
        }
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

static void put_group(struct ctl_writer *w, const struct key *keys, const void *group)
{
    for (const struct key *k = keys; k->name != NULL; k++)
        if (field_is_set(k, group))
            put_value(w, k, group);
}

void command_config(struct request *q)
{
    put_group(&q->reply, schema_keys, q->context->roster->running);
}
