/* The feed's messages: golden vectors of another msgpack, shapes, refusals, and bytes that nobody meant. */
#include "proto/message.h"
#include "proto/token.h"

#include <errno.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#define VECTORS TEST_DIR "/../proto/vectors/"

static const char *const vector_names[] = {
    "open",
    "open-without-job",
    "open-fixed-shape",
    "credit",
    "credit-done",
    "close",
    "opened",
    "opened-endless",
    "changed",
    "wait",
    "wait-untold",
    "end",
    "end-changed",
    "error",
    "error-bad-world",
    "error-step-past-end",
    "batch",
};
#define N_VECTORS (sizeof vector_names / sizeof *vector_names)

struct bytes {
    char *data;
    size_t size;
};

/* A golden vector, in memory of just its size, so that a sanitizer sees any byte read beyond it. */
static struct bytes vector_read(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, VECTORS "%s.bin", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char buf[4096];
    struct bytes b = {.size = fread(buf, 1, sizeof buf, file)};
    assert_in_range(b.size, 1, sizeof buf - 1);
    (void)fclose(file);
    b.data = malloc(b.size);
    assert_non_null(b.data);
    memcpy(b.data, buf, b.size);
    return b;
}

static struct msg vector_decode(const struct bytes *b)
{
    struct msg m;
    char why[256] = "";
    if (msg_decode(b->data, b->size, &m, why, sizeof why) != 0)
        fail_msg("%s", why);
    return m;
}

static void encode(const struct msg *m, struct bytes *ret)
{
    int rc = -EINVAL;
    switch (m->type) {
    case MSG_TYPE_OPEN:
        rc = msg_encode_open(&m->open, &ret->data, &ret->size);
        break;
    case MSG_TYPE_CREDIT:
        rc = msg_encode_credit(&m->credit, &ret->data, &ret->size);
        break;
    case MSG_TYPE_CLOSE:
        rc = msg_encode_close(&ret->data, &ret->size);
        break;
    case MSG_TYPE_OPENED:
        rc = msg_encode_opened(&m->opened, &ret->data, &ret->size);
        break;
    case MSG_TYPE_CHANGED:
        rc = msg_encode_changed(&m->opened, &ret->data, &ret->size);
        break;
    case MSG_TYPE_WAIT:
        rc = msg_encode_wait(&m->wait, &ret->data, &ret->size);
        break;
    case MSG_TYPE_END:
        rc = msg_encode_end(&m->end, &ret->data, &ret->size);
        break;
    case MSG_TYPE_ERROR:
        rc = msg_encode_error(&m->error, &ret->data, &ret->size);
        break;
    case MSG_TYPE_BATCH:
    case MSG_TYPE__COUNT:
        break;
    }
    assert_int_equal(rc, 0);
}

static void encode_gives_the_golden_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        struct bytes golden = vector_read(vector_names[i]), ours = {0};
        struct msg m = vector_decode(&golden);
        if (m.type != MSG_TYPE_BATCH) {
            encode(&m, &ours);
            assert_int_equal(ours.size, golden.size);
            assert_memory_equal(ours.data, golden.data, golden.size);
        }
        msg_fini(&m);
        free(ours.data);
        free(golden.data);
    }
}

static void decode_gives_requests(void **state)
{
    (void)state;
    struct bytes b = vector_read("open");
    struct msg m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_OPEN);
    assert_int_equal(m.open.version, 1);
    assert_string_equal(m.open.stream, "chat");
    assert_int_equal(m.open.world, 8);
    assert_int_equal(m.open.rank, 3);
    assert_int_equal(m.open.step, 1200);
    assert_int_equal(m.open.credit, 8);
    assert_string_equal(m.open.job, "node-7/4242");
    free(b.data);

    b = vector_read("open-without-job");
    m = vector_decode(&b);
    assert_string_equal(m.open.stream, "größer");
    assert_true(m.open.step == (uint64_t)1 << 63);
    assert_true(m.open.credit == UINT64_MAX);
    assert_string_equal(m.open.job, "");
    assert_false(m.open.fixed_shape);
    free(b.data);

    b = vector_read("open-fixed-shape");
    m = vector_decode(&b);
    assert_true(m.open.fixed_shape);
    free(b.data);

    b = vector_read("credit");
    m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_CREDIT);
    assert_int_equal(m.credit.credit, 4);
    assert_true(m.credit.done == MSG_UNKNOWN);
    free(b.data);

    b = vector_read("credit-done");
    m = vector_decode(&b);
    assert_int_equal(m.credit.done, 70000);
    free(b.data);
}

