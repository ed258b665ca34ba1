/* A record's bytes in every format: a dialogue of the shape that record.h promises, or not usable, with a
 * reason. */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "corpus/record.h"
#include "proto/utf8.h"

#include <stdlib.h>
#include <string.h>

static bool is_text(struct slice s)
{
    uint32_t point;
    for (unsigned n; s.size > 0; s.data += n, s.size -= n)
        if ((n = utf8_next(s.data, s.size, &point)) == 0)
            return false;
    return true;
}

/* At most one system turn, first; then instructions and responses in turn, or one text. */
static void check_sample(const struct sample *s)
{
    CHECK(s->n_turns > 0);
    const uint32_t system = s->turns[0].role == ROLE_SYSTEM;
    bool response = false;
    for (uint32_t i = 0; i < s->n_turns; i++) {
        const enum role role = s->turns[i].role;
        CHECK(is_text(s->turns[i].text));
        response |= role == ROLE_ASSISTANT || role == ROLE_TEXT;
        if (role == ROLE_TEXT)
            CHECK(s->n_turns == 1);
        else if (i >= system)
            CHECK(role == ((i - system) % 2 == 0 ? ROLE_USER : ROLE_ASSISTANT));
    }
    CHECK(response);
}

static void parse(struct record_parser *p, const struct conf_corpus *conf, enum corpus_format format,
                  bool plain, struct slice text)
{
    struct sample s;
    char detail[RECORD_DETAIL];
    memset(detail, 'x', sizeof detail);
    int rc = record_parse(p, conf, format, plain, text, &s, detail);
    CHECK(rc >= USABLE && rc < UNUSABLE__COUNT);
    if (rc == USABLE)
        check_sample(&s);
    else
        CHECK(detail[0] != '\0' && memchr(detail, 0, sizeof detail) != NULL && is_text(slice_of(detail)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct record_parser *p; /* one for all, as a worker's */
    static char x[] = "x";
    /* Every field by its own name, and all by one: the same text may be used for two of them then. */
    const struct conf_corpus own = {0}, one = {.fields = {[FIELD_SYSTEM] = x,
                                                          [FIELD_INSTRUCTION] = x,
                                                          [FIELD_INPUT] = x,
                                                          [FIELD_OUTPUT] = x,
                                                          [FIELD_PROMPT] = x,
                                                          [FIELD_COMPLETION] = x,
                                                          [FIELD_MESSAGES] = x,
                                                          [FIELD_CONVERSATIONS] = x}};
    if (p == NULL)
        CHECK((p = record_parser_new()) != NULL);
    char *text = calloc(1, size + RECORD_PADDING);
    CHECK(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    const struct slice s = {text, size};
    for (int format = FORMAT_MESSAGES; format < FORMAT__COUNT; format++) {
        parse(p, &own, (enum corpus_format)format, false, s);
        parse(p, &one, (enum corpus_format)format, false, s);
    }
    parse(p, &own, FORMAT_TEXT, true, s);
    CHECK(record_detect(p, &own, s) < FORMAT__COUNT);
    free(text);
    return 0;
}
