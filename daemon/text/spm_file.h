/* spm_file - a model file as it is: its pieces, and what libsentencepiece does not tell, the type of each, by
 * what rules it cuts text, and whether the file is whole. A file cut between two of its parts still loads
 * there, as another model.
 *
 * Owner:   the caller, with spm_file_fini; texts and charsmap are borrowed from the file's bytes.
 * Threads: pure, any.
 * Source:  sentencepiece 0.1.97, src/sentencepiece_model.proto: a protobuf message of pieces (field 1; in it
 *          piece is 1, score 2, type 3), then trainer_spec (field 2), normalizer_spec (field 3) and others.
 */
#ifndef SKIPALIGN_TEXT_SPM_FILE_H
#define SKIPALIGN_TEXT_SPM_FILE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE };
enum spm_model { SPM_UNIGRAM = 1, SPM_BPE, SPM_WORD, SPM_CHAR };

/* Fields of trainer_spec and normalizer_spec under their names there, as the file has them: a number that is
 * no such model, or a flag that is neither 0 nor 1, may be read in another way by libsentencepiece. */
struct spm_spec {
    uint64_t model_type; /* enum spm_model */
    uint64_t byte_fallback, whitespace_as_suffix;
    uint64_t add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    struct slice charsmap; /* precompiled_charsmap; borrowed from the file's bytes */
    /* Something is there twice, or is not of its type, or a piece has no text: libsentencepiece may read it
     * in another way, or not at all. */
    bool odd;
};

struct spm_file {
    uint32_t n;     /* pieces; ids are 0..n - 1 */
    uint8_t *types; /* enum spm_type, by id */
    struct slice *texts;
    float *scores;
    struct spm_spec spec;
};

/* spm_file_read
 * Errors: ERR_FORMAT: not such a message, or cut short (pieces or a spec are missing); -ENOMEM. */
int spm_file_read(struct slice file, struct spm_file *ret);
void spm_file_fini(struct spm_file *); /* a zeroed one is fine */

#endif
