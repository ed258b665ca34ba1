/* stock - what is open and loaded, shared by streams and by the generations of one: corpora and tokenizers.
 *
 * The stock holds a reference to each thing it has given out, so that the next recipe finds it; stock_keep
 * says what is still needed. A corpus whose files have changed since it was opened is another version beside
 * the old one: who is served from that one goes on.
 *
 * Owner:   whoever calls stock_new.   Threads: any; what takes time (a scan, a model being loaded) holds up
 * nobody who wants what is there already. stock_keep and stock_find_corpus: the owner's.
 */
#ifndef SKIPALIGN_STREAM_STOCK_H
#define SKIPALIGN_STREAM_STOCK_H

#include "base/err.h"
#include "config/conf.h"
#include "corpus/corpus.h"
#include "stream/recipe.h"

#include <stdbool.h>
#include <stdint.h>

struct stock;

/* stock_new - place: copied.   NULL: no memory.   stock_free - NULL is fine; what recipes hold stays. */
struct stock *stock_new(const struct corpus_place *place);
/* stock_set_tokenizers - see tokenizer_set, for all that are loaded from now on. */
void stock_set_tokenizers(struct stock *s, enum tokenizer_path path, uint32_t verify);
void stock_free(struct stock *s);

/* Told now and then, on the caller's thread, what is being done and how far it is; a return other than 0
 * cancels (ERR_CANCELLED). Without a function nobody is told. */
struct stock_progress {
    int (*tell)(void *arg, const char *what, uint64_t done, uint64_t all);
    void *arg;
};

/* Which corpora and which model: */
enum stock_choice {
    STOCK_HELD,   /* those that are open already (see stock_keep) and could be opened again, else as they are
                   now: what is made of them outlives us */
    STOCK_NEWEST, /* as they are now: what has changed since is opened anew */
};
struct stock_wanted {
    const uint64_t *corpora;      /* fingerprints, [stream->n_corpora] */
    const char *tokenizer_sha256; /* 64 hex digits */
};

/* stock_recipe - of a stream of conf.
 * wanted:  exactly these versions, older ones perhaps; nothing is scanned for them. NULL: what choice says.
 * Errors:  those of corpus_open, tokenizer_load and recipe_new; ERR_CHANGED: a wanted version cannot be had
 *          any more, and why; ERR_CANCELLED.
 * Owner:   the caller gets a reference. */
int stock_recipe(struct stock *s, const struct conf *conf, const struct conf_stream *stream,
                 enum stock_choice choice, const struct stock_wanted *wanted,
                 const struct stock_progress *progress, struct recipe **ret, struct err *reterr);

/* stock_load_ahead - begins to load the tokenizers of all streams of conf, on a thread of its own, so that
 * they are there when the corpora have been scanned. Who wants one meanwhile waits for it; one that cannot be
 * loaded is tried again by who wants it, and the error is told there. stock_end_ahead - ends that, after the
 * one at hand. Owner: the owner's, both; one at a time. */
void stock_load_ahead(struct stock *s, const struct conf *conf);
void stock_end_ahead(struct stock *s);

/* stock_corpus - one corpus, for streams to come. The stock keeps it.   Errors: as stock_recipe. */
int stock_corpus(struct stock *s, const struct conf_corpus *conf, enum stock_choice choice,
                 const struct stock_progress *progress, struct err *reterr);

/* stock_find_corpus - what counts as held of a corpus of this configuration; NULL: it is not open. Borrowed
 * until the next stock_keep. */
struct corpus *stock_find_corpus(struct stock *s, const struct conf_corpus *conf);

/* stock_keep - lets go of all but what is in one of recipes (NULL ones are skipped), and of corpora of conf
 * that are in none. Of several versions of a corpus, that of the first recipe counts as held from now on. */
void stock_keep(struct stock *s, const struct conf *conf, struct recipe *const *recipes, uint32_t n);

#endif
