#include "feed/frame.h"

#include "fake_supply.h"
#include "proto/message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xxhash.h>

#include <cmocka.h>

#define ROWS 8
#define LENGTH 60

struct fixture {
    struct tokenizer *tokenizer;
    struct conf_stream conf;
    struct recipe recipe;
    struct supply *supply;
    struct stream *stream;
    struct pool *pool;
};

static void nothing_changes(void *arg, struct step *step)
{
    (void)arg, (void)step;
    fail();
}

static int setup(void **state)
{
    static struct fixture x;
    struct err err;
    x = (struct fixture){.conf = {.name = (char *)"chat", .seq_len = LENGTH, .global_batch = ROWS}};
    assert_int_equal(tokenizer_load(TEST_DIR "/data/sample.model", NULL, 0, &x.tokenizer, &err), 0);
    x.recipe = (struct recipe){.conf = &x.conf, .tokenizer = x.tokenizer};
    fake_plans[0] = (struct fake_plan){.name = "chat", .steps = 100, .released = 100};
    assert_int_equal(supply_new(NULL, NULL, 0, nothing_changes, NULL, &x.supply), 0);
    const struct generation_setup g = {.number = 5, .recipe = &x.recipe};
    assert_int_equal(supply_add(x.supply, "chat", NULL, &g, 1, &x.stream, &err), 0);
    x.pool = pool_new(1 << 20);
    *state = &x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    pool_free(x->pool);
    supply_stop(x->supply);
    tokenizer_unref(x->tokenizer);
    return 0;
}

static struct frame *written(const struct fixture *x, const struct step *step, uint32_t world, uint32_t rank,
                             struct msg *ret)
{
    struct frame *f = NULL;
    char why[256] = "";
    assert_int_equal(frame_write(x->pool, step, world, rank, &f), 0);
    if (msg_decode(f->data, f->size, ret, why, sizeof why) != 0)
        fail_msg("%s", why);
    assert_int_equal(ret->type, MSG_TYPE_BATCH);
    return f;
}

/* One token of a row, worked out from the window by the letter of the contract and nothing else. */
struct place {
    int32_t input_id, position_id, label, corpus;
    int64_t record;
    uint32_t start, n; /* of its document, in its row */
};

static struct place expected(const struct fixture *x, const struct step_row *r, uint32_t i)
{
    uint32_t start = 0;
    const struct window *w = r->window;
    for (uint32_t k = 0; w != NULL && k < w->rows[r->row].n_docs; k++) {
        const struct window_doc *d = &w->docs[w->row_docs[w->rows[r->row].first_doc + k]];
        if (i >= start + d->n_tokens) {
            start += d->n_tokens;
            continue;
        }
        uint32_t t = i - start;
        struct place p = {.input_id = w->tokens[d->first_token + t],
                          .label = -100,
                          .corpus = (int32_t)d->corpus,
                          .record = (int64_t)d->record,
                          .start = start,
                          .n = d->n_tokens};
        for (uint32_t k2 = 0; k2 < d->n_runs; k2++) {
            const struct pos_run *run = &w->runs[d->first_run + k2];
            if (run->start <= t)
                p.position_id = (int32_t)(run->id + t - run->start);
        }
        for (uint32_t k2 = 0; k2 < d->n_spans; k2++) {
            const struct pos_span *s = &w->spans[d->first_span + k2];
            if (s->start <= t && t < s->end)
                p.label = p.input_id;
        }
        return p;
    }
    return (struct place){.input_id = tokenizer_pad(x->tokenizer),
                          .position_id = (int32_t)(i - start),
                          .label = -100,
                          .corpus = -1,
                          .record = -1,
                          .start = start,
                          .n = LENGTH - start};
}

static void check_rows(const struct fixture *x, const struct step_row *rows, const struct msg_batch *b)
{
    uint32_t doc = 0, longest = 0;
    uint64_t supervised = 0;
    for (uint32_t r = 0; r < b->rows; r++) {
        uint32_t real = 0;
        for (uint32_t i = 0; i < b->length; i++) {
            const struct place p = expected(x, &rows[r], i);
            uint32_t at = r * b->length + i;
            assert_int_equal(b->input_ids[at], p.input_id);
            assert_int_equal(b->position_ids[at], p.position_id);
            assert_int_equal(b->labels[at], p.label);
            supervised += p.label != -100;
            real += p.corpus >= 0;
            if (i != p.start)
                continue;
            assert_int_equal(b->cu_seqlens[doc], at);
            assert_int_equal(b->doc_corpus[doc], p.corpus);
            assert_int_equal(b->doc_record[doc], p.record);
            assert_int_equal(b->labels[at], -100);
            longest = p.n > longest ? p.n : longest;
            doc++;
        }
        assert_int_equal(b->tokens[r], real);
    }
    assert_int_equal(b->n_docs, doc);
    assert_int_equal(b->cu_seqlens[doc], b->rows * b->length);
    assert_int_equal(b->max_seqlen, longest);
    assert_int_equal(b->supervised, supervised);
}

