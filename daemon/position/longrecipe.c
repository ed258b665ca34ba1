/* longrecipe - jumps between sentences: the gaps are a uniform random composition of all of B over the
 * sentence boundaries, so the last id is always max_position - 1.
 *
 * A boundary is before token t where a block begins, or where a sentence has ended: after a token that ends
 * with . ! ? or an ellipsis (closing quotes and brackets may follow), before one that begins with a space; or
 * after a line break or a full stop of Chinese or Japanese, before anything but another one. That is told by
 * the text of the tokens alone, so by their ids (pos_mark). Abbreviations count as ends.
 *
 * Of k boundaries, the gaps are all compositions of B into k parts, 0 among them, each as likely: k-1 bars
 * among B+k-1 places.
 *
 * Runs:    one per boundary that jumps, plus the first.
 * Source:  LongRecipe, arXiv 2409.00509, section on position index transformation. Differs: the paper finds
 *          sentences in text by a library; here by tokens. Blocks begin sentences.
 */
#include "base/array.h"
#include "position/strategy.h"

#include <errno.h>
#include <stdbool.h>

/* A walk over the tokens that stops at each boundary. */
struct walk {
    const struct pos_doc *doc;
    uint32_t at;         /* token to look at next */
    uint32_t block, end; /* block that it is in, and where that ends */
    uint8_t ended;       /* marks of the sentence end before it; 0: in a sentence */
};

static uint8_t mark_of(const struct pos_doc *d, uint32_t t)
{
    return d->n_marks > 0 && (uint32_t)d->tokens[t] < d->n_marks ? d->marks[d->tokens[t]] : 0;
}

/* Does token w->at begin a block? */
static bool begins_block(struct walk *w)
{
    bool begins = false;
    while (w->at >= w->end) {
        w->end += w->doc->block_tokens[w->block++];
        begins = true;
    }
    return begins;
}

/* next_boundary - its token, or n_tokens after the last. */
static uint32_t next_boundary(struct walk *w)
{
    while (w->at < w->doc->n_tokens) {
        uint8_t mark = mark_of(w->doc, w->at);
        bool boundary = begins_block(w);
        boundary = boundary || ((w->ended & POS_MARK_BREAKS) != 0 && (mark & POS_MARK_BREAKS) == 0) ||
                   ((w->ended & POS_MARK_ENDS) != 0 && (mark & POS_MARK_BEGINS) != 0);
        if ((mark & (POS_MARK_ENDS | POS_MARK_BREAKS)) != 0)
            w->ended = mark & (POS_MARK_ENDS | POS_MARK_BREAKS);
        else if (boundary || (mark & POS_MARK_CLOSES) == 0)
            w->ended = 0;
        if (boundary && w->at > 0)
            return w->at++;
        w->at++;
    }
    return w->doc->n_tokens;
}

int longrecipe_draw(struct pos_job *j, struct pos_run *ret_runs, uint32_t *ret_n_runs)
{
    const uint32_t n_tokens = j->doc->n_tokens;
    struct pos_scratch *s = j->scratch;
    struct walk w = {.doc = j->doc};
    uint32_t k = 0, n = 0, u = 0;
    if (array_grow(&s->starts, &s->starts_cap, n_tokens) != 0)
        return -ENOMEM;
    for (uint32_t t; (t = next_boundary(&w)) < n_tokens;)
        s->starts[k++] = t;
    if (k == 0)
        return POS_KEPT_BOUNDARY;
    if (j->budget == 0)
        return POS_KEPT_BUDGET;
    if (strategy_subset(j, j->budget + k - 1, k - 1) != 0)
        return -ENOMEM;
    ret_runs[n++] = (struct pos_run){0, 0};
    for (uint32_t i = 0; i < k; i++) {
        uint32_t to = i + 1 < k ? s->draws[i] - i : j->budget;
        if (to > u)
            ret_runs[n++] = (struct pos_run){s->starts[i], s->starts[i] + to};
        u = to;
    }
    *ret_n_runs = n;
    return POS_SKIPPED;
}
