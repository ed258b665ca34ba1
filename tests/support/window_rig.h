/* window_rig - windows made one by one, without supply or reader: a corpus of one file, a model, a kitchen.
 *
 * window_rig_open sets defaults for a stream that a test may change (conf.streams[0]) before it asks for a
 * recipe. What goes wrong fails the test (cmocka).
 */
#ifndef SKIPALIGN_TESTS_WINDOW_RIG_H
#define SKIPALIGN_TESTS_WINDOW_RIG_H

#include "stream/window.h"
#include "support/folder.h"

struct window_rig {
    struct conf conf;
    struct conf_corpus corpus_conf;
    struct conf_share share;
    struct conf_stream stream;
    struct conf_positions positions;
    char *path;
    struct corpus *corpus;
    struct tokenizer *tokenizer;
    struct kitchen *kitchen;
    struct pool *pool;
    uint32_t n_reads; /* of the last window made */
};

void window_rig_open(struct window_rig *r, struct folder *f, enum corpus_format format, const char *text);
void window_rig_close(struct window_rig *r);

/* window_rig_recipe - of the stream as it is set now. It holds the settings themselves: give it back before
 * they change. */
struct recipe *window_rig_recipe(struct window_rig *r);

/* window_rig_order - an order of one corpus that begins at the beginning, after what is left over. */
struct order *window_rig_order(const struct recipe *r, const struct slot *left, uint32_t n_left);

/* window_rig_make - the window that begins at a slot; *ret_slot, if not NULL, is where the next one does. */
struct window *window_rig_make(struct window_rig *r, struct recipe *recipe, const struct order *o,
                               uint64_t first_slot, uint64_t *ret_slot);

/* window_rig_left - the window made of what was left over alone, by the settings as they are now. */
struct window *window_rig_left(struct window_rig *r, const struct slot *left, uint32_t n_left);

#endif
