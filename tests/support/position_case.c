#include "support/position_case.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint32_t read_number(FILE *f)
{
    uint32_t n;
    CHECK(fscanf(f, "%" SCNu32, &n) == 1);
    return n;
}

static int word_of(FILE *f, const char *const *names, int n)
{
    char word[32];
    CHECK(fscanf(f, "%31s", word) == 1);
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    CHECK(!"a name that there is");
    return -1;
}

static void read_group(FILE *f, struct conf_positions *p)
{
    p->strategy = (enum pos_strategy)word_of(f, pos_strategy_names, POS__COUNT);
    p->sampler = (enum pos_sampler)word_of(f, pos_sampler_names, SAMPLER__COUNT);
    CHECK(fscanf(f, "%" SCNd64 " %lf %" SCNd64 " %" SCNd64 " %lf", &p->max_position, &p->probability,
                 &p->min_gap, &p->chunks, &p->weight) == 5);
    p->n_schedule = read_number(f);
    p->schedule = calloc(p->n_schedule + 1u, sizeof p->schedule[0]);
    CHECK(p->schedule != NULL);
    for (uint32_t i = 0; i < p->n_schedule; i++)
        CHECK(fscanf(f, "%lf %" SCNd64, &p->schedule[i].epoch, &p->schedule[i].max_position) == 2);
}

static void drop_groups(struct position_case *c)
{
    for (uint32_t i = 0; i < c->n_groups; i++)
        free(c->groups[i].schedule);
    free(c->groups);
    c->groups = NULL;
    c->n_groups = 0;
}

static void *resize(void *p, size_t bytes)
{
    p = realloc(p, bytes + 1);
    CHECK(p != NULL);
    return p;
}

bool position_case_read(struct position_case *c, FILE *f)
{
    uint32_t n, n_tokens = 0;
    drop_groups(c);
    if (fscanf(f, "%" SCNu32, &n) != 1)
        return false;
    c->groups = calloc(n, sizeof c->groups[0]);
    CHECK(c->groups != NULL);
    for (c->n_groups = n, n = 0; n < c->n_groups; n++)
        read_group(f, &c->groups[n]);
    CHECK(fscanf(f, "%" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %lf", &c->key.seed,
                 &c->key.pass, &c->key.corpus, &c->key.record, &c->key.part, &c->progress) == 6);
    uint32_t n_blocks = read_number(f);
    c->blocks = resize(c->blocks, n_blocks * sizeof c->blocks[0]);
    for (uint32_t b = 0; b < n_blocks; b++)
        n_tokens += c->blocks[b] = read_number(f);
    uint32_t n_marks = read_number(f);
    c->marks = resize(c->marks, n_marks);
    for (uint32_t t = 0; t < n_marks; t++)
        c->marks[t] = (uint8_t)read_number(f);
    c->tokens = resize(c->tokens, n_tokens * sizeof c->tokens[0]);
    for (uint32_t t = 0; t < n_tokens; t++)
        c->tokens[t] = t; /* so that marks[id] are the token's own */
    c->doc = (struct pos_doc){.block_tokens = c->blocks,
                              .n_blocks = n_blocks,
                              .n_tokens = n_tokens,
                              .tokens = (const int32_t *)c->tokens,
                              .marks = c->marks,
                              .n_marks = n_marks};
    return true;
}

void position_case_draw(struct position_case *c)
{
    const struct conf_positions *p = pos_choose(c->groups, c->n_groups, c->key);
    c->runs = resize(c->runs, pos_runs_max(p, c->doc.n_tokens, c->doc.n_blocks) * sizeof c->runs[0]);
    c->ids = resize(c->ids, c->doc.n_tokens * sizeof c->ids[0]);
    c->outcome = pos_draw(p, pos_window(p, c->progress), c->key, &c->doc, &c->scratch, c->runs, &c->n_runs);
    CHECK(c->outcome >= 0);
    pos_fill(c->runs, c->n_runs, c->doc.n_tokens, c->ids);
}

void position_case_fini(struct position_case *c)
{
    drop_groups(c);
    pos_scratch_fini(&c->scratch);
    free(c->blocks);
    free(c->tokens);
    free(c->marks);
    free(c->runs);
    free(c->ids);
}
