#include "link.h"
#include "proto/message.h"

/* Hidden is the default (CMakeLists.txt): what the header declares is all that the library shows. */
#pragma GCC visibility push(default)
#include "skipalign.h"
#pragma GCC visibility pop

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zmq.h>

#define CREDIT_DEFAULT 8
#define OPEN_TIMEOUT_MS 30000
#define DEAD_AFTER_MS 5000
#define SILENT_AFTER_MS 30000
#define AFTER_MS_MIN 10
#define AFTER_MS_MAX 86400000
#define LINGER_MS 500 /* for `close` to go out */
#define RETRY_MS 50   /* before the next round, when no endpoint was any good */
/* A feeder that was restarted does not know us, and says so only when it hears of us: so we speak when it is
 * silent. */
#define PING_MS 1000
#define ANSWER_MAX (1 << 20) /* bytes of a message before the stream is open */

enum state {
    STATE_OPENING, /* `open` is sent */
    STATE_OPEN,
    STATE_AWAY, /* no connection: the next one at retry_ms */
    STATE_OVER, /* for good; `over` says how */
};

struct skipalign_feed {
    struct link link;
    struct msg_open open; /* as sent; its step is the next one wanted */
    uint32_t dead_ms, silent_ms;
    bool verify;
    XXH3_state_t *hash;

    enum state state;
    int over;
    bool pinged;                /* since the last `open` */
    uint64_t ping_ms, retry_ms; /* when to */
    uint64_t leave_ms;          /* when to go to the next endpoint, if nothing comes from this one */
    uint64_t looked_ms;         /* when we last looked for messages */
    uint32_t n_left;            /* endpoints left since the last batch */
    uint64_t owed;              /* credits to give back */
    uint64_t done;

    bool holding; /* held has the borrowed batch's bytes; */
    zmq_msg_t held;
    char *aligned; /* or, where those do not lie well, this copy */
    size_t aligned_size;
    skipalign_batch batch;

    struct msg opened; /* the last; info points into it */
    skipalign_info info;
    const char **corpus_names;
    uint64_t *corpus_records;
    skipalign_wait_info wait;
    skipalign_end_info end;
    bool has_info, has_wait, has_end;
    char message[MSG_TEXT_MAX + 512];
};

/* Says what happened, and returns rc. */
__attribute__((format(printf, 3, 4))) static int say(skipalign_feed *f, int rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    return rc;
}

/* After these nothing can come from this feed any more. */
static int finish(skipalign_feed *f, int rc)
{
    f->state = STATE_OVER;
    f->over = rc;
    return rc;
}

static const char *where(const skipalign_feed *f)
{
    return link_where(&f->link);
}

/* ---- the connection ---- */

static int send_bytes(skipalign_feed *f, char *data, size_t size)
{
    const int rc = link_send(&f->link, data, size);
    free(data);
    return rc < 0 ? say(f, rc, "%s: send: %s", where(f), zmq_strerror(-rc)) : 0;
}

static int send_credit(skipalign_feed *f)
{
    const struct msg_credit m = {.credit = f->owed, .done = f->done};
    char *data;
    size_t size;
    int rc = msg_encode_credit(&m, &data, &size);
    if (rc < 0)
        return say(f, rc, "no memory");
    f->owed = 0;
    f->done = MSG_UNKNOWN;
    return send_bytes(f, data, size);
}

static void drop_held(skipalign_feed *f)
{
    if (f->holding)
        (void)zmq_msg_close(&f->held);
    f->holding = false;
}

static int connect_and_open(skipalign_feed *f)
{
    char *data;
    size_t size;
    int rc = link_connect(&f->link, f->open.credit, f->dead_ms);
    if (rc < 0)
        return finish(f, say(f, rc == -EINVAL || rc == -EPROTONOSUPPORT ? SKIPALIGN_ARGUMENT : rc,
                             "endpoint '%s': %s; a feeder's is like tcp://127.0.0.1:5757", where(f),
                             zmq_strerror(-rc)));
    rc = msg_encode_open(&f->open, &data, &size);
    if (rc < 0)
        return finish(f, say(f, rc, "no memory"));
    const uint64_t now = link_now_ms();
    f->state = STATE_OPENING;
    f->pinged = false;
    f->has_wait = false;
    f->owed = 0;
    f->looked_ms = now;
    f->ping_ms = now + PING_MS;
    f->leave_ms = now + f->dead_ms;
    return send_bytes(f, data, size);
}

