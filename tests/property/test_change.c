/* Changes of a stream while it is read: older steps stay what they were, every record comes as often as it
 * should, and a supply that begins with all the generations gives the same as one that was changed on the
 * way. */
#include "support/folder.h"
#include "support/supply_rig.h"

#include "base/file.h"
#include "base/rng.h"
#include "stream/kitchen.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CORPORA = 3, GENERATIONS = 8, STEPS_MAX = 6000, PASSES = 40, RECORDS_MAX = 700 };
static const int n_records[CORPORA] = {700, 300, 90};

static char model[] = TEST_DIR "/data/sample.model";
static char plain[] = "plain", alpaca[] = "alpaca", *const templates[] = {plain, alpaca};

struct history {
    struct conf_stream conf[GENERATIONS];
    struct conf_share shares[GENERATIONS][CORPORA];
    uint64_t first[GENERATIONS];
    uint32_t n;
};

struct world {
    struct conf conf;
    struct conf_corpus corpora_conf[CORPORA];
    char paths[CORPORA][300], state[300], *path[CORPORA];
    struct corpus *corpora[CORPORA];
    struct tokenizer *tokenizer;
    struct reader *reader;
    struct workers *workers;
    struct supply *supply;
    struct stream *stream;
    struct recipe *recipes[GENERATIONS];
    const struct history *history;
};

static const char *folder;
static char name_a[] = "a", name_b[] = "b", name_c[] = "c", *const names[CORPORA] = {name_a, name_b, name_c},
            stream_name_s[] = "s";

