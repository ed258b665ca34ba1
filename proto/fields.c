#include "proto/fields.h"

const char *const msg_type_names[MSG_TYPE__COUNT] = {
    "open", "credit", "close", "opened", "changed", "batch", "wait", "end", "error",
};
const char *const msg_code_names[MSG_CODE__COUNT] = {
    "bad-message",   "bad-version", "unknown-stream", "bad-world",     "bad-rank",
    "step-past-end", "not-open",    "denied",         "stream-failed", "shutting-down",
};
const char *const msg_reason_names[MSG_REASON__COUNT] = {"complete", "removed", "failed", "changed"};

#define ROW(k, message, member, ...)                                                                  \
    {                                                                                                 \
        .key = #member, .off = offsetof(struct msg_##message, member), .kind = FIELD_##k, __VA_ARGS__ \
    }
#define OPTIONAL .optional = true
#define INT32S(s) .shape = SHAPE_##s, .width = 4
#define INT64S(s) .shape = SHAPE_##s, .width = 8

static const struct field open_rows[] = {
    ROW(U32, open, version),        ROW(NAME, open, stream),
    ROW(U32, open, world),          ROW(U32, open, rank),
    ROW(U64, open, step),           ROW(U64, open, credit),
    ROW(NAME, open, job, OPTIONAL), ROW(BOOL, open, fixed_shape, OPTIONAL),
};

static const struct field credit_rows[] = {
    ROW(U64, credit, credit),
    ROW(MAYBE, credit, done, OPTIONAL),
};

static const struct field opened_rows[] = {
    ROW(U32, opened, version),    ROW(NAME, opened, server),    ROW(NAME, opened, stream),
    ROW(U32, opened, generation), ROW(U64, opened, step),       ROW(MAYBE, opened, steps),
    ROW(U32, opened, rows),       ROW(U32, opened, length),     ROW(U32, opened, vocab_size),
    ROW(I32, opened, pad_id),     ROW(NAME, opened, tokenizer), ROW(U32, opened, max_position),
    ROW(NAME, opened, strategy),  ROW(BOOL, opened, packing),   ROW(CORPORA, opened, corpora),
};

static const struct field batch_rows[] = {
    ROW(NAME, batch, stream),
    ROW(U32, batch, generation),
    ROW(U64, batch, step),
    ROW(U64, batch, epoch),
    ROW(U32, batch, world),
    ROW(U32, batch, rank),
    ROW(U32, batch, rows),
    ROW(U32, batch, length),
    ROW(U32, batch, max_seqlen),
    ROW(U64, batch, supervised),
    ROW(U64, batch, supervised_global),
    ROW(U64, batch, hash),
    ROW(ARRAY, batch, input_ids, INT32S(TOKENS)),
    ROW(ARRAY, batch, position_ids, INT32S(TOKENS)),
    ROW(ARRAY, batch, labels, INT32S(TOKENS)),
    ROW(ARRAY, batch, tokens, INT32S(ROWS)),
    ROW(ARRAY, batch, cu_seqlens, INT32S(BOUNDS)),
    ROW(ARRAY, batch, doc_corpus, INT32S(DOCS)),
    ROW(ARRAY, batch, doc_record, INT64S(DOCS)),
};

static const struct field wait_rows[] = {
    ROW(U64, wait, step),
    ROW(U64, wait, known),
    ROW(MAYBE, wait, seconds),
};

static const struct field end_rows[] = {
    ROW(U64, end, step),
    ROW(REASON, end, reason),
    ROW(U64, end, dropped),
};

static const struct field error_rows[] = {
    ROW(CODE, error, code),
    ROW(TEXT, error, message),
    ROW(WORLDS, error, worlds, OPTIONAL),
    ROW(MAYBE, error, steps, OPTIONAL),
};

static const struct field corpus_rows[] = {
    ROW(NAME, corpus, name),
    ROW(U64, corpus, records),
};

#define FIELDS(rows)                        \
    {                                       \
        rows, sizeof(rows) / sizeof *(rows) \
    }
#define FIT(rows) _Static_assert(sizeof(rows) / sizeof *(rows) <= FIELDS_MAX, "room for a mark on each key")
FIT(batch_rows);
FIT(opened_rows);

const struct fields fields_of[MSG_TYPE__COUNT] = {
    [MSG_TYPE_OPEN] = FIELDS(open_rows),     [MSG_TYPE_CREDIT] = FIELDS(credit_rows),
    [MSG_TYPE_OPENED] = FIELDS(opened_rows), [MSG_TYPE_CHANGED] = FIELDS(opened_rows),
    [MSG_TYPE_BATCH] = FIELDS(batch_rows),   [MSG_TYPE_WAIT] = FIELDS(wait_rows),
    [MSG_TYPE_END] = FIELDS(end_rows),       [MSG_TYPE_ERROR] = FIELDS(error_rows),
};
const struct fields fields_of_corpus = FIELDS(corpus_rows);

uint64_t field_bytes(const struct field *f, const struct msg_batch *b)
{
    const uint64_t counts[] = {
        [SHAPE_TOKENS] = (uint64_t)b->rows * b->length,
        [SHAPE_ROWS] = b->rows,
        [SHAPE_DOCS] = b->n_docs,
        [SHAPE_BOUNDS] = (uint64_t)b->n_docs + 1,
    };
    return counts[f->shape] * f->width;
}
