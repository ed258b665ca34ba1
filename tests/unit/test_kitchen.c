/* Windows from records: pieces that were left over are made again, each part of a record once; what would
 * become too much is refused. */
#include "base/rng.h"
#include "support/window_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RECORDS = 3, PAIRS = 60, TOKENS_MAX = 1 << 15 };

static struct folder *folder;

static int setup(void **state)
{
    int rc = folder_new(state);
    folder = *state;
    return rc;
}

static void put_pair(FILE *f, uint32_t i, uint32_t words)
{
    fprintf(f, ",{\"role\":\"user\",\"content\":\"What of %u?\"},{\"role\":\"assistant\",\"content\":\"It is",
            i);
    for (uint32_t k = 0; k < words; k++)
        fprintf(f, " %u", i + k);
    fprintf(f, ".\"}");
}

static char *dialogues(void)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    for (uint32_t r = 0; r < RECORDS; r++) {
        fprintf(f, "{\"messages\":[{\"role\":\"system\",\"content\":\"Answer with care, %u.\"}", r);
        for (uint32_t i = 0; i < PAIRS; i++)
            put_pair(f, r * 100 + i, i * 7 % 12);
        fprintf(f, "]}\n");
    }
    assert_int_equal(fclose(f), 0);
    return text;
}

static char *texts(uint32_t words)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    for (uint32_t r = 0; r < RECORDS; r++) {
        fprintf(f, "{\"text\":\"Numbers:");
        for (uint32_t i = 0; i < words; i++)
            fprintf(f, " %u", i * (r + 3));
        fprintf(f, "\"}\n");
    }
    assert_int_equal(fclose(f), 0);
    return text;
}

/* All records, none split: what pieces are compared with. */
static struct window *whole_records(struct window_rig *r)
{
    struct slot all[RECORDS];
    for (uint32_t i = 0; i < RECORDS; i++)
        all[i] = (struct slot){.record = i};
    r->stream.seq_len = TOKENS_MAX;
    struct window *w = window_rig_left(r, all, RECORDS);
    assert_int_equal(w->n_docs, RECORDS);
    for (uint32_t i = 1; i < RECORDS; i++)
        assert_memory_not_equal(w->tokens, w->tokens + w->docs[i].first_token, w->docs[0].n_tokens);
    return w;
}

/* How often each part of each record was sent: pairs of a dialogue, tokens of a text. */
struct sent {
    const struct window *whole;
    bool text;
    uint8_t times[RECORDS][TOKENS_MAX];
};

static struct slot slot_of(const struct window_doc *d)
{
    return (struct slot){.corpus = d->corpus, .pass = d->pass, .record = d->record, .piece = d->piece};
}

static void send_tokens(struct sent *x, const struct window *w, const struct window_doc *d)
{
    const struct window_doc *all = &x->whole->docs[d->record];
    const uint32_t to = d->piece.to > 0 ? d->piece.to : all->n_tokens;
    assert_int_equal(d->n_tokens, to - d->piece.from);
    assert_memory_equal(w->tokens + d->first_token, x->whole->tokens + all->first_token + d->piece.from,
                        d->n_tokens * sizeof w->tokens[0]);
    for (uint32_t i = d->piece.from; i < to; i++)
        x->times[d->record][i]++;
}

static void send_pairs(struct sent *x, const struct window *w, const struct window_doc *d)
{
    const struct window_doc *all = &x->whole->docs[d->record];
    const uint32_t to = d->piece.to > 0 ? d->piece.to : PAIRS;
    assert_int_equal(d->n_spans, to - d->piece.from);
    for (uint32_t i = 0; i < d->n_spans; i++) {
        const struct pos_span *have = &w->spans[d->first_span + i],
                              *want = &x->whole->spans[all->first_span + d->piece.from + i];
        assert_int_equal(have->end - have->start, want->end - want->start);
        assert_memory_equal(w->tokens + d->first_token + have->start,
                            x->whole->tokens + all->first_token + want->start,
                            (have->end - have->start) * sizeof w->tokens[0]);
        x->times[d->record][d->piece.from + i]++;
    }
}

