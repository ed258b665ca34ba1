/* The fast path gives wrong ids for some texts (fault/wrong_ids.c), and is found out: what was made by it is
 * made again by the library, nothing is lost or repeated, and a restart does not repeat it. */
#include "support/folder.h"
#include "support/supply_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

enum { RECORDS = 3600, STEPS_MAX = 6000, HANDED_OUT = 30 };

static struct folder *folder;
static char *wrong; /* the file while which is there ids are */

/* What the library makes of each record, and of each step. */
static uint64_t right[RECORDS], right_steps[STEPS_MAX];
static uint32_t n_right;

static void write_corpus(void)
{
    char name[64], *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    for (int i = 0; i < RECORDS; i++) {
        fprintf(f, "{\"messages\": [{\"role\": \"user\", \"content\": \"What of %d%s?\"}, ", i,
                i % 40 == 7 ? ", planted in spring" : "");
        fprintf(f, "{\"role\": \"assistant\", \"content\": \"It is");
        for (int k = 0; k < 1 + i * 7 % 60; k++)
            fprintf(f, " %d", i + k);
        fprintf(f, "%s.\"}]}\n", i % 40 == 23 ? ", planted in autumn" : "");
    }
    assert_int_equal(fclose(f), 0);
    (void)snprintf(name, sizeof name, "corpus-%d-0.jsonl", RECORDS);
    (void)folder_write_text(folder, name, text);
    free(text);
}

static struct rig *new_rig(const char *state, uint32_t verify)
{
    struct rig *r = rig_new(folder->path, state, RECORDS, 0);
    r->tokenizer_verify = verify;
    return r;
}

static uint64_t hash_doc(const struct window *w, const struct window_doc *d)
{
    uint64_t h = XXH3_64bits(w->tokens + d->first_token, d->n_tokens * sizeof w->tokens[0]);
    h = XXH3_64bits_withSeed(w->runs + d->first_run, d->n_runs * sizeof w->runs[0], h);
    return XXH3_64bits_withSeed(w->spans + d->first_span, d->n_spans * sizeof w->spans[0], h);
}

/* What a reader has got. */
struct reader_log {
    uint8_t times[RECORDS];
    uint32_t n_wrong;
};

/* A document, of which everything goes together. */
static void read_doc(const struct window *w, const struct window_doc *d, struct reader_log *log)
{
    uint32_t supervised = 0, blocks = 0;
    for (uint32_t s = 0; s < d->n_spans; s++)
        supervised += w->spans[d->first_span + s].end - w->spans[d->first_span + s].start;
    for (uint32_t b = 0; b < d->n_blocks; b++)
        blocks += w->blocks[d->first_block + b].n_tokens;
    assert_int_equal(supervised, d->n_supervised);
    assert_int_equal(blocks, d->n_tokens);
    assert_true(w->runs[d->first_run + d->n_runs - 1].start < d->n_tokens);
    log->times[d->record]++;
    log->n_wrong += hash_doc(w, d) != right[d->record];
}

static void read_step(const struct step *step, struct reader_log *log)
{
    for (int64_t i = 0; i < step->recipe->conf->global_batch; i++) {
        const struct window *w = step->rows[i].window;
        if (w == NULL)
            continue;
        const struct window_row *row = &w->rows[step->rows[i].row];
        uint32_t n_tokens = 0, n_supervised = 0;
        for (uint32_t k = 0; k < row->n_docs; k++) {
            const struct window_doc *d = &w->docs[w->row_docs[row->first_doc + k]];
            read_doc(w, d, log);
            n_tokens += d->n_tokens;
            n_supervised += d->n_supervised;
        }
        assert_int_equal(n_tokens, row->n_tokens);
        assert_int_equal(n_supervised, row->n_supervised);
        assert_in_range(n_tokens, 0, step->recipe->conf->seq_len);
    }
}

/* Steps from..to as somebody gets them; hashes too where wanted. Returns the one after the last. */
static uint32_t read_on(struct rig *r, uint32_t from, uint32_t to, struct reader_log *log, uint64_t *hashes)
{
    for (uint32_t n = from; n < to; n++) {
        struct step *step = rig_get(r, r->streams[0], n);
        const enum step_state state = step->state;
        if (state == STEP_READY) {
            stream_mark_sent(r->streams[0], n);
            if (log != NULL)
                read_step(step, log);
            if (hashes != NULL)
                hashes[n] = rig_hash(step);
        }
        supply_step_unref(r->supply, step);
        if (state == STEP_END)
            return n;
        if (state != STEP_READY)
            fail_msg("step %u: %s", n, stream_failure(r->streams[0]));
    }
    return to;
}