static void frame_holds_what_the_contract_says(void **state)
{
    struct fixture *x = *state;
    struct step *step = supply_step(x->supply, x->stream, 17);
    static const uint32_t worlds[] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        uint64_t supervised = 0, tokens = 0;
        for (uint32_t rank = 0; rank < worlds[i]; rank++) {
            struct msg m;
            struct frame *f = written(x, step, worlds[i], rank, &m);
            assert_string_equal(m.batch.stream, "chat");
            assert_int_equal(m.batch.generation, 5);
            assert_int_equal(m.batch.step, 17);
            assert_int_equal(m.batch.epoch, 1);
            assert_int_equal(m.batch.world, worlds[i]);
            assert_int_equal(m.batch.rank, rank);
            assert_int_equal(m.batch.rows, ROWS / worlds[i]);
            assert_int_equal(m.batch.length, LENGTH);
            assert_int_equal(m.batch.supervised_global, step->supervised);
            check_rows(x, step->rows + rank * m.batch.rows, &m.batch);
            supervised += m.batch.supervised;
            tokens += f->tokens;
            assert_int_equal(f->step, 17);
            frame_unref(f);
        }
        assert_int_equal(supervised, step->supervised);
        assert_int_equal(tokens, ROWS / 2 * LENGTH + ROWS / 2 * (LENGTH / 3 * 2 + LENGTH / 6));
    }
    supply_step_unref(x->supply, step);
}

static void frame_hash_is_of_the_arrays_in_the_order_of_the_contract(void **state)
{
    struct fixture *x = *state;
    struct step *step = supply_step(x->supply, x->stream, 3);
    struct msg m;
    struct frame *f = written(x, step, 2, 1, &m);
    const struct msg_batch *b = &m.batch;
    size_t flat = (size_t)b->rows * b->length * 4, n = 0;
    char *all = malloc(f->size);
    const struct {
        const void *data;
        size_t size;
    } parts[] = {{b->input_ids, flat},
                 {b->position_ids, flat},
                 {b->labels, flat},
                 {b->tokens, b->rows * 4ull},
                 {b->cu_seqlens, b->n_docs * 4ull + 4},
                 {b->doc_corpus, b->n_docs * 4ull},
                 {b->doc_record, b->n_docs * 8ull}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; n += parts[i++].size)
        memcpy(all + n, parts[i].data, parts[i].size);
    assert_int_equal(b->hash, XXH3_64bits(all, n));
    free(all);
    frame_unref(f);
    supply_step_unref(x->supply, step);
}

static void frame_of_a_row_without_tokens_is_padding(void **state)
{
    struct fixture *x = *state;
    struct step *step = supply_step(x->supply, x->stream, 0);
    step->rows[ROWS - 1] = step->rows[ROWS - 2] = (struct step_row){NULL, 0};
    struct msg m;
    struct frame *f = written(x, step, 4, 3, &m);
    check_rows(x, step->rows + ROWS - 2, &m.batch);
    assert_int_equal(m.batch.supervised, 0);
    assert_int_equal(m.batch.n_docs, 2);
    assert_int_equal(m.batch.max_seqlen, LENGTH);
    frame_unref(f);
    supply_step_unref(x->supply, step);
}

static void frame_too_large_is_refused(void **state)
{
    struct fixture *x = *state;
    struct step *step = supply_step(x->supply, x->stream, 0);
    struct frame *f = NULL;
    x->conf.seq_len = 1 << 28;
    assert_int_equal(frame_write(x->pool, step, 1, 0, &f), -EOVERFLOW);
    assert_null(f);
    x->conf.seq_len = LENGTH;
    supply_step_unref(x->supply, step);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frame_holds_what_the_contract_says, setup, teardown),
        cmocka_unit_test_setup_teardown(frame_hash_is_of_the_arrays_in_the_order_of_the_contract, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(frame_of_a_row_without_tokens_is_padding, setup, teardown),
        cmocka_unit_test_setup_teardown(frame_too_large_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
