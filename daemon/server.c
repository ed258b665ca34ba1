#include "server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "control/control.h"
#include "corpus/corpus.h"
#include "corpus/reader.h"
#include "feed/feed.h"
#include "service/notify.h"
#include "service/signals.h"
#include "stream/kitchen.h"
#include "stream/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DRAIN_TIMEOUT_MS 60000
#define READY_POLL_MS 20

struct server {
    const struct conf *conf;
    int signal_fd, lock_fd;
    struct reader *reader;
    struct workers *workers;
    struct corpus **corpora;       /* [conf->n_corpora] */
    struct tokenizer **tokenizers; /* [conf->n_streams]; the same one several times where streams share it */
    struct recipe **recipes;       /* [conf->n_streams] */
    struct feed *feed;
    struct control *control;
    struct control_context context;
};

/* One daemon a state directory: the lock goes with its holder, however that one ends. */
static int lock_state_dir(struct server *s, struct err *reterr)
{
    char path[PATH_MAX], pid[32] = "";
    int rc = file_make_dir(s->conf->state_dir, reterr);
    if (rc != 0)
        return err_wrap(reterr, rc, "state_dir");
    (void)snprintf(path, sizeof path, "%s/lock", s->conf->state_dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock_fd < 0)
        return err_sys(reterr, -errno, "state_dir: %s: open for writing", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        rc = -errno;
        if (rc != -EWOULDBLOCK)
            return err_sys(reterr, rc, "state_dir: %s: cannot be locked; is it on a file system with locks?",
                           path);
        if (pread(s->lock_fd, pid, sizeof pid - 1, 0) < 0)
            pid[0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return err_set(reterr, rc,
                       "state_dir %s is in use by another skipalignd (pid %s); stop that one, or give "
                       "this one a state_dir of its own",
                       s->conf->state_dir, pid[0] != '\0' ? pid : "unknown");
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    ssize_t written = ftruncate(s->lock_fd, 0) == 0 ? pwrite(s->lock_fd, pid, (size_t)n, 0) : -1;
    if (written != n)
        return err_sys(reterr, written < 0 ? -errno : -ENOSPC, "state_dir: %s: write", path);
    return 0;
}

static bool stop_asked(const struct server *s)
{
    int signal = signals_read(s->signal_fd);
    if (signal != 0)
        log_info("%s: stopping before everything was ready", strsignal(signal));
    return signal != 0;
}

struct indexing {
    struct server *server;
    const char *name;
    uint64_t told_ns;
};

static int tell_indexing(void *arg, uint64_t done, uint64_t all)
{
    struct indexing *i = arg;
    if (clock_ns() - i->told_ns > NS_PER_S) {
        i->told_ns = clock_ns();
        notify_status("indexing corpus '%s': %llu of %llu MB", i->name, (unsigned long long)done / 1000000,
                      (unsigned long long)all / 1000000);
        notify_extend(30);
    }
    return stop_asked(i->server);
}

static int open_corpora(struct server *s, struct err *reterr)
{
    const struct conf *conf = s->conf;
    for (uint32_t c = 0; c < conf->n_corpora; c++) {
        struct indexing progress = {s, conf->corpora[c].name, 0};
        uint64_t start = clock_ns();
        int rc = corpus_open(&conf->corpora[c], conf->state_dir, conf->io, tell_indexing, &progress,
                             &s->corpora[c], reterr);
        if (rc != 0)
            return rc;
        const struct corpus *corpus = s->corpora[c];
        log_info("corpus '%s': %llu records in %u files, %.1f MB, format %s, index %s in %.0f ms",
                 conf->corpora[c].name, (unsigned long long)corpus_records(corpus), corpus_files(corpus),
                 (double)corpus_bytes(corpus) / 1e6, corpus_format_names[corpus_format(corpus)],
                 corpus_scanned(corpus) ? "made" : "found", (double)(clock_ns() - start) / 1e6);
    }
    return 0;
}

static bool same_tokenizer(const struct conf_stream *a, const struct conf_stream *b)
{
    if (strcmp(a->tokenizer, b->tokenizer) != 0 || a->n_special_tokens != b->n_special_tokens)
        return false;
    for (uint32_t i = 0; i < a->n_special_tokens; i++)
        if (a->special_tokens[i].id != b->special_tokens[i].id ||
            strcmp(a->special_tokens[i].piece, b->special_tokens[i].piece) != 0)
            return false;
    return true;
}

static int load_tokenizer(struct server *s, uint32_t stream, struct err *reterr)
{
    const struct conf_stream *conf = &s->conf->streams[stream];
    for (uint32_t i = 0; i < stream; i++)
        if (same_tokenizer(&s->conf->streams[i], conf)) {
            s->tokenizers[stream] = tokenizer_ref(s->tokenizers[i]);
            return 0;
        }
    int rc = tokenizer_load(conf->tokenizer, conf->special_tokens, conf->n_special_tokens,
                            &s->tokenizers[stream], reterr);
    return rc == 0 ? 0 : err_wrap(reterr, rc, "stream '%s'", conf->name);
}

static int make_recipes(struct server *s, struct err *reterr)
{
    const struct conf *conf = s->conf;
    for (uint32_t i = 0; i < conf->n_streams; i++) {
        const struct conf_stream *stream = &conf->streams[i];
        struct corpus **corpora = calloc(stream->n_corpora, sizeof corpora[0]);
        if (corpora == NULL)
            return err_sys(reterr, -ENOMEM, "stream '%s'", stream->name);
        for (uint32_t c = 0; c < stream->n_corpora; c++)
            corpora[c] = s->corpora[conf_find_corpus(conf, stream->corpora[c].corpus) - conf->corpora];
        int rc = load_tokenizer(s, i, reterr);
        if (rc == 0)
            rc = recipe_new(conf, stream, corpora, s->tokenizers[i], &s->recipes[i], reterr);
        free(corpora);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void *scratch_new(void)
{
    return kitchen_new();
}

static void scratch_free(void *kitchen)
{
    kitchen_free(kitchen);
}

static int start_threads(struct server *s, struct err *reterr)
{
    const struct conf *conf = s->conf;
    enum io_kind io;
    struct err why = {""};
    int rc = reader_start(conf->io, &s->reader, &io, &why);
    if (rc != 0) {
        *reterr = why;
        return rc;
    }
    if (why.text[0] != '\0')
        log_warn("io: %s; reading with %s", why.text, io_kind_names[io]);
    rc = workers_start((uint32_t)conf->workers, scratch_new, scratch_free, &s->workers, reterr);
    if (rc != 0)
        return rc;
    struct generation_setup *generations = calloc(conf->n_streams, sizeof *generations);
    struct stream_setup *streams = calloc(conf->n_streams, sizeof *streams);
    if (generations == NULL || streams == NULL) {
        free(generations);
        free(streams);
        return err_sys(reterr, -ENOMEM, "starting");
    }
    for (uint32_t i = 0; i < conf->n_streams; i++) {
        generations[i] = (struct generation_setup){.number = 1, .recipe = s->recipes[i]};
        streams[i] = (struct stream_setup){conf->streams[i].name, &generations[i], 1};
    }
    const struct feed_setup setup = {.listen = conf->feed_listen,
                                     .subscribe = conf->feed_subscribe,
                                     .memory = (uint64_t)conf->memory,
                                     .state_dir = conf->state_dir,
                                     .workers = s->workers,
                                     .reader = s->reader,
                                     .streams = streams,
                                     .n_streams = conf->n_streams};
    rc = feed_start(&setup, &s->feed, reterr);
    free(generations);
    free(streams);
    if (rc != 0)
        return rc;
    s->context.feed = s->feed;
    s->context.workers = s->workers;
    s->context.reader = s->reader;
    s->context.io = io;
    return control_open(&s->context, &s->control, reterr);
}

/* Answers control requests until the daemon is to end. before_ready: until every stream has its first step,
 * too. */
static int serve(struct server *s, bool before_ready, struct err *reterr)
{
    for (uint64_t told_ns = 0;;) {
        switch (control_wait(s->control, s->signal_fd, before_ready ? READY_POLL_MS : -1)) {
        case CONTROL_DRAIN:
            log_info("stopping when consumers have what they gave credit for, within %d s",
                     DRAIN_TIMEOUT_MS / 1000);
            feed_drain(s->feed, DRAIN_TIMEOUT_MS);
            return ERR_CANCELLED;
        case CONTROL_STOP:
            log_info("stopping as skipalignctl asks");
            return ERR_CANCELLED;
        case CONTROL_FD: {
            int signal = signals_read(s->signal_fd);
            if (signal == 0)
                break;
            log_info("%s: stopping", strsignal(signal));
            return ERR_CANCELLED;
        }
        case CONTROL_TIMEOUT:
            break;
        }
        if (!before_ready)
            continue;
        int ready = feed_ready(s->feed, reterr);
        if (ready != 0)
            return ready < 0 ? ready : 0;
        if (clock_ns() - told_ns > NS_PER_S) { /* who does not read them would soon hold us up */
            told_ns = clock_ns();
            notify_extend(30);
        }
    }
}

static int start_and_serve(struct server *s, struct err *reterr)
{
    uint64_t start = clock_ns();
    s->context.start_ns = start;
    int rc = lock_state_dir(s, reterr);
    if (rc == 0)
        rc = open_corpora(s, reterr);
    if (rc == 0)
        rc = make_recipes(s, reterr);
    if (rc == 0)
        rc = start_threads(s, reterr);
    if (rc != 0)
        return rc;
    notify_status("making the first batch of each stream");
    if ((rc = serve(s, true, reterr)) != 0)
        return rc;
    log_info("ready: %u stream%s, %lld workers, %.0f ms after the start", s->conf->n_streams,
             s->conf->n_streams == 1 ? "" : "s", (long long)s->conf->workers,
             (double)(clock_ns() - start) / 1e6);
    notify_ready();
    notify_status("serving %u stream%s", s->conf->n_streams, s->conf->n_streams == 1 ? "" : "s");
    return serve(s, false, reterr);
}

static void stop(struct server *s)
{
    notify_stopping();
    control_close(s->control);
    feed_stop(s->feed);
    workers_stop(s->workers);
    reader_stop(s->reader);
    for (uint32_t i = 0; i < s->conf->n_streams; i++) {
        recipe_unref(s->recipes[i]);
        tokenizer_unref(s->tokenizers[i]);
    }
    for (uint32_t c = 0; c < s->conf->n_corpora; c++)
        corpus_close(s->corpora[c]);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
}

int server_run(const struct conf *conf, int signal_fd, struct err *reterr)
{
    struct server s = {.conf = conf, .signal_fd = signal_fd, .lock_fd = -1};
    s.corpora = calloc(conf->n_corpora, sizeof s.corpora[0]);
    s.tokenizers = calloc(conf->n_streams, sizeof s.tokenizers[0]);
    s.recipes = calloc(conf->n_streams, sizeof s.recipes[0]);
    int rc;
    if (s.corpora == NULL || s.tokenizers == NULL || s.recipes == NULL) {
        rc = err_sys(reterr, -ENOMEM, "starting");
    } else {
        s.context.conf = conf;
        s.context.corpora = s.corpora;
        s.context.n_corpora = conf->n_corpora;
        rc = start_and_serve(&s, reterr);
        stop(&s);
    }
    free(s.corpora);
    free(s.tokenizers);
    free(s.recipes);
    return rc == ERR_CANCELLED ? 0 : rc; /* cancelled: we were asked to stop */
}
