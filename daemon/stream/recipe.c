#include "stream/recipe.h"

#include "base/rng.h"
#include "position/position.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Goes up when the same configuration gives other bytes than an older release did. */
#define STREAM_FORMAT 3

static int count_slots(struct recipe *r, struct err *reterr)
{
    const struct conf_stream *s = r->conf;
    uint64_t epoch = 0, all;
    for (uint32_t c = 0; c < r->n_corpora; c++) {
        double slots = round(s->corpora[c].repeat * (double)r->records[c]);
        r->epoch_slots[c] = slots < 1 ? 1 : (uint64_t)slots;
        epoch += r->epoch_slots[c];
    }
    if (__builtin_mul_overflow(epoch, (uint64_t)s->epochs, &all))
        return err_set(reterr, ERR_CONFIG,
                       "stream '%s': %lld epochs of %llu samples are too many; use epochs: 0", s->name,
                       (long long)s->epochs, (unsigned long long)epoch);
    return 0;
}

/* What the bytes of the stream depend on: configuration, data, model, and our own format. */
static int make_fingerprint(const struct conf *conf, struct recipe *r, struct err *reterr)
{
    char *text = NULL;
    int rc = conf_stream_canonical(conf, r->conf, &text);
    if (rc != 0)
        return err_sys(reterr, rc, "stream '%s'", r->conf->name);
    uint64_t hash = XXH3_64bits_withSeed(text, strlen(text), STREAM_FORMAT);
    free(text);
    hash = XXH3_64bits_withSeed(tokenizer_sha256(r->tokenizer), 64, hash);
    for (uint32_t c = 0; c < r->n_corpora; c++)
        hash = XXH3_64bits_withSeed(&r->versions[c], sizeof r->versions[c], hash);
    r->fingerprint = hash;
    return 0;
}

static int new_empty(const struct conf *conf, const struct conf_stream *stream, struct recipe **ret,
                     struct err *reterr)
{
    struct recipe *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_sys(reterr, -ENOMEM, "stream '%s'", stream->name);
    atomic_init(&r->refs, 1);
    r->snapshot = conf_ref(conf);
    r->conf = stream;
    r->record_max = conf->record_max;
    r->n_corpora = stream->n_corpora;
    r->corpora = calloc(r->n_corpora, sizeof r->corpora[0]);
    r->corpus_hash = calloc(r->n_corpora, sizeof r->corpus_hash[0]);
    r->records = calloc(r->n_corpora, sizeof r->records[0]);
    r->versions = calloc(r->n_corpora, sizeof r->versions[0]);
    r->epoch_slots = calloc(r->n_corpora, sizeof r->epoch_slots[0]);
    if (r->corpora == NULL || r->corpus_hash == NULL || r->records == NULL || r->versions == NULL ||
        r->epoch_slots == NULL) {
        recipe_unref(r);
        return err_sys(reterr, -ENOMEM, "stream '%s'", stream->name);
    }
    for (uint32_t c = 0; c < r->n_corpora; c++)
        r->corpus_hash[c] = (uint32_t)rng_name_hash(stream->corpora[c].corpus);
    *ret = r;
    return 0;
}

/* What the tokens say about sentences, for strategies that jump between them. */
static int mark_sentences(struct recipe *r)
{
    char text[512]; /* longer pieces are no sentences' ends */
    bool wanted = false;
    for (uint32_t i = 0; i < r->conf->n_positions; i++)
        wanted = wanted || r->conf->positions[i].strategy == POS_LONGRECIPE;
    if (!wanted)
        return 0;
    const int32_t n = tokenizer_vocab_size(r->tokenizer);
    r->marks = calloc((size_t)n, sizeof r->marks[0]);
    if (r->marks == NULL)
        return -ENOMEM;
    r->n_marks = (uint32_t)n;
    for (int32_t id = 0; id < n; id++)
        if (tokenizer_in_text(r->tokenizer, id))
            r->marks[id] =
                pos_mark((struct slice){text, tokenizer_piece(r->tokenizer, id, text, sizeof text)});
    return 0;
}

int recipe_new(const struct conf *conf, const struct conf_stream *stream, struct corpus **corpora,
               struct tokenizer *tokenizer, struct recipe **ret, struct err *reterr)
{
    struct recipe *r;
    int rc = new_empty(conf, stream, &r, reterr);
    if (rc != 0)
        return rc;
    r->tokenizer = tokenizer_ref(tokenizer);
    for (uint32_t c = 0; c < r->n_corpora; c++) {
        r->corpora[c] = corpus_ref(corpora[c]);
        r->records[c] = corpus_records(corpora[c]);
        r->versions[c] = corpus_fingerprint(corpora[c]);
    }
    if ((rc = count_slots(r, reterr)) != 0 || (rc = make_fingerprint(conf, r, reterr)) != 0)
        goto out_fail;
    if ((rc = mark_sentences(r)) != 0) {
        (void)err_sys(reterr, rc, "stream '%s'", stream->name);
        goto out_fail;
    }
    rc = template_compile(stream->template_name, conf->templates, conf->n_templates, tokenizer, &r->template,
                          reterr);
    if (rc != 0) {
        (void)err_wrap(reterr, rc, "stream '%s'", stream->name);
        goto out_fail;
    }
    *ret = r;
    return 0;
out_fail:
    recipe_unref(r);
    return rc;
}

int recipe_new_lost(const struct conf *conf, const struct conf_stream *stream, const uint64_t *records,
                    const uint64_t *versions, uint64_t fingerprint, struct recipe **ret, struct err *reterr)
{
    struct recipe *r;
    int rc = new_empty(conf, stream, &r, reterr);
    if (rc != 0)
        return rc;
    memcpy(r->records, records, r->n_corpora * sizeof records[0]);
    memcpy(r->versions, versions, r->n_corpora * sizeof versions[0]);
    r->fingerprint = fingerprint;
    if ((rc = count_slots(r, reterr)) != 0)
        recipe_unref(r);
    else
        *ret = r;
    return rc;
}

struct recipe *recipe_ref(struct recipe *r)
{
    (void)atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void recipe_unref(struct recipe *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    template_free(r->template);
    free(r->marks);
    tokenizer_unref(r->tokenizer);
    for (uint32_t c = 0; r->corpora != NULL && c < r->n_corpora; c++)
        corpus_close(r->corpora[c]);
    free(r->corpora);
    free(r->corpus_hash);
    free(r->records);
    free(r->versions);
    free(r->epoch_slots);
    conf_free(r->snapshot);
    free(r);
}
