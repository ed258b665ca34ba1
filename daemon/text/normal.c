#include "text/normal.h"

#include <endian.h>
#include <string.h>

#define ASCII 128

/* A rule's text in the double array, and what it becomes. Numbers are little endian in a model file. */
struct rules {
    const uint8_t *units; /* 4 bytes each */
    uint32_t n_units;
    struct slice texts;
};

static bool read_rules(struct slice map, struct rules *ret)
{
    uint32_t size;
    if (map.size <= sizeof size)
        return false;
    memcpy(&size, map.data, sizeof size);
    size = le32toh(size);
    if (size < 4 || size % 4 != 0 || size >= map.size - sizeof size)
        return false;
    *ret = (struct rules){
        .units = (const uint8_t *)map.data + sizeof size,
        .n_units = size / 4,
        .texts = {map.data + sizeof size + size, map.size - sizeof size - size},
    };
    return ret->texts.data[ret->texts.size - 1] == '\0';
}

static bool get_unit(const struct rules *r, uint32_t i, uint32_t *ret)
{
    if (i >= r->n_units)
        return false;
    memcpy(ret, r->units + 4 * (size_t)i, sizeof *ret);
    *ret = le32toh(*ret);
    return true;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* From a node, whose children lie around `base`, by one byte. */
static bool step(const struct rules *r, uint32_t base, uint8_t byte, uint32_t *ret_base, uint32_t *ret_unit)
{
    uint32_t i = base ^ byte;
    if (!get_unit(r, i, ret_unit) || (*ret_unit & (1u << 31 | 0xff)) != byte)
        return false;
    *ret_base = i ^ offset_of(*ret_unit);
    return true;
}

/* What one ASCII character becomes in a text of nothing else; -1: not one character, or it depends. */
static int16_t rule_of(const struct rules *r, uint32_t root, uint8_t c)
{
    uint32_t base, unit, child, value;
    if (!step(r, root, c, &base, &unit))
        return c;
    for (uint8_t next = 1; next < ASCII; next++)
        if (step(r, base, next, &child, &value))
            return -1;
    if ((unit >> 8 & 1) == 0)
        return c;
    if (!get_unit(r, base, &value))
        return -1;
    value &= ~(1u << 31);
    if (value >= r->texts.size)
        return -1;
    const uint8_t *text = (const uint8_t *)r->texts.data + value;
    return text[0] != '\0' && text[0] < ASCII && text[1] == '\0' ? text[0] : -1;
}

bool normal_init(struct normal *n, const struct spm_spec *spec)
{
    struct rules r;
    uint32_t root;
    bool has_rules = spec->charsmap.size > 0;
    n->prefix = spec->add_dummy_prefix != 0;
    n->collapse = spec->remove_extra_whitespaces != 0;
    n->is_plain = !has_rules && !n->collapse;
    for (int c = 0; c < 256; c++)
        n->to[c] = (int16_t)(has_rules ? -1 : c);
    if (!has_rules)
        return true;
    if (!read_rules(spec->charsmap, &r) || !get_unit(&r, 0, &root))
        return false;
    for (uint8_t c = 1; c < ASCII; c++)
        n->to[c] = rule_of(&r, offset_of(root), c);
    return n->to[' '] == ' ';
}

ptrdiff_t normal_take(const struct normal *n, struct normal_state *s, const uint8_t *text, size_t size,
                      uint8_t *to)
{
    uint8_t *at = to;
    if (n->is_plain) {
        if (s->space && size > 0)
            *at++ = ' ';
        s->space = false;
        memcpy(at, text, size);
        return at - to + (ptrdiff_t)size;
    }
    for (size_t i = 0; i < size; i++) {
        int16_t c = n->to[text[i]];
        if (c < 0)
            return -1;
        if (c == ' ' && n->collapse) {
            s->space |= s->begun;
            continue;
        }
        if (s->space)
            *at++ = ' ';
        *at++ = (uint8_t)c;
        s->space = false;
        s->begun = true;
    }
    return at - to;
}
