#include "support/supply_rig.h"

#include "base/file.h"
#include "stream/kitchen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

static char corpus_name[] = "numbers", model[] = TEST_DIR "/data/sample.model", template_name[] = "plain";

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

struct rig *rig_new(const char *folder, const char *state, int n_records, int bad_every)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    (void)snprintf(r->state, sizeof r->state, "%s/%s", folder, state);
    (void)snprintf(r->path, sizeof r->path, "%s/corpus-%d-%d.jsonl", folder, n_records, bad_every);
    if (access(r->path, F_OK) != 0)
        write_corpus(r->path, n_records, bad_every);
    r->paths[0] = r->path;
    r->corpus_conf =
        (struct conf_corpus){.name = corpus_name, .paths = r->paths, .n_paths = 1, .format = FORMAT_MESSAGES};
    r->share = (struct conf_share){.corpus = corpus_name, .repeat = 1};
    for (int i = 0; i < RIG_STREAMS; i++) {
        (void)snprintf(r->names[i], sizeof r->names[i], "s%d", i);
        r->positions[i] = (struct conf_positions){
            .strategy = POS_SKIP_ALL, .max_position = 4096, .probability = 1, .chunks = 2};
        r->confs[i] = (struct conf_stream){
            .name = r->names[i],
            .tokenizer = model,
            .template_name = template_name,
            .corpora = &r->share,
            .n_corpora = 1,
            .seq_len = 256,
            .global_batch = 8,
            .epochs = 1,
            .seed = 3,
            .packing = true,
            .max_unusable = 0.5,
            .positions = &r->positions[i],
            .n_positions = 1,
        };
    }
    r->conf = (struct conf){.refs = 1,
                            .state_dir = r->state,
                            .record_max = 1 << 20,
                            .corpora = &r->corpus_conf,
                            .n_corpora = 1,
                            .streams = r->confs,
                            .n_streams = RIG_STREAMS};
    r->n_streams = 1;
    r->workers_n = 2;
    r->memory = 64 << 20;
    r->io = IO_PREAD;
    r->tokenizer_verify = TOKENIZER_VERIFY;
    return r;
}

static void changed(void *arg, struct step *step)
{
    struct rig *r = arg;
    assert_int_not_equal(step->state, STEP_PENDING);
    r->n_changed++;
    if (r->changed != NULL)
        r->changed(r->arg, step);
}

void rig_start(struct rig *r)
{
    struct err e = {""};
    enum io_kind io;
    int rc = file_make_dir(r->state, &e);
    if (rc == 0)
        rc = corpus_open(&r->corpus_conf, &(struct corpus_place){.state_dir = r->state, .io = r->io}, NULL,
                         &r->corpus, &e);
    if (rc == 0)
        rc = tokenizer_load(model, NULL, 0, &r->tokenizer, &e);
    if (rc == 0)
        tokenizer_set(r->tokenizer, r->tokenizer_path, r->tokenizer_verify);
    if (rc == 0 && r->doubted)
        tokenizer_doubt(r->tokenizer, true);
    if (rc == 0)
        rc = reader_start(r->io, &r->reader, &io, &e);
    if (rc == 0)
        rc = kitchen_workers(r->workers_n, &r->workers, &e);
    if (rc == 0)
        rc = supply_new(r->workers, r->reader, r->memory, changed, r, &r->supply);
    for (uint32_t i = 0; rc == 0 && i < r->n_streams; i++) {
        rc = recipe_new(&r->conf, &r->confs[i], &r->corpus, r->tokenizer, &r->recipes[i], &e);
        const struct generation_setup first = {.number = 1, .recipe = r->recipes[i]};
        if (rc == 0)
            rc = supply_add(r->supply, r->names[i], r->state, &first, 1, &r->streams[i], &e);
    }
    if (rc != 0)
        fail_msg("%s", e.text);
}

void rig_stop(struct rig *r)
{
    supply_stop(r->supply);
    workers_stop(r->workers);
    reader_stop(r->reader);
    for (uint32_t i = 0; i < r->n_streams; i++)
        recipe_unref(r->recipes[i]);
    tokenizer_unref(r->tokenizer);
    corpus_close(r->corpus);
}

void rig_free(struct rig *r)
{
    rig_stop(r);
    free(r);
}

struct step *rig_get(struct rig *r, struct stream *st, uint64_t number)
{
    struct step *step = supply_step(r->supply, st, number);
    assert_non_null(step);
    while (step->state == STEP_PENDING)
        workers_wait(r->workers);
    return step;
}

uint64_t rig_hash(const struct step *step)
{
    uint64_t h = step->number;
    for (int64_t i = 0; i < step->recipe->conf->global_batch; i++) {
        const struct window *w = step->rows[i].window;
        if (w == NULL)
            continue;
        const struct window_row *row = &w->rows[step->rows[i].row];
        for (uint32_t d = 0; d < row->n_docs; d++) {
            const struct window_doc *doc = &w->docs[w->row_docs[row->first_doc + d]];
            h = XXH3_64bits_withSeed(w->tokens + doc->first_token, doc->n_tokens * 4, h);
            h = XXH3_64bits_withSeed(w->runs + doc->first_run, doc->n_runs * sizeof(struct pos_run), h);
            h = XXH3_64bits_withSeed(w->spans + doc->first_span, doc->n_spans * sizeof(struct pos_span), h);
            h = XXH3_64bits_withSeed(&doc->record, sizeof doc->record, h);
        }
    }
    return h;
}

uint32_t rig_hash_all(struct rig *r, struct stream *st, uint64_t *ret, uint32_t cap)
{
    for (uint32_t n = 0;; n++) {
        struct step *step = rig_get(r, st, n);
        enum step_state state = step->state;
        if (state == STEP_READY) {
            assert_true(n < cap);
            ret[n] = rig_hash(step);
        }
        supply_step_unref(r->supply, step);
        if (state == STEP_END)
            return n;
        assert_int_equal(state, STEP_READY);
    }
}
