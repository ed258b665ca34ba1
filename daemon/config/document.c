#include "config/document.h"

#include <errno.h>

/* libyaml takes time in the square of nesting and of anchors; our deepest key is at level 6. */
#define DEPTH_MAX 32

struct slice document_text(const yaml_node_t *node)
{
    return (struct slice){(const char *)node->data.scalar.value, node->data.scalar.length};
}

bool document_is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_is(document_text(node), words[i]))
            return true;
    return false;
}

/* mark_at - where in the text a byte is, columns counted in bytes: for what libyaml says by offset. */
static struct mark mark_at(struct slice text, size_t offset)
{
    struct mark m = {1, 1};
    for (size_t i = 0; i < text.size && i < offset; i++) {
        m.column++;
        if (text.data[i] == '\n')
            m = (struct mark){m.line + 1, 1};
    }
    return m;
}

static int syntax_error(const yaml_parser_t *y, struct slice text, struct mark *ret_mark, struct err *reterr)
{
    /* Where an allocation fails libyaml does not always say so; what is wrong with a text it does say. */
    if (y->error == YAML_MEMORY_ERROR || y->problem == NULL)
        return -ENOMEM;
    if (y->error == YAML_READER_ERROR) {
        *ret_mark = mark_at(text, y->problem_offset);
        return err_set(reterr, ERR_CONFIG, "%s; wanted is UTF-8 text without control characters", y->problem);
    }
    *ret_mark = document_mark(y->problem_mark);
    return err_set(reterr, ERR_CONFIG, "not YAML: %s%s%s", y->problem, y->context != NULL ? ", " : "",
                   y->context != NULL ? y->context : "");
}

struct bounds {
    uint32_t depth, anchors, anchors_max, documents;
};

static int check_bounds(struct bounds *b, const yaml_event_t *e, struct err *reterr)
{
    const yaml_char_t *anchor = NULL;
    if (e->type == YAML_SEQUENCE_START_EVENT) {
        b->depth++;
        anchor = e->data.sequence_start.anchor;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        b->depth++;
        anchor = e->data.mapping_start.anchor;
    } else if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
    } else if (e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT) {
        b->depth--;
    } else if (e->type == YAML_DOCUMENT_START_EVENT) {
        b->documents++;
    }
    b->anchors += anchor != NULL;
    if (b->depth > DEPTH_MAX)
        return err_set(reterr, ERR_CONFIG,
                       "lists and groups are nested too deep; no key is deeper than level 6");
    if (b->anchors > b->anchors_max && b->anchors_max == 0)
        return err_set(reterr, ERR_CONFIG, "anchors (&name) are not taken here; write the value out");
    if (b->anchors > b->anchors_max)
        return err_set(reterr, ERR_CONFIG, "too many anchors (&name); at most %u are taken", b->anchors_max);
    if (b->documents > 1)
        return err_set(reterr, ERR_CONFIG, "a second document begins; wanted is one");
    return 0;
}

static void start_parser(yaml_parser_t *y, struct slice text)
{
    yaml_parser_set_encoding(y, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(y, (const unsigned char *)text.data, text.size);
}

/* pre_scan - the whole text as events: syntax and bounds. */
static int pre_scan(struct slice text, uint32_t anchors_max, struct mark *ret_mark, struct err *reterr)
{
    yaml_parser_t y;
    yaml_event_t e;
    struct bounds bounds = {.anchors_max = anchors_max};
    int rc = 0;
    if (!yaml_parser_initialize(&y))
        return -ENOMEM;
    start_parser(&y, text);
    for (bool done = false; rc == 0 && !done;) {
        if (!yaml_parser_parse(&y, &e)) {
            rc = syntax_error(&y, text, ret_mark, reterr);
            break;
        }
        rc = check_bounds(&bounds, &e, reterr);
        if (rc != 0)
            *ret_mark = document_mark(e.start_mark);
        done = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&y);
    return rc;
}

int document_read(struct slice text, uint32_t anchors_max, yaml_document_t *ret, struct mark *ret_mark,
                  struct err *reterr)
{
    yaml_parser_t y;
    int rc = pre_scan(text, anchors_max, ret_mark, reterr);
    if (rc != 0)
        return rc;
    if (!yaml_parser_initialize(&y))
        return -ENOMEM;
    start_parser(&y, text);
    if (!yaml_parser_load(&y, ret))
        rc = syntax_error(&y, text, ret_mark, reterr);
    yaml_parser_delete(&y);
    return rc;
}