/* Each record once, but for those in rows that are dropped at the end. */
static void check_times(const struct rig *r, const struct reader_log *log)
{
    uint32_t dropped = 0;
    for (int i = 0; i < RECORDS; i++) {
        assert_in_range(log->times[i], 0, 1);
        dropped += log->times[i] == 0;
    }
    assert_in_range(dropped, 0, stream_dropped(r->streams[0]) * 16);
}

static void set_wrong(bool is)
{
    if (is)
        (void)folder_write_text(folder, "wrong", "");
    else
        (void)unlink(wrong);
}

static void make_right(void)
{
    struct rig *r = new_rig("right", 0);
    r->tokenizer_path = TOKENIZER_LIBRARY;
    rig_start(r);
    for (enum step_state state = STEP_READY; state == STEP_READY; n_right += state == STEP_READY) {
        struct step *step = rig_get(r, r->streams[0], n_right);
        state = step->state;
        if (state == STEP_READY)
            right_steps[n_right] = rig_hash(step);
        for (int64_t i = 0; state == STEP_READY && i < step->recipe->conf->global_batch; i++) {
            const struct window *w = step->rows[i].window;
            for (size_t d = 0; d < w->n_docs; d++)
                right[w->docs[d].record] = hash_doc(w, &w->docs[d]);
        }
        supply_step_unref(r->supply, step);
    }
    assert_true(n_right > 3 * HANDED_OUT);
    rig_free(r);
}

static int setup(void **state)
{
    int rc = folder_new(state);
    folder = *state;
    wrong = strdup(folder_write_text(folder, "wrong", ""));
    assert_int_equal(setenv("SKIPALIGN_WRONG_IDS", wrong, 1), 0);
    write_corpus();
    make_right();
    return rc;
}

static int teardown(void **state)
{
    free(wrong);
    return folder_free(state);
}

/* Where nobody compares, wrong ids go out: the tests below would see them. */
static void without_a_look_they_go_out(void **state)
{
    (void)state;
    static struct reader_log log;
    struct supply_doubt d;
    struct rig *r = new_rig("blind", 0);
    rig_start(r);
    (void)read_on(r, 0, STEPS_MAX, &log, NULL);
    assert_in_range(log.n_wrong, RECORDS / 40, RECORDS / 10);
    assert_false(supply_doubt(r->supply, r->streams[0], &d));
    rig_free(r);
}

static void the_right_fast_path_is_never_doubted(void **state)
{
    (void)state;
    static uint64_t have[STEPS_MAX];
    struct tokenizer_facts facts;
    set_wrong(false);
    struct rig *r = new_rig("sound", 1);
    rig_start(r);
    assert_int_equal(read_on(r, 0, STEPS_MAX, NULL, have), n_right);
    assert_memory_equal(have, right_steps, n_right * sizeof have[0]);
    assert_false(tokenizer_doubted(r->tokenizer));
    tokenizer_facts(r->tokenizer, &facts);
    assert_true(facts.counts.compared >= RECORDS);
    assert_int_equal(facts.counts.differed, 0);
    rig_free(r);
    set_wrong(true);
}

/* Before anything was handed out: as if the library had made all. */
static void found_in_the_first_window(void **state)
{
    (void)state;
    static uint64_t have[STEPS_MAX];
    struct supply_doubt d;
    struct rig *r = new_rig("first", 1);
    rig_start(r);
    struct step *step = supply_step(r->supply, r->streams[0], 0);
    while (!supply_doubt(r->supply, r->streams[0], &d))
        (void)workers_wait(r->workers);
    assert_int_equal(d.first_step, d.end_step);
    assert_string_equal(d.error.text, "");
    supply_step_unref(r->supply, step);
    assert_int_equal(read_on(r, 0, STEPS_MAX, NULL, have), n_right);
    assert_memory_equal(have, right_steps, n_right * sizeof have[0]);
    rig_free(r);
}

/* After a restart it is the same stream, in whatever order and memory, and where the ledger was lost. */
static void check_restarts(struct rig *r, const uint64_t *want, uint32_t n)
{
    static uint64_t have[STEPS_MAX];
    char path[512];
    uint64_t from, end;
    (void)snprintf(path, sizeof path, "%s/streams/s0/1.ledger", r->state);
    r->doubted = true;
    for (int i = 0; i < 4; i++) {
        r->memory = i == 1 ? 1 : 64 << 20;
        if (i == 2)
            assert_int_equal(unlink(path), 0);
        rig_start(r);
        assert_true(stream_get_doubt(r->streams[0], &from, &end));
        assert_int_equal(from, 0);
        assert_int_equal(end, HANDED_OUT);
        assert_int_equal(read_on(r, 0, STEPS_MAX, NULL, have), n);
        assert_memory_equal(have, want, n * sizeof have[0]);
        rig_stop(r);
    }
}

