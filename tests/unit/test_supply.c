/* The supply over a real corpus and model: the same rows however they are made, every record once, ends and
 * failures. */
#include "base/file.h"
#include "stream/kitchen.h"
#include "stream/supply.h"

#include <poll.h>
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

enum { RECORDS = 2600, SEQ_LEN = 256, BATCH = 8 };

static char numbers[] = "numbers", stream_name[] = "s", model[] = TEST_DIR "/data/sample.model",
            plain[] = "plain";
static char folder[] = "/tmp/skipalign-supply-XXXXXX";

struct rig {
    struct conf conf;
    struct conf_corpus corpus_conf;
    struct conf_share share;
    struct conf_stream stream_conf;
    char state[256], path[256];
    char *paths[1];
    uint32_t workers_n;
    uint64_t memory;
    enum io_kind io;
    /* made by rig_start */
    struct corpus *corpus;
    struct tokenizer *tokenizer;
    struct recipe *recipe;
    struct reader *reader;
    struct workers *workers;
    struct supply *supply;
    struct stream *stream;
    uint32_t n_changed;
};

static void write_corpus(const char *path, int n, int bad_every)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        if (bad_every > 0 && i % bad_every == 0) {
            fprintf(f, "{\"messages\": [{\"role\": \"user\", \"content\": \"cut sho\n");
            continue;
        }
        fprintf(f,
                "{\"messages\": [{\"role\": \"user\", \"content\": \"What is number %d?\"}, {\"role\": "
                "\"assistant\", ",
                i);
        fprintf(f, "\"content\": \"It is");
        for (int k = 0; k < 1 + i * 7 % 60; k++)
            fprintf(f, " %d", i + k);
        fprintf(f, ".\"}]}\n");
    }
    assert_int_equal(fclose(f), 0);
}

static struct rig *rig_new(const char *state, int n_records, int bad_every)
{
    struct rig *r = calloc(1, sizeof *r);
    (void)snprintf(r->state, sizeof r->state, "%s/%s", folder, state);
    (void)snprintf(r->path, sizeof r->path, "%s/corpus-%d-%d.jsonl", folder, n_records, bad_every);
    if (access(r->path, F_OK) != 0)
        write_corpus(r->path, n_records, bad_every);
    r->paths[0] = r->path;
    r->corpus_conf =
        (struct conf_corpus){.name = numbers, .paths = r->paths, .n_paths = 1, .format = FORMAT_MESSAGES};
    r->share = (struct conf_share){.corpus = numbers, .repeat = 1};
    r->stream_conf = (struct conf_stream){
        .name = stream_name,
        .tokenizer = model,
        .template_name = plain,
        .corpora = &r->share,
        .n_corpora = 1,
        .seq_len = SEQ_LEN,
        .global_batch = BATCH,
        .epochs = 1,
        .seed = 3,
        .packing = true,
        .max_unusable = 0.5,
        .positions = {.strategy = POS_SKIP_ALL, .max_position = 4096, .probability = 1},
    };
    r->conf = (struct conf){.state_dir = r->state,
                            .record_max = 1 << 20,
                            .corpora = &r->corpus_conf,
                            .n_corpora = 1,
                            .streams = &r->stream_conf,
                            .n_streams = 1};
    r->workers_n = 2;
    r->memory = 64 << 20;
    r->io = IO_PREAD;
    return r;
}

static void count_changed(void *arg, struct step *step)
{
    assert_int_not_equal(step->state, STEP_PENDING);
    ((struct rig *)arg)->n_changed++;
}

static void *scratch_new(void)
{
    return kitchen_new();
}

static void scratch_free(void *k)
{
    kitchen_free(k);
}

static void rig_start(struct rig *r)
{
    struct err e = {""};
    enum io_kind io;
    if (file_make_dir(r->state, &e) != 0 ||
        corpus_open(&r->corpus_conf, r->state, r->io, NULL, NULL, &r->corpus, &e) != 0 ||
        tokenizer_load(r->stream_conf.tokenizer, NULL, 0, &r->tokenizer, &e) != 0 ||
        recipe_new(&r->conf, &r->stream_conf, &r->corpus, r->tokenizer, &r->recipe, &e) != 0 ||
        reader_start(r->io, &r->reader, &io, &e) != 0 ||
        workers_start(r->workers_n, scratch_new, scratch_free, &r->workers, &e) != 0 ||
        supply_new(r->workers, r->reader, r->memory, count_changed, r, &r->supply) != 0 ||
        supply_add(r->supply, r->recipe, r->state, &r->stream, &e) != 0)
        fail_msg("%s", e.text);
}

static void rig_stop(struct rig *r)
{
    supply_stop(r->supply);
    workers_stop(r->workers);
    reader_stop(r->reader);
    recipe_unref(r->recipe);
    tokenizer_unref(r->tokenizer);
    corpus_close(r->corpus);
}

