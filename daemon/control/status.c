/* status - how the daemon is: what it serves, to whom, how fast, and who waits for whom. */
#include "base/clock.h"
#include "control/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECENT_S 10 /* what "now" means for a rate */

/* Who waits for whom, in the words that `waits_for` shows. */
static const char *const wait_names[] = {
    [WAIT_NOTHING] = "nothing", [WAIT_CREDIT] = "credit", [WAIT_SOCKET] = "socket",
    [WAIT_STEP] = "step",       [WAIT_END] = "end",       [WAIT_PAUSED] = "paused",
};
static const char *const door_names[] = {[DOOR_ROUTER] = "router", [DOOR_XPUB] = "xpub"};

struct recent {
    struct feed_event *events;
    uint32_t n;
    double seconds; /* that they cover */
};

/* The batches sent in the last RECENT_S seconds, or in as many as the ring still holds. */
static void recent_get(const struct control_context *x, struct recent *ret)
{
    struct timespec t;
    *ret = (struct recent){.events = malloc(FEED_EVENTS * sizeof *ret->events), .seconds = RECENT_S};
    if (ret->events == NULL)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    const uint64_t now = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec, up = clock_ns() - x->start_ns;
    const uint32_t n = feed_events(x->feed, 0, ret->events, FEED_EVENTS);
    uint64_t span = up < RECENT_S * NS_PER_S ? up : RECENT_S * NS_PER_S;
    if (n == FEED_EVENTS && now > ret->events[0].time_ns && now - ret->events[0].time_ns < span)
        span = now - ret->events[0].time_ns;
    for (uint32_t i = 0; i < n; i++)
        if (now - ret->events[i].time_ns <= span)
            ret->events[ret->n++] = ret->events[i];
    ret->seconds = span > 0 ? (double)span / NS_PER_S : RECENT_S;
}

/* stream: NULL for all of them. */
static void put_rates(struct ctl_writer *w, const struct recent *recent, const char *stream)
{
    uint64_t batches = 0, tokens = 0, bytes = 0;
    for (uint32_t i = 0; i < recent->n; i++)
        if (stream == NULL || strcmp(recent->events[i].stream, stream) == 0) {
            batches++;
            tokens += recent->events[i].tokens;
            bytes += recent->events[i].bytes;
        }
    ctl_put_map(w, "per_second");
    ctl_put_real(w, "batches", (double)batches / recent->seconds);
    ctl_put_real(w, "tokens", (double)tokens / recent->seconds);
    ctl_put_real(w, "bytes", (double)bytes / recent->seconds);
    ctl_put_end(w);
}

static void put_unknown(struct ctl_writer *w, const char *key, uint64_t value)
{
    if (value == STREAM_UNKNOWN)
        ctl_put_nil(w, key);
    else
        ctl_put_uint(w, key, value);
}

/* Counts by name, zeros left out. */
static void put_counts(struct ctl_writer *w, const char *key, const char *const *names,
                       const uint64_t *counts, size_t first, size_t n)
{
    ctl_put_map(w, key);
    for (size_t i = first; i < n; i++)
        if (counts[i] > 0)
            ctl_put_uint(w, names[i], counts[i]);
    ctl_put_end(w);
}

