/* The supply over a real corpus and model: the same rows however they are made, every record once, ends and
 * failures. */
#include "support/supply_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 2600, SEQ_LEN = 256, BATCH = 8, STEPS_MAX = 2000 };

static char folder[] = "/tmp/skipalign-supply-XXXXXX";

static struct step *get(struct rig *r, uint64_t number)
{
    return rig_get(r, r->streams[0], number);
}

static uint32_t all_hashes(struct rig *r, uint64_t ret[STEPS_MAX])
{
    return rig_hash_all(r, r->streams[0], ret, STEPS_MAX);
}

static void rows_do_not_depend_on_how_they_are_made(void **state)
{
    (void)state;
    static uint64_t want[STEPS_MAX], have[STEPS_MAX];
    struct rig *r = rig_new(folder, "a", RECORDS, 0);
    rig_start(r);
    uint32_t n = all_hashes(r, want);
    assert_true(n > 20);
    assert_int_equal(stream_steps(r->streams[0]), n);
    rig_stop(r);

    rig_start(r); /* the ledger is there now: from anywhere, in any order */
    assert_int_equal(stream_known_steps(r->streams[0]), n);
    for (uint32_t i = 0; i < 3 * n; i++) {
        uint32_t at = i * 7919 % n;
        struct step *step = get(r, at);
        assert_int_equal(rig_hash(step), want[at]);
        supply_step_unref(r->supply, step);
    }
    rig_free(r);

    for (int variant = 0; variant < 4; variant++) {
        char name[16];
        (void)snprintf(name, sizeof name, "v%d", variant);
        r = rig_new(folder, name, RECORDS, 0);
        r->workers_n = variant == 0 ? 1 : 4;
        r->memory =
            variant == 1 ? 1 : 64 << 20; /* room for nothing: each window is made for its step, then goes */
        r->io = variant == 2 ? IO_AUTO : IO_PREAD;
        rig_start(r);
        if (variant == 3) { /* the last step first: all windows before it are made on the way */
            struct step *last = get(r, n - 1);
            assert_int_equal(rig_hash(last), want[n - 1]);
            supply_step_unref(r->supply, last);
        }
        assert_int_equal(all_hashes(r, have), n);
        assert_memory_equal(have, want, n * sizeof want[0]);
        rig_free(r);
    }
}

static void every_record_is_there_once_an_epoch(void **state)
{
    (void)state;
    for (int packing = 0; packing < 2; packing++) {
        static uint8_t times[3][RECORDS];
        memset(times, 0, sizeof times);
        struct rig *r = rig_new(folder, packing ? "once-packed" : "once-padded", RECORDS, 0);
        r->confs[0].packing = packing;
        r->confs[0].epochs = 3;
        r->confs[0].last = LAST_PAD;
        rig_start(r);
        uint64_t padding_rows = 0, epoch = 0;
        struct step *step = NULL;
        for (uint64_t n = 0;; n++) {
            step = get(r, n);
            if (step->state == STEP_END)
                break;
            assert_true(step->epoch >= epoch);
            epoch = step->epoch;
            for (int i = 0; i < BATCH; i++) {
                const struct window *w = step->rows[i].window;
                padding_rows += w == NULL;
                if (w == NULL)
                    continue;
                const struct window_row *row = &w->rows[step->rows[i].row];
                assert_true(row->n_docs == 1 || packing);
                assert_in_range(row->n_tokens, 1, SEQ_LEN);
                for (uint32_t d = 0; d < row->n_docs; d++) {
                    const struct window_doc *doc = &w->docs[w->row_docs[row->first_doc + d]];
                    assert_int_equal(w->epoch, doc->pass);
                    times[doc->pass][doc->record]++;
                }
            }
            supply_step_unref(r->supply, step);
        }
        assert_true(padding_rows < BATCH);
        assert_int_equal(stream_dropped(r->streams[0]), 0);
        assert_int_equal(epoch, 2);
        supply_step_unref(r->supply, step);
        for (int pass = 0; pass < 3; pass++)
            for (int i = 0; i < RECORDS; i++)
                assert_int_equal(times[pass][i], 1);
        struct stream_counts c;
        stream_get_counts(r->streams[0], &c);
        assert_int_equal(c.documents, 3 * RECORDS);
        assert_int_equal(c.slots, 3 * RECORDS);
        rig_free(r);
    }
}

