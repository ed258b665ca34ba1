/* position_case - a document with its settings and key, as a line of text, for comparing implementations.
 *
 * One line, words and numbers:
 *   N, then N times: strategy sampler max_position probability min_gap chunks weight M, then M times epoch
 * max_position seed epoch corpus record part progress N, then the tokens of N blocks N, then the marks of N
 * tokens (0: none are told)
 */
#ifndef SKIPALIGN_TESTS_SUPPORT_POSITION_CASE_H
#define SKIPALIGN_TESTS_SUPPORT_POSITION_CASE_H

#include "position/position.h"

#include <stdbool.h>
#include <stdio.h>

struct position_case {
    struct conf_positions *groups;
    struct rng_key key;
    double progress;
    uint32_t *blocks, *tokens;
    uint8_t *marks;
    uint32_t n_groups;
    struct pos_doc doc;
    /* what comes of it */
    struct pos_scratch scratch;
    struct pos_run *runs;
    int32_t *ids; /* [doc.n_tokens] */
    uint32_t n_runs;
    int outcome; /* enum pos_outcome */
};

/* position_case_read - the next one; false: there is none. What is no case aborts. Zero it before the first;
 * what it holds is used again.   position_case_draw - fills what comes of it. */
bool position_case_read(struct position_case *c, FILE *f);
void position_case_draw(struct position_case *c);
void position_case_fini(struct position_case *c);

#endif