static void write_corpora(void)
{
    for (int c = 0; c < CORPORA; c++) {
        char path[300];
        (void)snprintf(path, sizeof path, "%s/%s.jsonl", folder, names[c]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (int i = 0; i < n_records[c]; i++) {
            fprintf(f, "{\"messages\": [");
            for (int turn = 0; turn <= i % 4; turn++) {
                fprintf(f, "%s{\"role\": \"user\", \"content\": \"%s %d, %d?\"}, ", turn > 0 ? ", " : "",
                        names[c], i, turn);
                fprintf(f, "{\"role\": \"assistant\", \"content\": \"It is");
                for (int k = 0; k < 1 + i * 7 % 30; k++)
                    fprintf(f, " %d", i + k);
                fprintf(f, ".\"}");
            }
            fprintf(f, "]}\n");
        }
        assert_int_equal(fclose(f), 0);
    }
}

static void changed(void *arg, struct step *step)
{
    (void)arg;
    assert_int_not_equal(step->state, STEP_PENDING);
}

static struct recipe *recipe_of(struct world *w, const struct conf_stream *s)
{
    struct corpus *corpora[CORPORA];
    struct recipe *r;
    struct err e;
    for (uint32_t i = 0; i < s->n_corpora; i++)
        corpora[i] = w->corpora[s->corpora[i].corpus[0] - 'a'];
    if (recipe_new(&w->conf, s, corpora, w->tokenizer, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

/* With the first n generations of a history, as far as they are in effect. */
static struct world *start(const struct history *h, uint32_t n, const char *state)
{
    struct world *w = calloc(1, sizeof *w);
    struct err e = {""};
    enum io_kind io;
    assert_non_null(w);
    (void)snprintf(w->state, sizeof w->state, "%s/%s", folder, state);
    w->conf = (struct conf){.state_dir = w->state,
                            .record_max = 1 << 20,
                            .corpora = w->corpora_conf,
                            .n_corpora = CORPORA,
                            .refs = 1};
    int rc = file_make_dir(w->state, &e);
    for (int c = 0; c < CORPORA && rc == 0; c++) {
        (void)snprintf(w->paths[c], sizeof w->paths[c], "%s/%s.jsonl", folder, names[c]);
        w->path[c] = w->paths[c];
        w->corpora_conf[c] = (struct conf_corpus){
            .name = names[c], .paths = &w->path[c], .n_paths = 1, .format = FORMAT_MESSAGES};
        rc = corpus_open(&w->corpora_conf[c], &(struct corpus_place){.state_dir = w->state, .io = IO_PREAD},
                         NULL, &w->corpora[c], &e);
    }
    if (rc == 0)
        rc = tokenizer_load(model, NULL, 0, &w->tokenizer, &e);
    if (rc == 0)
        rc = reader_start(IO_PREAD, &w->reader, &io, &e);
    if (rc == 0)
        rc = kitchen_workers(2, &w->workers, &e);
    if (rc == 0)
        rc = supply_new(w->workers, w->reader, 16 << 20, changed, NULL, &w->supply);
    struct generation_setup setup[GENERATIONS];
    uint32_t n_setup = 0;
    for (uint32_t g = 0; g < n && rc == 0; g++) {
        while (n_setup > 0 && setup[n_setup - 1].first_step >= h->first[g])
            n_setup--;
        w->recipes[g] = recipe_of(w, &h->conf[g]);
        setup[n_setup++] =
            (struct generation_setup){.number = g + 1, .first_step = h->first[g], .recipe = w->recipes[g]};
    }
    if (rc == 0)
        rc = supply_add(w->supply, "s", w->state, setup, n_setup, &w->stream, &e);
    if (rc != 0)
        fail_msg("%s", e.text);
    w->history = h;
    return w;
}

static void stop(struct world *w)
{
    supply_stop(w->supply);
    workers_stop(w->workers);
    reader_stop(w->reader);
    for (int g = 0; g < GENERATIONS; g++)
        recipe_unref(w->recipes[g]);
    tokenizer_unref(w->tokenizer);
    for (int c = 0; c < CORPORA; c++)
        corpus_close(w->corpora[c]);
    free(w);
}

static struct step *get(struct world *w, uint64_t number)
{
    struct step *step = supply_step(w->supply, w->stream, number);
    assert_non_null(step);
    while (step->state == STEP_PENDING)
        workers_wait(w->workers);
    return step;
}

/* 0: there is no such step. */
static uint64_t hash_of(struct world *w, uint64_t number)
{
    struct step *step = get(w, number);
    if (step->state == STEP_FAILED)
        fail_msg("step %llu: %s", (unsigned long long)number, step_failure(step));
    uint64_t hash = step->state == STEP_READY ? rig_hash(step) + step->generation : 0;
    supply_step_unref(w->supply, step);
    return hash;
}

static struct conf_positions *positions_of(enum pos_strategy strategy)
{
    static struct conf_positions of[POS__COUNT];
    of[strategy] =
        (struct conf_positions){.strategy = strategy, .max_position = 4096, .probability = 1, .chunks = 2};
    return &of[strategy];
}

static void add_generation(struct history *h, uint64_t first, const struct conf_stream *conf,
                           const struct conf_share *shares)
{
    assert_true(h->n < GENERATIONS);
    h->conf[h->n] = *conf;
    memcpy(h->shares[h->n], shares, sizeof h->shares[0]);
    h->conf[h->n].corpora = h->shares[h->n];
    h->first[h->n++] = first;
}

static const struct conf_share once_each[CORPORA] = {{name_a, 1}, {name_b, 1}, {name_c, 1}};

static void first_generation(struct history *h, int64_t epochs)
{
    const struct conf_stream conf = {.name = stream_name_s,
                                     .tokenizer = model,
                                     .template_name = templates[0],
                                     .n_corpora = 2,
                                     .seq_len = 256,
                                     .global_batch = 4,
                                     .epochs = epochs,
                                     .seed = 5,
                                     .packing = true,
                                     .last = LAST_PAD,
                                     .max_unusable = 0.5,
                                     .positions = positions_of(POS_SKIP_ALL),
                                     .n_positions = 1};
    *h = (struct history){0};
    add_generation(h, 0, &conf, once_each);
}

/* Anything that leaves the mixture alone. */
static void change_anything(struct rng *rng, struct conf_stream *c)
{
    switch (rng_below(rng, 7)) {
    case 0:
        c->seq_len = 96 << rng_below(rng, 4);
        break;
    case 1:
        c->global_batch = 1 + rng_below(rng, 9);
        break;
    case 2:
        c->packing = !c->packing;
        break;
    case 3:
        c->template_name = templates[rng_below(rng, 2)];
        break;
    case 4:
        c->seed++;
        break;
    case 5:
        c->overlong = rng_below(rng, 2) ? OVERLONG_SPLIT : OVERLONG_TRUNCATE;
        break;
    default:
        c->positions = positions_of((enum pos_strategy)rng_below(rng, POS__COUNT));
    }
}

static void commit(struct world *w, struct history *h, uint64_t first)
{
    w->recipes[h->n - 1] = recipe_of(w, &h->conf[h->n - 1]);
    const struct generation_setup setup = {
        .number = h->n, .first_step = first, .recipe = w->recipes[h->n - 1]};
    supply_change(w->supply, w->stream, &setup);
}

/* Reads a few steps, changes something, reads on, ...: hashes of all steps to the end. */
static uint32_t live(struct rng *rng, struct history *h, const char *state, uint64_t ret[STEPS_MAX])
{
    struct world *w = start(h, 1, state);
    uint32_t step = 0;
    uint64_t until = rng_below(rng, 60);
    for (;; step++) {
        if (step >= until && h->n < GENERATIONS) {
            struct conf_stream conf = h->conf[h->n - 1];
            uint64_t first, at = rng_below(rng, 3) == 0 ? step + rng_below(rng, 30) : STREAM_UNKNOWN;
            struct err e;
            int rc = stream_hold(w->supply, w->stream, at, step, rng_below(rng, 2), &first, &e);
            if (rc == ERR_LIMIT)
                continue;
            assert_int_equal(rc, 0);
            assert_true(first >= step);
            if (rng_below(rng, 4) == 0) {
                stream_release(w->supply, w->stream); /* thought better of it */
            } else {
                change_anything(rng, &conf);
                add_generation(h, first, &conf, h->shares[h->n - 1]);
                commit(w, h, first);
            }
            until = step + rng_below(rng, 60);
        }
        assert_true(step < STEPS_MAX);
        stream_mark_sent(w->stream, step);
        if ((ret[step] = hash_of(w, step)) == 0)
            break;
    }
    stop(w);
    return step;
}

/* How often each (corpus, pass, record) is there, in whole or in pieces. */
static void count(struct world *w, uint8_t times[CORPORA][PASSES][RECORDS_MAX])
{
    memset(times, 0, sizeof(uint8_t[CORPORA][PASSES][RECORDS_MAX]));
    for (uint64_t n = 0;; n++) {
        struct step *step = get(w, n);
        enum step_state state = step->state;
        for (int64_t i = 0; state == STEP_READY && i < step->recipe->conf->global_batch; i++) {
            const struct window *win = step->rows[i].window;
            for (uint32_t d = 0; win != NULL && d < win->rows[step->rows[i].row].n_docs; d++) {
                const struct window_doc *doc =
                    &win->docs[win->row_docs[win->rows[step->rows[i].row].first_doc + d]];
                int c = step->recipe->conf->corpora[doc->corpus].corpus[0] - 'a';
                assert_true(doc->pass < PASSES);
                if (doc->piece.from == 0)
                    times[c][doc->pass][doc->record]++;
            }
        }
        supply_step_unref(w->supply, step);
        if (state != STEP_READY)
            return;
    }
}

static void compare(struct world *w, const uint64_t *want, uint32_t n, struct rng *rng)
{
    for (uint32_t i = 0; i < 40; i++) { /* anywhere first */
        uint32_t at = rng_below(rng, n);
        if (hash_of(w, at) != want[at])
            fail_msg("step %u, out of order", at);
    }
    for (uint32_t i = 0; i <= n; i++)
        if (hash_of(w, i) != want[i])
            fail_msg("step %u of %u", i, n);
}

static void a_changed_stream_is_what_its_history_says(void **state)
{
    (void)state;
    static uint64_t want[STEPS_MAX];
    static uint8_t times[CORPORA][PASSES][RECORDS_MAX];
    static struct history h;
    for (uint32_t round = 0; round < 4; round++) {
        struct rng rng;
        char name[32], fresh[32];
        rng_init(&rng, (struct rng_key){.seed = 77, .record = round});
        (void)snprintf(name, sizeof name, "live%u", round);
        (void)snprintf(fresh, sizeof fresh, "fresh%u", round);
        first_generation(&h, 3);
        uint32_t n = live(&rng, &h, name, want);
        print_message("round %u: %u steps, %u generations\n", round, n, h.n);
        for (int again = 0; again < 2; again++) {
            struct world *w = start(&h, h.n, again ? fresh : name);
            compare(w, want, n, &rng);
            if (again) {
                count(w, times);
                for (int c = 0; c < 2; c++)
                    for (int pass = 0; pass < 3; pass++)
                        for (int r = 0; r < n_records[c]; r++)
                            if (times[c][pass][r] != 1)
                                fail_msg("corpus %s, pass %d, record %d: %d times", names[c], pass, r,
                                         times[c][pass][r]);
            }
            stop(w);
        }
    }
}

/* Mixtures that change in the middle of epochs: no record twice in a pass, no pass before the one before it
 * is through. */
static void a_changed_mixture_repeats_nothing_in_a_pass(void **state)
{
    (void)state;
    static uint8_t times[CORPORA][PASSES][RECORDS_MAX];
    static struct history h;
    static const double repeats[] = {0.25, 0.5, 1, 1, 2, 3.5};
    for (uint32_t round = 0; round < 3; round++) {
        struct rng rng;
        char name[32];
        rng_init(&rng, (struct rng_key){.seed = 78, .record = round});
        (void)snprintf(name, sizeof name, "mix%u", round);
        bool whole[CORPORA] = {true, true, true}; /* in every generation since it came */
        first_generation(&h, 3);
        struct world *w = start(&h, 1, name);
        for (uint64_t step = 0; h.n < GENERATIONS; step++) {
            stream_mark_sent(w->stream, step);
            if (hash_of(w, step) == 0)
                break;
            if (rng_below(&rng, 40) != 0)
                continue;
            struct conf_stream conf = h.conf[h.n - 1];
            struct conf_share shares[CORPORA];
            uint64_t first;
            struct err e;
            conf.n_corpora = 1 + rng_below(&rng, CORPORA);
            for (uint32_t c = 0, from = rng_below(&rng, CORPORA); c < CORPORA; c++)
                shares[c] = (struct conf_share){names[(from + c) % CORPORA], repeats[rng_below(&rng, 6)]};
            assert_int_equal(stream_hold(w->supply, w->stream, STREAM_UNKNOWN, step + 1, true, &first, &e),
                             0);
            for (int c = 0; c < CORPORA; c++) {
                bool is = false, was = false;
                for (uint32_t i = 0; i < conf.n_corpora; i++)
                    is |= shares[i].corpus == names[c];
                for (uint32_t i = 0; i < h.conf[h.n - 1].n_corpora; i++)
                    was |= h.shares[h.n - 1][i].corpus == names[c];
                whole[c] &= is || !was;
            }
            change_anything(&rng, &conf);
            add_generation(&h, first, &conf, shares);
            commit(w, &h, first);
        }
        count(w, times);
        stop(w);
        for (int c = 0; c < CORPORA; c++)
            for (int pass = 0; pass < PASSES; pass++) {
                int missing = 0;
                for (int r = 0; r < n_records[c]; r++) {
                    missing += times[c][pass][r] == 0;
                    if (times[c][pass][r] > 1)
                        fail_msg("corpus %s, pass %d, record %d: %d times", names[c], pass, r,
                                 times[c][pass][r]);
                }
                int later = 0;
                for (int r = 0; pass + 1 < PASSES && r < n_records[c]; r++)
                    later += times[c][pass + 1][r];
                if (later > 0 && missing > 0 && whole[c])
                    fail_msg("corpus %s, pass %d: %d records are missing", names[c], pass, missing);
            }
    }
}

/* With the mixture as it was, an epoch has each record once, wherever a change falls; with other weights,
 * what is left of it is dealt in proportion. */
static void the_rest_of_an_epoch_is_in_proportion(void **state)
{
    (void)state;
    static uint8_t times[CORPORA][PASSES][RECORDS_MAX];
    static struct history h;
    first_generation(&h, 1);
    h.shares[0][0].repeat = h.shares[0][1].repeat = 4;
    struct world *w = start(&h, 1, "proportion");
    for (uint64_t step = 0; step < 40; step++) {
        stream_mark_sent(w->stream, step);
        assert_true(hash_of(w, step) != 0);
    }
    const struct conf_share shares[CORPORA] = {{name_a, 4}, {name_b, 8}, {name_c, 10}};
    struct conf_stream conf = h.conf[0];
    uint64_t first;
    struct err e;
    conf.n_corpora = 3;
    assert_int_equal(stream_hold(w->supply, w->stream, STREAM_UNKNOWN, 40, false, &first, &e), 0);
    assert_int_equal(first, 40);
    add_generation(&h, first, &conf, shares);
    commit(w, &h, first);
    count(w, times);
    stop(w);
    int n[CORPORA] = {0};
    for (int c = 0; c < CORPORA; c++)
        for (int pass = 0; pass < PASSES; pass++)
            for (int r = 0; r < n_records[c]; r++)
                n[c] += times[c][pass][r];
    for (int r = 0; r < n_records[0]; r++)
        assert_int_equal(times[0][0][r], 1);
    assert_int_equal(n[0], 4 * n_records[0]); /* all of it, as often as it should be */
    for (int r = 0; r < n_records[0]; r++)
        for (int pass = 0; pass < 4; pass++)
            assert_int_equal(times[0][pass][r], 1);
    assert_in_range(n[1], 4 * n_records[1] + 1, 8 * n_records[1] - 1);
    assert_in_range(n[2], 1, 10 * n_records[2] - 1);
    /* b had `before` of its 1,200 turns and got 2 * (1,200 - before) more. */
    double before = 8.0 * n_records[1] - n[1], left = 1 - before / (4 * n_records[1]);
    assert_in_range(n[2], (int)(left * 10 * n_records[2]) - 20, (int)(left * 10 * n_records[2]) + 20);
}

/* ---- one thing at a time ---- */

static uint64_t hold(struct world *w, uint64_t at, uint64_t made)
{
    uint64_t first;
    struct err e;
    if (stream_hold(w->supply, w->stream, at, made, false, &first, &e) != 0)
        fail_msg("%s", e.text);
    return first;
}

static void change(struct world *w, struct history *h, const struct conf_stream *conf, uint64_t first)
{
    add_generation(h, first, conf, h->shares[h->n - 1]);
    commit(w, h, first);
}

static void steps_wait_while_a_change_is_made(void **state)
{
    (void)state;
    static struct history h;
    first_generation(&h, 1);
    struct world *w = start(&h, 1, "waits");
    uint64_t first, want = hash_of(w, 9);
    struct err e;
    assert_int_equal(hold(w, 8, 5), 8);
    assert_int_equal(stream_hold(w->supply, w->stream, STREAM_UNKNOWN, 0, false, &first, &e), -EBUSY);
    struct step *before = get(w, 7), *after = supply_step(w->supply, w->stream, 9);
    assert_int_equal(before->state, STEP_READY);
    assert_int_equal(after->state, STEP_PENDING);
    stream_release(w->supply, w->stream);
    while (after->state == STEP_PENDING)
        workers_wait(w->workers);
    assert_int_equal(rig_hash(after) + 1, want);
    assert_int_equal(after->generation, 1);

    assert_int_equal(hold(w, 8, 5), 8); /* one that is held, and one that waits, across a change */
    struct step *waits = supply_step(w->supply, w->stream, 10);
    struct conf_stream conf = h.conf[0];
    conf.seq_len = 128;
    change(w, &h, &conf, 8);
    while (waits->state == STEP_PENDING)
        workers_wait(w->workers);
    assert_int_equal(waits->generation, 2);
    assert_int_equal(waits->recipe->conf->seq_len, 128);
    assert_int_equal(after->generation, 1);
    struct step *again = get(w, 9);
    assert_ptr_not_equal(again, after);
    assert_int_equal(again->generation, 2);
    supply_step_unref(w->supply, before);
    supply_step_unref(w->supply, after);
    supply_step_unref(w->supply, waits);
    supply_step_unref(w->supply, again);
    stop(w);
}

static void nothing_changes_that_was_handed_out(void **state)
{
    (void)state;
    static struct history h;
    uint64_t first = 0;
    struct err e;
    first_generation(&h, 1);
    struct world *w = start(&h, 1, "handed");
    assert_int_equal(hold(w, STREAM_UNKNOWN, 0), 0);
    stream_release(w->supply, w->stream);
    stream_mark_sent(w->stream, 20);
    stream_mark_sent(w->stream, 3); /* a replay */
    assert_int_equal(stream_sent(w->stream), 21);
    stop(w);
    w = start(&h, 1, "handed"); /* another process knows */
    assert_int_equal(stream_sent(w->stream), 21);
    assert_int_equal(stream_hold(w->supply, w->stream, 20, 0, false, &first, &e), ERR_CHANGED);
    assert_int_equal(first, 21);
    assert_int_equal(hold(w, STREAM_UNKNOWN, 23), 23);
    stream_release(w->supply, w->stream);
    for (uint64_t n = 0; hash_of(w, n) != 0; n++)
        first = n + 1;
    assert_int_equal(stream_hold(w->supply, w->stream, first + 1, 0, false, &first, &e), ERR_LIMIT);
    stop(w);
}

/* One that was to come gives way to another that begins before it, or where it does. */
static void a_change_takes_the_place_of_those_to_come(void **state)
{
    (void)state;
    static struct history h;
    struct generation_info g;
    first_generation(&h, 1);
    struct world *w = start(&h, 1, "place");
    struct conf_stream conf = h.conf[0];
    conf.global_batch = 2;
    change(w, &h, &conf, hold(w, 50, 0));
    stream_generation_at(w->stream, 50, &g);
    assert_int_equal(g.number, 2);
    conf.global_batch = 3;
    change(w, &h, &conf, hold(w, 40, 0));
    stream_generation_at(w->stream, UINT64_MAX, &g);
    assert_int_equal(g.number, 3);
    assert_int_equal(g.first_step, 40);
    stream_generation_at(w->stream, 39, &g);
    assert_int_equal(g.number, 1);
    assert_int_equal(g.end_step, 40);
    conf.global_batch = 5;
    change(w, &h, &conf, hold(w, 0, 0)); /* from the very beginning */
    struct step *step = get(w, 0);
    assert_int_equal(step->generation, 4);
    assert_int_equal(step->recipe->conf->global_batch, 5);
    supply_step_unref(w->supply, step);
    stop(w);
}

static void more_epochs_go_on_after_the_end(void **state)
{
    (void)state;
    static uint8_t times[CORPORA][PASSES][RECORDS_MAX];
    static struct history h;
    first_generation(&h, 1);
    h.conf[0].last = LAST_DROP;
    h.conf[0].global_batch = 7;
    struct world *w = start(&h, 1, "more");
    uint64_t n = 0;
    for (; hash_of(w, n) != 0; n++)
        stream_mark_sent(w->stream, n);
    assert_int_equal(stream_steps(w->stream), n);
    struct conf_stream conf = h.conf[0];
    conf.epochs = 2;
    conf.last = LAST_PAD;
    change(w, &h, &conf, hold(w, STREAM_UNKNOWN, n));
    assert_int_equal(h.first[1], n);
    assert_int_equal(stream_steps(w->stream), STREAM_UNKNOWN);
    count(w, times); /* the rows that did not make a step, too */
    for (int i = 0; i < 2; i++)
        for (int pass = 0; pass < 3; pass++)
            for (int r = 0; r < n_records[i]; r++)
                assert_int_equal(times[i][pass][r], pass < 2);
    stop(w);
}

static int set_up(void **state)
{
    if (folder_new(state) != 0)
        return -1;
    folder = ((struct folder *)*state)->path;
    write_corpora();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_stream_is_what_its_history_says),
        cmocka_unit_test(a_changed_mixture_repeats_nothing_in_a_pass),
        cmocka_unit_test(the_rest_of_an_epoch_is_in_proportion),
        cmocka_unit_test(steps_wait_while_a_change_is_made),
        cmocka_unit_test(nothing_changes_that_was_handed_out),
        cmocka_unit_test(a_change_takes_the_place_of_those_to_come),
        cmocka_unit_test(more_epochs_go_on_after_the_end),
    };
    return cmocka_run_group_tests(tests, set_up, folder_free);
}