/* To the next endpoint; with none of them any good, one after another again, but not in a frenzy. */
static int move_on(skipalign_feed *f)
{
    link_turn(&f->link);
    if (++f->n_left % f->link.n != 0)
        return connect_and_open(f);
    f->state = STATE_AWAY;
    f->retry_ms = link_now_ms() + RETRY_MS;
    return 0;
}

/* ---- what comes ---- */

static int take_info(skipalign_feed *f, struct msg *m)
{
    const struct msg_opened *o = &m->opened;
    const char **names = realloc(f->corpus_names, (o->n_corpora + 1) * sizeof *names);
    f->corpus_names = names != NULL ? names : f->corpus_names;
    uint64_t *records = realloc(f->corpus_records, (o->n_corpora + 1) * sizeof *records);
    f->corpus_records = records != NULL ? records : f->corpus_records;
    if (f->has_info)
        msg_fini(&f->opened);
    f->opened = *m;
    f->has_info = true;
    if (names == NULL || records == NULL)
        return finish(f, say(f, -ENOMEM, "no memory"));
    o = &f->opened.opened;
    for (uint32_t i = 0; i < o->n_corpora; i++) {
        names[i] = o->corpora[i].name;
        records[i] = o->corpora[i].records;
    }
    f->info = (skipalign_info){
        .server = o->server,
        .stream = o->stream,
        .strategy = o->strategy,
        .tokenizer = o->tokenizer,
        .generation = o->generation,
        .rows = o->rows,
        .length = o->length,
        .vocab_size = o->vocab_size,
        .max_position = o->max_position,
        .pad_id = o->pad_id,
        .packing = o->packing,
        .step = o->step,
        .steps = o->steps,
        .n_corpora = o->n_corpora,
        .corpus_names = names,
        .corpus_records = records,
    };
    return 0;
}

/* Feeders of another history make other bytes of the same steps: better an end than a silent mixture. */
static int check_history(skipalign_feed *f, const struct msg_opened *o)
{
    const skipalign_info *known = &f->info;
    if (!f->has_info || o->generation > known->generation)
        return 0;
    if (o->generation < known->generation)
        return say(
            f, SKIPALIGN_CORRUPT,
            "%s has only generation %u of stream '%s' at step %" PRIu64
            ", but generation %u has begun before: its state_dir is an older copy, or another stream's",
            where(f), o->generation, o->stream, o->step, known->generation);
    if (o->rows != known->rows || o->length != known->length || strcmp(o->tokenizer, known->tokenizer) != 0)
        return say(f, SKIPALIGN_CORRUPT,
                   "%s has another generation %u of stream '%s' than the feeder before: feeders of one list "
                   "must have the same corpora and history (state_dir)",
                   where(f), o->generation, o->stream);
    return 0;
}

/* `opened`, or `changed`. */
static int on_opened(skipalign_feed *f, struct msg *m)
{
    const struct msg_opened *o = &m->opened;
    int rc = 0;
    if (f->state != (m->type == MSG_TYPE_OPENED ? STATE_OPENING : STATE_OPEN) || o->step != f->open.step)
        rc = say(f, SKIPALIGN_PROTOCOL, "%s %s step %" PRIu64 ", asked for %" PRIu64, where(f),
                 msg_type_names[m->type], o->step, f->open.step);
    else
        rc = check_history(f, o);
    if (rc < 0) {
        msg_fini(m);
        return finish(f, rc);
    }
    f->state = STATE_OPEN;
    return take_info(f, m);
}

static int on_error(skipalign_feed *f, const struct msg_error *e)
{
    if (e->code == MSG_NOT_OPEN && (f->state == STATE_OPEN || f->pinged))
        return connect_and_open(f);
    if (e->code == MSG_SHUTTING_DOWN) /* another goes on, or is started in its place */
        return move_on(f);
    return finish(f, say(f, SKIPALIGN_REFUSED, "%s refuses stream '%s': %s (%s)", where(f), f->open.stream,
                         e->message, e->code_name));
}