static void decode_gives_answers(void **state)
{
    (void)state;
    struct bytes b = vector_read("opened");
    struct msg m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_OPENED);
    assert_string_equal(m.opened.server, "skipalignd 0.1.0");
    assert_string_equal(m.opened.strategy, "skip_all");
    assert_int_equal(m.opened.steps, 31250);
    assert_int_equal(m.opened.vocab_size, 64000);
    assert_int_equal(strlen(m.opened.tokenizer), 64);
    assert_true(m.opened.packing);
    assert_int_equal(m.opened.n_corpora, 2);
    assert_string_equal(m.opened.corpora[1].name, "own dialogues");
    assert_int_equal(m.opened.corpora[0].records, 939343);
    msg_fini(&m);
    free(b.data);

    b = vector_read("opened-endless");
    m = vector_decode(&b);
    assert_true(m.opened.steps == MSG_UNKNOWN);
    assert_int_equal(m.opened.pad_id, -1);
    assert_false(m.opened.packing);
    assert_int_equal(m.opened.n_corpora, 0);
    msg_fini(&m);
    free(b.data);

    b = vector_read("changed");
    m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_CHANGED);
    assert_int_equal(m.opened.generation, 4);
    assert_int_equal(m.opened.step, 1207);
    assert_int_equal(m.opened.length, 8192);
    assert_string_equal(m.opened.corpora[0].name, "tulu");
    msg_fini(&m);
    free(b.data);

    b = vector_read("wait");
    m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_WAIT);
    assert_int_equal(m.wait.step, 90000);
    assert_int_equal(m.wait.known, 31250);
    assert_int_equal(m.wait.seconds, 412);
    free(b.data);

    b = vector_read("wait-untold");
    m = vector_decode(&b);
    assert_true(m.wait.seconds == MSG_UNKNOWN);
    free(b.data);

    b = vector_read("end-changed");
    m = vector_decode(&b);
    assert_int_equal(m.end.step, 1207);
    assert_int_equal(m.end.reason, MSG_CHANGED);
    free(b.data);

    b = vector_read("end");
    m = vector_decode(&b);
    assert_int_equal(m.end.step, 31250);
    assert_int_equal(m.end.reason, MSG_COMPLETE);
    assert_int_equal(m.end.dropped, 97);
    free(b.data);

    b = vector_read("error-bad-world");
    m = vector_decode(&b);
    assert_int_equal(m.error.code, MSG_BAD_WORLD);
    assert_string_equal(m.error.code_name, "bad-world");
    assert_int_equal(m.error.n_worlds, 4);
    assert_int_equal(m.error.worlds[3], 8);
    assert_true(m.error.steps == MSG_UNKNOWN);
    msg_fini(&m);
    free(b.data);

    b = vector_read("error-step-past-end");
    m = vector_decode(&b);
    assert_int_equal(m.error.code, MSG_STEP_PAST_END);
    assert_int_equal(m.error.steps, 31250);
    msg_fini(&m);
    free(b.data);
}

