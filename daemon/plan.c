#include "plan.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/pool.h"
#include "base/workers.h"
#include "control/coverage.h"
#include "control/draft.h"
#include "corpus/reader.h"
#include "proto/ctl.h"
#include "service/signals.h"
#include "stream/carry.h"
#include "stream/covered.h"
#include "stream/kitchen.h"
#include "stream/stock.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECONDS 3                  /* for each stream; what is on its way then is still counted */
#define MEASURED_NS (NS_PER_S / 2) /* a shorter epoch is made again, for its speed */
#define TELL_NS (NS_PER_S / 5)
#define POOL_PART 8        /* of the memory that windows and batches may take */
#define BYTES_PER_RECORD 8 /* of an index */
#define BYTES_PER_TOKEN 12 /* of a batch: input id, position id, label */

struct plan {
    struct conf *conf;
    FILE *out;
    int signal_fd;
    char scratch[PATH_MAX]; /* "": there is none yet */
    struct stock *stock;
    struct reader *reader;
    struct workers *workers;
    struct pool *pool;
    struct ctl_writer reply;
    uint64_t told_ns;
};

/* ---- messages ---- */

static int put_message(struct plan *p, const struct ctl_writer *w)
{
    if (w->rc != 0)
        return w->rc;
    return fwrite(w->buf.data, 1, w->buf.size, p->out) == w->buf.size && fflush(p->out) == 0 ? 0
                                                                                             : ERR_CANCELLED;
}

/* As struct stock_progress wants it: not 0 where nobody listens any more, or a signal came. */
static int tell(void *arg, const char *what, uint64_t done, uint64_t all)
{
    struct plan *p = arg;
    struct ctl_writer w;
    if (signals_read(p->signal_fd) != 0)
        return ERR_CANCELLED;
    if (clock_ns() - p->told_ns < TELL_NS)
        return 0;
    p->told_ns = clock_ns();
    ctl_init(&w);
    ctl_put_map(&w, NULL);
    ctl_put_uint(&w, "version", CTL_VERSION);
    ctl_put_map(&w, "progress");
    ctl_put_text(&w, "what", what);
    ctl_put_uint(&w, "done", done);
    ctl_put_uint(&w, "all", all);
    ctl_put_end(&w);
    ctl_put_end(&w);
    const int rc = put_message(p, &w);
    ctl_fini(&w);
    return rc;
}

static void begin_reply(struct plan *p, bool ok)
{
    ctl_fini(&p->reply);
    ctl_init(&p->reply);
    ctl_put_map(&p->reply, NULL);
    ctl_put_uint(&p->reply, "version", CTL_VERSION);
    ctl_put_bool(&p->reply, "ok", ok);
}

/* ---- a folder of our own ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path) == 0 ? 0 : errno;
}

/* All files of a folder, under the same names in another. */
static void link_files(const char *from, const char *to)
{
    char path[PATH_MAX], link[PATH_MAX];
    DIR *folder = opendir(from);
    const struct dirent *entry;
    if (folder == NULL || (mkdir(to, 0700) != 0 && errno != EEXIST)) {
        if (folder != NULL)
            (void)closedir(folder);
        return;
    }
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && snprintf(path, sizeof path, "%s/%s", from, entry->d_name) < PATH_MAX &&
            snprintf(link, sizeof link, "%s/%s", to, entry->d_name) < PATH_MAX)
            (void)symlink(path, link);
    (void)closedir(folder);
}

/* What state_dir has saves looking for records, and decompressing, again. It is only read: what no longer
 * fits is made anew, in the place of its link. */
static void link_state(const struct plan *p)
{
    char state[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    if (realpath(p->conf->state_dir, state) == NULL)
        return;
    for (uint32_t i = 0; i < p->conf->n_corpora; i++) {
        const char *name = p->conf->corpora[i].name;
        if (snprintf(from, sizeof from, "%s/corpora/%s.index", state, name) < PATH_MAX &&
            snprintf(to, sizeof to, "%s/corpora/%s.index", p->scratch, name) < PATH_MAX &&
            access(from, R_OK) == 0)
            (void)symlink(from, to);
        if (snprintf(from, sizeof from, "%s/corpora/%s.spool", state, name) < PATH_MAX &&
            snprintf(to, sizeof to, "%s/corpora/%s.spool", p->scratch, name) < PATH_MAX)
            link_files(from, to);
    }
}

static int make_scratch(struct plan *p, struct err *reterr)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX], folder[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/skipalign-plan-XXXXXX",
                   base != NULL && *base != '\0' ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        return err_sys(reterr, -errno,
                       "%s: a folder for indexes cannot be made; set TMPDIR to one that may be "
                       "written to",
                       path);
    (void)strcpy(p->scratch, path);
    if (snprintf(folder, sizeof folder, "%s/corpora", path) >= PATH_MAX || mkdir(folder, 0700) != 0)
        return err_sys(reterr, -errno, "%s: a folder in it cannot be made", path);
    link_state(p);
    return 0;
}

