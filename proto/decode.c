#include "proto/fields.h"
#include "proto/message.h"
#include "proto/text.h"
#include "proto/token.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct decoder {
    struct token_cursor cursor;
    char *why;
    size_t n_why;
    uint64_t bytes[FIELDS_MAX]; /* of each array, for the check of shapes */
};

__attribute__((format(printf, 3, 4))) static int refuse(struct decoder *d, int rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(d->why, d->n_why, fmt, ap);
    va_end(ap);
    return rc;
}

static int take_int(struct decoder *d, const char *key, const struct token *t, uint64_t max, uint64_t *ret)
{
    if (t->kind != TOKEN_UINT || t->number > max)
        return refuse(d, -EPROTO, "`%s` must be an integer from 0 to %llu", key, (unsigned long long)max);
    *ret = t->number;
    return 0;
}

static int take_name(struct decoder *d, const char *key, const struct token *t, char ret[MSG_NAME_MAX + 1])
{
    if (t->kind != TOKEN_STR || t->size > MSG_NAME_MAX || !text_is_name(t->data, t->size))
        return refuse(d, -EPROTO, "`%s` must be a string of at most %d bytes of printable UTF-8", key,
                      MSG_NAME_MAX);
    memcpy(ret, t->data, t->size);
    ret[t->size] = '\0';
    return 0;
}

/* An array has at most as many members as it has bytes, so what is allocated here is bounded by what was
 * received. */
static int take_worlds(struct decoder *d, const char *key, const struct token *t, struct msg_error *ret)
{
    if (t->kind != TOKEN_ARRAY)
        return refuse(d, -EPROTO, "`%s` must be an array of integers", key);
    uint32_t *worlds = calloc(t->number + 1, sizeof *worlds);
    if (worlds == NULL)
        return refuse(d, -ENOMEM, "no memory for `%s`", key);
    ret->worlds = worlds;
    ret->n_worlds = (uint32_t)t->number;
    for (uint32_t i = 0; i < ret->n_worlds; i++) {
        struct token member;
        uint64_t number = 0;
        (void)token_next(&d->cursor, &member); /* map_scan has walked over it before */
        if (take_int(d, key, &member, UINT32_MAX, &number) < 0)
            return -EPROTO;
        worlds[i] = (uint32_t)number;
    }
    return 0;
}

static int take_fields(struct decoder *d, const struct fields *l, uint64_t n_pairs, void *m);