static uint64_t arrays_hash(const struct msg_batch *b)
{
    const size_t tokens = (size_t)b->rows * b->length * sizeof(int32_t), docs = b->n_docs * sizeof(int32_t);
    XXH3_state_t *x = XXH3_createState();
    XXH3_64bits_reset(x);
    XXH3_64bits_update(x, b->input_ids, tokens);
    XXH3_64bits_update(x, b->position_ids, tokens);
    XXH3_64bits_update(x, b->labels, tokens);
    XXH3_64bits_update(x, b->tokens, b->rows * sizeof(int32_t));
    XXH3_64bits_update(x, b->cu_seqlens, docs + sizeof(int32_t));
    XXH3_64bits_update(x, b->doc_corpus, docs);
    XXH3_64bits_update(x, b->doc_record, 2 * docs);
    const uint64_t hash = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    return hash;
}

static void batch_is_the_golden_frame(void **state)
{
    (void)state;
    struct bytes golden = vector_read("batch");
    struct msg m = vector_decode(&golden);
    const struct msg_batch *in = &m.batch;
    assert_int_equal(in->n_docs, 5);
    assert_int_equal(in->position_ids[14], 65535);
    assert_int_equal(in->labels[0], -100);
    assert_true(in->doc_record[2] == 5000000000);
    assert_true(arrays_hash(in) == in->hash);

    struct msg_batch out = *in;
    out.supervised = out.supervised_global = out.hash = out.max_seqlen = 0;
    assert_int_equal(msg_batch_size(&out), golden.size);
    char *frame = malloc(golden.size);
    assert_non_null(frame);
    msg_batch_layout(&out, frame);
    memcpy(out.input_ids, in->input_ids, 16 * sizeof(int32_t));
    memcpy(out.position_ids, in->position_ids, 16 * sizeof(int32_t));
    memcpy(out.labels, in->labels, 16 * sizeof(int32_t));
    memcpy(out.tokens, in->tokens, 2 * sizeof(int32_t));
    memcpy(out.cu_seqlens, in->cu_seqlens, 6 * sizeof(int32_t));
    memcpy(out.doc_corpus, in->doc_corpus, 5 * sizeof(int32_t));
    memcpy(out.doc_record, in->doc_record, 5 * sizeof(int64_t));
    out.supervised = in->supervised;
    out.supervised_global = in->supervised_global;
    out.max_seqlen = in->max_seqlen;
    out.hash = arrays_hash(&out);
    msg_batch_seal(&out, frame);
    assert_memory_equal(frame, golden.data, golden.size);
    free(frame);
    free(golden.data);
}

/* A batch of one document a row, and of more to fill n_docs. */
static struct bytes batch_make(uint32_t rows, uint32_t length, uint32_t n_docs, size_t n_name)
{
    struct msg_batch b = {.world = 1, .rows = rows, .length = length, .n_docs = n_docs, .max_seqlen = length};
    memset(b.stream, 's', n_name);
    struct bytes frame = {.size = msg_batch_size(&b)};
    frame.data = malloc(frame.size);
    assert_non_null(frame.data);
    memset(frame.data, 0, frame.size);
    msg_batch_layout(&b, frame.data);
    b.cu_seqlens[n_docs] = (int32_t)(rows * length);
    return frame;
}

static void batch_arrays_are_aligned_in_any_shape(void **state)
{
    (void)state;
    for (uint32_t rows = 1; rows <= 5; rows++)
        for (uint32_t length = 1; length <= 9; length++)
            for (uint32_t n_docs = rows; n_docs <= rows * length; n_docs++) {
                struct bytes frame =
                    batch_make(rows, length, n_docs, 1 + (rows * length + n_docs) % MSG_NAME_MAX);
                struct msg m = vector_decode(&frame);
                assert_int_equal(((char *)m.batch.input_ids - frame.data) % MSG_ALIGN, 0);
                assert_int_equal(((char *)m.batch.cu_seqlens - frame.data) % 4, 0);
                assert_int_equal(((char *)m.batch.doc_record - frame.data) % 8, 0);
                assert_int_equal(m.batch.n_docs, n_docs);
                free(frame.data);
            }
}

