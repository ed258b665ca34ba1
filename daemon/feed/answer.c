#include "feed/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_name(char to[MSG_NAME_MAX + 1], const char *from)
{
    (void)snprintf(to, MSG_NAME_MAX + 1, "%s", from);
}

/* Takes data. */
static int send_encoded(struct door *d, struct slice to, int rc, char *data, size_t size)
{
    if (rc != 0)
        return rc;
    rc = door_send(d, to, data, size);
    free(data);
    return rc;
}

int answer_opened(struct door *d, struct slice to, enum msg_type type, const struct stream *st,
                  const struct generation_info *g, uint32_t world, uint64_t step)
{
    const struct recipe *r = g->recipe;
    struct msg_corpus *corpora = calloc(r->n_corpora, sizeof *corpora);
    if (corpora == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->n_corpora; i++) {
        copy_name(corpora[i].name, r->conf->corpora[i].corpus);
        corpora[i].records = corpus_records(r->corpora[i]);
    }
    struct msg_opened m = {
        .version = MSG_VERSION,
        .server = "skipalignd " SKIPALIGN_VERSION,
        .generation = g->number,
        .step = step,
        .steps = stream_steps(st),
        .rows = (uint32_t)r->conf->global_batch / world,
        .length = (uint32_t)r->conf->seq_len,
        .vocab_size = (uint32_t)tokenizer_vocab_size(r->tokenizer),
        .pad_id = tokenizer_pad(r->tokenizer),
        .max_position = pos_window_max(r->conf->positions, r->conf->n_positions),
        .packing = r->conf->packing,
        .corpora = corpora,
        .n_corpora = r->n_corpora,
    };
    copy_name(m.stream, r->conf->name);
    copy_name(m.strategy, pos_strategy_name(r->conf->positions, r->conf->n_positions));
    (void)snprintf(m.tokenizer, sizeof m.tokenizer, "%s", tokenizer_sha256(r->tokenizer));
    char *data = NULL;
    size_t size = 0;
    int rc =
        type == MSG_TYPE_CHANGED ? msg_encode_changed(&m, &data, &size) : msg_encode_opened(&m, &data, &size);
    free(corpora);
    return send_encoded(d, to, rc, data, size);
}

int answer_wait(struct door *d, struct slice to, const struct msg_wait *m)
{
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_wait(m, &data, &size);
    return send_encoded(d, to, rc, data, size);
}

int answer_end(struct door *d, struct slice to, uint64_t step, enum msg_reason reason, uint64_t dropped)
{
    const struct msg_end m = {.step = step, .reason = reason, .dropped = dropped};
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_end(&m, &data, &size);
    return send_encoded(d, to, rc, data, size);
}

int answer_error(struct door *d, struct slice to, const struct msg_error *e, struct tally *t)
{
    char *data = NULL;
    size_t size = 0;
    int rc = msg_encode_error(e, &data, &size);
    rc = send_encoded(d, to, rc, data, size);
    t->stats.errors += rc == 0;
    return rc;
}

void answer_say(struct msg_error *ret, enum msg_code code, const char *fmt, ...)
{
    va_list ap;
    *ret = (struct msg_error){.code = code, .steps = MSG_UNKNOWN};
    va_start(ap, fmt);
    (void)vsnprintf(ret->message, sizeof ret->message, fmt, ap);
    va_end(ap);
}
