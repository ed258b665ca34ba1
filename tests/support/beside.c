#include "beside.h"

#include "base/file.h"
#include "text/tokenizer_sp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void beside_open(struct beside *b, const char *model)
{
    char *data = NULL;
    size_t size = 0;
    struct err err = {""};
    *b = (struct beside){.ours = NULL};
    if (tokenizer_load(model, NULL, 0, &b->ours, &err) != 0 ||
        file_read(model, 1 << 28, &data, &size, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(sp_load((struct slice){data, size}, &b->theirs, &err), 0);
    free(data);
    struct tokenizer_facts facts;
    tokenizer_facts(b->ours, &facts);
    b->before = facts.counts.texts - facts.counts.refused;
    b->why_not = facts.why_not;
    /* All other reasons are the model's. */
    assert_true(b->why_not == NULL || strstr(b->why_not, "other ids") == NULL);
}

static void show(struct slice text)
{
    print_message("text of %zu bytes:", text.size);
    for (size_t i = 0; i < text.size && i < 2000; i++)
        print_message(" %02x", (uint8_t)text.data[i]);
    print_message("\n");
}

void beside_compare(struct beside *b, struct slice text)
{
    size_t n_ours = 0, n_theirs = 0;
    int our_rc = tokenizer_encode(b->ours, text, &b->our_ids, &b->our_cap, &n_ours, NULL);
    int their_rc = sp_encode(b->theirs, text, &b->their_ids, &b->their_cap, &n_theirs, NULL);
    assert_int_equal(our_rc, their_rc);
    if (n_ours != n_theirs ||
        (n_ours > 0 && memcmp(b->our_ids, b->their_ids, n_ours * sizeof(int32_t)) != 0)) {
        show(text);
        fail_msg("%s: other ids than libsentencepiece's", tokenizer_path(b->ours));
    }
    b->texts++;
    b->bytes += text.size;
}

uint64_t beside_by_us(const struct beside *b)
{
    struct tokenizer_facts facts;
    tokenizer_facts(b->ours, &facts);
    assert_int_equal(facts.counts.differed, 0);
    return facts.counts.texts - facts.counts.refused - b->before;
}

void beside_close(struct beside *b)
{
    tokenizer_unref(b->ours);
    sp_free(b->theirs);
    free(b->our_ids);
    free(b->their_ids);
}
