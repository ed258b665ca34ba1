#include "proto/fields.h"
#include "proto/message.h"
#include "proto/text.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

static void pack_str(msgpack_packer *pk, const char *s)
{
    msgpack_pack_str_with_body(pk, s, strlen(s));
}

/* Numbers of a batch have a fixed width, so that its frame can be laid out before they are known. */
static void pack_u32(msgpack_packer *pk, uint32_t number, bool fixed)
{
    fixed ? msgpack_pack_fix_uint32(pk, number) : msgpack_pack_uint32(pk, number);
}

static void pack_u64(msgpack_packer *pk, uint64_t number, bool fixed)
{
    fixed ? msgpack_pack_fix_uint64(pk, number) : msgpack_pack_uint64(pk, number);
}

static void pack_fields(msgpack_packer *pk, const struct fields *l, const void *m);

static void pack_value(msgpack_packer *pk, const struct field *f, const void *m, bool fixed)
{
    const char *at = (const char *)m + f->off;
    char text[MSG_TEXT_MAX];
    const struct msg_error *error = m;
    const struct msg_opened *opened = m;
    switch (f->kind) {
    case FIELD_U32:
        pack_u32(pk, *(const uint32_t *)at, fixed);
        break;
    case FIELD_U64:
        pack_u64(pk, *(const uint64_t *)at, fixed);
        break;
    case FIELD_MAYBE:
        *(const uint64_t *)at == MSG_UNKNOWN ? msgpack_pack_nil(pk)
                                             : pack_u64(pk, *(const uint64_t *)at, fixed);
        break;
    case FIELD_I32:
        msgpack_pack_int32(pk, *(const int32_t *)at);
        break;
    case FIELD_BOOL:
        *(const bool *)at ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
        break;
    case FIELD_NAME:
        pack_str(pk, at);
        break;
    case FIELD_TEXT:
        text_clean(at, strnlen(at, MSG_TEXT_MAX), text, sizeof text);
        pack_str(pk, text);
        break;
    case FIELD_CODE:
        pack_str(pk, msg_code_names[*(const enum msg_code *)at]);
        break;
    case FIELD_REASON:
        pack_str(pk, msg_reason_names[*(const enum msg_reason *)at]);
        break;
    case FIELD_WORLDS:
        msgpack_pack_array(pk, error->n_worlds);
        for (uint32_t i = 0; i < error->n_worlds; i++)
            msgpack_pack_uint32(pk, error->worlds[i]);
        break;
    case FIELD_CORPORA:
        msgpack_pack_array(pk, opened->n_corpora);
        for (uint32_t i = 0; i < opened->n_corpora; i++) {
            msgpack_pack_map(pk, fields_of_corpus.n_rows);
            pack_fields(pk, &fields_of_corpus, &opened->corpora[i]);
        }
        break;
    case FIELD_ARRAY: /* put_batch writes these */
        break;
    }
}

/* Is an optional key left out? */
static bool is_absent(const struct field *f, const void *m)
{
    const char *at = (const char *)m + f->off;
    if (!f->optional)
        return false;
    if (f->kind == FIELD_NAME)
        return *at == '\0';
    if (f->kind == FIELD_BOOL)
        return !*(const bool *)at;
    return f->kind == FIELD_WORLDS ? ((const struct msg_error *)m)->n_worlds == 0
                                   : *(const uint64_t *)at == MSG_UNKNOWN;
}

static void pack_fields(msgpack_packer *pk, const struct fields *l, const void *m)
{
    for (size_t i = 0; i < l->n_rows; i++) {
        if (is_absent(&l->rows[i], m))
            continue;
        pack_str(pk, l->rows[i].key);
        pack_value(pk, &l->rows[i], m, false);
    }
}

/* Where packed bytes go; without a buffer they are only counted. */
struct sink {
    char *buf;
    size_t size;
};

static int sink_put(void *data, const char *bytes, size_t n)
{
    struct sink *s = data;
    if (s->buf != NULL)
        memcpy(s->buf + s->size, bytes, n);
    s->size += n;
    return 0;
}

static void pack_message(struct sink *sink, enum msg_type type, const void *m)
{
    const struct fields *l = &fields_of[type];
    msgpack_packer pk;
    msgpack_packer_init(&pk, sink, sink_put);
    size_t n = 1;
    for (size_t i = 0; i < l->n_rows; i++)
        n += !is_absent(&l->rows[i], m);
    msgpack_pack_map(&pk, n);
    pack_str(&pk, "type");
    pack_str(&pk, msg_type_names[type]);
    pack_fields(&pk, l, m);
}