static void batch_too_large_has_no_size(void **state)
{
    (void)state;
    struct msg_batch b = {.rows = 1024, .length = 1048576, .n_docs = 1024};
    assert_int_equal(msg_batch_size(&b), 0);
    b.length--;
    assert_true(msg_batch_size(&b) > (uint64_t)3 * 1024 * 1048575 * 4);
    b.n_docs = UINT32_MAX / 8 + 1;
    assert_int_equal(msg_batch_size(&b), 0);
}

/* ---- refusals ---- */

static void assert_refused(const char *data, size_t size, int expected, const char *words)
{
    struct msg m = {.type = MSG_TYPE__COUNT};
    char why[256] = "";
    char *copy = malloc(size + (size == 0));
    assert_non_null(copy);
    memcpy(copy, data, size);
    assert_int_equal(msg_decode(copy, size, &m, why, sizeof why), expected);
    if (strstr(why, words) == NULL)
        fail_msg("'%s' does not say '%s'", why, words);
    assert_int_equal(m.type, MSG_TYPE__COUNT);
    free(copy);
}

#define REFUSED(literal, words) assert_refused(literal, sizeof(literal) - 1, -EPROTO, words)

static void decode_refuses_what_is_no_map(void **state)
{
    (void)state;
    REFUSED("", "not a msgpack map");
    REFUSED("\xc1", "not a msgpack map");
    REFUSED("GET / HTTP/1.1\r\n", "not a msgpack map");
    REFUSED("\xdf\xff\xff\xff\xff", "not a msgpack map");
    REFUSED("\x81\x01\x02", "a key of the map is not a string");
    REFUSED("\x81\xa4type\xdd\xff\xff\xff\xff", "cut short");
    REFUSED("\x81\xa4type\xc6\xff\xff\xff\xff", "cut short");
    REFUSED("\x81\xa4type\xa5"
            "closeX",
            "1 bytes after");
    REFUSED("\x80", "`type` must be");
    assert_refused("\x81\xa4type\xa5"
                   "clos3",
                   12, -ENOMSG, "`type` must be");
    REFUSED("\x81\xa4type\x07", "`type` must be");
}

static void decode_refuses_every_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        struct bytes b = vector_read(vector_names[i]);
        for (size_t n = 1; n < b.size; n++)
            assert_refused(b.data, n, -EPROTO, "msgpack map");
        free(b.data);
    }
}

/* An `open` whose keys a test may change: each is a msgpack literal, NULL leaves it out. */
static struct bytes open_with(const char *key, const char *value, size_t n_value)
{
    static const struct {
        const char *key, *value;
    } all[] = {
        {"type", "\xa4open"},
        {"version", "\x01"},
        {"stream", "\xa4"
                   "chat"},
        {"world", "\x04"},
        {"rank", "\x03"},
        {"step", "\x05"},
        {"credit", "\x08"},
    };
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 7 - (value == NULL));
    for (size_t i = 0; i < 7; i++) {
        const bool changed = strcmp(all[i].key, key) == 0;
        if (changed && value == NULL)
            continue;
        msgpack_pack_str_with_body(&pk, all[i].key, strlen(all[i].key));
        if (changed)
            msgpack_sbuffer_write(&buf, value, n_value);
        else
            msgpack_sbuffer_write(&buf, all[i].value, strlen(all[i].value));
    }
    return (struct bytes){buf.data, buf.size};
}

static void open_refused(const char *key, const char *value, size_t n_value, int rc, const char *words)
{
    struct bytes b = open_with(key, value, n_value);
    assert_refused(b.data, b.size, rc, words);
    free(b.data);
}

#define OPEN_REFUSED(key, literal, rc, words) open_refused(key, literal, sizeof(literal) - 1, rc, words)