static void put_server(struct ctl_writer *w, const struct control_context *x, const struct recent *recent)
{
    const double up_s = (double)(clock_ns() - x->start_ns) / NS_PER_S;
    const uint32_t n_workers = workers_count(x->workers);
    struct supply_stats supply;
    struct reader_stats reader;
    struct feed_stats feed;
    supply_get_stats(feed_supply(x->feed), &supply);
    reader_get_stats(x->reader, &reader);
    feed_get_stats(x->feed, &feed);

    ctl_put_map(w, "server");
    ctl_put_text(w, "version", SKIPALIGN_VERSION);
    ctl_put_uint(w, "pid", (uint64_t)getpid());
    ctl_put_real(w, "uptime_s", up_s);
    ctl_put_text(w, "config", x->roster->running->path);
    ctl_put_text(w, "state_dir", x->roster->running->state_dir);
    ctl_put_text(w, "listen", x->roster->running->feed_listen);
    ctl_put_text(w, "subscribe", x->roster->running->feed_subscribe);
    ctl_put_text(w, "control", x->roster->running->control_listen);
    ctl_put_text(w, "io", io_kind_names[x->io]);
    ctl_put_uint(w, "workers", n_workers);
    ctl_put_real(w, "workers_busy", (double)workers_busy_ns(x->workers) / NS_PER_S / up_s / n_workers);
    ctl_put_end(w);

    ctl_put_map(w, "memory");
    ctl_put_uint(w, "configured", (uint64_t)x->roster->running->memory);
    ctl_put_uint(w, "windows", supply.memory_used);
    ctl_put_uint(w, "windows_max", supply.memory);
    ctl_put_uint(w, "windows_held", supply.windows_held);
    ctl_put_uint(w, "windows_making", supply.windows_making);
    ctl_put_uint(w, "windows_made", supply.windows_made);
    ctl_put_uint(w, "windows_made_again", supply.windows_made_again);
    ctl_put_uint(w, "steps_pending", supply.steps_pending);
    ctl_put_end(w);

    ctl_put_map(w, "reads");
    ctl_put_uint(w, "reads", reader.reads);
    ctl_put_uint(w, "bytes", reader.bytes);
    ctl_put_uint(w, "resubmitted", reader.resubmitted);
    ctl_put_uint(w, "in_flight", reader.in_flight);
    ctl_put_end(w);

    ctl_put_map(w, "sent");
    ctl_put_uint(w, "batches", feed.batches);
    ctl_put_uint(w, "tokens", feed.tokens);
    ctl_put_uint(w, "bytes", feed.bytes);
    ctl_put_uint(w, "errors", feed.errors);
    ctl_put_uint(w, "bad_messages", feed.bad_messages);
    ctl_put_uint(w, "tap_dropped", feed.tap_dropped);
    put_rates(w, recent, NULL);
    ctl_put_end(w);
}

