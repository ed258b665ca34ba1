/* pieces - a model's pieces as text has them, with spaces where the model writes U+2581.
 *
 * Owner:   the caller of pieces_new; needed while tables are made, not after.   Threads: one.
 */
#ifndef SKIPALIGN_TEXT_PIECES_H
#define SKIPALIGN_TEXT_PIECES_H

#include "text/spm_file.h"
#include "text/tokenizer_sp.h"

struct pieces {
    int32_t n;            /* of the model; ids are 0..n - 1 */
    const uint8_t *types; /* enum spm_type, by id; borrowed */
    struct slice *texts;  /* by id */
    float *scores;
    char *bytes;      /* that texts are of */
    int32_t *table;   /* ids of those that are found in text, by hash; -1: an empty place */
    uint32_t n_table; /* a power of two */
};

/* pieces_new
 * file:    of the same model; its types are borrowed.
 * Errors:  -ENOMEM. */
int pieces_new(const struct sp *sp, const struct spm_file *file, struct pieces **ret);
void pieces_free(struct pieces *); /* NULL is fine */

/* pieces_in_text - is this one found in text? Control symbols, bytes and the unknown are not. */
bool pieces_in_text(const struct pieces *, int32_t id);
/* pieces_find - the id of the piece with this text that is found in text; -1: there is none. */
int32_t pieces_find(const struct pieces *, struct slice text);

#endif
