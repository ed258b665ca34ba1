/* tokenizer - a SentencePiece model, loaded once and shared. Its ids are libsentencepiece's (tokenizer_sp.h),
 * always; where the model is one of those that our own code gives the same ids for (fast.h), that code does.
 *
 * Symbols (bos, eos, [INST], <|im_start|>, ...) are looked up by name and come into a sample from the
 * template only: tokenizer_encode never gives a control symbol, whatever the text holds. User-defined symbols
 * of the model are another matter: the library finds those in text (tokenizer_in_text), so the template
 * refuses texts that hold one it uses.
 *
 * Owner:   counted; tokenizer_unref the last one frees.   Threads: any, at once.
 */
#ifndef SKIPALIGN_TEXT_TOKENIZER_H
#define SKIPALIGN_TEXT_TOKENIZER_H

#include "base/err.h"
#include "base/slice.h"
#include "config/conf.h"
#include "text/fast.h"

#include <stdbool.h>
#include <stdint.h>

struct tokenizer;

/* tokenizer_load
 * special: symbols that a fine-tuned model added beyond its file; n of them.
 * Errors:  -errno for the file; ERR_MODEL: not a SentencePiece model or not all of one; a special token that
 *          the model has under another id, an id it uses for another piece or that is far beyond its last, a
 *          name or an id given twice; each with what to do.
 */
int tokenizer_load(const char *path, const struct conf_special *special, uint32_t n, struct tokenizer **ret,
                   struct err *reterr);
/* tokenizer_set - who tokenises, and one text in how many is compared where it is our own code (0: none); as
 * loaded: TOKENIZER_AUTO, TOKENIZER_VERIFY. Before others have it. */
#define TOKENIZER_VERIFY 4096
void tokenizer_set(struct tokenizer *t, enum tokenizer_path path, uint32_t verify);
struct tokenizer *tokenizer_ref(struct tokenizer *t);
void tokenizer_unref(struct tokenizer *t); /* NULL is fine */

/* tokenizer_encode - libsentencepiece's ids of text, no bos or eos.
 * ids:     *ids, *cap: a growable array (base/array.h), written from *n on; *n grows.
 * Errors:  -ENOMEM; ERR_MODEL if the library refuses (reterr may be NULL).
 */
int tokenizer_encode(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                     struct err *reterr);

/* tokenizer_own - does our own code tokenise?   tokenizer_doubted - it did, and has given other ids than the
 * library for a text that was compared: what it made before is not to be used. From then on tokenizer_encode
 * goes by the library.
 * tokenizer_doubt - the same, found by another tokenizer of this model; before: by an earlier run.
 * tokenizer_encode_own - by our own code all the same: to tell what it made before. */
bool tokenizer_own(const struct tokenizer *t);
bool tokenizer_doubted(const struct tokenizer *t);
void tokenizer_doubt(struct tokenizer *t, bool before);
int tokenizer_encode_own(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                         struct err *reterr);

/* tokenizer_symbol - id of a symbol: from special_tokens, else a control or user-defined piece; -1: none.
 * tokenizer_bos, _eos - those that the model names so; -1: none. */
int32_t tokenizer_symbol(const struct tokenizer *t, struct slice name);
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
/* tokenizer_in_text - may tokenizer_encode give this id? */
bool tokenizer_in_text(const struct tokenizer *t, int32_t id);
/* tokenizer_pad - the model's pad id, else eos, else unk, else 0. */
int32_t tokenizer_pad(const struct tokenizer *t);
/* tokenizer_vocab_size - 1 + the largest id, special tokens included. */
int32_t tokenizer_vocab_size(const struct tokenizer *t);

/* tokenizer_piece - the text of a token as a person reads it (U+2581 as space, bytes as themselves); buf of
 * cap bytes, NUL-terminated, cut at cap. Returns its length. Symbols give their name. */
size_t tokenizer_piece(const struct tokenizer *t, int32_t id, char *buf, size_t cap);

/* tokenizer_facts - who tokenises, and how it went so far. */
struct tokenizer_facts {
    const char *why_not;       /* our own code does not: words; NULL: it does */
    struct fast_counts counts; /* of our own code */
};
void tokenizer_facts(const struct tokenizer *t, struct tokenizer_facts *ret);

const char *tokenizer_path(const struct tokenizer *t);
const char *tokenizer_sha256(const struct tokenizer *t); /* of the model file, 64 hex digits */

#endif
