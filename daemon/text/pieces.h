/* pieces - a model's pieces as text has them, with spaces where the model writes U+2581.
 *
 * Owner:   the caller of pieces_new; needed while tables are made, not after.   Threads: one.
 */
#ifndef SKIPALIGN_TEXT_PIECES_H
#define SKIPALIGN_TEXT_PIECES_H

#include "text/spm_file.h"

struct piece_place {
    uint64_t head; /* its first eight bytes, zeros after its end */
    uint32_t size;
    int32_t id; /* -1: an empty place */
};

struct pieces {
    int32_t n;               /* of the model; ids are 0..n - 1 */
    const uint8_t *types;    /* enum spm_type, by id; borrowed, as the next two */
    const struct slice *raw; /* as the model writes them */
    const float *scores;
    struct slice *texts;       /* by id */
    char *bytes;               /* that texts are of */
    struct piece_place *table; /* of those that are found in text */
    unsigned shift;            /* of a hash, to one of table */
};

/* pieces_new - of a model; file stays where it is as long as they are needed.   Errors:  -ENOMEM. */
int pieces_new(const struct spm_file *file, struct pieces **ret);
void pieces_free(struct pieces *); /* NULL is fine */

/* pieces_in_text - is this one found in text? Control symbols, bytes and the unknown are not. */
bool pieces_in_text(const struct pieces *, int32_t id);
/* pieces_find - the id of the piece with this text that is found in text; -1: there is none. */
int32_t pieces_find(const struct pieces *, struct slice text);
/* pieces_find_part - the same, faster, of some bytes of texts[].   pieces_expect_part - they will be looked
 * for soon: memory answers meanwhile. */
int32_t pieces_find_part(const struct pieces *, struct slice part);
void pieces_expect_part(const struct pieces *, struct slice part);

#endif