static void decode_names_the_wrong_key(void **state)
{
    (void)state;
    static const char *const required[] = {"version", "stream", "world", "rank", "step", "credit"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        char words[64];
        (void)snprintf(words, sizeof words, "`%s` is missing", required[i]);
        open_refused(required[i], NULL, 0, -EPROTO, words);
    }
    OPEN_REFUSED("version", "\x02", -ENOSYS, "`version` 2");
    OPEN_REFUSED("version",
                 "\xa1"
                 "1",
                 -EPROTO, "`version` must be an integer");
    OPEN_REFUSED("world", "\xff", -EPROTO, "`world` must be an integer from 0 to 4294967295");
    OPEN_REFUSED("rank", "\xcf\x00\x00\x00\x01\x00\x00\x00\x00", -EPROTO, "`rank` must be");
    OPEN_REFUSED("step", "\xcb\x40\x14\x00\x00\x00\x00\x00\x00", -EPROTO, "`step` must be");
    OPEN_REFUSED("credit", "\xc0", -EPROTO, "`credit` must be");
    OPEN_REFUSED("stream", "\x01", -EPROTO, "`stream` must be a string");
    OPEN_REFUSED("stream", "\xa2\x1b[", -EPROTO, "`stream` must be a string");
    OPEN_REFUSED("stream",
                 "\xa3"
                 "a\0b",
                 -EPROTO, "`stream` must be a string");
    OPEN_REFUSED("stream", "\xa2\xc3(", -EPROTO, "printable UTF-8");
    OPEN_REFUSED("stream",
                 "\xd9\x41"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                 -EPROTO, "at most 64 bytes");
    REFUSED("\x83\xa4type\xa6"
            "credit\xa6"
            "credit\x01\xa6"
            "credit\x01",
            "`credit` comes twice");
}

static void decode_takes_any_width_of_an_integer(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        uint64_t value;
    } widths[] = {
        {"\x7f", 1, 127},
        {"\xcc\x07", 2, 7},
        {"\xcd\x01\x00", 3, 256},
        {"\xce\x00\x00\x00\x09", 5, 9},
        {"\xcf\x80\x00\x00\x00\x00\x00\x00\x01", 9, 0x8000000000000001},
        {"\xd0\x05", 2, 5},
        {"\xd1\x01\x00", 3, 256},
        {"\xd2\x7f\xff\xff\xff", 5, 0x7fffffff},
        {"\xd3\x00\x00\x00\x00\x00\x00\x00\x06", 9, 6},
    };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        struct bytes b = open_with("step", widths[i].bytes, widths[i].size);
        struct msg m = vector_decode(&b);
        assert_true(m.open.step == widths[i].value);
        free(b.data);
    }
    OPEN_REFUSED("step", "\xd0\x85", -EPROTO, "`step`");
    OPEN_REFUSED("step", "\xd3\xff\xff\xff\xff\xff\xff\xff\xff", -EPROTO, "`step`");
}

static void decode_ignores_unknown_keys(void **state)
{
    (void)state;
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 5);
    msgpack_pack_str_with_body(&pk, "nested", 6);
    for (int i = 0; i < 100000; i++) /* deeper than any stack would like */
        msgpack_pack_array(&pk, 1);
    msgpack_pack_nil(&pk);
    msgpack_pack_str_with_body(&pk, "credit", 6);
    msgpack_pack_int(&pk, 3);
    msgpack_pack_str_with_body(&pk, "", 0);
    msgpack_pack_timestamp(&pk, &(msgpack_timestamp){1, 2});
    msgpack_pack_str_with_body(&pk, "map", 3);
    msgpack_pack_map(&pk, 1);
    msgpack_pack_double(&pk, .5);
    msgpack_pack_float(&pk, .5f);
    msgpack_pack_str_with_body(&pk, "type", 4);
    msgpack_pack_str_with_body(&pk, "credit", 6);
    struct bytes b = {buf.data, buf.size};
    struct msg m = vector_decode(&b);
    assert_int_equal(m.type, MSG_TYPE_CREDIT);
    assert_int_equal(m.credit.credit, 3);
    msgpack_sbuffer_destroy(&buf);
}