/* ---- sums over windows, and how sure they are ---- */

/* y per x, of windows as they come: the records of an epoch are in random order, so its first windows are a
 * random sample of it. */
struct ratio {
    double x, y, xx, xy, yy;
};

static void ratio_add(struct ratio *r, double y, double x)
{
    r->x += x, r->y += y;
    r->xx += x * x, r->xy += x * y, r->yy += y * y;
}

struct tally {
    struct recipe *recipe;
    const char *name;
    uint64_t epoch_slots, slots, windows, window_bytes;
    uint64_t ns, made_tokens, made_rows; /* for the speed: of windows that were made again, too */
    uint64_t rows, documents, tokens, supervised, truncated, split, outcome[POS_OUTCOME__COUNT],
        unusable[UNUSABLE__COUNT];
    struct ratio rows_per_slot, tokens_per_row, supervised_per_row, skipped_per_document;
    struct covered covered;
};

static void count(struct tally *t, struct window *w)
{
    uint64_t tokens = 0, supervised = 0, skipped = 0;
    for (size_t i = 0; i < w->n_docs; i++) {
        tokens += w->docs[i].n_tokens;
        supervised += w->docs[i].n_supervised;
        skipped += w->docs[i].outcome == POS_SKIPPED;
        t->outcome[w->docs[i].outcome]++;
    }
    for (size_t i = 0; i < w->n_unusable; i++)
        t->unusable[w->unusable[i].reason]++;
    t->slots += w->n_slots;
    t->windows++;
    t->window_bytes += window_bytes(w);
    t->rows += w->n_rows;
    t->documents += w->n_docs;
    t->tokens += tokens;
    t->supervised += supervised;
    t->truncated += w->truncated;
    t->split += w->split;
    ratio_add(&t->rows_per_slot, (double)w->n_rows, w->n_slots);
    ratio_add(&t->tokens_per_row, (double)tokens, (double)w->n_rows);
    ratio_add(&t->supervised_per_row, (double)supervised, (double)w->n_rows);
    ratio_add(&t->skipped_per_document, (double)skipped, (double)w->n_docs);
    covered_add(&t->covered, w);
}

static double ratio_value(const struct ratio *r)
{
    return r->x > 0 ? r->y / r->x : 0;
}

/* Two standard errors of a ratio estimate, 0 where the whole epoch was made. Source: Cochran, Sampling
 * Techniques, section 6.4. */
static double ratio_error(const struct ratio *r, const struct tally *t)
{
    const double n = (double)t->windows, all = (double)t->epoch_slots, ratio = ratio_value(r);
    const double rest = r->yy - 2 * ratio * r->xy + ratio * ratio * r->xx, left = 1 - (double)t->slots / all;
    return rest > 0 && left > 0 && n > 1 ? 2 * sqrt(n / (n - 1) * rest * left) / r->x : 0;
}

/* ---- making windows ---- */

struct making {
    struct plan *plan;
    struct tally *tally;
    struct window_order *order;
    struct job job;
    bool again; /* it has been counted before */
    uint32_t *in_flight;
    struct err *failure; /* of the first window that could not be made */
};

static void make_run(struct job *job, void *scratch)
{
    struct making *m = (struct making *)((char *)job - offsetof(struct making, job));
    kitchen_make(scratch, m->order);
    fetch_release(&m->order->fetch);
}

