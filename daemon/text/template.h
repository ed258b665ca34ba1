/* template - a dialogue to blocks of tokens: what is said by whom, what is trained.
 *
 * A template is five strings. In them {content} is the turn's text, {bos}, {eos} and {symbol NAME} are symbols of the
 * tokenizer, "{{" is a brace, all else is text:
 *   begin      once, first
 *   system     around a system prompt; where it goes is system_place
 *   user       around an instruction            assistant  around a response
 * Text between two symbols (or a block's ends) is tokenised as one piece, turn text and template text together.
 * Labels: in `assistant`, from {content} up to and including the first symbol after it (its end-of-turn), or to the
 * end of the string if there is none; nothing else is supervised. A text record (ROLE_TEXT) is begin, the text and
 * {eos}, one supervised block.
 * Blocks: instruction, response, instruction, ...: begin and system join block 0; the header of a response belongs to
 * the response.
 *
 * Built in: plain, alpaca, llama2, mistral-v1, mistral-v3, chatml (the same five strings, in template.c), and those of
 * the configuration.
 *
 * Owner:   the caller of template_compile.   Threads: a compiled template is immutable; any.
 */
#ifndef SKIPALIGN_TEXT_TEMPLATE_H
#define SKIPALIGN_TEXT_TEMPLATE_H

#include "base/err.h"
#include "config/conf.h"
#include "corpus/record.h"
#include "text/tokenizer.h"

#include <stdint.h>

enum template_system_place {
    SYSTEM_BEFORE,     /* a piece of its own, after begin */
    SYSTEM_FIRST_USER, /* put before the text of the first instruction, inside its {content} */
    SYSTEM_LAST_USER,  /* the same for the last instruction (mistral v2 and later) */
    SYSTEM_PLACE__COUNT,
};
extern const char *const template_system_place_names[SYSTEM_PLACE__COUNT];

struct template;

/* template_compile - for one tokenizer.
 * own, n_own: the configuration's templates.
 * Errors:     ERR_CONFIG: no such template (with the names there are and the nearest), a string without {content}, an
 *             unknown {...}, a symbol that neither model nor special_tokens have (with what to add).
 */
int template_compile(const char *name, const struct conf_template *own, uint32_t n_own, struct tokenizer *tok,
                     struct template **ret, struct err *reterr);
void template_free(struct template *t); /* NULL is fine */

struct text_block {
    enum role role; /* ROLE_USER, ROLE_ASSISTANT or ROLE_TEXT */
    uint32_t n_tokens;
    uint32_t supervised_start, supervised_end; /* offsets in the block; equal: none */
};

/* A rendered sample; grows as needed and is used again for the next one. Zero it first, document_fini last. */
struct document {
    int32_t *ids;
    size_t n_ids, ids_cap;
    struct text_block *blocks;
    size_t n_blocks, blocks_cap;
    char *scratch; /* template's */
    size_t scratch_cap;
};
void document_fini(struct document *d);

/* template_render - *d is emptied and filled.
 * Returns: USABLE, UNUSABLE_TEMPLATE or UNUSABLE_TOKENIZER with detail; the number of tokens may exceed seq_len.
 * Lengths: every token belongs to one block, in order. */
enum unusable template_render(const struct template *t, const struct sample *s, struct document *d,
                              char detail[RECORD_DETAIL]);

#endif
