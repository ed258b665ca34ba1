#include "config/flow.h"

#include "config/field.h"
#include "config/value.h"

void flow_print_rows(const struct key *rows, const void *group, FILE *f)
{
    const char *before = "{";
    for (const struct key *k = rows; k->name != NULL; k++) {
        if (!field_is_set(k, group))
            continue;
        fprintf(f, "%s%s: ", before, k->name);
        flow_print(k, group, f);
        before = ", ";
    }
    fputs(before[0] == '{' ? "{}" : "}", f);
}

void flow_print(const struct key *k, const void *group, FILE *f)
{
    if (k->type == KEY_GROUP) {
        flow_print_rows(k->of, field_at(k, group), f);
    } else if (field_is_lone(k, group)) {
        flow_print_rows(k->of, field_item(k, group, 0), f);
    } else if (k->type == KEY_LIST) {
        fputc('[', f);
        for (uint32_t i = 0; i < field_count(k, group); i++) {
            fputs(i > 0 ? ", " : "", f);
            flow_print_rows(k->of, field_item(k, group, i), f);
        }
        fputc(']', f);
    } else {
        value_print(k, group, true, f);
    }
}

struct conf_stream flow_stream(const struct conf_stream *s, struct conf_positions positions[FLOW_POSITIONS])
{
    struct conf_stream bare = *s;
    bare.positions = positions;
    for (uint32_t i = 0; i < s->n_positions; i++) {
        struct conf_positions *p = &positions[i];
        *p = s->positions[i];
        bool begins = p->n_schedule > 0 && p->schedule[0].epoch == 0;
        if ((begins && p->max_position == p->schedule[0].max_position) ||
            (p->strategy == POS_NONE && p->max_position == s->seq_len && p->n_schedule == 0))
            p->max_position = 0;
    }
    return bare;
}