static void make_done(struct job *job)
{
    struct making *m = (struct making *)((char *)job - offsetof(struct making, job));
    struct window *w = m->order->window;
    m->tally->made_rows += w->n_rows;
    m->tally->made_tokens += w->n_tokens;
    if (w->rc == 0 && !m->again)
        count(m->tally, w);
    else if (w->rc != 0 && m->failure->text[0] == '\0')
        *m->failure = w->error;
    window_order_free(m->order);
    window_unref(w);
    (*m->in_flight)--;
    free(m);
}

static void reads_done(struct fetch *f) /* on the reader's thread */
{
    struct window_order *o = (struct window_order *)((char *)f - offsetof(struct window_order, fetch));
    struct making *m = o->arg;
    workers_submit(m->plan->workers, &m->job);
}

static int make_one(const struct making *like, struct order *o, struct order_cursor *cur, uint64_t slot,
                    uint32_t n)
{
    struct making *m = malloc(sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    *m = *like;
    m->order = window_order_new(m->plan->pool, m->tally->recipe, o, cur, slot, slot, n);
    if (m->order == NULL) {
        free(m);
        return -ENOMEM;
    }
    m->order->arg = m;
    m->order->fetch.done = reads_done;
    (*m->in_flight)++;
    reader_submit(m->plan->reader, &m->order->fetch);
    return 0;
}

/* Where the next window is made, or from the beginning again; the number of its slots, 0: there is no need.
 */
static uint32_t next_window(struct making *like, struct order *o, struct order_cursor *cur, uint64_t *slot,
                            uint64_t passed_ns)
{
    const struct tally *t = like->tally;
    uint64_t bytes;
    if (*slot == t->epoch_slots && passed_ns < MEASURED_NS) {
        *slot = 0;
        like->again = true;
    }
    if (*slot == t->epoch_slots ||
        (*slot > 0 && passed_ns > (like->again ? MEASURED_NS : SECONDS * NS_PER_S)))
        return 0;
    return window_plan(t->recipe, o, cur, *slot, &bytes);
}

static int make_windows(struct plan *p, struct tally *t, struct order *o, struct err *reterr)
{
    const uint64_t start = clock_ns();
    struct order_cursor cur = {0};
    uint64_t slot = 0;
    uint32_t in_flight = 0, n;
    struct err failure = {""};
    char what[96];
    struct making like = {.plan = p,
                          .tally = t,
                          .job = {.run = make_run, .done = make_done},
                          .in_flight = &in_flight,
                          .failure = &failure};
    int rc = 0;
    (void)snprintf(what, sizeof what, "%s: documents", t->name);
    for (;;) {
        while (rc == 0 && failure.text[0] == '\0' && in_flight <= workers_count(p->workers) &&
               (n = next_window(&like, o, &cur, &slot, clock_ns() - start)) > 0) {
            rc = make_one(&like, o, &cur, slot, n);
            slot += n;
        }
        if (in_flight == 0)
            break;
        (void)workers_wait(p->workers);
        if (rc == 0)
            rc = tell(p, what, t->slots, t->epoch_slots);
    }
    t->ns = clock_ns() - start;
    if (rc == ERR_CANCELLED)
        return err_set(reterr, rc, "cancelled");
    if (rc != 0)
        return err_sys(reterr, rc, "stream '%s'", t->name);
    return failure.text[0] == '\0' ? 0 : err_set(reterr, -EIO, "stream '%s': %s", t->name, failure.text);
}

/* ---- what it came to ---- */

/* scale: what a unit of the ratio is worth. */
static void put_estimate(struct ctl_writer *w, const char *key, const struct ratio *r, const struct tally *t,
                         double scale)
{
    const bool exact = t->slots >= t->epoch_slots;
    ctl_put_map(w, key);
    ctl_put_real(w, "value", ratio_value(r) * scale);
    if (exact || t->windows > 1)
        ctl_put_real(w, "error", ratio_error(r, t) * scale);
    else
        ctl_put_nil(w, "error"); /* one window tells nothing of how much they differ */
    ctl_put_end(w);
}

static void put_shares(struct ctl_writer *w, const char *key, const char *const *names,
                       const uint64_t *counts, size_t first, size_t n, uint64_t all)
{
    ctl_put_map(w, key);
    for (size_t i = first; i < n; i++)
        if (counts[i] > 0)
            ctl_put_real(w, names[i], (double)counts[i] / (double)all);
    ctl_put_end(w);
}

static void put_speed(struct ctl_writer *w, const struct plan *p, const struct tally *t)
{
    const double seconds = (double)t->ns / NS_PER_S;
    ctl_put_map(w, "speed");
    ctl_put_uint(w, "workers", workers_count(p->workers));
    ctl_put_real(w, "seconds", seconds);
    ctl_put_real(w, "tokens_per_second", (double)t->made_tokens / seconds);
    ctl_put_real(w, "steps_per_second",
                 (double)t->made_rows / seconds / (double)t->recipe->conf->global_batch);
    ctl_put_end(w);
}

static void put_memory(struct ctl_writer *w, const struct plan *p, const struct tally *t)
{
    const struct conf_stream *c = t->recipe->conf;
    uint64_t records = 0;
    for (uint32_t i = 0; i < t->recipe->n_corpora; i++)
        records += t->recipe->records[i];
    ctl_put_map(w, "memory");
    ctl_put_uint(w, "configured", (uint64_t)p->conf->memory);
    ctl_put_uint(w, "step", (uint64_t)c->global_batch * (uint64_t)c->seq_len * BYTES_PER_TOKEN);
    ctl_put_uint(w, "window", t->windows > 0 ? t->window_bytes / t->windows : 0);
    ctl_put_uint(w, "index", records * BYTES_PER_RECORD);
    ctl_put_end(w);
}

static void put_epoch(struct ctl_writer *w, const struct tally *t)
{
    const struct conf_stream *c = t->recipe->conf;
    const double batch = (double)c->global_batch, slots = (double)t->epoch_slots;
    ctl_put_uint(w, "epochs", (uint64_t)c->epochs);
    put_estimate(w, "steps_per_epoch", &t->rows_per_slot, t, slots / batch);
    if (c->epochs > 0)
        put_estimate(w, "steps", &t->rows_per_slot, t, slots / batch * (double)c->epochs);
    else
        ctl_put_nil(w, "steps");
    put_estimate(w, "tokens_per_step", &t->tokens_per_row, t, batch);
    put_estimate(w, "supervised_per_step", &t->supervised_per_row, t, batch);
    const double filled = ratio_value(&t->tokens_per_row) / (double)c->seq_len;
    ctl_put_map(w, "padding");
    ctl_put_real(w, "value", t->rows > 0 ? 1 - filled : 0);
    ctl_put_real(w, "error", ratio_error(&t->tokens_per_row, t) / (double)c->seq_len);
    ctl_put_end(w);
}

static void put_stream(struct plan *p, struct tally *t)
{
    struct ctl_writer *w = &p->reply;
    const struct conf_stream *c = t->recipe->conf;
    ctl_put_map(w, NULL);
    ctl_put_text(w, "stream", t->name);
    ctl_put_bool(w, "exact", t->slots >= t->epoch_slots);
    ctl_put_uint(w, "records", t->slots);
    ctl_put_uint(w, "epoch_records", t->epoch_slots);
    ctl_put_uint(w, "documents", t->documents);
    ctl_put_uint(w, "rows", t->rows);
    ctl_put_uint(w, "global_batch", (uint64_t)c->global_batch);
    ctl_put_bool(w, "packing", c->packing);
    put_epoch(w, t);
    put_estimate(w, "skipping", &t->skipped_per_document, t, 1);
    put_shares(w, "kept", pos_outcome_names, t->outcome, POS_SKIPPED + 1, POS_OUTCOME__COUNT, t->documents);
    ctl_put_real(w, "truncated", (double)t->truncated / (double)t->slots);
    ctl_put_real(w, "split", (double)t->split / (double)t->slots);
    put_shares(w, "unusable", unusable_names, t->unusable, USABLE + 1, UNUSABLE__COUNT, t->slots);
    ctl_put_real(w, "max_unusable", c->max_unusable);
    put_speed(w, p, t);
    put_memory(w, p, t);
    ctl_put_map(w, "distances");
    t->covered.sum->recipe = t->recipe;
    coverage_put(w, t->covered.sum);
    ctl_put_end(w);
    ctl_put_end(w);
}

/* ---- one stream ---- */

static int plan_stream(struct plan *p, const struct conf_stream *stream, struct err *reterr)
{
    const struct stock_progress progress = {tell, p};
    struct tally t = {.name = stream->name};
    struct start start = {0};
    struct order *order = NULL;
    int rc = stock_recipe(p->stock, p->conf, stream, STOCK_NEWEST, NULL, &progress, &t.recipe, reterr);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < t.recipe->n_corpora; i++)
        t.epoch_slots += t.recipe->epoch_slots[i];
    if (carry_begin(t.recipe, &start) != 0 || (order = start_order(&start, t.recipe)) == NULL)
        rc = err_sys(reterr, -ENOMEM, "stream '%s'", t.name);
    else
        rc = make_windows(p, &t, order, reterr);
    if (rc == 0 && t.covered.sum == NULL)
        rc = err_set(reterr, ERR_UNUSABLE, "stream '%s': an epoch of it has no records", t.name);
    if (rc == 0)
        put_stream(p, &t);
    covered_fini(&t.covered);
    order_free(order);
    start_fini(&start);
    recipe_unref(t.recipe);
    return rc;
}

