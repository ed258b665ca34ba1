/* field - where a row of the table has its value, and whether there is one. */
#ifndef SKIPALIGN_CONFIG_FIELD_H
#define SKIPALIGN_CONFIG_FIELD_H

#include "config/schema.h"

#include <stdbool.h>
#include <stdint.h>

static inline const void *field_at(const struct key *k, const void *group)
{
    return (const char *)group + k->offset;
}

/* field_text - of the types that are one char *. */
static inline const char *field_text(const struct key *k, const void *group)
{
    return *(const char *const *)field_at(k, group);
}

/* field_count - of the elements of counted types. */
static inline uint32_t field_count(const struct key *k, const void *group)
{
    return *(const uint32_t *)(const void *)((const char *)group + k->count_offset);
}

/* field_item - an element of a list, and field_name - the name it goes by (NULL: not known). */
static inline const void *field_item(const struct key *list, const void *group, uint32_t i)
{
    return *(const char *const *)field_at(list, group) + i * list->size;
}

static inline const char *field_name(const struct key *list, const void *item)
{
    return field_text(&list->of[0], item);
}

/* field_is_lone - does the list's one element stand as a group? */
static inline bool field_is_lone(const struct key *list, const void *group)
{
    return list->lone && field_count(list, group) == 1 &&
           field_name(list, field_item(list, group, 0)) == NULL;
}

/* field_is_set - is there a value, or in a group any? */
static inline bool field_is_set(const struct key *k, const void *group)
{
    switch (k->type) {
    case KEY_TEXT:
    case KEY_NAME:
    case KEY_PATH:
    case KEY_ENDPOINT:
        return field_text(k, group) != NULL;
    case KEY_PATHS:
    case KEY_IDS:
    case KEY_STAGES:
    case KEY_LIST:
        return field_count(k, group) > 0;
    case KEY_GROUP:
        for (const struct key *inner = k->of; inner->name != NULL; inner++)
            if (field_is_set(inner, field_at(k, group)))
                return true;
        return false;
    case KEY_REAL:
        return !k->optional || k->dflt != NULL || *(const double *)field_at(k, group) != 0;
    case KEY_INT:
        return !k->optional || k->dflt != NULL || *(const int64_t *)field_at(k, group) != 0;
    default:
        return true;
    }
}

#endif