/* Generations of any seq_len, each of which sends some of its documents and leaves over the others. */
static void check_generations(struct window_rig *r, struct sent *x, uint32_t seed)
{
    struct slot left[TOKENS_MAX];
    uint32_t n_left = RECORDS;
    struct rng rng;
    rng_init(&rng, (struct rng_key){.seed = seed});
    memset(x->times, 0, sizeof x->times);
    for (uint32_t i = 0; i < RECORDS; i++)
        left[i] = (struct slot){.record = i};
    for (int generation = 0; n_left > 0; generation++) {
        r->stream.seq_len = generation % 3 == 1 ? r->stream.seq_len : 80 + rng_below(&rng, 600);
        struct window *w = window_rig_left(r, left, n_left);
        assert_int_equal(w->n_unusable, 0);
        assert_in_range(r->n_reads, 1, RECORDS);
        n_left = 0;
        for (size_t i = 0; i < w->n_docs; i++) {
            const struct window_doc *d = &w->docs[i];
            assert_in_range(d->n_tokens, 1, r->stream.seq_len);
            if (generation < 8 && rng_below(&rng, 3) > 0)
                left[n_left++] = slot_of(d);
            else if (x->text)
                send_tokens(x, w, d);
            else
                send_pairs(x, w, d);
        }
        window_unref(w);
    }
    for (uint32_t i = 0; i < RECORDS; i++) {
        const uint32_t parts = x->text ? x->whole->docs[i].n_tokens : PAIRS;
        for (uint32_t k = 0; k < parts; k++)
            assert_int_equal(x->times[i][k], 1);
    }
}

static void each_part_of_a_record_is_sent_once(void **state)
{
    (void)state;
    for (int text = 0; text < 2; text++) {
        struct window_rig r;
        struct sent *x = calloc(1, sizeof *x);
        char *records = text ? texts(700) : dialogues();
        assert_non_null(x);
        window_rig_open(&r, folder, text ? FORMAT_TEXT : FORMAT_MESSAGES, records);
        x->whole = whole_records(&r);
        x->text = text;
        for (uint32_t seed = 0; seed < 30; seed++)
            check_generations(&r, x, seed);
        window_unref((struct window *)x->whole);
        window_rig_close(&r);
        free(records);
        free(x);
    }
}

static void assert_same_document(const struct window *a, const struct window_doc *x, const struct window *b,
                                 const struct window_doc *y)
{
    assert_int_equal(x->n_tokens, y->n_tokens);
    assert_int_equal(x->n_runs, y->n_runs);
    assert_int_equal(x->n_spans, y->n_spans);
    assert_memory_equal(&x->piece, &y->piece, sizeof x->piece);
    assert_memory_equal(a->tokens + x->first_token, b->tokens + y->first_token, x->n_tokens * 4);
    assert_memory_equal(a->runs + x->first_run, b->runs + y->first_run, x->n_runs * sizeof a->runs[0]);
    assert_memory_equal(a->spans + x->first_span, b->spans + y->first_span, x->n_spans * sizeof a->spans[0]);
}

static void by_the_same_rules_a_piece_is_the_same_document(void **state)
{
    (void)state;
    for (int text = 0; text < 2; text++) {
        struct window_rig r;
        struct slot left[200];
        char *records = text ? texts(700) : dialogues();
        window_rig_open(&r, folder, text ? FORMAT_TEXT : FORMAT_MESSAGES, records);
        struct window *first, *again;
        for (uint32_t i = 0; i < RECORDS; i++)
            left[i] = (struct slot){.record = i};
        first = window_rig_left(&r, left, RECORDS);
        const uint32_t n = (uint32_t)first->n_docs;
        assert_in_range(n, 2 * RECORDS, 200);
        assert_int_equal(first->split, RECORDS);
        for (uint32_t i = 0; i < n; i++) {
            left[i] = slot_of(&first->docs[i]);
            const bool goes_on = i > 0 && left[i].record == left[i - 1].record;
            assert_int_equal(left[i].piece.part, goes_on ? left[i - 1].piece.part + 1 : 0);
        }
        for (uint32_t from = 1; from < n; from += 4) {
            again = window_rig_left(&r, left + from, n - from);
            assert_int_equal(again->n_docs, n - from);
            assert_int_equal(again->split, 0);
            for (uint32_t i = from; i < n; i++)
                assert_same_document(first, &first->docs[i], again, &again->docs[i - from]);
            window_unref(again);
        }
        window_unref(first);
        window_rig_close(&r);
        free(records);
    }
}

