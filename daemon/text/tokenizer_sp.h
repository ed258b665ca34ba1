/* tokenizer_sp - libsentencepiece for C: one model. Private to text/; nothing thrown gets past here.
 *
 * Owner:   the caller of sp_load.   Threads: any, at once.
 */
#ifndef SKIPALIGN_TEXT_TOKENIZER_SP_H
#define SKIPALIGN_TEXT_TOKENIZER_SP_H

#include "base/slice.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/err.h"

struct sp;

/* sp_load - from the bytes of a model file, which are not kept.
 * Errors: ERR_MODEL with the library's words; -ENOMEM. */
int sp_load(struct slice file, struct sp **ret, struct err *reterr);
void sp_free(struct sp *sp); /* NULL is fine */

/* sp_encode - ids of text, appended to a growable array as tokenizer_encode does.   Errors: as sp_load. */
int sp_encode(const struct sp *sp, struct slice text, int32_t **ids, size_t *cap, size_t *n,
              struct err *reterr);

int32_t sp_n_pieces(const struct sp *sp);
int32_t sp_id(const struct sp *sp, struct slice piece); /* -1: not a piece of the model; any type */
struct slice sp_piece(const struct sp *sp, int32_t id); /* borrowed from the model; 0 <= id < sp_n_pieces */
float sp_score(const struct sp *sp, int32_t id);
int32_t sp_bos(const struct sp *sp), sp_eos(const struct sp *sp); /* -1: the model has none */
int32_t sp_pad(const struct sp *sp), sp_unk(const struct sp *sp);

#ifdef __cplusplus
}
#endif

#endif
