/* tokenise - a stream's tokenizer against libsentencepiece alone, in some threads, on the text that the
 * stream's template renders. Each round: "TOKENS LIBRARY FIRST AGAIN": seconds of the library, of a tokenizer
 * that was just loaded, and of the same one after PASSES through the text: a thread has met half of it or so
 * after one, where there are two. Symbols that the template puts between the texts count as tokens, as they
 * do in a batch.
 *
 * The text is caught on its way from the template to the tokenizer (the linker's --wrap), so it is exactly
 * what the daemon tokenises, all of the first corpus once.
 */
#include "common.h"

#include "base/array.h"
#include "base/file.h"
#include "corpus/record.h"
#include "text/template.h"
#include "text/tokenizer_sp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_BYTES_MAX (256u << 20)
#define THREADS_MAX 64
#define PIECES_AT_ONCE 64 /* that a thread takes */

int __wrap_tokenizer_encode(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap,
                            size_t *n, struct err *reterr);
int __real_tokenizer_encode(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap,
                            size_t *n, struct err *reterr);

static struct slice *pieces;
static size_t n_pieces, pieces_cap;
static struct sp *model;
static struct tokenizer *tokenizer; /* NULL: the library is measured */
static atomic_size_t next_piece, n_tokens;

int __wrap_tokenizer_encode(const struct tokenizer *t, struct slice text, int32_t **ids, size_t *cap,
                            size_t *n, struct err *reterr)
{
    static const char *last;
    (void)t, (void)ids, (void)cap, (void)n, (void)reterr;
    if (text.data == last) /* the start of the same text once more, only to find where a header ends */
        return 0;
    last = text.data;
    char *copy = malloc(text.size);
    if (copy == NULL || array_grow(&pieces, &pieces_cap, n_pieces + 1) != 0)
        bench_fail("no memory");
    memcpy(copy, text.data, text.size);
    pieces[n_pieces++] = (struct slice){copy, text.size};
    return 0;
}

/* A new tokenizer, which has met no text; without a stream: none. */
static void load(const struct conf_stream *stream)
{
    struct err err;
    tokenizer_unref(tokenizer);
    tokenizer = NULL;
    if (stream != NULL && tokenizer_load(stream->tokenizer, stream->special_tokens, stream->n_special_tokens,
                                         &tokenizer, &err) != 0)
        bench_fail("%s", err.text);
}

/* Fills pieces; returns how many symbols stand between them. */
static size_t render(const struct conf *conf, const struct corpus *corpus)
{
    const struct conf_stream *stream = &conf->streams[0];
    struct record_parser *parser = record_parser_new();
    struct document d = {.ids = NULL};
    struct template *template;
    struct err err;
    char detail[RECORD_DETAIL], *data = NULL;
    size_t cap = 0, symbols = 0;
    load(stream);
    if (template_compile(stream->template_name, conf->templates, conf->n_templates, tokenizer, &template,
                         &err) != 0)
        bench_fail("%s", err.text);
    for (uint64_t i = 0; i < corpus_records(corpus); i++) {
        struct corpus_extent e;
        struct sample sample;
        corpus_get(corpus, i, &e);
        if (parser == NULL || array_grow(&data, &cap, e.size + RECORD_PADDING) != 0)
            bench_fail("no memory");
        bench_read(&e, data);
        memset(data + e.size, 0, RECORD_PADDING);
        if (record_parse(parser, corpus_conf(corpus), corpus_format(corpus), e.plain,
                         (struct slice){data, e.size}, &sample, detail) == USABLE &&
            template_render(template, &sample, &d, detail) == (int)USABLE)
            symbols += d.n_ids;
    }
    free(data);
    document_fini(&d);
    record_parser_free(parser);
    template_free(template);
    load(NULL);
    return symbols;
}

static void *encode(void *arg)
{
    int32_t *ids = NULL;
    size_t cap = 0, n = 0, all = 0, i;
    struct err err;
    while ((i = atomic_fetch_add(&next_piece, PIECES_AT_ONCE)) < n_pieces)
        for (size_t end = i + PIECES_AT_ONCE; i < end && i < n_pieces; i++, all += n, n = 0)
            if ((tokenizer == NULL
                     ? sp_encode(model, pieces[i], &ids, &cap, &n, &err)
                     : __real_tokenizer_encode(tokenizer, pieces[i], &ids, &cap, &n, &err)) != 0)
                bench_fail("%s", err.text);
    atomic_fetch_add(&n_tokens, all);
    free(ids);
    return arg;
}

/* Returns seconds. */
static double encode_all(int threads)
{
    pthread_t thread[THREADS_MAX];
    double start = bench_seconds();
    atomic_store(&next_piece, 0);
    atomic_store(&n_tokens, 0);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, encode, NULL) != 0)
            bench_fail("no thread");
    for (int i = 0; i < threads; i++)
        (void)pthread_join(thread[i], NULL);
    return bench_seconds() - start;
}

int main(int argc, char **argv)
{
    static const char usage[] = "tokenise CONFIG THREADS ROUNDS [PASSES]";
    int threads = (int)bench_number(argc, argv, 2, usage);
    double rounds = bench_number(argc, argv, 3, usage),
           passes = argc > 4 ? bench_number(argc, argv, 4, usage) : 1;
    if (threads < 1 || threads > THREADS_MAX)
        bench_fail("usage: %s", usage);
    const struct conf *conf = bench_conf(argv[1]);
    struct corpus *corpus = bench_corpus(conf);
    size_t symbols = render(conf, corpus), size;
    char *file;
    struct err err;
    if (file_read(conf->streams[0].tokenizer, MODEL_BYTES_MAX, &file, &size, &err) != 0 ||
        sp_load((struct slice){file, size}, &model, &err) != 0)
        bench_fail("%s", err.text);
    for (int i = 0; i < rounds; i++) {
        load(NULL);
        double library = encode_all(threads);
        size_t tokens = atomic_load(&n_tokens);
        load(&conf->streams[0]);
        double first = encode_all(threads);
        for (int k = 1; k < passes; k++)
            (void)encode_all(threads);
        double again = encode_all(threads);
        if (atomic_load(&n_tokens) != tokens)
            bench_fail("%zu tokens, not the library's %zu", atomic_load(&n_tokens), tokens);
        printf("%zu %f %f %f\n", symbols + tokens, library, first, again);
    }
    load(NULL);
    sp_free(model);
    free(file);
    corpus_close(corpus);
    return 0;
}