static void a_piece_that_was_cut_can_be_made_whole(void **state)
{
    (void)state;
    struct window_rig r;
    char *records = dialogues();
    window_rig_open(&r, folder, FORMAT_MESSAGES, records);
    const struct slot left = {.record = 1, .piece = {.from = 10, .to = 30, .of = PAIRS, .part = 2}};
    r.stream.overlong = OVERLONG_TRUNCATE;
    struct window *w = window_rig_left(&r, &left, 1);
    assert_int_equal(w->truncated, 1);
    assert_int_equal(w->n_docs, 1);
    assert_memory_equal(&w->docs[0].piece, &left.piece, sizeof left.piece);
    assert_in_range(w->docs[0].n_spans, 1, 19);
    const struct slot again = slot_of(&w->docs[0]);
    window_unref(w);
    r.stream.seq_len = 4096;
    w = window_rig_left(&r, &again, 1);
    assert_int_equal(w->docs[0].n_spans, 20);
    window_unref(w);

    r.stream.seq_len = 128;
    r.stream.overlong = OVERLONG_DROP;
    w = window_rig_left(&r, &again, 1);
    assert_int_equal(w->n_docs, 0);
    assert_int_equal(w->n_unusable, 1);
    assert_int_equal(w->unusable[0].reason, UNUSABLE_OVERLONG);
    window_unref(w);
    window_rig_close(&r);
    free(records);
}

static void a_piece_is_taken_in_proportion_and_its_parts_go_on(void **state)
{
    (void)state;
    struct window_rig r;
    char *records = dialogues();
    window_rig_open(&r, folder, FORMAT_MESSAGES, records);
    const struct slot left = {.record = 1, .piece = {.from = 20, .to = 60, .of = 2 * PAIRS, .part = 7}};
    r.stream.seq_len = 4096;
    struct window *w = window_rig_left(&r, &left, 1);
    const struct piece want = {.from = 10, .to = 30, .of = PAIRS, .part = 7};
    assert_int_equal(w->n_docs, 1);
    assert_memory_equal(&w->docs[0].piece, &want, sizeof want);
    window_unref(w);
    r.stream.seq_len = 128;
    w = window_rig_left(&r, &left, 1);
    assert_in_range(w->n_docs, 2, 20);
    for (uint32_t i = 0; i < w->n_docs; i++) {
        const struct piece *p = &w->docs[i].piece;
        assert_int_equal(p->part, 7 + i);
        assert_int_equal(p->of, PAIRS);
        assert_int_equal(p->from, i > 0 ? w->docs[i - 1].piece.to : 10);
    }
    assert_int_equal(w->docs[w->n_docs - 1].piece.to, 30);
    window_unref(w);
    window_rig_close(&r);
    free(records);
}

static void a_record_that_splits_into_too_much_is_refused_whole(void **state)
{
    (void)state;
    struct window_rig r;
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "{\"messages\":[{\"role\":\"system\",\"content\":\"Care");
    for (int i = 0; i < 200; i++)
        fprintf(f, " %d", i);
    fprintf(f, "\"}");
    for (uint32_t i = 0; i < 500; i++)
        put_pair(f, i, 1);
    fprintf(f, "]}\n{\"messages\":[{\"role\":\"system\",\"content\":\"Care\"}");
    put_pair(f, 1, 2);
    fprintf(f, "]}\n");
    assert_int_equal(fclose(f), 0);
    window_rig_open(&r, folder, FORMAT_MESSAGES, text);
    const struct slot left[] = {{.record = 0}, {.record = 1}};
    r.stream.seq_len = TOKENS_MAX;
    struct window *w = window_rig_left(&r, left, 2);
    const uint32_t prompt = w->blocks[0].n_tokens, tokens = w->docs[0].n_tokens;
    window_unref(w);

    /* It does not fit, leaves room for a pair or two, leaves as much room as it takes. */
    const uint32_t seq_len[] = {prompt / 2, prompt + 30, 2 * prompt};
    for (int i = 0; i < 3; i++) {
        r.stream.seq_len = seq_len[i];
        w = window_rig_left(&r, left, 2);
        const struct window_doc *last = &w->docs[w->n_docs - 1];
        assert_int_equal(last->record, 1);
        assert_int_equal(w->n_tokens, last->first_token + last->n_tokens);
        assert_int_equal(w->truncated, 0);
        if (i == 2) {
            assert_int_equal(w->split, 1);
            assert_int_equal(w->n_unusable, 0);
            assert_in_range(w->n_tokens, tokens, 3 * tokens);
        } else {
            assert_int_equal(w->n_docs, 1);
            assert_int_equal(last->first_token, 0);
            assert_int_equal(w->split, 0);
            assert_int_equal(w->n_unusable, 1);
            assert_int_equal(w->unusable[0].record, 0);
            assert_int_equal(w->unusable[0].reason, UNUSABLE_OVERLONG);
            assert_non_null(strstr(w->unusable[0].detail, "over 8 times as long"));
        }
        window_unref(w);
    }
    window_rig_close(&r);
    free(text);
}