static int on_wait(skipalign_feed *f, const struct msg_wait *w)
{
    f->wait = (skipalign_wait_info){.step = w->step, .known = w->known, .seconds = w->seconds};
    f->has_wait = true;
    return 0;
}

static int on_end(skipalign_feed *f, const struct msg_end *e)
{
    f->end =
        (skipalign_end_info){.step = e->step, .dropped = e->dropped, .reason = msg_reason_names[e->reason]};
    f->has_end = true;
    if ((e->reason == MSG_COMPLETE || e->reason == MSG_CHANGED) && e->step != f->open.step)
        return finish(f,
                      say(f, SKIPALIGN_CORRUPT,
                          "%s: the stream ends before step %" PRIu64 ", but step %" PRIu64 " was never sent",
                          where(f), e->step, f->open.step));
    if (e->reason == MSG_CHANGED)
        return finish(f, say(f, SKIPALIGN_END,
                             "stream '%s' has another shape from step %" PRIu64
                             " on, and `fixed_shape` is set: open it again at that step",
                             f->open.stream, e->step));
    return finish(f, say(f, SKIPALIGN_END,
                         "stream '%s' ended before step %" PRIu64 ": %s, %" PRIu64 " rows dropped",
                         f->open.stream, e->step, f->end.reason, e->dropped));
}

static uint64_t batch_hash(XXH3_state_t *state, const struct msg_batch *b)
{
    const size_t tokens = (size_t)b->rows * b->length;
    (void)XXH3_64bits_reset(state);
    (void)XXH3_64bits_update(state, b->input_ids, tokens * sizeof *b->input_ids);
    (void)XXH3_64bits_update(state, b->position_ids, tokens * sizeof *b->position_ids);
    (void)XXH3_64bits_update(state, b->labels, tokens * sizeof *b->labels);
    (void)XXH3_64bits_update(state, b->tokens, b->rows * sizeof *b->tokens);
    (void)XXH3_64bits_update(state, b->cu_seqlens, ((size_t)b->n_docs + 1) * sizeof *b->cu_seqlens);
    (void)XXH3_64bits_update(state, b->doc_corpus, b->n_docs * sizeof *b->doc_corpus);
    (void)XXH3_64bits_update(state, b->doc_record, b->n_docs * sizeof *b->doc_record);
    return XXH3_64bits_digest(state);
}

/* Is it the batch that we wait for? 1 yes; 0 no, but no harm. */
static int on_batch(skipalign_feed *f, const struct msg_batch *b)
{
    const struct msg_open *o = &f->open;
    if (f->state != STATE_OPEN)
        return finish(
            f, say(f, SKIPALIGN_PROTOCOL, "%s sends batches of a stream that it has not opened", where(f)));
    if (strcmp(b->stream, o->stream) != 0 || b->world != o->world || b->rank != o->rank)
        return finish(f, say(f, SKIPALIGN_CORRUPT,
                             "%s sent a batch of stream '%s', rank %u of %u; asked for '%s', %u of %u",
                             where(f), b->stream, b->rank, b->world, o->stream, o->rank, o->world));
    if (b->step < o->step) {
        f->owed++;
        return 0;
    }
    if (b->step != o->step)
        return finish(f, say(f, SKIPALIGN_CORRUPT, "%s sent step %" PRIu64 ", the next is %" PRIu64, where(f),
                             b->step, o->step));
    if (f->verify && batch_hash(f->hash, b) != b->hash)
        return finish(f, say(f, SKIPALIGN_CORRUPT, "%s: step %" PRIu64 " does not have the hash that it says",
                             where(f), b->step));
    f->batch = (skipalign_batch){
        .generation = b->generation,
        .world = b->world,
        .rank = b->rank,
        .rows = b->rows,
        .length = b->length,
        .step = b->step,
        .epoch = b->epoch,
        .input_ids = b->input_ids,
        .position_ids = b->position_ids,
        .labels = b->labels,
        .tokens = b->tokens,
        .cu_seqlens = b->cu_seqlens,
        .doc_corpus = b->doc_corpus,
        .doc_record = b->doc_record,
        .n_docs = b->n_docs,
        .max_seqlen = b->max_seqlen,
        .supervised = b->supervised,
        .supervised_global = b->supervised_global,
        .hash = b->hash,
    };
    f->open.step++;
    f->n_left = 0;
    f->has_wait = false;
    return 1;
}