/* The golden batch with one stretch of its bytes replaced. */
static void batch_refused(const char *from, const char *to, size_t n, const char *words)
{
    struct bytes b = vector_read("batch");
    char *at = memmem(b.data, b.size, from, n);
    assert_non_null(at);
    memcpy(at, to, n);
    assert_refused(b.data, b.size, -EPROTO, words);
    free(b.data);
}

#define BATCH_REFUSED(from, to, words) batch_refused(from, to, sizeof(from) - 1, words)

static void decode_refuses_batches_out_of_shape(void **state)
{
    (void)state;
    BATCH_REFUSED("rank\xce\x00\x00\x00\x03", "rank\xce\x00\x00\x00\x08", "`rank` 8 must be below `world`");
    BATCH_REFUSED("rows\xce\x00\x00\x00\x02", "rows\xce\x00\x00\x00\x00", "make no batch");
    BATCH_REFUSED("length\xce\x00\x00\x00\x08", "length\xce\xff\xff\xff\xff", "make no batch");
    BATCH_REFUSED("length\xce\x00\x00\x00\x08", "length\xce\x00\x00\x00\x07",
                  "`input_ids` has 64 bytes, expected 56");
    BATCH_REFUSED("max_seqlen\xce\x00\x00\x00\x06", "max_seqlen\xce\x00\x00\x00\x09", "`cu_seqlens`");
    BATCH_REFUSED("cu_seqlens\xc6\x00\x00\x00\x18\x00", "cu_seqlens\xc6\x00\x00\x00\x18\x01",
                  "`cu_seqlens` from 1");
    BATCH_REFUSED("\x0f\x00\x00\x00\x10\x00\x00\x00\xaa", "\x0f\x00\x00\x00\x11\x00\x00\x00\xaa",
                  "`cu_seqlens` from 0 to 17");
    BATCH_REFUSED("labels", "labelz", "`labels` is missing");
    BATCH_REFUSED("tokens\xc6\x00\x00\x00\x08", "tokens\xdb\x00\x00\x00\x08", "`tokens` must be bin");
}

static void decode_refuses_a_batch_out_of_line(void **state)
{
    (void)state;
    struct bytes b = vector_read("batch");
    /* One byte less of padding: still good msgpack, but every array is off by one. */
    char *pad = memmem(b.data, b.size, "\xa3pad\xc4\x2c", 6);
    assert_non_null(pad);
    pad[5]--;
    memmove(pad + 6, pad + 7, b.size - (size_t)(pad + 7 - b.data));
    assert_refused(b.data, b.size - 1, -EPROTO, "`input_ids` is not at a multiple of 4 bytes");
    free(b.data);
}

/* ---- bytes that nobody meant ---- */

static uint64_t rng;

static uint32_t draw(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng >> 33) % n);
}

/* Decodes; what is taken must survive being encoded and decoded again. */
static bool decode_survives(const char *data, size_t size)
{
    struct msg m, again;
    char why[64] = "";
    int rc = msg_decode(data, size, &m, why, sizeof why);
    if (rc != 0) {
        assert_true(rc == -EPROTO || rc == -ENOSYS || rc == -ENOMSG);
        assert_true(strlen(why) > 0);
        return false;
    }
    if (m.type != MSG_TYPE_BATCH && !(m.type == MSG_TYPE_ERROR && m.error.code == MSG_CODE__COUNT)) {
        struct bytes out = {0}, twice = {0};
        encode(&m, &out);
        assert_int_equal(msg_decode(out.data, out.size, &again, why, sizeof why), 0);
        encode(&again, &twice);
        assert_int_equal(out.size, twice.size);
        assert_memory_equal(out.data, twice.data, out.size);
        msg_fini(&again);
        free(out.data);
        free(twice.data);
    }
    msg_fini(&m);
    return true;
}

