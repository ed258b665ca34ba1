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

struct conf_stream flow_stream(const struct conf_stream *s)
{
    struct conf_stream bare = *s;
    if (bare.positions.strategy == POS_NONE && bare.positions.max_position == bare.seq_len)
        bare.positions.max_position = 0;
    return bare;
}