/* Where a small message lies in libzmq's receive buffer, it does so at any address. */
static const char *held_bytes(skipalign_feed *f)
{
    const char *data = zmq_msg_data(&f->held);
    const size_t size = zmq_msg_size(&f->held);
    if ((uintptr_t)data % sizeof(int64_t) == 0)
        return data;
    if (f->aligned_size < size) {
        free(f->aligned);
        f->aligned = malloc(size);
        f->aligned_size = f->aligned == NULL ? 0 : size;
    }
    return f->aligned == NULL ? NULL : memcpy(f->aligned, data, size);
}

/* The message in `held`: 1 if it is the next batch, which it then stays for; 0 if there is more to wait for.
 */
static int on_message(skipalign_feed *f)
{
    const size_t size = zmq_msg_size(&f->held);
    char why[256];
    struct msg m;
    if (zmq_msg_more(&f->held) || (f->state == STATE_OPENING && size > ANSWER_MAX))
        return finish(f, say(f, SKIPALIGN_PROTOCOL,
                             "%s is no feeder: it sent %zu bytes where an answer of one frame was due",
                             where(f), size));
    const char *data = held_bytes(f);
    if (data == NULL)
        return finish(f, say(f, -ENOMEM, "no memory"));
    int rc = msg_decode(data, size, &m, why, sizeof why);
    if (rc == -ENOMSG) /* of a later feeder; what we must know is never said in this way */
        return 0;
    if (rc < 0)
        return finish(f, say(f, rc == -ENOMEM ? rc : SKIPALIGN_PROTOCOL,
                             "%s sent what is no feeder's message: %s", where(f), why));
    switch (m.type) {
    case MSG_TYPE_OPENED:
    case MSG_TYPE_CHANGED:
        return on_opened(f, &m);
    case MSG_TYPE_WAIT:
        return on_wait(f, &m.wait);
    case MSG_TYPE_BATCH:
        return on_batch(f, &m.batch);
    case MSG_TYPE_END:
        return on_end(f, &m.end);
    case MSG_TYPE_ERROR:
        rc = on_error(f, &m.error);
        msg_fini(&m);
        return rc;
    default:
        break;
    }
    return finish(f, say(f, SKIPALIGN_PROTOCOL, "%s sent `%s`, which only trainers send", where(f),
                         msg_type_names[m.type]));
}

/* ---- waiting ---- */

/* A feeder that is open and lives is worth leaving only for another. */
static bool may_leave(const skipalign_feed *f)
{
    return f->state == STATE_OPENING || f->link.n > 1;
}

/* When keep_up has something to do. */
static uint64_t due_ms(const skipalign_feed *f)
{
    if (f->state == STATE_AWAY)
        return f->retry_ms;
    return may_leave(f) && f->leave_ms < f->ping_ms ? f->leave_ms : f->ping_ms;
}

/* What is due whatever comes: a sign of life from us, another try, another endpoint. */
static int keep_up(skipalign_feed *f, uint64_t now)
{
    if (now < due_ms(f))
        return 0;
    if (f->state == STATE_AWAY)
        return connect_and_open(f);
    if (may_leave(f) && now >= f->leave_ms)
        return move_on(f);
    f->pinged = true;
    f->ping_ms = now + PING_MS;
    return send_credit(f);
}

/* A message into `held`, 0; SKIPALIGN_TIMEOUT when the time is over; -EINTR. */
static int receive(skipalign_feed *f, uint64_t deadline_ms)
{
    uint64_t until = 0; /* first of all: is there something? */
    (void)zmq_msg_init(&f->held);
    for (;;) {
        int rc = link_receive(&f->link, &f->held, until);
        const uint64_t now = f->looked_ms = link_now_ms();
        if (rc == 0) {
            f->holding = true;
            f->ping_ms = now + PING_MS;
            f->leave_ms = now + f->silent_ms;
            return 0;
        }
        if (rc < 0)
            return say(f, rc, "waiting for %s: %s", where(f), zmq_strerror(-rc));
        rc = rc == LINK_GONE ? move_on(f) : keep_up(f, now);
        if (rc < 0)
            return rc;
        if (now >= deadline_ms)
            return SKIPALIGN_TIMEOUT;
        until = due_ms(f) < deadline_ms ? due_ms(f) : deadline_ms;
    }
}

