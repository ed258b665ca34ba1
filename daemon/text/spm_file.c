#include "text/spm_file.h"

#include "base/array.h"
#include "base/err.h"

#include <stdbool.h>

struct field {
    uint32_t number;
    uint64_t value;      /* of a varint */
    struct slice inside; /* of a length-delimited field */
};

static bool take_varint(struct slice *in, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->size > 0; shift += 7) {
        uint8_t byte = (uint8_t)*in->data;
        in->data++;
        in->size--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* One field of a protobuf message; false where the bytes are none. */
static bool take_field(struct slice *in, struct field *ret)
{
    enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
    uint64_t tag, size;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
        return false;
    *ret = (struct field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case VARINT:
        return take_varint(in, &ret->value);
    case FIXED64:
        size = 8;
        break;
    case FIXED32:
        size = 4;
        break;
    case BYTES:
        if (!take_varint(in, &size))
            return false;
        break;
    default:
        return false;
    }
    if (size > in->size)
        return false;
    ret->inside = (struct slice){in->data, (size_t)size};
    in->data += size;
    in->size -= (size_t)size;
    return true;
}

static bool piece_type(struct slice piece, uint8_t *ret)
{
    struct field f;
    *ret = SPM_NORMAL;
    while (piece.size > 0) {
        if (!take_field(&piece, &f))
            return false;
        if (f.number == 3 && f.value >= SPM_NORMAL && f.value <= SPM_BYTE)
            *ret = (uint8_t)f.value;
    }
    return true;
}

int spm_file_types(struct slice file, uint8_t **ret_types, uint32_t *ret_n)
{
    enum { PIECE = 1, TRAINER_SPEC = 2, NORMALIZER_SPEC = 3 };
    uint8_t *types = NULL;
    size_t n = 0, cap = 0;
    bool has_trainer = false, has_normalizer = false;
    int rc = 0;
    while (file.size > 0) {
        struct field f;
        if (!take_field(&file, &f))
            goto out_format;
        has_trainer |= f.number == TRAINER_SPEC;
        has_normalizer |= f.number == NORMALIZER_SPEC;
        if (f.number != PIECE)
            continue;
        rc = array_grow(&types, &cap, n + 1);
        if (rc != 0)
            goto out_free;
        if (!piece_type(f.inside, &types[n++]))
            goto out_format;
    }
    if (n == 0 || n > INT32_MAX || !has_trainer || !has_normalizer)
        goto out_format;
    *ret_types = types;
    *ret_n = (uint32_t)n;
    return 0;
out_format:
    rc = ERR_FORMAT;
out_free:
    free(types);
    return rc;
}