static void rig_free(struct rig *r)
{
    rig_stop(r);
    free(r);
}

static struct step *get(struct rig *r, uint64_t number)
{
    struct step *step = supply_step(r->supply, r->stream, number);
    while (step->state == STEP_PENDING)
        workers_wait(r->workers);
    return step;
}

/* All that a batch is written from. */
static uint64_t hash_of(const struct step *step)
{
    uint64_t h = step->number;
    for (int i = 0; i < BATCH; i++) {
        const struct window *w = step->rows[i].window;
        if (w == NULL)
            continue;
        const struct window_row *row = &w->rows[step->rows[i].row];
        for (uint32_t d = 0; d < row->n_docs; d++) {
            const struct window_doc *doc = &w->docs[w->row_docs[row->first_doc + d]];
            h = XXH3_64bits_withSeed(w->tokens + doc->first_token, doc->n_tokens * 4, h);
            h = XXH3_64bits_withSeed(w->runs + doc->first_run, doc->n_runs * sizeof(struct pos_run), h);
            h = XXH3_64bits_withSeed(w->spans + doc->first_span, doc->n_spans * sizeof(struct window_span),
                                     h);
            h = XXH3_64bits_withSeed(&doc->record, sizeof doc->record, h);
        }
    }
    return h;
}

enum { STEPS_MAX = 2000 };

static uint32_t all_hashes(struct rig *r, uint64_t *ret)
{
    for (uint32_t n = 0;; n++) {
        struct step *step = get(r, n);
        if (step->state == STEP_END) {
            supply_step_unref(r->supply, step);
            return n;
        }
        assert_int_equal(step->state, STEP_READY);
        assert_true(n < STEPS_MAX);
        ret[n] = hash_of(step);
        supply_step_unref(r->supply, step);
    }
}

static void rows_do_not_depend_on_how_they_are_made(void **state)
{
    (void)state;
    static uint64_t want[STEPS_MAX], have[STEPS_MAX];
    struct rig *r = rig_new("a", RECORDS, 0);
    rig_start(r);
    uint32_t n = all_hashes(r, want);
    assert_true(n > 20);
    assert_int_equal(stream_steps(r->stream), n);
    rig_stop(r);

    rig_start(r); /* the ledger is there now: from anywhere, in any order */
    assert_int_equal(stream_known_steps(r->stream), n);
    for (uint32_t i = 0; i < 3 * n; i++) {
        uint32_t at = i * 7919 % n;
        struct step *step = get(r, at);
        assert_int_equal(hash_of(step), want[at]);
        supply_step_unref(r->supply, step);
    }
    rig_free(r);

    for (int variant = 0; variant < 4; variant++) {
        char name[16];
        (void)snprintf(name, sizeof name, "v%d", variant);
        r = rig_new(name, RECORDS, 0);
        r->workers_n = variant == 0 ? 1 : 4;
        r->memory =
            variant == 1 ? 1 : 64 << 20; /* room for nothing: each window is made for its step, then goes */
        r->io = variant == 2 ? IO_AUTO : IO_PREAD;
        rig_start(r);
        if (variant == 3) { /* the last step first: all windows before it are made on the way */
            struct step *last = get(r, n - 1);
            assert_int_equal(hash_of(last), want[n - 1]);
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
        struct rig *r = rig_new(packing ? "once-packed" : "once-padded", RECORDS, 0);
        r->stream_conf.packing = packing;
        r->stream_conf.epochs = 3;
        r->stream_conf.last = LAST_PAD;
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
        assert_int_equal(stream_dropped(r->stream), 0);
        assert_int_equal(epoch, 2);
        supply_step_unref(r->supply, step);
        for (int pass = 0; pass < 3; pass++)
            for (int i = 0; i < RECORDS; i++)
                assert_int_equal(times[pass][i], 1);
        struct stream_counts c;
        stream_get_counts(r->stream, &c);
        assert_int_equal(c.documents, 3 * RECORDS);
        assert_int_equal(c.slots, 3 * RECORDS);
        rig_free(r);
    }
}

static void the_rest_of_the_last_step_is_counted(void **state)
{
    (void)state;
    struct rig *r = rig_new("dropped", 100, 0);
    r->stream_conf.packing = false;
    rig_start(r);
    struct step *last = get(r, 11), *past = get(r, 12), *far = get(r, UINT64_MAX);
    assert_int_equal(last->state, STEP_READY);
    assert_int_equal(past->state, STEP_END);
    assert_int_equal(far->state, STEP_END);
    assert_int_equal(stream_steps(r->stream), 12);
    assert_int_equal(stream_dropped(r->stream), 4);
    supply_step_unref(r->supply, last);
    supply_step_unref(r->supply, past);
    supply_step_unref(r->supply, far);
    rig_free(r);
}

static void bad_records_are_quarantined_once_and_remembered(void **state)
{
    (void)state;
    struct rig *r = rig_new("bad", 2000, 10);
    for (int start = 0; start < 2; start++) {
        static uint64_t hashes[STEPS_MAX];
        const struct quarantined *q;
        struct stream_counts c;
        uint32_t n;
        rig_start(r);
        all_hashes(r, hashes);
        stream_get_quarantine(r->stream, &q, &n);
        assert_int_equal(n, 200);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(q[i].reason, UNUSABLE_JSON);
            assert_int_equal(q[i].record % 10, 0);
        }
        stream_get_counts(r->stream, &c);
        assert_int_equal(c.unusable[UNUSABLE_JSON], 200);
        assert_int_equal(c.documents, 1800);
        assert_null(stream_ledger_failure(r->stream));
        rig_stop(r);
    }
    free(r);
}

