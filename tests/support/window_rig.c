#include "support/window_rig.h"

#include "stream/kitchen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char name[] = "s", corpus_name[] = "c", model[] = TEST_DIR "/data/sample.model",
            template_name[] = "plain";

void window_rig_open(struct window_rig *r, struct folder *f, enum corpus_format format, const char *text)
{
    struct err e = {""};
    *r = (struct window_rig){.path = strdup(folder_write_text(f, "corpus.jsonl", text))};
    r->corpus_conf =
        (struct conf_corpus){.name = corpus_name, .paths = &r->path, .n_paths = 1, .format = format};
    r->share = (struct conf_share){.corpus = corpus_name, .repeat = 1};
    r->positions = (struct conf_positions){
        .strategy = POS_SKIP_ALL, .max_position = 65536, .probability = 1, .chunks = 2};
    r->stream = (struct conf_stream){.name = name,
                                     .tokenizer = model,
                                     .template_name = template_name,
                                     .corpora = &r->share,
                                     .n_corpora = 1,
                                     .seq_len = 256,
                                     .global_batch = 8,
                                     .epochs = 1,
                                     .seed = 3,
                                     .packing = true,
                                     .overlong = OVERLONG_SPLIT,
                                     .max_unusable = 1,
                                     .positions = &r->positions,
                                     .n_positions = 1};
    r->conf = (struct conf){.refs = 1,
                            .record_max = 1 << 24,
                            .corpora = &r->corpus_conf,
                            .n_corpora = 1,
                            .streams = &r->stream,
                            .n_streams = 1};
    if (corpus_open(&r->corpus_conf, &(struct corpus_place){.state_dir = f->path, .io = IO_PREAD}, NULL,
                    &r->corpus, &e) != 0 ||
        tokenizer_load(model, NULL, 0, &r->tokenizer, &e) != 0)
        fail_msg("%s", e.text);
    assert_non_null(r->kitchen = kitchen_new());
    assert_non_null(r->pool = pool_new(0));
}

void window_rig_close(struct window_rig *r)
{
    kitchen_free(r->kitchen);
    pool_free(r->pool);
    tokenizer_unref(r->tokenizer);
    corpus_close(r->corpus);
    free(r->path);
}

struct recipe *window_rig_recipe(struct window_rig *r)
{
    struct recipe *recipe;
    struct err e = {""};
    if (recipe_new(&r->conf, &r->stream, &r->corpus, r->tokenizer, &recipe, &e) != 0)
        fail_msg("%s", e.text);
    return recipe;
}

struct order *window_rig_order(const struct recipe *r, const struct slot *left, uint32_t n_left)
{
    const uint64_t seed = (uint64_t)r->conf->seed;
    const struct order_corpus c = {.hash = r->corpus_hash[0],
                                   .records = corpus_records(r->corpora[0]),
                                   .slots = r->epoch_slots[0],
                                   .first_slots = r->epoch_slots[0],
                                   .pass_seed = seed};
    struct order *o = order_new(seed, &c, 1, 0, (uint64_t)r->conf->epochs, left, n_left);
    assert_non_null(o);
    return o;
}

static void read_records(struct fetch *f)
{
    for (uint32_t i = 0; i < f->n_reads; i++) {
        struct fetch_read *read = &f->reads[i];
        assert_non_null(read->data = calloc(read->size + RECORD_PADDING, 1));
        assert_int_equal(pread(read->fd, read->data, read->size, (off_t)read->offset), read->size);
    }
}

struct window *window_rig_make(struct window_rig *r, struct recipe *recipe, const struct order *o,
                               uint64_t first_slot, uint64_t *ret_slot)
{
    struct order_cursor cur = {0};
    uint64_t bytes;
    const uint32_t n = window_plan(recipe, o, &cur, first_slot, &bytes);
    assert_true(n > 0);
    struct window_order *order = window_order_new(r->pool, recipe, o, &cur, 0, first_slot, n);
    assert_non_null(order);
    read_records(&order->fetch);
    kitchen_make(r->kitchen, order);
    struct window *w = order->window;
    assert_int_equal(w->rc, 0);
    r->n_reads = order->fetch.n_reads;
    for (uint32_t i = 0; i < order->fetch.n_reads; i++)
        free(order->fetch.reads[i].data);
    window_order_free(order);
    if (ret_slot != NULL)
        *ret_slot = first_slot + n;
    return w;
}

struct window *window_rig_left(struct window_rig *r, const struct slot *left, uint32_t n_left)
{
    uint64_t next;
    struct recipe *recipe = window_rig_recipe(r);
    struct order *o = window_rig_order(recipe, left, n_left);
    struct window *w = window_rig_make(r, recipe, o, 0, &next);
    assert_int_equal(next, n_left);
    order_free(o);
    recipe_unref(recipe);
    return w;
}
