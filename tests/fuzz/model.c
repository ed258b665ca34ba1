/* A tokenizer's model file: refused with a reason, or a tokenizer whose ids are libsentencepiece's, and below
 * its vocabulary's size.
 */
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "base/err.h"
#include "text/tokenizer.h"
#include "text/tokenizer_sp.h"

#include <stdlib.h>
#include <string.h>

static void check_ids(const struct tokenizer *t, const struct sp *sp, struct slice text)
{
    int32_t *ids = NULL, *same = NULL;
    size_t cap = 0, n = 0, same_cap = 0, same_n = 0;
    char piece[64];
    int rc = tokenizer_encode(t, text, &ids, &cap, &n, NULL);
    CHECK(rc == sp_encode(sp, text, &same, &same_cap, &same_n, NULL));
    CHECK(rc == 0 || rc == ERR_MODEL);
    CHECK(n == same_n && (n == 0 || memcmp(ids, same, n * sizeof *ids) == 0));
    for (size_t i = 0; i < n; i++) {
        CHECK(ids[i] >= 0 && ids[i] < tokenizer_vocab_size(t));
        CHECK(tokenizer_piece(t, ids[i], piece, sizeof piece) < sizeof piece);
    }
    free(ids);
    free(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "What is it? \xe2\x96\x81 <s> \0 \xf0\x9f\x99\x82 1234";
    static const char plain[] = "What is it?  What <s> \0 \xf0\x9f\x99\x82 t t  the 1234 that ";
    struct slice file = {(const char *)data, size};
    struct tokenizer *t;
    struct sp *sp;
    struct tokenizer_facts facts;
    struct err err = {""};
    int rc = tokenizer_load(scratch_write("model", data, size), NULL, 0, &t, &err);
    if (rc != 0) {
        CHECK(rc == ERR_MODEL && err.text[0] != '\0');
        return 0;
    }
    CHECK(sp_load(file, &sp, NULL) == 0);
    check_ids(t, sp, (struct slice){text, sizeof text - 1});
    check_ids(t, sp, (struct slice){plain, sizeof plain - 1});
    check_ids(t, sp, file);
    tokenizer_facts(t, &facts);
    CHECK(facts.why_not == NULL || strstr(facts.why_not, "other ids") == NULL);
    CHECK(tokenizer_pad(t) >= 0 && tokenizer_pad(t) < tokenizer_vocab_size(t));
    CHECK(tokenizer_symbol(t, slice_of("<s>")) < tokenizer_vocab_size(t));
    sp_free(sp);
    tokenizer_unref(t);
    return 0;
}