/* Until when to wait from now on. What time the caller spent elsewhere is not the feeder's silence. */
static uint64_t begin_waiting(skipalign_feed *f, int timeout_ms)
{
    const uint64_t now = link_now_ms();
    if (now - f->looked_ms > PING_MS)
        f->leave_ms += now - f->looked_ms;
    f->looked_ms = now;
    return timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms;
}

static int say_timeout(skipalign_feed *f, int timeout_ms)
{
    const skipalign_wait_info *w = &f->wait;
    char soon[64] = "";
    if (f->state != STATE_OPEN)
        return say(f, SKIPALIGN_TIMEOUT,
                   "no answer from %s within %d ms: does skipalignd run there, is that its feed.listen?",
                   f->link.list, timeout_ms);
    if (!f->has_wait)
        return say(f, SKIPALIGN_TIMEOUT, "step %" PRIu64 " did not come from %s within %d ms", f->open.step,
                   where(f), timeout_ms);
    if (w->seconds != UINT64_MAX)
        (void)snprintf(soon, sizeof soon, ", step %" PRIu64 " in about %" PRIu64 " s", w->step, w->seconds);
    return say(f, SKIPALIGN_TIMEOUT,
               "step %" PRIu64 " did not come from %s within %d ms: it works its way there, %" PRIu64
               " steps so far%s",
               f->open.step, where(f), timeout_ms, w->known, soon);
}

/* ---- the library's functions ---- */

static void default_job(char job[MSG_NAME_MAX + 1])
{
    char host[MSG_NAME_MAX - 11 + 1] = "";
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(job, MSG_NAME_MAX + 1, "%s/%d", host[0] != '\0' ? host : "?", (int)getpid());
}

/* The options into f->open. */
static int take_options(skipalign_feed *f, const skipalign_options *o)
{
    if (o->stream == NULL || o->stream[0] == '\0' || strlen(o->stream) > MSG_NAME_MAX)
        return say(f, SKIPALIGN_ARGUMENT, "options: `stream` must be a name of 1 to %d bytes", MSG_NAME_MAX);
    if (o->job != NULL && strlen(o->job) > MSG_NAME_MAX)
        return say(f, SKIPALIGN_ARGUMENT, "options: `job` must be a name of at most %d bytes", MSG_NAME_MAX);
    const uint32_t world = o->world == 0 ? 1 : o->world;
    if (o->rank >= world)
        return say(f, SKIPALIGN_ARGUMENT, "options: `rank` is %u, but must be below `world`, which is %u",
                   o->rank, world);
    const uint32_t dead_ms = o->dead_after_ms == 0 ? DEAD_AFTER_MS : o->dead_after_ms;
    const uint32_t silent_ms = o->silent_after_ms == 0 ? SILENT_AFTER_MS : o->silent_after_ms;
    if (dead_ms < AFTER_MS_MIN || dead_ms > AFTER_MS_MAX || silent_ms < AFTER_MS_MIN ||
        silent_ms > AFTER_MS_MAX)
        return say(f, SKIPALIGN_ARGUMENT,
                   "options: `dead_after_ms` and `silent_after_ms` must be %d to %d, or 0 for the default",
                   AFTER_MS_MIN, AFTER_MS_MAX);
    f->dead_ms = dead_ms;
    f->silent_ms = silent_ms;
    f->open = (struct msg_open){
        .version = MSG_VERSION,
        .fixed_shape = o->fixed_shape != 0,
        .world = world,
        .rank = o->rank,
        .step = o->step,
        .credit = o->credit == 0 ? CREDIT_DEFAULT : o->credit,
    };
    memcpy(f->open.stream, o->stream, strlen(o->stream));
    if (o->job != NULL)
        memcpy(f->open.job, o->job, strlen(o->job));
    else
        default_job(f->open.job);
    f->done = MSG_UNKNOWN;
    f->verify = o->verify != 0;
    return 0;
}

