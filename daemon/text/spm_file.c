#include "text/spm_file.h"

#include "base/err.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };
enum { TEXT = 1, SCORE, TYPE };                            /* of a piece */
enum { PIECE = 1, TRAINER_SPEC = 2, NORMALIZER_SPEC = 3 }; /* of a model */

/* Larger than any model there is, and small enough that a file of nothing but empty pieces takes no memory to
 * speak of. */
#define PIECES_MAX (1u << 22)

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

static float as_float(const char *little_endian)
{
    uint32_t bits;
    float value;
    memcpy(&bits, little_endian, sizeof bits);
    bits = le32toh(bits);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* One piece more; false where its bytes are no message. What is there twice, or of another type than it
 * should be, makes the file odd. */
static bool add_piece(struct slice piece, struct spm_file *file)
{
    static const enum wire wires[] = {[TEXT] = BYTES, [SCORE] = FIXED32, [TYPE] = VARINT};
    const uint32_t id = file->n++;
    uint32_t seen = 0;
    struct field f;
    file->types[id] = SPM_NORMAL;
    file->texts[id] = slice_of("");
    file->scores[id] = 0;
    while (piece.size > 0) {
        if (!take_field(&piece, &f))
            return false;
        if (f.number > TYPE)
            continue;
        file->spec.odd |= f.wire != wires[f.number] || (seen >> f.number & 1) != 0;
        seen |= 1u << f.number;
        if (f.number == TEXT)
            file->texts[id] = f.inside;
        else if (f.number == SCORE && f.wire == FIXED32)
            file->scores[id] = as_float(f.inside.data);
        else if (f.number == TYPE && f.value >= SPM_NORMAL && f.value <= SPM_BYTE)
            file->types[id] = (uint8_t)f.value;
        else
            file->spec.odd = true;
    }
    file->spec.odd |= file->texts[id].size == 0;
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

static int count_pieces(struct slice file, size_t *ret)
{
    *ret = 0;
    for (struct field f; file.size > 0; *ret += f.number == PIECE)
        if (!take_field(&file, &f))
            return ERR_FORMAT;
    return *ret == 0 || *ret > PIECES_MAX ? ERR_FORMAT : 0;
}

int spm_file_read(struct slice file, struct spm_file *ret)
{
    struct spm_file made = {.spec = {.model_type = SPM_UNIGRAM,
                                     .add_dummy_prefix = true,
                                     .remove_extra_whitespaces = true,
                                     .escape_whitespaces = true}};
    unsigned n_trainers = 0, n_normalizers = 0;
    size_t n;
    int rc = count_pieces(file, &n);
    if (rc != 0)
        return rc;
    made.types = malloc(n * sizeof *made.types);
    made.texts = malloc(n * sizeof *made.texts);
    made.scores = malloc(n * sizeof *made.scores);
    if (made.types == NULL || made.texts == NULL || made.scores == NULL)
        rc = -ENOMEM;
    for (struct field f; rc == 0 && file.size > 0;) {
        CHECK(take_field(&file, &f)); /* as when they were counted */
        made.spec.odd |= f.number <= NORMALIZER_SPEC && f.wire != BYTES;
        if (f.number == TRAINER_SPEC) {
            n_trainers++;
            read_trainer(f.inside, &made.spec);
        } else if (f.number == NORMALIZER_SPEC) {
            n_normalizers++;
            read_normalizer(f.inside, &made.spec);
        } else if (f.number == PIECE && !add_piece(f.inside, &made)) {
            rc = ERR_FORMAT;
        }
    }
    if (rc == 0 && (n_trainers == 0 || n_normalizers == 0))
        rc = ERR_FORMAT;
    made.spec.odd |= n_trainers > 1 || n_normalizers > 1;
    if (rc == 0)
        *ret = made;
    else
        spm_file_fini(&made);
    return rc;
}

void spm_file_fini(struct spm_file *f)
{
    free(f->types);
    free(f->texts);
    free(f->scores);
}