static int take_corpora(struct decoder *d, const char *key, const struct token *t, struct msg_opened *ret)
{
    if (t->kind != TOKEN_ARRAY || t->number > MSG_CORPORA_MAX)
        return refuse(d, -EPROTO, "`%s` must be an array of at most %d maps", key, MSG_CORPORA_MAX);
    ret->corpora = calloc(t->number + 1, sizeof *ret->corpora);
    if (ret->corpora == NULL)
        return refuse(d, -ENOMEM, "no memory for `%s`", key);
    ret->n_corpora = (uint32_t)t->number;
    for (uint32_t i = 0; i < ret->n_corpora; i++) {
        struct token member;
        (void)token_next(&d->cursor, &member);
        if (member.kind != TOKEN_MAP)
            return refuse(d, -EPROTO, "`%s` must be an array of maps", key);
        int rc = take_fields(d, &fields_of_corpus, member.number, &ret->corpora[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int index_of(const struct token *t, const char *const *names, int n)
{
    int i = 0;
    while (i < n && !token_is(t, names[i]))
        i++;
    return i;
}

static int take_number(struct decoder *d, const struct field *f, const struct token *t, char *at)
{
    uint64_t number = MSG_UNKNOWN;
    int32_t i32;
    if (f->kind == FIELD_I32) {
        const int64_t value = (int64_t)t->number;
        if ((t->kind != TOKEN_UINT && t->kind != TOKEN_NEGATIVE) || value < INT32_MIN || value > INT32_MAX)
            return refuse(d, -EPROTO, "`%s` must be an integer of 32 bits", f->key);
        i32 = (int32_t)value;
        memcpy(at, &i32, sizeof i32);
        return 0;
    }
    const bool is_nil = f->kind == FIELD_MAYBE && t->kind == TOKEN_NIL;
    int rc = is_nil ? 0 : take_int(d, f->key, t, f->kind == FIELD_U32 ? UINT32_MAX : UINT64_MAX, &number);
    if (rc < 0)
        return rc;
    const uint32_t u32 = (uint32_t)number;
    memcpy(at, f->kind == FIELD_U32 ? (const void *)&u32 : &number,
           f->kind == FIELD_U32 ? sizeof u32 : sizeof number);
    return 0;
}

static int take_code(struct decoder *d, const char *key, const struct token *t, struct msg_error *ret)
{
    int rc = take_name(d, key, t, ret->code_name);
    if (rc == 0)
        ret->code = (enum msg_code)index_of(t, msg_code_names, MSG_CODE__COUNT);
    return rc;
}

/* The value of one key into its member. */
static int take_value(struct decoder *d, const struct field *f, const struct token *t, void *m,
                      uint64_t *ret_bytes)
{
    char *at = (char *)m + f->off;
    switch (f->kind) {
    case FIELD_NAME:
        return take_name(d, f->key, t, at);
    case FIELD_CODE:
        return take_code(d, f->key, t, m);
    case FIELD_WORLDS:
        return take_worlds(d, f->key, t, m);
    case FIELD_CORPORA:
        return take_corpora(d, f->key, t, m);
    case FIELD_BOOL:
        if (t->kind != TOKEN_BOOL)
            return refuse(d, -EPROTO, "`%s` must be true or false", f->key);
        *(bool *)at = t->number != 0;
        return 0;
    case FIELD_TEXT:
        if (t->kind != TOKEN_STR)
            return refuse(d, -EPROTO, "`%s` must be a string", f->key);
        text_clean(t->data, t->size, at, MSG_TEXT_MAX);
        return 0;
    case FIELD_REASON:
        *(enum msg_reason *)at = (enum msg_reason)index_of(t, msg_reason_names, MSG_REASON__COUNT);
        if (*(enum msg_reason *)at == MSG_REASON__COUNT)
            return refuse(d, -EPROTO, "`%s` must be complete, removed, failed or changed", f->key);
        return 0;
    case FIELD_ARRAY:
        if (t->kind != TOKEN_BIN)
            return refuse(d, -EPROTO, "`%s` must be bin", f->key);
        memcpy(at, &t->data, sizeof t->data);
        *ret_bytes = t->size;
        return 0;
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_MAYBE:
    case FIELD_I32:
        break;
    }
    return take_number(d, f, t, at);
}

/* A map of n_pairs, known to be whole, into m. */
static int take_fields(struct decoder *d, const struct fields *l, uint64_t n_pairs, void *m)
{
    uint32_t seen = 0;
    for (uint64_t pair = 0; pair < n_pairs; pair++) {
        struct token key, value;
        (void)token_next(&d->cursor, &key);
        size_t i = 0;
        while (i < l->n_rows && !token_is(&key, l->rows[i].key))
            i++;
        if (i == l->n_rows) {
            (void)token_skip(&d->cursor);
            continue;
        }
        if (seen & 1u << i)
            return refuse(d, -EPROTO, "`%s` comes twice", l->rows[i].key);
        seen |= 1u << i;
        (void)token_next(&d->cursor, &value);
        int rc = take_value(d, &l->rows[i], &value, m, &d->bytes[i]);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < l->n_rows; i++) {
        const struct field *f = &l->rows[i];
        if (seen & 1u << i)
            continue;
        if (!f->optional)
            return refuse(d, -EPROTO, "`%s` is missing", f->key);
        if (f->kind == FIELD_MAYBE)
            memcpy((char *)m + f->off, &(uint64_t){MSG_UNKNOWN}, sizeof(uint64_t));
    }
    return 0;
}

static int check_batch(struct decoder *d, const char *data, struct msg_batch *b)
{
    if (b->rows == 0 || b->length == 0 || (uint64_t)b->rows * b->length > MSG_TOKENS_MAX)
        return refuse(d, -EPROTO, "`rows` %u and `length` %u make no batch", b->rows, b->length);
    if (b->rank >= b->world)
        return refuse(d, -EPROTO, "`rank` %u must be below `world`, which is %u", b->rank, b->world);
    const struct fields *l = &fields_of[MSG_TYPE_BATCH];
    const int32_t size = (int32_t)(b->rows * b->length);
    for (size_t i = 0; i < l->n_rows; i++) {
        const struct field *f = &l->rows[i];
        if (f->kind != FIELD_ARRAY)
            continue;
        if (f->shape == SHAPE_BOUNDS) /* the one that says how many documents there are */
            b->n_docs = (uint32_t)(d->bytes[i] / f->width) - (d->bytes[i] >= f->width);
        const uint64_t expected = field_bytes(f, b);
        if (d->bytes[i] != expected)
            return refuse(d, -EPROTO, "`%s` has %llu bytes, expected %llu", f->key,
                          (unsigned long long)d->bytes[i], (unsigned long long)expected);
        const char *at;
        memcpy(&at, (char *)b + f->off, sizeof at);
        if ((size_t)(at - data) % f->width != 0)
            return refuse(d, -EPROTO, "`%s` is not at a multiple of %u bytes", f->key, f->width);
    }
    int32_t first, last;
    memcpy(&first, b->cu_seqlens, sizeof first);
    memcpy(&last, (const char *)b->cu_seqlens + b->n_docs * sizeof last, sizeof last);
    if (first != 0 || last != size || b->n_docs < b->rows || b->max_seqlen == 0 || b->max_seqlen > b->length)
        return refuse(d, -EPROTO,
                      "`cu_seqlens` from %d to %d in %u documents of at most %u do not fit %u rows of %u",
                      (int)first, (int)last, b->n_docs, b->max_seqlen, b->rows, b->length);
    return 0;
}

/* Walks over the whole message once: is it one map with strings for keys? Finds two values on the way. */
static int map_scan(struct decoder *d, uint64_t *ret_pairs, struct token *ret_type, struct token *ret_version)
{
    struct token_cursor c = d->cursor;
    struct token t;
    *ret_type = *ret_version = (struct token){.kind = TOKEN_NIL};
    if (!token_next(&c, &t) || t.kind != TOKEN_MAP)
        return refuse(d, -EPROTO, "not a msgpack map");
    *ret_pairs = t.number;
    d->cursor = c;
    for (uint64_t pair = 0; pair < *ret_pairs; pair++) {
        if (!token_next(&c, &t))
            return refuse(d, -EPROTO, "the msgpack map is cut short or broken");
        if (t.kind != TOKEN_STR)
            return refuse(d, -EPROTO, "a key of the map is not a string");
        struct token_cursor value = c;
        if (!token_skip(&c))
            return refuse(d, -EPROTO, "the msgpack map is cut short or broken");
        if (token_is(&t, "type"))
            (void)token_next(&value, ret_type);
        else if (token_is(&t, "version"))
            (void)token_next(&value, ret_version);
    }
    if (c.at != c.end)
        return refuse(d, -EPROTO, "%zu bytes after the msgpack map", (size_t)(c.end - c.at));
    return 0;
}

int msg_decode(const char *data, size_t size, struct msg *ret, char *why, size_t n_why)
{
    struct decoder d = {.cursor = {data, data + size}, .why = why, .n_why = n_why};
    struct token type, version;
    uint64_t n_pairs = 0;
    int rc = map_scan(&d, &n_pairs, &type, &version);
    if (rc < 0)
        return rc;
    struct msg m = {.type = (enum msg_type)index_of(&type, msg_type_names, MSG_TYPE__COUNT)};
    if (m.type == MSG_TYPE__COUNT)
        return refuse(&d, type.kind == TOKEN_STR ? -ENOMSG : -EPROTO,
                      "`type` must be open, credit, close, opened, changed, batch, wait, end or error");
    if (m.type == MSG_TYPE_OPEN && version.kind == TOKEN_UINT && version.number != MSG_VERSION)
        return refuse(&d, -ENOSYS, "`version` %llu is not spoken here, only %d",
                      (unsigned long long)version.number, MSG_VERSION);
    rc = take_fields(&d, &fields_of[m.type], n_pairs, &m.open);
    if (rc == 0 && m.type == MSG_TYPE_BATCH)
        rc = check_batch(&d, data, &m.batch);
    if (rc < 0)
        msg_fini(&m);
    else
        *ret = m;
    return rc;
}

void msg_fini(struct msg *m)
{
    if (m->type == MSG_TYPE_OPENED || m->type == MSG_TYPE_CHANGED)
        free(m->opened.corpora);
    if (m->type == MSG_TYPE_ERROR)
        free((void *)m->error.worlds);
}

/* ---- topics ---- */

/* A decimal number as one writes it, and the slash behind it: without leading zeros, so that a batch has one
 * name. */
static bool take_decimal(const char **at, const char *end, uint64_t max, uint64_t *ret)
{
    const char *p = *at;
    uint64_t n = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');
        if (n > (max - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (p == *at || p == end || *p != '/' || (**at == '0' && p - *at > 1))
        return false;
    *at = p + 1;
    *ret = n;
    return true;
}

int msg_parse_topic(const char *data, size_t size, struct msg_open *ret, bool *ret_tap)
{
    const char *end = data + size, *slash = size == 0 ? NULL : memchr(data, '/', size);
    if (slash == NULL || slash == data || slash - data > MSG_NAME_MAX ||
        !text_is_name(data, (size_t)(slash - data)))
        return -EPROTO;
    struct msg_open m = {.version = MSG_VERSION, .world = 1};
    memcpy(m.stream, data, (size_t)(slash - data));
    const char *at = slash + 1;
    const bool tap = end - at == 4 && memcmp(at, "tap/", 4) == 0;
    uint64_t world = 1, rank = 0, step = 0;
    if (!tap && (!take_decimal(&at, end, UINT32_MAX, &world) || !take_decimal(&at, end, UINT32_MAX, &rank) ||
                 !take_decimal(&at, end, UINT64_MAX, &step) || at != end))
        return -EPROTO;
    m.world = (uint32_t)world;
    m.rank = (uint32_t)rank;
    m.step = step;
    *ret = m;
    *ret_tap = tap;
    return 0;
}
