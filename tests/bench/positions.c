/* positions - what position strategies cost, on the dialogues of a corpus.
 *
 *   positions time CONFIG ROUNDS   each round: a line "CPU nanoseconds a token" for: memcpy of the ids, then
 * each strategy in the order of its enum, then skip_all by each sampler positions cases CONFIG         every
 * dialogue as a line: tokens of its blocks
 *
 * Blocks and ids are those that the stream's template and tokenizer give; documents longer than seq_len are
 * left out. A token's time is drawing and writing its id, of all documents one after another, as batches are
 * written.
 */
#include "common.h"

#include "base/array.h"
#include "corpus/record.h"
#include "position/position.h"
#include "text/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX (8u << 20) /* enough to measure with, and more than a cache holds */
#define USAGE "usage: positions time CONFIG ROUNDS | positions cases CONFIG"

static uint32_t *blocks;
static int32_t *tokens, *ids;
static struct pos_doc *docs;
static struct pos_run *runs;
static uint8_t *marks;
static size_t n_blocks, blocks_cap, n_tokens, tokens_cap, n_docs, docs_cap;
static uint32_t n_marks, longest;

static void add_document(const struct document *d)
{
    if (array_grow(&blocks, &blocks_cap, n_blocks + d->n_blocks) != 0 ||
        array_grow(&tokens, &tokens_cap, n_tokens + d->n_ids) != 0 ||
        array_grow(&docs, &docs_cap, n_docs + 1) != 0)
        bench_fail("no memory");
    docs[n_docs++] = (struct pos_doc){.n_blocks = (uint32_t)d->n_blocks, .n_tokens = (uint32_t)d->n_ids};
    for (size_t b = 0; b < d->n_blocks; b++)
        blocks[n_blocks++] = d->blocks[b].n_tokens;
    memcpy(tokens + n_tokens, d->ids, d->n_ids * sizeof tokens[0]);
    n_tokens += d->n_ids;
    longest = d->n_ids > longest ? (uint32_t)d->n_ids : longest;
}

/* Arrays have grown: only now do they stay where they are. */
static void settle(void)
{
    size_t block = 0, token = 0;
    for (size_t i = 0; i < n_docs; i++) {
        docs[i].block_tokens = blocks + block;
        docs[i].tokens = tokens + token;
        docs[i].marks = marks;
        docs[i].n_marks = n_marks;
        block += docs[i].n_blocks;
        token += docs[i].n_tokens;
    }
    ids = malloc(n_tokens * sizeof ids[0] + 1);
    runs = malloc(((size_t)longest + 1024) * sizeof runs[0]);
    if (ids == NULL || runs == NULL)
        bench_fail("no memory");
}

static void mark_tokens(const struct tokenizer *t)
{
    char text[512];
    n_marks = (uint32_t)tokenizer_vocab_size(t);
    marks = calloc(n_marks, 1);
    for (uint32_t id = 0; marks != NULL && id < n_marks; id++)
        if (tokenizer_in_text(t, (int32_t)id))
            marks[id] = pos_mark((struct slice){text, tokenizer_piece(t, (int32_t)id, text, sizeof text)});
}

static void render(const struct conf *conf)
{
    const struct conf_stream *stream = &conf->streams[0];
    struct corpus *corpus = bench_corpus(conf);
    struct record_parser *parser = record_parser_new();
    struct document d = {.ids = NULL};
    struct tokenizer *tokenizer;
    struct template *template;
    struct err err;
    char detail[RECORD_DETAIL], *data = NULL;
    size_t cap = 0;
    if (parser == NULL ||
        tokenizer_load(stream->tokenizer, stream->special_tokens, stream->n_special_tokens, &tokenizer,
                       &err) != 0 ||
        template_compile(stream->template_name, conf->templates, conf->n_templates, tokenizer, &template,
                         &err) != 0)
        bench_fail("%s", err.text);
    mark_tokens(tokenizer);
    for (uint64_t i = 0; i < corpus_records(corpus) && n_tokens < TOKENS_MAX; i++) {
        struct corpus_extent e;
        struct sample sample;
        corpus_get(corpus, i, &e);
        if (array_grow(&data, &cap, e.size + RECORD_PADDING) != 0)
            bench_fail("no memory");
        bench_read(&e, data);
        memset(data + e.size, 0, RECORD_PADDING);
        if (record_parse(parser, corpus_conf(corpus), corpus_format(corpus), e.plain,
                         (struct slice){data, e.size}, &sample, detail) == USABLE &&
            template_render(template, &sample, &d, detail) == USABLE && d.n_ids > 0 &&
            d.n_ids <= (size_t)stream->seq_len)
            add_document(&d);
    }
    if (n_docs == 0)
        bench_fail("%s: no record that could be used", conf->path);
    settle();
}

/* Nanoseconds a token. */
static double measure(const struct conf_positions *p, struct pos_scratch *scratch)
{
    size_t token = 0;
    double start = bench_cpu_seconds();
    for (size_t i = 0; i < n_docs; token += docs[i++].n_tokens) {
        uint32_t n_runs;
        const struct rng_key key = {.seed = 17, .record = (uint32_t)i};
        if (pos_draw(p, (uint32_t)p->max_position, key, &docs[i], scratch, runs, &n_runs) < 0)
            bench_fail("no memory");
        pos_fill(runs, n_runs, docs[i].n_tokens, ids + token);
    }
    return (bench_cpu_seconds() - start) / (double)n_tokens * 1e9;
}

static double measure_copy(void)
{
    double start = bench_cpu_seconds();
    size_t token = 0;
    for (size_t i = 0; i < n_docs; token += docs[i++].n_tokens)
        memcpy(ids + token, tokens + token, docs[i].n_tokens * sizeof ids[0]);
    return (bench_cpu_seconds() - start) / (double)n_tokens * 1e9;
}

static void measure_all(int rounds)
{
    struct pos_scratch scratch = {0};
    for (int round = -1; round < rounds; round++) { /* the first one warms up */
        struct conf_positions p = {.max_position = 65536, .chunks = 2, .probability = 1};
        double result[1 + POS__COUNT + SAMPLER__COUNT];
        int n = 0;
        result[n++] = measure_copy();
        for (int s = 0; s < POS__COUNT; s++) {
            p.strategy = (enum pos_strategy)s;
            result[n++] = measure(&p, &scratch);
        }
        p.strategy = POS_SKIP_ALL;
        for (int s = 0; s < SAMPLER__COUNT; s++) {
            p.sampler = (enum pos_sampler)s;
            result[n++] = measure(&p, &scratch);
        }
        for (int i = 0; round >= 0 && i < n; i++)
            printf("%.4f%c", result[i], i + 1 < n ? ' ' : '\n');
    }
    pos_scratch_fini(&scratch);
}

static void print_cases(void)
{
    for (size_t i = 0; i < n_docs; i++)
        for (uint32_t b = 0; b < docs[i].n_blocks; b++)
            printf("%u%c", docs[i].block_tokens[b], b + 1 < docs[i].n_blocks ? ' ' : '\n');
}

int main(int argc, char **argv)
{
    if (argc < 3)
        bench_fail(USAGE);
    render(bench_conf(argv[2]));
    if (strcmp(argv[1], "cases") == 0)
        print_cases();
    else
        measure_all((int)bench_number(argc, argv, 3, USAGE));
    return 0;
}
