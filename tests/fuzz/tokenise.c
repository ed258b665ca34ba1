/* A text: the same ids as libsentencepiece's, with one model after the other and whatever was met before.
 */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "base/file.h"
#include "text/tokenizer.h"
#include "text/tokenizer_sp.h"

#include <stdlib.h>
#include <string.h>

struct model {
    struct tokenizer *ours;
    struct sp *theirs;
};

static void load(const char *path, struct model *m)
{
    char *data;
    size_t size;
    struct tokenizer_facts facts;
    CHECK(tokenizer_load(path, NULL, 0, &m->ours, NULL) == 0);
    CHECK(file_read(path, 1 << 28, &data, &size, NULL) == 0);
    CHECK(sp_load((struct slice){data, size}, &m->theirs, NULL) == 0);
    tokenizer_facts(m->ours, &facts);
    CHECK(facts.why_not == NULL);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model models[2];
    static int32_t *ours, *theirs;
    static size_t our_cap, their_cap;
    if (models[0].ours == NULL) {
        load(TEST_DIR "/data/sample.model", &models[0]);
        load(TEST_DIR "/data/mistral-v3.model", &models[1]);
    }
    for (int i = 0; i < 2; i++) {
        struct slice text = {(const char *)data, size};
        struct tokenizer_facts facts;
        size_t n_ours = 0, n_theirs = 0;
        CHECK(tokenizer_encode(models[i].ours, text, &ours, &our_cap, &n_ours, NULL) == 0);
        CHECK(sp_encode(models[i].theirs, text, &theirs, &their_cap, &n_theirs, NULL) == 0);
        CHECK(n_ours == n_theirs && (n_ours == 0 || memcmp(ours, theirs, n_ours * sizeof *ours) == 0));
        tokenizer_facts(models[i].ours, &facts);
        CHECK(facts.counts.differed == 0);
    }
    return 0;
}