static void a_text_becomes_no_more_than_4096_pieces(void **state)
{
    (void)state;
    struct window_rig r;
    char *records = texts(3000);
    window_rig_open(&r, folder, FORMAT_TEXT, records);
    struct window *w = whole_records(&r);
    const uint32_t n = w->docs[0].n_tokens;
    const struct slot left = {.record = 0};
    assert_in_range(n, 2 * 4096, TOKENS_MAX);
    window_unref(w);

    r.stream.seq_len = (n + 4095) / 4096;
    w = window_rig_left(&r, &left, 1);
    assert_int_equal(w->n_docs + w->n_unusable, (n - 1) / r.stream.seq_len + 1);
    assert_in_range(w->n_docs, 2, 4096);
    window_unref(w);

    r.stream.seq_len--;
    w = window_rig_left(&r, &left, 1);
    assert_int_equal(w->n_docs, 0);
    assert_int_equal(w->n_unusable, 1);
    assert_int_equal(w->unusable[0].reason, UNUSABLE_OVERLONG);
    assert_non_null(strstr(w->unusable[0].detail, "over 4096 pieces"));
    window_unref(w);
    window_rig_close(&r);
    free(records);
}

/* Is that span of one document what this one of the other is? */
static void assert_same_span(const struct window *a, const struct window_doc *x, uint32_t i,
                             const struct window *b, const struct window_doc *y, uint32_t k)
{
    assert_true(i < x->n_spans && k < y->n_spans);
    const struct pos_span *s = &a->spans[x->first_span + i], *t = &b->spans[y->first_span + k];
    assert_int_equal(s->end - s->start, t->end - t->start);
    assert_memory_equal(a->tokens + x->first_token + s->start, b->tokens + y->first_token + t->start,
                        (s->end - s->start) * sizeof a->tokens[0]);
}

static struct window *make_all(struct window_rig *r)
{
    const struct slot all[RECORDS] = {{.record = 0}, {.record = 1}, {.record = 2}};
    return window_rig_left(r, all, RECORDS);
}

static void where_the_last_response_is_trained_the_first_pairs_go(void **state)
{
    (void)state;
    struct window_rig r;
    char *records = dialogues();
    window_rig_open(&r, folder, FORMAT_MESSAGES, records);
    struct window *whole = whole_records(&r);
    r.stream.train_on = TRAIN_LAST;
    for (uint32_t seq_len = TOKENS_MAX; seq_len > 90; seq_len = seq_len * 3 / 4)
        for (int overlong = OVERLONG_TRUNCATE; overlong < OVERLONG__COUNT; overlong++) {
            if (overlong == OVERLONG_DROP)
                continue;
            r.stream.seq_len = seq_len;
            r.stream.overlong = (enum overlong)overlong;
            struct window *w = make_all(&r);
            uint32_t n_cut = 0;
            assert_int_equal(w->n_unusable, 0);
            assert_int_equal(w->n_docs, RECORDS);
            for (uint32_t i = 0; i < RECORDS; i++) {
                const struct window_doc *d = &w->docs[i], *all = &whole->docs[i];
                const struct window_block *of_all = &whole->blocks[all->first_block];
                assert_int_equal(d->piece.to, 0);
                assert_int_equal(d->n_spans, 1);
                assert_same_span(w, d, 0, whole, all, PAIRS - 1);
                assert_int_equal(w->spans[d->first_span].end, d->n_tokens);
                n_cut += all->n_tokens > seq_len;
                assert_int_equal(d->n_tokens<all->n_tokens, all->n_tokens> seq_len);
                const uint32_t left = PAIRS - d->n_blocks / 2; /* out */
                assert_true(d->n_tokens <= seq_len);
                assert_true(left == 0 ||
                            d->n_tokens + of_all[2 * left - 2].n_tokens + of_all[2 * left - 1].n_tokens >
                                seq_len);
            }
            assert_int_equal(w->truncated, n_cut);
            window_unref(w);
        }
    r.stream.seq_len = 256;
    r.stream.overlong = OVERLONG_DROP;
    struct window *w = make_all(&r);
    assert_int_equal(w->n_docs, 0);
    assert_int_equal(w->n_unusable, RECORDS);
    window_unref(w);

    /* Pieces that another generation left over: who has the last response has something to train. */
    r.stream.overlong = OVERLONG_SPLIT;
    const struct slot left[] = {{.piece = {.from = 20, .to = 59, .of = PAIRS}},
                                {.piece = {.from = 59, .to = PAIRS, .of = PAIRS}}};
    w = window_rig_left(&r, left, 2);
    assert_int_equal(w->n_docs, 1);
    assert_same_span(w, &w->docs[0], 0, whole, &whole->docs[0], PAIRS - 1);
    assert_int_equal(w->n_unusable, 1);
    assert_int_equal(w->unusable[0].reason, UNUSABLE_UNSUPERVISED);
    window_unref(w);
    window_unref(whole);
    window_rig_close(&r);
    free(records);
}