static void the_rest_of_the_last_step_is_counted(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "dropped", 100, 0);
    r->confs[0].packing = false;
    rig_start(r);
    struct step *last = get(r, 11), *past = get(r, 12), *far = get(r, UINT64_MAX);
    assert_int_equal(last->state, STEP_READY);
    assert_int_equal(past->state, STEP_END);
    assert_int_equal(far->state, STEP_END);
    assert_int_equal(stream_steps(r->streams[0]), 12);
    assert_int_equal(stream_dropped(r->streams[0]), 4);
    supply_step_unref(r->supply, last);
    supply_step_unref(r->supply, past);
    supply_step_unref(r->supply, far);
    rig_free(r);
}

static void bad_records_are_quarantined_once_and_remembered(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "bad", 2000, 10);
    for (int start = 0; start < 2; start++) {
        static uint64_t hashes[STEPS_MAX];
        const struct quarantined *q;
        struct stream_counts c;
        uint32_t n;
        rig_start(r);
        all_hashes(r, hashes);
        stream_get_quarantine(r->streams[0], 0, &q, &n);
        assert_int_equal(n, 200);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(q[i].reason, UNUSABLE_JSON);
            assert_int_equal(q[i].record % 10, 0);
        }
        stream_get_counts(r->streams[0], &c);
        assert_int_equal(c.unusable[UNUSABLE_JSON], 200);
        assert_int_equal(c.documents, 1800);
        assert_null(stream_ledger_failure(r->streams[0]));
        rig_stop(r);
    }
    free(r);
}

static void too_many_bad_records_stop_the_stream(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "hopeless", 400, 1);
    for (int start = 0; start < 2; start++) {
        rig_start(r);
        struct step *step = get(r, 0);
        assert_int_equal(step->state, STEP_FAILED);
        assert_non_null(strstr(stream_failure(r->streams[0]), "corpus 'numbers'"));
        assert_non_null(strstr(stream_failure(r->streams[0]), "max_unusable"));
        supply_step_unref(r->supply, step);
        rig_stop(r);
    }
    free(r);
}

/* A dialogue of 30 turns whose instructions are all longer than a row, among nine good ones: one record in
 * ten cannot be used, though it has 30 pieces. */
static void a_record_in_pieces_is_judged_once(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "pieces", 0, 0);
    FILE *f = fopen(r->path, "w");
    assert_non_null(f);
    for (int i = 0; i < 400; i++) {
        fprintf(f, "{\"messages\": [");
        for (int turn = 0; turn < (i % 10 == 0 ? 30 : 1); turn++) {
            fprintf(f, "%s{\"role\": \"user\", \"content\": \"Count", turn > 0 ? ", " : "");
            for (int k = 0; i % 10 == 0 && k < 300; k++)
                fprintf(f, " %d", k);
            fprintf(f, "\"}, {\"role\": \"assistant\", \"content\": \"%d\"}", i);
        }
        fprintf(f, "]}\n");
    }
    assert_int_equal(fclose(f), 0);
    r->confs[0].overlong = OVERLONG_SPLIT;
    for (int start = 0; start < 2; start++) { /* the second time from the ledger */
        struct stream_counts counts;
        rig_start(r);
        struct step *step = get(r, 0);
        assert_int_equal(step->state, STEP_READY);
        stream_get_counts(r->streams[0], &counts);
        assert_int_equal(counts.documents, 360);
        assert_int_equal(counts.unusable[UNUSABLE_UNSUPERVISED], 40 * 30);
        supply_step_unref(r->supply, step);
        rig_stop(r);
    }
    free(r);
}

static void fewer_rows_than_a_global_batch_is_an_error(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "few", 5, 0);
    r->confs[0].packing = false;
    rig_start(r);
    struct step *step = get(r, 0);
    assert_int_equal(step->state, STEP_FAILED);
    assert_non_null(strstr(stream_failure(r->streams[0]), "global_batch"));
    supply_step_unref(r->supply, step);
    rig_free(r);
}

static void a_file_that_shrinks_stops_the_stream(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "shrinks", 3001, 0);
    r->confs[0].epochs = 0;
    r->memory = 1;
    rig_start(r);
    struct step *step = get(r, 0);
    assert_int_equal(step->state, STEP_READY);
    supply_step_unref(r->supply, step);
    assert_int_equal(truncate(r->path, 1000), 0);
    step = get(r, 500);
    assert_int_equal(step->state, STEP_FAILED);
    assert_non_null(strstr(stream_failure(r->streams[0]), "corpus-3001-0.jsonl"));
    supply_step_unref(r->supply, step);
    rig_free(r);
}

