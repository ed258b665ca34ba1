/* position - position ids for one sample: where they jump and how far.
 *
 * A table of strategies (position.c), each a file of its own that says where it comes from: a pure function
 * of a document and a key. The result is runs: from token `start` on the ids are id, id + 1, ... up to the
 * next run. Runs are what is kept; pos_fill writes the ids out.
 *
 * Laws: the first id is 0 (of `shift`: anything); ids strictly increase; the last is < max_position; inside a
 * block they go up by 1, for skip_all, skip_inner and skip_outer.
 * Threads: pure; any. A struct pos_scratch belongs to one thread.
 * Source:  SkipAlign, arXiv 2405.03939 (blocks, skip_all/inner/outer); PoSE, arXiv 2309.10400, eq. 4
 * (sequential); LOGO, arXiv 2410.18533 (even). Differs: draws come from rng_key, see base/rng.h; `sorted` is
 * our default. proto/POSITIONS.md is exact enough to write another implementation, and
 * client/python/skipalign/positions.py is one.
 */
#ifndef SKIPALIGN_POSITION_POSITION_H
#define SKIPALIGN_POSITION_POSITION_H

#include "base/rng.h"
#include "base/slice.h"
#include "config/conf.h"

#include <stddef.h>
#include <stdint.h>

/* What became of a sample: it skips, or why it does not. */
enum pos_outcome {
    POS_SKIPPED,
    POS_KEPT_STRATEGY,    /* strategy none */
    POS_KEPT_PROBABILITY, /* drawn to keep its ids */
    POS_KEPT_BOUNDARY,    /* no boundary where the strategy may skip */
    POS_KEPT_BUDGET,      /* as long as max_position, or too long for the strategy to use what is left */
    POS_KEPT_MIN_GAP,     /* max_position leaves no room for min_gap at each boundary */
    POS_OUTCOME__COUNT,
};
extern const char *const pos_outcome_names[POS_OUTCOME__COUNT];

struct pos_run {
    uint32_t start; /* token, from 0 in its document */
    uint32_t id;    /* position id of that token */
};

struct pos_span {
    uint32_t start, end; /* tokens, from 0 in their document */
};

/* What strategies see of a document. */
struct pos_doc {
    const uint32_t *block_tokens; /* [n_blocks], instruction first, alternating */
    uint32_t n_blocks, n_tokens;  /* n_tokens: their sum */
    const int32_t *tokens;        /* [n_tokens] ids, and */
    const uint8_t *marks;         /* [n_marks]: pos_mark of each id; longrecipe alone reads them */
    uint32_t n_marks;             /* an id beyond them has no mark; 0: sentences are not told apart */
};

/* pos_mark - what a token's text says about sentences; U+2581 counts as a space. Bits of pos_doc.marks. */
enum {
    POS_MARK_ENDS = 1,   /* a sentence that a token with a space before it would go on from */
    POS_MARK_BREAKS = 2, /* a sentence, whatever follows */
    POS_MARK_BEGINS = 4, /* a space comes first */
    POS_MARK_CLOSES = 8, /* quotes and brackets alone: the sentence before it is as ended as it was */
};
uint8_t pos_mark(struct slice piece);

/* Memory that draws are made in; zero it first. After the longest document nothing is allocated any more. */
struct pos_scratch {
    uint32_t *draws, *spare, *starts;
    uint64_t *bits;
    size_t draws_cap, spare_cap, starts_cap, bits_cap;
};
void pos_scratch_fini(struct pos_scratch *s);

/* pos_choose - which of n groups of settings a document has, by their weights and its key; n >= 1.
 * pos_window - max_position at that progress, in epochs.   pos_window_max - the largest that can come. */
const struct conf_positions *pos_choose(const struct conf_positions *groups, uint32_t n, struct rng_key key);
uint32_t pos_window(const struct conf_positions *p, double progress);
uint32_t pos_window_max(const struct conf_positions *groups, uint32_t n);

/* pos_strategy_name - for people and trainers: "mixture", of several groups. */
const char *pos_strategy_name(const struct conf_positions *groups, uint32_t n);

/* pos_runs_max - how many runs a document of so many tokens and blocks can have: at least 1. */
uint32_t pos_runs_max(const struct conf_positions *p, uint32_t n_tokens, uint32_t n_blocks);

/* pos_draw - the runs of one document.
 * Shapes:  ret_runs[pos_runs_max]; *ret_n_runs >= 1; runs[0].start == 0.
 * Units:   tokens; window: ids are below it, 1..2^31-1. A document that is as long, or longer, keeps its ids.
 * Result:  enum pos_outcome, or -ENOMEM. */
int pos_draw(const struct conf_positions *p, uint32_t window, struct rng_key key, const struct pos_doc *doc,
             struct pos_scratch *scratch, struct pos_run *ret_runs, uint32_t *ret_n_runs);

/* pos_fill - the ids: ret[n_tokens]; runs[0].start == 0. */
void pos_fill(const struct pos_run *runs, uint32_t n_runs, uint32_t n_tokens, int32_t *ret);

#endif