/* Half of a window, or more, has been handed out, and somebody holds another step. From then on all is the
 * library's, each record comes once, and older steps keep their records. */
static void found_after_steps_were_handed_out(void **state)
{
    (void)state;
    static struct reader_log log, again;
    static uint64_t now[STEPS_MAX], old[STEPS_MAX];
    struct supply_doubt d;
    uint64_t from, end;
    struct rig *r = new_rig("later", 0);
    rig_start(r);
    assert_int_equal(read_on(r, 0, HANDED_OUT, &log, old), HANDED_OUT);
    assert_true(log.n_wrong > 0);
    struct step *held = rig_get(r, r->streams[0], HANDED_OUT);
    assert_true(held->own);
    assert_false(stream_get_doubt(r->streams[0], &from, &end));
    tokenizer_doubt(r->tokenizer, false);
    assert_true(supply_doubt(r->supply, r->streams[0], &d));
    assert_ptr_equal(d.tokenizer, r->tokenizer);
    assert_int_equal(d.first_step, 0);
    assert_int_equal(d.end_step, HANDED_OUT);
    assert_false(supply_doubt(r->supply, r->streams[0], &d));

    log.n_wrong = 0;
    const uint32_t n = read_on(r, HANDED_OUT, STEPS_MAX, &log, now);
    supply_step_unref(r->supply, held);
    assert_in_range(log.n_wrong, 0, 4); /* cut, to the places that were theirs */
    check_times(r, &log);
    assert_int_equal(read_on(r, 0, HANDED_OUT, &again, now), HANDED_OUT);
    assert_in_range(again.n_wrong, 0, 4);
    assert_memory_not_equal(now, old, HANDED_OUT * sizeof old[0]);
    rig_stop(r);
    check_restarts(r, now, n);
    free(r);
}

/* Where it does not lay them so any more, that is not passed over. */
static void what_cannot_be_laid_again_is_an_error(void **state)
{
    (void)state;
    struct rig *r = new_rig("moody", 0);
    rig_start(r);
    (void)read_on(r, 0, STEPS_MAX, NULL, NULL);
    rig_stop(r);
    set_wrong(false);
    r->doubted = true;
    rig_start(r);
    struct step *step = rig_get(r, r->streams[0], 0);
    assert_int_equal(step->state, STEP_FAILED);
    assert_non_null(strstr(step_failure(step), "does not lay them so any more"));
    supply_step_unref(r->supply, step);
    rig_free(r);
    set_wrong(true);
}

/* Until the step is there and may go out. */
static struct step *get_good(struct rig *r, uint32_t number, bool *found)
{
    struct supply_doubt d;
    struct step *step = supply_step(r->supply, r->streams[0], number);
    assert_non_null(step);
    for (;;) {
        if (supply_doubt(r->supply, r->streams[0], &d)) {
            assert_false(*found);
            *found = true;
            assert_int_equal(d.end_step, number);
            supply_step_unref(r->supply, step);
            step = supply_step(r->supply, r->streams[0], number);
        }
        if (step->state == STEP_PENDING)
            (void)workers_wait(r->workers);
        else if (!(step->own && tokenizer_doubted(r->tokenizer)))
            return step;
    }
}

/* By chance, while windows are on their way and a reader goes on. */
static void found_while_it_runs(void **state)
{
    (void)state;
    uint32_t n_found = 0;
    for (uint32_t k = 0; k < 9; k++) {
        static struct reader_log log;
        char name[16];
        bool found = false, found_before = false, more = true;
        memset(&log, 0, sizeof log);
        (void)snprintf(name, sizeof name, "run%u", k);
        struct rig *r = new_rig(name, 7 + 17 * k);
        r->workers_n = 1 + k % 4;
        r->memory = k % 2 == 0 ? 64 << 20 : 1;
        r->confs[0].packing = k % 3 != 2;
        rig_start(r);
        for (uint32_t n = 0; more; n++) {
            struct step *step = get_good(r, n, &found);
            if (found && !found_before)
                log.n_wrong = 0;
            found_before = found;
            more = step->state == STEP_READY;
            assert_true(!more || !found || !step->own);
            if (more) {
                stream_mark_sent(r->streams[0], n);
                read_step(step, &log);
            }
            supply_step_unref(r->supply, step);
        }
        n_found += found;
        assert_true(!found || log.n_wrong <= 8);
        check_times(r, &log);
        rig_free(r);
    }
    assert_true(n_found > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_look_they_go_out),
        cmocka_unit_test(the_right_fast_path_is_never_doubted),
        cmocka_unit_test(found_in_the_first_window),
        cmocka_unit_test(found_after_steps_were_handed_out),
        cmocka_unit_test(what_cannot_be_laid_again_is_an_error),
        cmocka_unit_test(found_while_it_runs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