static int wait_opened(skipalign_feed *f, int timeout_ms)
{
    const uint64_t deadline = begin_waiting(f, timeout_ms);
    while (f->state == STATE_OPENING || f->state == STATE_AWAY) {
        int rc = receive(f, deadline);
        if (rc == SKIPALIGN_TIMEOUT)
            return say_timeout(f, timeout_ms);
        rc = rc < 0 ? rc : on_message(f);
        drop_held(f);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* libzmq takes memory for each batch and gives it back, and glibc would give it back to the system and ask
 * for it again: a page fault for every 4 KiB, half of what receiving costs. Freeing one large block raises
 * its thresholds for that (mallopt(3), M_MMAP_THRESHOLD); the block is never touched, so it takes no memory.
 */
#define LARGE_BLOCK (31u << 20) /* the thresholds do not go beyond 32 MiB */

static void keep_freed_memory(void)
{
    void *volatile block = malloc(LARGE_BLOCK);
    free(block);
}

int skipalign_open(const char *endpoints, const skipalign_options *options, skipalign_feed **ret)
{
    skipalign_feed *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    *ret = f;
    keep_freed_memory();
    f->hash = XXH3_createState();
    int rc = link_init(&f->link, endpoints != NULL ? endpoints : "", f->message, sizeof f->message);
    if (rc == -EINVAL)
        return finish(f, SKIPALIGN_ARGUMENT);
    if (rc < 0 || f->hash == NULL)
        return finish(f, say(f, -ENOMEM, "no memory"));
    rc = options == NULL ? say(f, SKIPALIGN_ARGUMENT, "options are missing") : take_options(f, options);
    if (rc == 0)
        rc = connect_and_open(f);
    if (rc == 0)
        rc = wait_opened(f, options->timeout_ms == 0 ? OPEN_TIMEOUT_MS : options->timeout_ms);
    return rc < 0 ? finish(f, rc) : 0;
}

const skipalign_info *skipalign_get_info(const skipalign_feed *feed)
{
    return feed->has_info ? &feed->info : NULL;
}

int skipalign_next(skipalign_feed *f, const skipalign_batch **ret, int timeout_ms)
{
    if (f->state == STATE_OVER)
        return f->over;
    if (f->holding) {
        drop_held(f);
        f->owed++;
    }
    const uint64_t deadline = begin_waiting(f, timeout_ms);
    for (;;) {
        int rc = 0;
        if (f->state == STATE_OPEN &&
            f->owed >= (f->open.credit + 1) / 2) /* half of them are still out: no gap */
            rc = send_credit(f);
        if (rc == 0)
            rc = receive(f, deadline);
        if (rc == SKIPALIGN_TIMEOUT)
            return say_timeout(f, timeout_ms);
        if (rc == 0)
            rc = on_message(f);
        if (rc > 0) {
            *ret = &f->batch;
            return 0;
        }
        drop_held(f);
        if (rc < 0)
            return rc;
    }
}

int skipalign_done(skipalign_feed *f, uint64_t step)
{
    f->done = step;
    return f->state == STATE_OPEN ? send_credit(f) : 0;
}

const skipalign_wait_info *skipalign_get_wait(const skipalign_feed *feed)
{
    return feed->has_wait ? &feed->wait : NULL;
}

const skipalign_end_info *skipalign_end(const skipalign_feed *feed)
{
    return feed->has_end ? &feed->end : NULL;
}

const char *skipalign_message(const skipalign_feed *feed)
{
    return feed->message;
}

void skipalign_close(skipalign_feed *f)
{
    if (f == NULL)
        return;
    drop_held(f);
    char *data;
    size_t size;
    if (f->state == STATE_OPEN && msg_encode_close(&data, &size) == 0) {
        (void)send_bytes(f, data, size);
        link_close(&f->link, LINGER_MS);
    }
    link_fini(&f->link);
    if (f->has_info)
        msg_fini(&f->opened);
    XXH3_freeState(f->hash);
    free(f->corpus_names);
    free(f->corpus_records);
    free(f->aligned);
    free(f);
}

const char *skipalign_strerror(int rc)
{
    static const char *const words[] = {
        "the stream has ended",
        "nothing came in time",
        "the feeder refused",
        "not a feeder's message",
        "not the batch that was expected",
        "wrong option",
    };
    if (rc <= SKIPALIGN_END && rc >= SKIPALIGN_ARGUMENT)
        return words[SKIPALIGN_END - rc];
    return rc == 0 ? "no error" : zmq_strerror(-rc);
}