static void a_torn_ledger_is_made_again(void **state)
{
    (void)state;
    static uint64_t want[STEPS_MAX], have[STEPS_MAX];
    struct rig *r = rig_new(folder, "torn", RECORDS, 0);
    rig_start(r);
    uint32_t n = all_hashes(r, want);
    rig_stop(r);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/streams/s0/1.ledger", r->state);
    for (int cut = 33; cut < 300; cut += 37) {
        assert_int_equal(truncate(path, cut), 0);
        rig_start(r);
        assert_true(stream_known_steps(r->streams[0]) < n);
        assert_int_equal(all_hashes(r, have), n);
        assert_memory_equal(have, want, n * sizeof want[0]);
        rig_stop(r);
    }
    r->confs[0].seed = 4; /* another stream altogether: the ledger is not believed */
    rig_start(r);
    assert_int_equal(stream_known_steps(r->streams[0]), 0);
    all_hashes(r, have);
    assert_true(memcmp(have, want, n * sizeof want[0]) != 0);
    rig_free(r);
}

static void a_pending_step_can_be_given_back(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "giveback", RECORDS, 0);
    rig_start(r);
    struct step *far = supply_step(r->supply, r->streams[0], 25),
                *near = supply_step(r->supply, r->streams[0], 0);
    assert_ptr_equal(supply_step(r->supply, r->streams[0], 25), far);
    supply_step_unref(r->supply, far);
    supply_step_unref(r->supply, far);
    while (near->state == STEP_PENDING)
        workers_wait(r->workers);
    assert_int_equal(near->state, STEP_READY);
    assert_int_equal(r->n_changed, 1);
    supply_step_unref(r->supply, near);
    rig_free(r);
}

/* With room for nothing one step at a time goes beyond the bound: not for ever the one that asked first. */
static void a_step_that_is_years_away_keeps_nobody_waiting(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "far", RECORDS, 0);
    r->n_streams = 2;
    r->confs[0].epochs = 0;
    r->memory = 1;
    rig_start(r);
    struct step *far = supply_step(r->supply, r->streams[0], 1ull << 40),
                *farther = supply_step(r->supply, r->streams[0], UINT64_MAX);
    for (uint64_t n = 0; n < 60; n += 6)
        for (uint32_t i = 0; i < r->n_streams; i++) {
            struct step *step = rig_get(r, r->streams[i], n);
            assert_int_equal(step->state, STEP_READY);
            supply_step_unref(r->supply, step);
        }
    assert_int_equal(far->state, STEP_PENDING);
    assert_int_equal(farther->state, STEP_PENDING);
    supply_step_unref(r->supply, farther);
    supply_step_unref(r->supply, far);
    rig_free(r);
}

static void a_stream_that_failed_keeps_no_memory(void **state)
{
    (void)state;
    static uint64_t hashes[STEPS_MAX];
    struct supply_stats stats;
    struct rig *r = rig_new(folder, "failed", 6000, 4);
    r->n_streams = 2;
    r->confs[0].max_unusable = 0.1;
    r->workers_n = 6;
    r->memory = 8 << 20; /* the second stream has room for all of its windows, if it has it alone */
    rig_start(r);
    struct step *step = rig_get(r, r->streams[0], 0);
    assert_int_equal(step->state, STEP_FAILED);
    supply_step_unref(r->supply, step);
    for (int time = 0; time < 2; time++)
        (void)rig_hash_all(r, r->streams[1], hashes, STEPS_MAX);
    supply_get_stats(r->supply, &stats);
    assert_in_range(stats.windows_made_again, 0,
                    2); /* what is expected of a window before it is made is a guess */
    rig_free(r);
}

static void one_reader_makes_each_window_once(void **state)
{
    (void)state;
    static uint64_t hashes[STEPS_MAX];
    struct supply_stats stats;
    struct stream_counts counts;
    struct rig *r = rig_new(folder, "once", 8 * RECORDS, 0);
    r->memory = 5 << 20;                      /* of some 17 that its windows need */
    for (int start = 0; start < 2; start++) { /* the second with a ledger */
        rig_start(r);
        assert_true(all_hashes(r, hashes) > 100);
        supply_get_stats(r->supply, &stats);
        stream_get_counts(r->streams[0], &counts);
        assert_in_range(stats.windows_made, counts.windows,
                        counts.windows + 3); /* one read ahead may go again */
        assert_true(counts.windows > 15);
        assert_true(stats.memory_used <= r->memory);
        rig_stop(r);
    }
    free(r);
}