static int encode(enum msg_type type, const void *m, char **ret, size_t *ret_size)
{
    struct sink sink = {NULL, 0};
    pack_message(&sink, type, m);
    const size_t size = sink.size;
    char *buf = malloc(size);
    if (buf == NULL)
        return -ENOMEM;
    sink = (struct sink){buf, 0};
    pack_message(&sink, type, m);
    *ret = buf;
    *ret_size = size;
    return 0;
}

int msg_encode_open(const struct msg_open *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_OPEN, m, ret, ret_size);
}

int msg_encode_credit(const struct msg_credit *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_CREDIT, m, ret, ret_size);
}

int msg_encode_close(char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_CLOSE, NULL, ret, ret_size);
}

int msg_encode_opened(const struct msg_opened *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_OPENED, m, ret, ret_size);
}

int msg_encode_changed(const struct msg_opened *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_CHANGED, m, ret, ret_size);
}

int msg_encode_wait(const struct msg_wait *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_WAIT, m, ret, ret_size);
}

int msg_encode_end(const struct msg_end *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_END, m, ret, ret_size);
}

int msg_encode_error(const struct msg_error *m, char **ret, size_t *ret_size)
{
    return encode(MSG_TYPE_ERROR, m, ret, ret_size);
}

/* ---- a batch's frame ---- */

#define BIN32_HEADER 5

/* The key and the header of an array whose `bytes` are to start at a multiple of `align`: a key may be
 * written with any of msgpack's headers for strings, and one of them makes it so. */
static void put_array_header(struct sink *s, const char *key, uint32_t align, uint64_t bytes)
{
    static const struct {
        uint8_t size, first;
    } headers[] = {{1, 0xa0}, {2, 0xd9}, {3, 0xda}, {5, 0xdb}};
    const size_t n = strlen(key);
    size_t i = 0;
    while (i < 3 && (s->size + headers[i].size + n + BIN32_HEADER) % align != 0)
        i++;
    char head[5] = {(char)headers[i].first};
    head[headers[i].size - 1] |= (char)n; /* a short key: its size is in the last byte, or in the only one */
    sink_put(s, head, headers[i].size);
    sink_put(s, key, n);
    const char bin[BIN32_HEADER] = {(char)0xc6, (char)(bytes >> 24), (char)(bytes >> 16), (char)(bytes >> 8),
                                    (char)bytes};
    sink_put(s, bin, sizeof bin);
}

/* Zeros that bring the payload of the first array to a multiple of MSG_ALIGN. */
static void put_pad(struct sink *s, const char *first_key)
{
    static const char zeros[MSG_ALIGN];
    const size_t around = 1 + 3 + 2 + 1 + strlen(first_key) + BIN32_HEADER; /* "pad", bin8; the key, bin32 */
    const size_t n = (MSG_ALIGN - (s->size + around) % MSG_ALIGN) % MSG_ALIGN;
    const char head[] = {(char)0xa3, 'p', 'a', 'd', (char)0xc4, (char)n};
    sink_put(s, head, sizeof head);
    sink_put(s, zeros, n);
}

/* All of a frame but the arrays' elements, which stay as they are in the buffer; where those are, into b. */
static void put_batch(struct sink *s, struct msg_batch *b)
{
    const struct fields *l = &fields_of[MSG_TYPE_BATCH];
    msgpack_packer pk;
    msgpack_packer_init(&pk, s, sink_put);
    msgpack_pack_map(&pk, l->n_rows + 2); /* type, pad */
    pack_str(&pk, "type");
    pack_str(&pk, msg_type_names[MSG_TYPE_BATCH]);
    bool padded = false;
    for (size_t i = 0; i < l->n_rows; i++) {
        const struct field *f = &l->rows[i];
        if (f->kind != FIELD_ARRAY) {
            pack_str(&pk, f->key);
            pack_value(&pk, f, b, true);
            continue;
        }
        if (!padded)
            put_pad(s, f->key);
        padded = true;
        put_array_header(s, f->key, f->width, field_bytes(f, b));
        void *array = s->buf != NULL ? s->buf + s->size : NULL;
        memcpy((char *)b + f->off, &array, sizeof array);
        s->size += field_bytes(f, b);
    }
}

size_t msg_batch_size(const struct msg_batch *b)
{
    const struct fields *l = &fields_of[MSG_TYPE_BATCH];
    for (size_t i = 0; i < l->n_rows; i++)
        if (l->rows[i].kind == FIELD_ARRAY && field_bytes(&l->rows[i], b) > UINT32_MAX)
            return 0;
    struct sink sink = {NULL, 0};
    struct msg_batch copy = *b;
    put_batch(&sink, &copy);
    return sink.size;
}

void msg_batch_layout(struct msg_batch *b, char *buf)
{
    struct sink sink = {buf, 0};
    put_batch(&sink, b);
}

void msg_batch_seal(const struct msg_batch *b, char *buf)
{
    struct msg_batch copy = *b;
    msg_batch_layout(&copy, buf);
}
