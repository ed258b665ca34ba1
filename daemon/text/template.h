/* template - a dialogue to blocks of tokens: what is said by whom, what is trained.
 *
 * A template is five strings:
 *   begin      once, first (may be absent)
 *   system     around a system prompt; where it goes is system_place (absent: there is no place for one)
 *   user       around an instruction
 *   assistant  around a response
 * A text record (ROLE_TEXT) is begin, then "{content}{eos?}".
 *
 * In the strings all is text but
 *   {content}                   the turn's text, once in each string but begin
 *   {content trim}              the same without white space (white.h) around it; a system prompt inside
 * counts as its beginning {content trim-turn}         the same; around the turn itself, also after a system
 * prompt {content trim-end-spaces}   the same without spaces, only those, at its end {bos} {eos} {symbol
 * NAME}   symbols of the tokenizer {bos?} {eos?}               the same, or nothing where the model has none
 *   {{                          a brace
 * A {bos} right after a {bos} is left out, so that begin and user can both start with one.
 *
 * Text between two symbols (or a block's ends) is tokenised as one piece, turn and template text together. In
 * a joined template it is so across blocks too, as where a whole dialogue is tokenised at once; each response
 * must end with a symbol then. A token that holds text of two blocks is the later one's.
 *
 * default_system stands for the system prompt of a dialogue that has none.
 *
 * Labels: in `assistant`, from {content} up to and including the first symbol after it (its end-of-turn), or
 * to the end of the string if there is none; nothing else is supervised, and never a document's first token.
 * A token that holds the end of a response's header and the start of the response counts as response.
 *
 * Blocks: instruction, response, instruction, ...: begin and system join block 0; what `assistant` has before
 * {content} belongs to the response. An empty system prompt is none.
 *
 * Built in: plain, alpaca, llama2, mistral-v1, mistral-v3, chatml, zephyr, tulu, vicuna, gemma (written in
 * the same way, in template.c), and those of the configuration.
 *
 * Owner:   the caller of template_compile.   Threads: a compiled template is immutable; any.
 */
#ifndef SKIPALIGN_TEXT_TEMPLATE_H
#define SKIPALIGN_TEXT_TEMPLATE_H

#include "base/err.h"
#include "config/conf.h"
#include "corpus/record.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

enum template_system_place {
    SYSTEM_BEFORE,     /* after begin */
    SYSTEM_FIRST_USER, /* put before the text of the first instruction, inside its {content} */
    SYSTEM_LAST_USER,  /* the same for the last instruction (mistral v2 and later) */
    SYSTEM_PLACE__COUNT,
};
extern const char *const template_system_place_names[SYSTEM_PLACE__COUNT];

struct template;

/* template_compile - for one tokenizer, of which it takes a reference.
 * own, n_own: the configuration's templates.
 * Errors:     ERR_CONFIG: no such template (with the names there are and the nearest), an own template with a
 *             built-in name, {content} missing or given twice, an unknown {...}, a symbol that neither model
 *             nor special_tokens have (with what to add); -ENOMEM.
 */
int template_compile(const char *name, const struct conf_template *own, uint32_t n_own, struct tokenizer *tok,
                     struct template **ret, struct err *reterr);
/* template_check_name - is there such a template? Errors: as above; needs no tokenizer. */
int template_check_name(const char *name, const struct conf_template *own, uint32_t n_own,
                        struct err *reterr);
void template_free(struct template *t); /* NULL is fine */

struct text_block {
    enum role role; /* ROLE_USER, ROLE_ASSISTANT or ROLE_TEXT */
    uint32_t n_tokens;
    uint32_t supervised_start, supervised_end; /* offsets in the block; equal: none */
};

/* A rendered sample; grows as needed and serves again for the next. Zero it first, document_fini last. */
struct document {
    int32_t *ids;
    size_t n_ids, ids_cap;
    struct text_block *blocks;
    size_t n_blocks, blocks_cap;
    char *scratch; /* template's */
    size_t scratch_cap;
    bool own; /* set by the caller: ids by tokenizer_encode_own */
};
void document_fini(struct document *d);

/* template_render - *d is emptied and filled.
 * Returns: USABLE, UNUSABLE_TEMPLATE or UNUSABLE_TOKENIZER with detail; or -ENOMEM, which says nothing about
 *          the record and must not count as a reason against it.
 * Lengths: every token belongs to one block, in order; there may be more than seq_len. */
int template_render(const struct template *t, const struct sample *s, struct document *d,
                    char detail[RECORD_DETAIL]);

#endif