static void decode_survives_mutations(void **state)
{
    (void)state;
    rng = 20240517;
    size_t taken = 0, refused = 0;
    for (size_t i = 0; i < N_VECTORS; i++) {
        struct bytes b = vector_read(vector_names[i]);
        for (int round = 0; round < 20000; round++) {
            const size_t size = draw(8) == 0 ? 1 + draw((uint32_t)b.size) : b.size;
            char *copy = malloc(size);
            assert_non_null(copy);
            memcpy(copy, b.data, size);
            for (uint32_t n = 1 + draw(4); n > 0; n--) {
                static const uint8_t telling[] = {0x00, 0x80, 0x9f, 0xbf, 0xc0, 0xc1, 0xc6, 0xc9,
                                                  0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xe0, 0xff};
                copy[draw((uint32_t)size)] = (char)(draw(2) ? telling[draw(sizeof telling)] : draw(256));
            }
            if (decode_survives(copy, size))
                taken++;
            else
                refused++;
            free(copy);
        }
        free(b.data);
    }
    assert_true(taken > 1000 && refused > 1000); /* both ways were gone */
}

static void decode_survives_noise(void **state)
{
    (void)state;
    rng = 7;
    for (int round = 0; round < 50000; round++) {
        const size_t size = draw(200);
        char *noise = malloc(size + 1);
        assert_non_null(noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (char)draw(256);
        assert_false(decode_survives(noise, size));
        free(noise);
    }
}

static void error_text_is_always_text(void **state)
{
    (void)state;
    struct msg_error e = {.code = MSG_STREAM_FAILED, .steps = MSG_UNKNOWN};
    memset(e.message, 'x', sizeof e.message);
    memcpy(e.message, "a\xff\x1b[\xc3\xa9\n", 7);
    e.message[sizeof e.message - 2] = '\xc3'; /* cut in the middle of a character */
    e.message[sizeof e.message - 1] = '\0';
    struct bytes b;
    assert_int_equal(msg_encode_error(&e, &b.data, &b.size), 0);
    struct msg m = vector_decode(&b);
    assert_memory_equal(m.error.message, "a??[\xc3\xa9\nx", 8);
    assert_int_equal(strlen(m.error.message), sizeof e.message - 1);
    assert_int_equal(m.error.message[sizeof e.message - 2], '?');
    msg_fini(&m);
    free(b.data);
}

static void error_of_a_later_version_keeps_its_name(void **state)
{
    (void)state;
    static const char bytes[] = "\x83\xa4type\xa5"
                                "error\xa4"
                                "code\xa4moon\xa7message\xa3why";
    struct bytes b = {(char *)bytes, sizeof bytes - 1};
    struct msg m = vector_decode(&b);
    assert_int_equal(m.error.code, MSG_CODE__COUNT);
    assert_string_equal(m.error.code_name, "moon");
    assert_string_equal(m.error.message, "why");
    msg_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_gives_the_golden_bytes),
        cmocka_unit_test(decode_gives_requests),
        cmocka_unit_test(decode_gives_answers),
        cmocka_unit_test(batch_is_the_golden_frame),
        cmocka_unit_test(batch_arrays_are_aligned_in_any_shape),
        cmocka_unit_test(batch_too_large_has_no_size),
        cmocka_unit_test(decode_refuses_what_is_no_map),
        cmocka_unit_test(decode_refuses_every_prefix),
        cmocka_unit_test(decode_names_the_wrong_key),
        cmocka_unit_test(decode_takes_any_width_of_an_integer),
        cmocka_unit_test(decode_ignores_unknown_keys),
        cmocka_unit_test(decode_refuses_batches_out_of_shape),
        cmocka_unit_test(decode_refuses_a_batch_out_of_line),
        cmocka_unit_test(decode_survives_mutations),
        cmocka_unit_test(decode_survives_noise),
        cmocka_unit_test(error_text_is_always_text),
        cmocka_unit_test(error_of_a_later_version_keeps_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
