/* spm_file - what libsentencepiece does not tell about a model file: the type of each piece, and whether the
 * file is whole. A file cut between two of its parts still loads there, as another model.
 *
 * Owner:   the caller frees *ret_types.   Threads: pure, any.
 * Source:  sentencepiece 0.1.97, src/sentencepiece_model.proto: a protobuf message of pieces (field 1; in it
 *          piece is 1, score 2, type 3), then trainer_spec (field 2), normalizer_spec (field 3) and others.
 */
#ifndef SKIPALIGN_TEXT_SPM_FILE_H
#define SKIPALIGN_TEXT_SPM_FILE_H

#include "base/slice.h"

#include <stdint.h>

enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE };

/* spm_file_types - ret_types[*ret_n], by id.
 * Errors: ERR_FORMAT: not such a message, or cut short (pieces or a spec are missing); -ENOMEM. */
int spm_file_types(struct slice file, uint8_t **ret_types, uint32_t *ret_n);

#endif
