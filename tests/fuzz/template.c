/* Template strings from a configuration file: refused with a reason, or compiled; then every token of a
 * dialogue belongs to a block, and what is supervised lies in responses.
 *
 * The input is begin, system, user and assistant, separated by NUL; an empty one is absent.
 */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "text/template.h"

#include <stdlib.h>
#include <string.h>

static void check_document(const struct template *t, const struct sample *s)
{
    struct document d = {0};
    char detail[RECORD_DETAIL] = "";
    uint64_t n = 0;
    int rc = template_render(t, s, &d, detail);
    CHECK(rc == USABLE || ((rc == UNUSABLE_TEMPLATE || rc == UNUSABLE_TOKENIZER) && detail[0] != '\0'));
    for (size_t i = 0; rc == USABLE && i < d.n_blocks; i++) {
        const struct text_block *b = &d.blocks[i];
        CHECK(b->supervised_start <= b->supervised_end && b->supervised_end <= b->n_tokens);
        CHECK(b->role != ROLE_USER || b->supervised_start == b->supervised_end);
        n += b->n_tokens;
    }
    CHECK(rc != USABLE || n == d.n_ids);
    document_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *tok;
    static char name[] = "own";
    static const struct turn turns[] = {{.role = ROLE_SYSTEM, .text = {"be brief", 8}},
                                        {.role = ROLE_USER, .text = {"\xc3\xa9t\xc3\xa9? ", 7}},
                                        {.role = ROLE_ASSISTANT, .text = {" so", 3}},
                                        {.role = ROLE_USER, .text = {"", 0}},
                                        {.role = ROLE_ASSISTANT, .text = {"a\0b ", 4}},
                                        {.role = ROLE_TEXT, .text = {"text\n", 5}}};
    if (tok == NULL)
        CHECK(tokenizer_load(TEST_DIR "/data/sample.model", NULL, 0, &tok, NULL) == 0);
    char *texts = calloc(1, size + 4), *part[4], *at = texts;
    CHECK(texts != NULL);
    if (size > 0)
        memcpy(texts, data, size);
    for (int i = 0; i < 4; i++) {
        part[i] = *at != '\0' ? at : NULL;
        at += at < texts + size + 3 ? strlen(at) + 1 : 0;
    }
    const struct conf_template own = {.name = name,
                                      .begin = part[0],
                                      .system = part[1],
                                      .user = part[2] != NULL ? part[2] : name,
                                      .assistant = part[3] != NULL ? part[3] : name,
                                      .default_system = size % 2 != 0 ? part[1] : NULL,
                                      .system_place = (int32_t)(size % SYSTEM_PLACE__COUNT),
                                      .joined = size % 5 < 2};
    struct template *t;
    struct err err = {""};
    int rc = template_compile(name, &own, 1, tok, &t, &err);
    if (rc == 0) {
        check_document(t, &(struct sample){.turns = turns, .n_turns = 5});
        check_document(t, &(struct sample){.turns = turns + 1, .n_turns = 4});
        check_document(t, &(struct sample){.turns = turns + 5, .n_turns = 1});
        template_free(t);
    } else {
        CHECK(rc == ERR_CONFIG && err.text[0] != '\0');
    }
    free(texts);
    return 0;
}
