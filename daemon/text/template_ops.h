/* template_ops - a compiled template: each of its strings as a list of steps. Private to template.c and
 * render.c.
 */
#ifndef SKIPALIGN_TEXT_TEMPLATE_OPS_H
#define SKIPALIGN_TEXT_TEMPLATE_OPS_H

#include "text/template.h"

#include <stdbool.h>

enum op_kind { OP_TEXT, OP_SYMBOL, OP_CONTENT };
enum trim {
    TRIM_NONE,
    TRIM_AROUND, /* of the turn with the system prompt inside it */
    TRIM_TURN,   /* of the turn alone */
    TRIM_END_SPACES,
};

struct op {
    enum op_kind kind;
    enum trim trim;    /* OP_CONTENT */
    int32_t id;        /* OP_SYMBOL */
    struct slice text; /* OP_TEXT: in the part's source */
};

struct part {
    char *source; /* NULL: the template has no such string */
    struct op *ops;
    size_t n_ops, ops_cap;
};

struct template
{
    struct tokenizer *tok;
    struct part begin, system, user, assistant, text;
    char *default_system; /* NULL: none */
    enum template_system_place system_place;
    bool joined;
    int32_t bos;
    int32_t *unwanted; /* symbols used here that the library would also find in a text */
    size_t n_unwanted, unwanted_cap;
};

#endif
