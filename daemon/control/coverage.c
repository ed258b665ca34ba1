/* coverage - how far a stream's training looks back, against the same data without skipping, and against
 * documents as long as its positions reach. What each bucket means: position/coverage.h. */
#include "control/coverage.h"

#include "control/commands.h"

#include <inttypes.h>

enum { ARG_STREAM, ARG_GENERATION }; /* as in the table of commands */

#define MEDIAN 0.5
#define NEARLY_ALL 0.99

struct distances {
    double pairs[COVERAGE_BUCKETS], all;
    uint64_t largest;
};

static void add(struct distances *to, const struct stream_distances *from)
{
    for (uint32_t b = 0; b < COVERAGE_BUCKETS; b++) {
        to->pairs[b] += from->pairs[b];
        to->all += from->pairs[b];
    }
    to->largest = from->largest > to->largest ? from->largest : to->largest;
}

static double share(const struct distances *d, uint32_t bucket)
{
    return d->all > 0 ? d->pairs[bucket] / d->all : 0;
}

static void put_summary(struct ctl_writer *w, const struct distances *d, uint64_t seq_len)
{
    const double median = coverage_quantile(d->pairs, MEDIAN), most = coverage_quantile(d->pairs, NEARLY_ALL);
    const double largest = (double)d->largest; /* quantiles are even inside a bucket, distances need not be */
    ctl_put_uint(w, "median", (uint64_t)(median < largest ? median : largest));
    ctl_put_uint(w, "p99", (uint64_t)(most < largest ? most : largest));
    ctl_put_uint(w, "largest", d->largest);
    ctl_put_real(w, "beyond_seq_len", d->largest < seq_len ? 0 : coverage_beyond(d->pairs, seq_len));
}

static void put_side(struct ctl_writer *w, const char *key, const struct distances *d, uint64_t seq_len)
{
    ctl_put_map(w, key);
    put_summary(w, d, seq_len);
    ctl_put_end(w);
}

static void put_buckets(struct ctl_writer *w, const struct distances *here, const struct distances *ordinary,
                        const struct distances *far)
{
    ctl_put_list(w, "buckets");
    for (uint32_t b = 1; b < COVERAGE_BUCKETS; b++) {
        const uint64_t start = coverage_start(b);
        if (start > here->largest && start > ordinary->largest && start > far->largest)
            break;
        ctl_put_map(w, NULL);
        ctl_put_uint(w, "from", start);
        ctl_put_uint(w, "to", coverage_start(b + 1) - 1);
        ctl_put_real(w, "here", share(here, b));
        ctl_put_real(w, "ordinary", share(ordinary, b));
        ctl_put_real(w, "long", share(far, b));
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

/* Of those that documents were given; `here` is all of them together. */
static void put_strategies(struct ctl_writer *w, const struct stream_coverage *c, uint64_t seq_len)
{
    ctl_put_list(w, "strategies");
    for (int s = 0; s < POS__COUNT; s++) {
        const struct stream_distances *from = &c->here[s];
        struct distances d = {.all = 0};
        if (from->documents == 0)
            continue;
        add(&d, from);
        ctl_put_map(w, NULL);
        ctl_put_text(w, "strategy", pos_strategy_names[s]);
        ctl_put_uint(w, "documents", from->documents);
        ctl_put_uint(w, "sampled", from->sampled);
        ctl_put_real(w, "pairs", d.all);
        put_summary(w, &d, seq_len);
        ctl_put_list(w, "shares");
        for (uint32_t b = 1; b < COVERAGE_BUCKETS && coverage_start(b) <= d.largest; b++)
            ctl_put_real(w, NULL, share(&d, b));
        ctl_put_end(w);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

void coverage_put(struct ctl_writer *w, const struct stream_coverage *c)
{
    const struct conf_stream *conf = c->recipe->conf;
    const uint64_t seq_len = (uint64_t)conf->seq_len;
    const uint64_t reach = pos_window_max(conf->positions, conf->n_positions);
    struct distances here = {.all = 0}, ordinary = {.all = 0}, far = {.all = 1, .largest = reach - 1};
    uint64_t sampled = 0;
    for (int s = 0; s < POS__COUNT; s++) {
        add(&here, &c->here[s]);
        sampled += c->here[s].sampled;
    }
    add(&ordinary, &c->ordinary);
    coverage_long(reach, far.pairs);
    ctl_put_uint(w, "seq_len", seq_len);
    ctl_put_uint(w, "max_position", reach);
    ctl_put_uint(w, "documents", c->ordinary.documents);
    ctl_put_uint(w, "sampled", sampled);
    ctl_put_real(w, "pairs", here.all);
    put_side(w, "here", &here, seq_len);
    put_side(w, "ordinary", &ordinary, seq_len);
    put_side(w, "long", &far, seq_len);
    put_buckets(w, &here, &ordinary, &far);
    put_strategies(w, c, seq_len);
}

static void put_stream(struct feed *f, void *arg)
{
    struct request *q = arg;
    struct ctl_writer *w = &q->reply;
    const char *name = q->arguments[ARG_STREAM].text;
    const uint32_t generation = (uint32_t)q->arguments[ARG_GENERATION].number;
    struct stream *st = supply_find(feed_supply(f), name);
    const struct stream_coverage *c = st != NULL ? stream_get_coverage(st, generation) : NULL;
    if (c == NULL) {
        char which[64] = "";
        if (generation > 0)
            (void)snprintf(which, sizeof which, " of generation %" PRIu32, generation);
        request_fail(q, "nothing-counted",
                     "nothing%s of stream '%s' has been made since skipalignd started, and distances are "
                     "counted as batches are made; `preview %s --step N` makes one, `history %s` lists the "
                     "generations",
                     which, name, name, name);
        return;
    }
    ctl_put_text(w, "stream", name);
    ctl_put_uint(w, "generation", c->generation);
    ctl_put_uint(w, "first_step", c->first_step);
    ctl_put_int(w, "since", c->since_s);
    ctl_put_uint(w, "windows", c->windows);
    ctl_put_uint(w, "windows_known", c->windows_known);
    coverage_put(w, c);
}

void command_coverage(struct request *q)
{
    if (request_stream(q, ARG_STREAM) != NULL)
        feed_call(q->context->feed, put_stream, q);
}