static void of_a_dialogue_no_more_than_max_turns_are_sent(void **state)
{
    (void)state;
    struct window_rig r;
    char *records = dialogues();
    window_rig_open(&r, folder, FORMAT_MESSAGES, records);
    struct window *whole = whole_records(&r);
    for (uint32_t max = 1; max <= PAIRS + 1; max += 4)
        for (uint32_t seq_len = TOKENS_MAX; seq_len > 100; seq_len = seq_len == TOKENS_MAX ? 150 : 0) {
            const uint32_t n = max < PAIRS ? max : PAIRS;
            uint32_t sent[RECORDS] = {0};
            r.stream.max_turns = max;
            r.stream.seq_len = seq_len;
            struct window *w = make_all(&r);
            assert_int_equal(w->truncated, max < PAIRS ? RECORDS : 0);
            assert_int_equal(w->n_unusable, 0);
            for (size_t i = 0; i < w->n_docs; i++) {
                const struct window_doc *d = &w->docs[i];
                for (uint32_t k = 0; k < d->n_spans; k++)
                    assert_same_span(w, d, k, whole, &whole->docs[d->record], sent[d->record]++);
            }
            for (uint32_t i = 0; i < RECORDS; i++)
                assert_int_equal(sent[i], n);
            window_unref(w);
        }

    /* What is left over of pairs beyond them is left out, the others are sent as they were numbered. */
    r.stream.max_turns = 5;
    const struct slot left[] = {{.piece = {.from = 3, .to = 7, .of = PAIRS}},
                                {.record = 1, .piece = {.from = 7, .to = 9, .of = PAIRS}},
                                {.record = 2, .piece = {.from = 4, .to = 5, .of = PAIRS}}};
    struct window *w = window_rig_left(&r, left, 3);
    assert_int_equal(w->n_docs, 2);
    assert_int_equal(w->n_unusable, 0);
    assert_int_equal(w->truncated, 2);
    assert_int_equal(w->docs[0].n_spans, 2);
    assert_same_span(w, &w->docs[0], 0, whole, &whole->docs[0], 3);
    assert_int_equal(w->docs[1].n_spans, 1);
    assert_same_span(w, &w->docs[1], 0, whole, &whole->docs[2], 4);
    window_unref(w);

    /* The last of those is the last response. */
    r.stream.train_on = TRAIN_LAST;
    w = make_all(&r);
    assert_int_equal(w->n_docs, RECORDS);
    assert_int_equal(w->docs[1].n_spans, 1);
    assert_same_span(w, &w->docs[1], 0, whole, &whole->docs[1], 4);
    window_unref(w);
    window_unref(whole);
    window_rig_close(&r);
    free(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_of_a_record_is_sent_once),
        cmocka_unit_test(by_the_same_rules_a_piece_is_the_same_document),
        cmocka_unit_test(a_piece_that_was_cut_can_be_made_whole),
        cmocka_unit_test(a_piece_is_taken_in_proportion_and_its_parts_go_on),
        cmocka_unit_test(a_record_that_splits_into_too_much_is_refused_whole),
        cmocka_unit_test(a_text_becomes_no_more_than_4096_pieces),
        cmocka_unit_test(where_the_last_response_is_trained_the_first_pairs_go),
        cmocka_unit_test(of_a_dialogue_no_more_than_max_turns_are_sent),
    };
    return cmocka_run_group_tests(tests, setup, folder_free);
}
