#include "text/spm_file.h"

#include "base/array.h"
#include "base/err.h"

#include <stdbool.h>

enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };

struct field {
    uint32_t number;
    enum wire wire;
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
    uint64_t tag, size;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
        return false;
    *ret = (struct field){.number = (uint32_t)(tag >> 3), .wire = (enum wire)(tag & 7)};
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

static bool piece_type(struct slice piece, uint8_t *ret, bool *odd)
{
    struct field f;
    *ret = SPM_NORMAL;
    while (piece.size > 0) {
        if (!take_field(&piece, &f))
            return false;
        if (f.number != 3)
            continue;
        if (f.value >= SPM_NORMAL && f.value <= SPM_BYTE)
            *ret = (uint8_t)f.value;
        else
            *odd = true;
    }
    return true;
}

/* What of a spec matters to us; a field that is not of its wire type, or not there once, makes it odd. */
struct wanted {
    uint32_t number;
    uint64_t *value;     /* a varint; */
    struct slice *bytes; /* or, if that is NULL, bytes */
};

static void read_spec(struct slice spec, const struct wanted *wanted, size_t n, bool *odd)
{
    uint32_t seen = 0;
    struct field f;
    while (spec.size > 0 && take_field(&spec, &f))
        for (size_t i = 0; i < n; i++) {
            if (wanted[i].number != f.number)
                continue;
            *odd |= f.wire != (wanted[i].value != NULL ? VARINT : BYTES) || (seen >> i & 1) != 0;
            seen |= 1u << i;
            if (wanted[i].value != NULL)
                *wanted[i].value = f.value;
            else
                *wanted[i].bytes = f.inside;
        }
    *odd |= spec.size > 0;
}

static void read_trainer(struct slice spec, struct spm_spec *ret)
{
    const struct wanted wanted[] = {
        {3, &ret->model_type, NULL},
        {24, &ret->whitespace_as_suffix, NULL},
        {35, &ret->byte_fallback, NULL},
    };
    read_spec(spec, wanted, sizeof wanted / sizeof *wanted, &ret->odd);
}

static void read_normalizer(struct slice spec, struct spm_spec *ret)
{
    const struct wanted wanted[] = {
        {2, NULL, &ret->charsmap},
        {3, &ret->add_dummy_prefix, NULL},
        {4, &ret->remove_extra_whitespaces, NULL},
        {5, &ret->escape_whitespaces, NULL},
    };
    read_spec(spec, wanted, sizeof wanted / sizeof *wanted, &ret->odd);
}

int spm_file_read(struct slice file, struct spm_file *ret)
{
    enum { PIECE = 1, TRAINER_SPEC = 2, NORMALIZER_SPEC = 3 };
    struct spm_spec spec = {.model_type = SPM_UNIGRAM,
                            .add_dummy_prefix = true,
                            .remove_extra_whitespaces = true,
                            .escape_whitespaces = true};
    uint8_t *types = NULL;
    size_t n = 0, cap = 0;
    unsigned n_trainers = 0, n_normalizers = 0;
    int rc = 0;
    while (file.size > 0) {
        struct field f;
        if (!take_field(&file, &f))
            goto out_format;
        spec.odd |= f.number <= NORMALIZER_SPEC && f.wire != BYTES;
        if (f.number == TRAINER_SPEC) {
            n_trainers++;
            read_trainer(f.inside, &spec);
        } else if (f.number == NORMALIZER_SPEC) {
            n_normalizers++;
            read_normalizer(f.inside, &spec);
        } else if (f.number == PIECE) {
            rc = array_grow(&types, &cap, n + 1);
            if (rc != 0)
                goto out_free;
            if (!piece_type(f.inside, &types[n++], &spec.odd))
                goto out_format;
        }
    }
    if (n == 0 || n > INT32_MAX || n_trainers == 0 || n_normalizers == 0)
        goto out_format;
    spec.odd |= n_trainers > 1 || n_normalizers > 1;
    *ret = (struct spm_file){.types = types, .n = (uint32_t)n, .spec = spec};
    return 0;
out_format:
    rc = ERR_FORMAT;
out_free:
    free(types);
    return rc;
}