static void too_many_bad_records_stop_the_stream(void **state)
{
    (void)state;
    struct rig *r = rig_new("hopeless", 400, 1);
    for (int start = 0; start < 2; start++) {
        rig_start(r);
        struct step *step = get(r, 0);
        assert_int_equal(step->state, STEP_FAILED);
        assert_non_null(strstr(stream_failure(r->stream), "corpus 'numbers'"));
        assert_non_null(strstr(stream_failure(r->stream), "max_unusable"));
        supply_step_unref(r->supply, step);
        rig_stop(r);
    }
    free(r);
}

static void fewer_rows_than_a_global_batch_is_an_error(void **state)
{
    (void)state;
    struct rig *r = rig_new("few", 5, 0);
    r->stream_conf.packing = false;
    rig_start(r);
    struct step *step = get(r, 0);
    assert_int_equal(step->state, STEP_FAILED);
    assert_non_null(strstr(stream_failure(r->stream), "global_batch"));
    supply_step_unref(r->supply, step);
    rig_free(r);
}

static void a_file_that_shrinks_stops_the_stream(void **state)
{
    (void)state;
    struct rig *r = rig_new("shrinks", 3001, 0);
    r->stream_conf.epochs = 0;
    r->memory = 1;
    rig_start(r);
    struct step *step = get(r, 0);
    assert_int_equal(step->state, STEP_READY);
    supply_step_unref(r->supply, step);
    assert_int_equal(truncate(r->path, 1000), 0);
    step = get(r, 500);
    assert_int_equal(step->state, STEP_FAILED);
    assert_non_null(strstr(stream_failure(r->stream), "corpus-3001-0.jsonl"));
    supply_step_unref(r->supply, step);
    rig_free(r);
}

static void a_torn_ledger_is_made_again(void **state)
{
    (void)state;
    static uint64_t want[STEPS_MAX], have[STEPS_MAX];
    struct rig *r = rig_new("torn", RECORDS, 0);
    rig_start(r);
    uint32_t n = all_hashes(r, want);
    rig_stop(r);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/streams/s.ledger", r->state);
    for (int cut = 33; cut < 300; cut += 37) {
        assert_int_equal(truncate(path, cut), 0);
        rig_start(r);
        assert_true(stream_known_steps(r->stream) < n);
        assert_false(stream_ledger_replaced(r->stream));
        assert_int_equal(all_hashes(r, have), n);
        assert_memory_equal(have, want, n * sizeof want[0]);
        rig_stop(r);
    }
    r->stream_conf.seed = 4; /* another stream altogether: the ledger is not believed */
    rig_start(r);
    assert_true(stream_ledger_replaced(r->stream));
    all_hashes(r, have);
    assert_true(memcmp(have, want, n * sizeof want[0]) != 0);
    rig_free(r);
}

static void a_pending_step_can_be_given_back(void **state)
{
    (void)state;
    struct rig *r = rig_new("giveback", RECORDS, 0);
    rig_start(r);
    struct step *far = supply_step(r->supply, r->stream, 25), *near = supply_step(r->supply, r->stream, 0);
    assert_ptr_equal(supply_step(r->supply, r->stream, 25), far);
    supply_step_unref(r->supply, far);
    supply_step_unref(r->supply, far);
    while (near->state == STEP_PENDING)
        workers_wait(r->workers);
    assert_int_equal(near->state, STEP_READY);
    assert_int_equal(r->n_changed, 1);
    supply_step_unref(r->supply, near);
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
        cmocka_unit_test(fewer_rows_than_a_global_batch_is_an_error),
        cmocka_unit_test(a_file_that_shrinks_stops_the_stream),
        cmocka_unit_test(a_torn_ledger_is_made_again),
        cmocka_unit_test(a_pending_step_can_be_given_back),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
