/* document - a text as libyaml's tree; private to the config stage.
 *
 * document_read bounds what would cost libyaml more than time in proportion: nesting, anchors.
 * Errors: ERR_CONFIG, *reterr says what and *ret_mark where; -ENOMEM.
 * Owner:  the caller: yaml_document_delete(ret). */
#ifndef SKIPALIGN_CONFIG_DOCUMENT_H
#define SKIPALIGN_CONFIG_DOCUMENT_H

#include "base/err.h"
#include "base/slice.h"
#include "config/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <yaml.h>

int document_read(struct slice text, uint32_t anchors_max, yaml_document_t *ret, struct mark *ret_mark,
                  struct err *reterr);

/* document_text - of a scalar; document_is_null - no value, as YAML 1.1 writes it. */
struct slice document_text(const yaml_node_t *node);
bool document_is_null(const yaml_node_t *node);

static inline struct mark document_mark(yaml_mark_t m)
{
    return (struct mark){(uint32_t)m.line + 1, (uint32_t)m.column + 1};
}

#endif