static void wait_for_all_windows(struct rig *r)
{
    struct supply_stats stats;
    for (supply_get_stats(r->supply, &stats); stats.windows_making > 0; supply_get_stats(r->supply, &stats))
        (void)workers_wait(r->workers);
}

/* Of a reader of steps 0, 1, 2, ..: windows made, or on their way, beyond the one that a step ends in; false:
 * there is no such step. */
static bool ahead_of(struct rig *r, uint64_t number, bool in_a_hurry, uint64_t *ret_window, uint64_t *ret)
{
    struct supply_stats stats;
    struct step *step = get(r, number);
    bool ready = step->state == STEP_READY;
    *ret_window = step->last_window;
    supply_step_unref(r->supply, step);
    if (!in_a_hurry)
        wait_for_all_windows(r);
    supply_get_stats(r->supply, &stats);
    *ret = stats.windows_made + stats.windows_making - (*ret_window + 1);
    return ready;
}

static void a_slow_reader_has_less_made_ahead(void **state)
{
    (void)state;
    for (int hurry = 0; hurry < 2; hurry++) {
        struct rig *r = rig_new(folder, hurry ? "fast" : "slow", 24 * RECORDS, 0);
        r->workers_n = 4;
        r->memory = 256 << 20;
        rig_start(r);
        uint64_t window = 0, ahead, most = 0;
        for (uint64_t i = 0; ahead_of(r, i, hurry, &window, &ahead); i++)
            if (window >= 40 && ahead > most)
                most = ahead;
        if (hurry)
            assert_in_range(most, 2, 5);
        else
            assert_int_equal(most, 1);
        rig_free(r);
    }
}

/* What lies before it is made, and hardly more. */
static void a_step_further_on_has_no_more_made_than_it_needs(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "further", 24 * RECORDS, 0);
    r->workers_n = 4;
    r->memory = 256 << 20;
    rig_start(r);
    uint64_t window, ahead, i = 0;
    do
        assert_true(ahead_of(r, i++, false, &window, &ahead));
    while (window < 30);
    assert_true(ahead_of(r, i + i / 15, false, &window, &ahead)); /* two windows on or so */
    assert_true(window > 31);
    assert_in_range(ahead, 0, 3);
    rig_free(r);
}

/* Windows that lie there for others, or were made before anyone came, do not put it off. */
static void a_change_waits_for_what_its_reader_has_made_ahead(void **state)
{
    (void)state;
    struct rig *r = rig_new(folder, "change", 24 * RECORDS, 0);
    r->workers_n = 4;
    r->memory = 256 << 20;
    rig_start(r);
    struct err e;
    struct supply_stats stats;
    uint64_t window, ahead, i = 0, first;
    assert_true(ahead_of(r, 1500, false, &window, &ahead));
    assert_true(window > 12);
    do
        assert_true(ahead_of(r, i++, false, &window, &ahead));
    while (window < 4);
    const uint64_t steps = i / window; /* in a window, about */
    assert_int_equal(stream_hold(r->supply, r->streams[0], STREAM_UNKNOWN, i, true, &first, &e), 0);
    supply_get_stats(r->supply, &stats);
    assert_in_range(first, i, i + 5 * steps);
    assert_true(stats.windows_made > (first / steps) + 3); /* there would have been more */
    stream_release(r->supply, r->streams[0]);
    rig_free(r);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_do_not_depend_on_how_they_are_made),
        cmocka_unit_test(every_record_is_there_once_an_epoch),
        cmocka_unit_test(the_rest_of_the_last_step_is_counted),
        cmocka_unit_test(bad_records_are_quarantined_once_and_remembered),
        cmocka_unit_test(too_many_bad_records_stop_the_stream),
        cmocka_unit_test(a_record_in_pieces_is_judged_once),
        cmocka_unit_test(fewer_rows_than_a_global_batch_is_an_error),
        cmocka_unit_test(a_file_that_shrinks_stops_the_stream),
        cmocka_unit_test(a_torn_ledger_is_made_again),
        cmocka_unit_test(a_pending_step_can_be_given_back),
        cmocka_unit_test(a_step_that_is_years_away_keeps_nobody_waiting),
        cmocka_unit_test(a_stream_that_failed_keeps_no_memory),
        cmocka_unit_test(one_reader_makes_each_window_once),
        cmocka_unit_test(a_slow_reader_has_less_made_ahead),
        cmocka_unit_test(a_change_waits_for_what_its_reader_has_made_ahead),
        cmocka_unit_test(a_step_further_on_has_no_more_made_than_it_needs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
