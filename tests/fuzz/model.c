/* A tokenizer's model file: refused with a reason, or a tokenizer whose ids are below its vocabulary's size.
 */
#include "fuzz/support/fuzz.h"
#include "fuzz/support/scratch.h"

#include "base/err.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "What is it? \xe2\x96\x81 <s> \0 \xf0\x9f\x99\x82 1234";
    struct tokenizer *t;
    struct err err = {""};
    int rc = tokenizer_load(scratch_write("model", data, size), NULL, 0, &t, &err);
    if (rc != 0) {
        CHECK(rc == ERR_MODEL && err.text[0] != '\0');
        return 0;
    }
    int32_t *ids = NULL;
    size_t cap = 0, n = 0;
    char piece[64];
    rc = tokenizer_encode(t, (struct slice){text, sizeof text - 1}, &ids, &cap, &n, &err);
    CHECK(rc == 0 || rc == ERR_MODEL);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        CHECK(ids[i] >= 0 && ids[i] < tokenizer_vocab_size(t));
        CHECK(tokenizer_piece(t, ids[i], piece, sizeof piece) < sizeof piece);
    }
    CHECK(tokenizer_pad(t) >= 0 && tokenizer_pad(t) < tokenizer_vocab_size(t));
    CHECK(tokenizer_symbol(t, slice_of("<s>")) < tokenizer_vocab_size(t));
    free(ids);
    tokenizer_unref(t);
    return 0;
}
