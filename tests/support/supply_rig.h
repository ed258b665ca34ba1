/* supply_rig - a supply with all that it needs: a corpus written for it, a model, reader, workers and
 * streams.
 *
 * rig_new sets defaults that a test changes before rig_start: one stream "s0" over r->path, which it writes
 * unless it is there. More streams read the same corpus: set n_streams and their confs. What goes wrong fails
 * the test (cmocka).
 *
 * Owner: one thread, which is the supply's.
 */
#ifndef SKIPALIGN_TESTS_SUPPLY_RIG_H
#define SKIPALIGN_TESTS_SUPPLY_RIG_H

#include "stream/supply.h"

enum { RIG_STREAMS = 3 };

struct rig {
    struct conf conf;
    struct conf_corpus corpus_conf;
    struct conf_share share;
    struct conf_stream confs[RIG_STREAMS];
    struct conf_positions positions[RIG_STREAMS];
    char names[RIG_STREAMS][4], state[256], path[256];
    char *paths[1];
    uint32_t n_streams, workers_n;
    uint64_t memory;
    enum io_kind io;
    enum tokenizer_path tokenizer_path;
    uint32_t tokenizer_verify;
    bool doubted; /* the tokenizer was, in an earlier run */
    void (*changed)(void *arg, struct step *);
    void *arg;
    /* made by rig_start */
    struct corpus *corpus;
    struct tokenizer *tokenizer;
    struct recipe *recipes[RIG_STREAMS];
    struct reader *reader;
    struct workers *workers;
    struct supply *supply;
    struct stream *streams[RIG_STREAMS];
    uint32_t n_changed; /* calls of changed, which goes on to the test's own if there is one */
};

/* rig_new - folder: existing; state: the name of the state directory in it. The corpus has n_records, of
 * which every bad_every-th is not JSON (0: none). */
struct rig *rig_new(const char *folder, const char *state, int n_records, int bad_every);
void rig_start(struct rig *r);
void rig_stop(struct rig *r); /* may be started again */
void rig_free(struct rig *r); /* stops it */

/* rig_get - a step that is not pending any more. */
struct step *rig_get(struct rig *r, struct stream *st, uint64_t number);

/* rig_hash - of all that a step's batches are written from. */
uint64_t rig_hash(const struct step *step);

/* rig_hash_all - of each step of a stream in turn, up to its end; returns how many. */
uint32_t rig_hash_all(struct rig *r, struct stream *st, uint64_t *ret, uint32_t cap);

#endif
