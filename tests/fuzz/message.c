/* A message of the feed from anyone: refused with a reason, or understood; and what was understood says the
 * same again when it is written and read once more. */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "proto/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int encode(const struct msg *m, char **ret, size_t *ret_size)
{
    switch (m->type) {
    case MSG_TYPE_OPEN:
        return msg_encode_open(&m->open, ret, ret_size);
    case MSG_TYPE_CREDIT:
        return msg_encode_credit(&m->credit, ret, ret_size);
    case MSG_TYPE_CLOSE:
        return msg_encode_close(ret, ret_size);
    case MSG_TYPE_OPENED:
        return msg_encode_opened(&m->opened, ret, ret_size);
    case MSG_TYPE_CHANGED:
        return msg_encode_changed(&m->opened, ret, ret_size);
    case MSG_TYPE_WAIT:
        return msg_encode_wait(&m->wait, ret, ret_size);
    case MSG_TYPE_END:
        return msg_encode_end(&m->end, ret, ret_size);
    default:
        return msg_encode_error(&m->error, ret, ret_size);
    }
}

/* Written once they are in the form of our own encoder, which reading and writing must not change again. */
static void check_round_trip(const struct msg *m)
{
    char *first, *second, why[256];
    size_t first_size, second_size;
    struct msg again;
    CHECK(encode(m, &first, &first_size) == 0);
    CHECK(msg_decode(first, first_size, &again, why, sizeof why) == 0);
    CHECK(again.type == m->type);
    CHECK(encode(&again, &second, &second_size) == 0);
    CHECK(first_size == second_size && memcmp(first, second, first_size) == 0);
    msg_fini(&again);
    free(first);
    free(second);
}

/* The arrays lie in the message, as long as the shapes promise. */
static void check_batch(const struct msg_batch *b, const uint8_t *data, size_t size)
{
    const uint64_t tokens = (uint64_t)b->rows * b->length, docs = b->n_docs;
    const struct {
        const void *at;
        uint64_t size;
    } arrays[] = {{b->input_ids, 4 * tokens},  {b->position_ids, 4 * tokens},   {b->labels, 4 * tokens},
                  {b->tokens, 4ull * b->rows}, {b->cu_seqlens, 4 * (docs + 1)}, {b->doc_corpus, 4 * docs},
                  {b->doc_record, 8 * docs}};
    CHECK(b->rows > 0 && b->length > 0 && tokens <= MSG_TOKENS_MAX && docs >= b->rows);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        const uint8_t *at = arrays[i].at;
        CHECK(at >= data && at <= data + size && arrays[i].size <= (uint64_t)(data + size - at));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct msg m;
    char why[256] = "";
    int rc = msg_decode((const char *)data, size, &m, why, sizeof why);
    if (rc != 0) {
        CHECK((rc == -EPROTO || rc == -ENOSYS || rc == -ENOMSG) && why[0] != '\0' &&
              strlen(why) < sizeof why);
        return 0;
    }
    if (m.type == MSG_TYPE_BATCH)
        check_batch(&m.batch, data, size);
    else if (m.type != MSG_TYPE_ERROR || m.error.code != MSG_CODE__COUNT) /* a code of a later version */
        check_round_trip(&m);
    msg_fini(&m);
    return 0;
}