/* ---- all of it ---- */

static int start_threads(struct plan *p, struct err *reterr)
{
    enum io_kind io;
    struct err why = {""};
    int rc = reader_start(p->conf->io, &p->reader, &io, &why);
    if (rc != 0) {
        *reterr = why;
        return rc;
    }
    const struct corpus_place place = {.state_dir = p->scratch,
                                       .io = p->conf->io,
                                       .spool = (uint64_t)p->conf->spool,
                                       .threads = (uint32_t)p->conf->workers};
    if ((p->pool = pool_new((uint64_t)p->conf->memory / POOL_PART)) == NULL ||
        (p->stock = stock_new(&place)) == NULL)
        return err_sys(reterr, -ENOMEM, "starting");
    stock_set_tokenizers(p->stock, p->conf->tokenizer_path, (uint32_t)p->conf->tokenizer_verify);
    return kitchen_workers((uint32_t)p->conf->workers, &p->workers, reterr);
}

static void stop(struct plan *p)
{
    workers_stop(p->workers);
    reader_stop(p->reader);
    stock_free(p->stock);
    pool_free(p->pool);
    if (p->scratch[0] != '\0')
        (void)nftw(p->scratch, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    conf_free(p->conf);
    if (p->signal_fd >= 0)
        (void)close(p->signal_fd);
}

static int plan_streams(struct plan *p, const char *only, struct err *reterr)
{
    if (only != NULL && conf_find_stream(p->conf, only) == NULL)
        return err_set(reterr, ERR_CONFIG, "%s has no stream '%s'", p->conf->path, only);
    p->signal_fd = signals_open(reterr);
    int rc = p->signal_fd < 0 ? p->signal_fd : make_scratch(p, reterr);
    if (rc == 0)
        rc = start_threads(p, reterr);
    begin_reply(p, true);
    ctl_put_map(&p->reply, "result");
    ctl_put_list(&p->reply, "streams");
    for (uint32_t i = 0; i < p->conf->n_streams && rc == 0; i++)
        if (only == NULL || strcmp(p->conf->streams[i].name, only) == 0)
            rc = plan_stream(p, &p->conf->streams[i], reterr);
    ctl_put_end(&p->reply);
    ctl_put_end(&p->reply);
    return rc;
}

static void fail(struct plan *p, int rc, const char *why)
{
    begin_reply(p, false);
    ctl_put_text(&p->reply, "code",
                 rc == ERR_CONFIG      ? "bad-configuration"
                 : rc == ERR_CANCELLED ? "cancelled"
                                       : "failed");
    ctl_put_text(&p->reply, "error", why);
}

int plan_run(const char *path, const char *stream, FILE *out)
{
    struct plan p = {.out = out, .signal_fd = -1};
    struct conf_errors errors = {0};
    struct err error = {""};
    ctl_init(&p.reply);
    int rc = draft_load(path, NULL, &p.conf, &errors);
    rc = rc == 0 || rc == -ENOMEM ? rc : ERR_CONFIG;
    if (rc != 0)
        fail(&p, rc, errors.text != NULL ? errors.text : err_str(rc));
    else if ((rc = plan_streams(&p, stream, &error)) != 0)
        fail(&p, rc, error.text);
    ctl_put_end(&p.reply);
    const int written = put_message(&p, &p.reply);
    ctl_fini(&p.reply);
    conf_errors_fini(&errors);
    stop(&p);
    return rc != 0 ? rc : written;
}