/* On the main thread: looking for news is a look at each file's name. */
static void put_corpora(struct ctl_writer *w, const struct roster *r)
{
    ctl_put_list(w, "corpora");
    for (uint32_t i = 0; i < r->running->n_corpora; i++) {
        const struct corpus *c = stock_find_corpus(r->stock, &r->running->corpora[i]);
        char news[512];
        if (c == NULL)
            continue; /* it is of no stream, and a change that wanted it is being undone */
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", corpus_conf(c)->name);
        ctl_put_text(w, "format", corpus_format_names[corpus_format(c)]);
        ctl_put_uint(w, "records", corpus_records(c));
        ctl_put_uint(w, "duplicates", corpus_duplicates(c));
        ctl_put_uint(w, "bytes", corpus_bytes(c));
        ctl_put_uint(w, "copied", corpus_copied(c));
        ctl_put_uint(w, "files", corpus_files(c));
        ctl_put_text(w, "first_file", corpus_path(c, 0));
        ctl_put_text(w, "news", corpus_news(c, news, sizeof news) ? news : NULL);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

/* Who tokenises, and what was compared so far. */
static void put_tokenizing(struct ctl_writer *w, const struct tokenizer *t)
{
    struct tokenizer_facts facts;
    tokenizer_facts(t, &facts);
    ctl_put_map(w, "tokenizing");
    ctl_put_bool(w, "fast", facts.why_not == NULL);
    ctl_put_text(w, "why_not", facts.why_not);
    ctl_put_uint(w, "texts", facts.counts.texts);
    ctl_put_uint(w, "refused", facts.counts.refused);
    ctl_put_uint(w, "compared", facts.counts.compared);
    ctl_put_uint(w, "differed", facts.counts.differed);
    ctl_put_end(w);
}

static void put_group(struct ctl_writer *w, const struct conf_positions *p)
{
    ctl_put_text(w, "sampler", pos_sampler_names[p->sampler]);
    ctl_put_uint(w, "min_gap", (uint64_t)p->min_gap);
    ctl_put_real(w, "probability", p->probability);
}

/* Of a mixture, what its groups have is in a list; the keys beside it are of all together. */
static void put_positions(struct ctl_writer *w, const struct conf_stream *c)
{
    ctl_put_text(w, "strategy", pos_strategy_name(c->positions, c->n_positions));
    ctl_put_uint(w, "max_position", pos_window_max(c->positions, c->n_positions));
    if (c->n_positions == 1) {
        put_group(w, c->positions);
        return;
    }
    ctl_put_list(w, "mixture");
    for (uint32_t i = 0; i < c->n_positions; i++) {
        const struct conf_positions *p = &c->positions[i];
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", p->name);
        ctl_put_real(w, "weight", p->weight);
        ctl_put_text(w, "strategy", pos_strategy_names[p->strategy]);
        ctl_put_uint(w, "max_position", pos_window_max(p, 1));
        put_group(w, p);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void put_stream_settings(struct ctl_writer *w, const struct recipe *r)
{
    const struct conf_stream *c = r->conf;
    ctl_put_uint(w, "seq_len", (uint64_t)c->seq_len);
    ctl_put_uint(w, "global_batch", (uint64_t)c->global_batch);
    ctl_put_bool(w, "packing", c->packing);
    ctl_put_text(w, "overlong", overlong_names[c->overlong]);
    ctl_put_text(w, "train_on", train_on_names[c->train_on]);
    ctl_put_uint(w, "max_turns", (uint64_t)c->max_turns);
    ctl_put_text(w, "last", last_step_names[c->last]);
    ctl_put_uint(w, "epochs", (uint64_t)c->epochs);
    ctl_put_int(w, "seed", c->seed);
    ctl_put_text(w, "template", c->template_name);
    ctl_put_text(w, "tokenizer", tokenizer_path(r->tokenizer));
    ctl_put_text(w, "tokenizer_sha256", tokenizer_sha256(r->tokenizer));
    put_tokenizing(w, r->tokenizer);
    ctl_put_uint(w, "vocab_size", (uint64_t)tokenizer_vocab_size(r->tokenizer));
    put_positions(w, c);
    ctl_put_list(w, "corpora");
    for (uint32_t i = 0; i < r->n_corpora; i++) {
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", c->corpora[i].corpus);
        ctl_put_real(w, "repeat", c->corpora[i].repeat);
        ctl_put_uint(w, "records", corpus_records(r->corpora[i]));
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void put_stream_counts(struct ctl_writer *w, const struct stream_counts *n)
{
    ctl_put_uint(w, "slots", n->slots);
    ctl_put_uint(w, "rows", n->rows);
    ctl_put_uint(w, "documents", n->documents);
    ctl_put_uint(w, "tokens", n->tokens);
    ctl_put_uint(w, "supervised", n->supervised);
    ctl_put_uint(w, "row_tokens", n->row_tokens);
    ctl_put_uint(w, "truncated", n->truncated);
    ctl_put_uint(w, "split", n->split);
    ctl_put_uint(w, "left_out", n->left_out);
    ctl_put_uint(w, "skipped", n->outcome[POS_SKIPPED]);
    put_counts(w, "unskipped", pos_outcome_names, n->outcome, POS_SKIPPED + 1, POS_OUTCOME__COUNT);
    put_counts(w, "quarantined", unusable_names, n->unusable, USABLE + 1, UNUSABLE__COUNT);
}

/* Generations whose steps cannot be made again. */
static void put_lost(struct ctl_writer *w, const struct roster_stream *s)
{
    ctl_put_list(w, "lost");
    for (uint32_t i = 0; i < s->n; i++)
        if (s->generations[i].recipe == NULL)
            ctl_put_uint(w, NULL, s->generations[i].number);
    ctl_put_end(w);
}

/* Steps that went out with ids which may be wrong. */
static void put_doubt(struct ctl_writer *w, const struct stream *st)
{
    uint64_t first, end;
    if (!stream_get_doubt(st, &first, &end)) {
        ctl_put_nil(w, "doubtful");
        return;
    }
    ctl_put_map(w, "doubtful");
    ctl_put_uint(w, "first_step", first);
    ctl_put_uint(w, "end_step", end);
    ctl_put_end(w);
}

static void put_streams(struct ctl_writer *w, const struct control_context *x, const struct recent *recent)
{
    struct feed *f = x->feed;
    struct supply *supply = feed_supply(f);
    ctl_put_list(w, "streams");
    for (struct stream *st = supply_next(supply, NULL); st != NULL; st = supply_next(supply, st)) {
        const struct recipe *r = stream_recipe(st);
        struct stream_counts counts;
        struct generation_info newest;
        stream_get_counts(st, &counts);
        stream_generation_at(st, UINT64_MAX, &newest);
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", stream_name(st));
        ctl_put_uint(w, "generation", newest.number);
        ctl_put_uint(w, "first_step", newest.first_step);
        ctl_put_bool(w, "paused", feed_paused(f, st));
        ctl_put_text(w, "failure", stream_failure(st));
        put_unknown(w, "steps", stream_steps(st));
        ctl_put_uint(w, "steps_known", stream_known_steps(st));
        ctl_put_uint(w, "dropped_rows", stream_dropped(st));
        ctl_put_uint(w, "sent", stream_sent(st));
        put_doubt(w, st);
        put_lost(w, roster_find(x->roster, stream_name(st)));
        ctl_put_uint(w, "epoch_slots", newest.epoch_slots);
        ctl_put_uint(w, "not_carried", newest.not_carried);
        put_stream_settings(w, r);
        ctl_put_map(w, "made");
        put_stream_counts(w, &counts);
        ctl_put_end(w);
        put_rates(w, recent, r->conf->name);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void put_consumers(struct ctl_writer *w, struct feed *f)
{
    const uint32_t n = feed_consumers(f, NULL, 0);
    struct consumer_info *c = calloc(n > 0 ? n : 1, sizeof *c);
    if (c == NULL)
        w->rc = -ENOMEM;
    else
        (void)feed_consumers(f, c, n);
    ctl_put_list(w, "consumers");
    for (uint32_t i = 0; c != NULL && i < n; i++) {
        ctl_put_map(w, NULL);
        ctl_put_text(w, "stream", c[i].stream);
        ctl_put_text(w, "door", door_names[c[i].door]);
        ctl_put_text(w, "job", c[i].job);
        ctl_put_uint(w, "world", c[i].world);
        ctl_put_uint(w, "rank", c[i].rank);
        ctl_put_uint(w, "generation", c[i].generation);
        ctl_put_bool(w, "fixed_shape", c[i].fixed_shape);
        ctl_put_uint(w, "first_step", c[i].first_step);
        ctl_put_uint(w, "next_step", c[i].next_step);
        ctl_put_uint(w, "credit", c[i].credit);
        put_unknown(w, "done", c[i].done);
        ctl_put_uint(w, "batches", c[i].batches);
        ctl_put_uint(w, "bytes", c[i].bytes);
        ctl_put_real(w, "idle_s", (double)c[i].idle_ns / NS_PER_S);
        ctl_put_text(w, "waits_for", wait_names[c[i].wait]);
        ctl_put_end(w);
    }
    ctl_put_end(w);
    free(c);
}

static void put_all(struct feed *f, void *arg)
{
    struct request *q = arg;
    struct recent recent;
    recent_get(q->context, &recent);
    put_server(&q->reply, q->context, &recent);
    put_streams(&q->reply, q->context, &recent);
    put_consumers(&q->reply, f);
    free(recent.events);
}

void command_status(struct request *q)
{
    put_corpora(&q->reply, q->context->roster);
    feed_call(q->context->feed, put_all, q);
}
