/* recipe - all that the bytes of a stream depend on but where it begins (order.h), ready for use: corpora
 * open, tokenizer loaded, template compiled.
 *
 * Immutable and counted: windows being made hold it, so a stream can change its recipe while they end.
 * Threads: any; recipe_unref the last one frees.
 */
#ifndef SKIPALIGN_STREAM_RECIPE_H
#define SKIPALIGN_STREAM_RECIPE_H

#include "base/err.h"
#include "config/conf.h"
#include "corpus/corpus.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdatomic.h>
#include <stdint.h>

struct recipe {
    struct conf *snapshot; /* a reference: what conf is in */
    const struct conf_stream *conf;
    int64_t record_max;
    struct corpus **corpora; /* [conf->n_corpora], references */
    uint32_t n_corpora;
    uint32_t *corpus_hash; /* [n_corpora]: what stands for each in random counters */
    uint64_t *records;     /* [n_corpora]: how many it has */
    uint64_t *versions;    /* [n_corpora]: its fingerprint */
    uint64_t *epoch_slots; /* [n_corpora]: its share of an epoch */
    struct tokenizer *tokenizer;
    struct template *template;
    uint8_t *marks; /* [n_marks]: of sentences, pos_mark of each token id, where positions need them */
    uint32_t n_marks;
    uint64_t fingerprint;
    atomic_uint refs;
};

/* recipe_new
 * stream:   one of conf, of which a reference is taken, as of the corpora and the tokenizer.
 * corpora:  open, in the order of stream->corpora.
 * Errors:   ERR_CONFIG for what the table of keys cannot see (a template that needs a symbol the model lacks,
 * ...). */
int recipe_new(const struct conf *conf, const struct conf_stream *stream, struct corpus **corpora,
               struct tokenizer *tokenizer, struct recipe **ret, struct err *reterr);
/* recipe_new_lost - of what cannot be had any more: nothing can be made by it (no corpora, tokenizer,
 * template), but how far its corpora were read can still be told. records, versions: [stream->n_corpora].
 * fingerprint: of the recipe that it was. */
int recipe_new_lost(const struct conf *conf, const struct conf_stream *stream, const uint64_t *records,
                    const uint64_t *versions, uint64_t fingerprint, struct recipe **ret, struct err *reterr);
struct recipe *recipe_ref(struct recipe *r);
void recipe_unref(struct recipe *r); /* NULL is fine */

#endif
