/* small_model - SentencePiece models of a few pieces, for what no model at hand has (no bos, user-defined
 * symbols).
 *
 * The model is BPE with the identity normaliser and a dummy prefix. Errors fail the test.
 */
#ifndef SKIPALIGN_TESTS_SMALL_MODEL_H
#define SKIPALIGN_TESTS_SMALL_MODEL_H

#include "base/slice.h"
#include "text/spm_file.h"

#include <stddef.h>

struct small_piece {
    const char *text; /* a byte 0xfe stands for NUL */
    float score; /* the higher, the earlier two symbols are joined into it */
    enum spm_type type;
};

void small_model_write(const char *path, const struct small_piece *pieces, size_t n);
/* small_model_write_specs - specs: trainer_spec and normalizer_spec as they lie in a file. */
void small_model_write_specs(const char *path, const struct small_piece *pieces, size_t n,
                             struct slice specs);

/* small_model_write_bytes - the same with byte fallback: <unk> comes first, then 256 byte pieces, then these.
 * specs: trainer_spec and normalizer_spec as they lie in a file; NULL: as said above. */
void small_model_write_bytes(const char *path, const struct small_piece *pieces, size_t n,
                             const struct slice *specs);

#endif
