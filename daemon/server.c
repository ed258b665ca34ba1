#include "server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "control/control.h"
#include "control/draft.h"
#include "control/recall.h"
#include "corpus/reader.h"
#include "feed/feed.h"
#include "service/notify.h"
#include "service/signals.h"
#include "stream/kitchen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DRAIN_TIMEOUT_MS 60000
#define READY_POLL_MS 20
#define STANDBY_POLL_MS 100
#define STANDBY_TELL_NS (10 * NS_PER_S) /* a message that nobody takes holds the sender up */

struct server {
    const struct server_options *options;
    struct conf *conf; /* a reference, as the file has it: what cannot change while it runs is read here */
    int signal_fd, lock_fd;
    struct roster roster;
    struct reader *reader;
    struct workers *workers;
    struct feed *feed;
    struct control *control;
    struct control_context context;
};

/* ---- the lock ---- */

static bool stop_asked(const struct server *s)
{
    int signal = signals_read(s->signal_fd);
    if (signal == SIGHUP)
        log_info("SIGHUP: passed over, as nothing is served yet");
    else if (signal != 0)
        log_info("%s: stopping before everything was ready", strsignal(signal));
    return signal != 0 && signal != SIGHUP;
}

static void read_holder(const struct server *s, char pid[32])
{
    const ssize_t n = pread(s->lock_fd, pid, 31, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    if (pid[0] == '\0')
        (void)strcpy(pid, "unknown");
}

/* The file as it is now: the other daemon may have taken it anew while this one stood by. */
static int read_again(struct server *s, struct err *reterr)
{
    struct conf_errors errors = {0};
    struct conf *conf = NULL;
    int rc = draft_load(s->conf->path, s->options->state_dir, &conf, &errors);
    if (rc != 0) {
        (void)err_set(reterr, rc, "%s", errors.text != NULL ? errors.text : err_str(rc));
    } else if (strcmp(conf->state_dir, s->conf->state_dir) != 0) {
        rc = err_set(reterr, ERR_CONFIG, "%s names another state_dir now (%s): start again", s->conf->path,
                     conf->state_dir);
        conf_free(conf);
    } else {
        conf_free(s->conf);
        s->conf = conf;
    }
    conf_errors_fini(&errors);
    return rc;
}

/* Until the one that holds the lock is gone: it goes with its holder, however that one ends. */
static int stand_by(struct server *s, const char *path, struct err *reterr)
{
    char pid[32];
    struct pollfd signals = {.fd = s->signal_fd, .events = POLLIN};
    uint64_t told_ns = 0;
    read_holder(s, pid);
    log_info("standing by: state_dir %s is served by another skipalignd (pid %s)", s->conf->state_dir, pid);
    while (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(reterr, -errno, "state_dir: %s: cannot be locked", path);
        if (told_ns == 0 || clock_ns() - told_ns > STANDBY_TELL_NS) {
            told_ns = clock_ns();
            notify_status("standing by: %s is served by pid %s", s->conf->state_dir, pid);
            notify_extend(30);
        }
        if (poll(&signals, 1, STANDBY_POLL_MS) > 0 && stop_asked(s))
            return ERR_CANCELLED;
    }
    log_info("state_dir %s is free: taking over", s->conf->state_dir);
    return read_again(s, reterr);
}

/* One daemon a state directory. */
static int lock_state_dir(struct server *s, struct err *reterr)
{
    char path[PATH_MAX], pid[32];
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
        read_holder(s, pid);
        if (!s->options->standby)
            return err_set(
                reterr, rc,
                "state_dir %s is in use by another skipalignd (pid %s); stop that one, give this one a "
                "state_dir of its own, or start it with --standby, and it takes over when that one ends",
                s->conf->state_dir, pid);
        if ((rc = stand_by(s, path, reterr)) != 0)
            return rc;
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    ssize_t written = ftruncate(s->lock_fd, 0) == 0 ? pwrite(s->lock_fd, pid, (size_t)n, 0) : -1;
    if (written != n)
        return err_sys(reterr, written < 0 ? -errno : -ENOSPC, "state_dir: %s: write", path);
    return 0;
}

/* ---- what is to be served ---- */

struct opening {
    struct server *server;
    uint64_t told_ns;
};

static int tell_opening(void *arg, const char *what, uint64_t done, uint64_t all)
{
    struct opening *o = arg;
    if (clock_ns() - o->told_ns > NS_PER_S) {
        o->told_ns = clock_ns();
        notify_status("%s: %llu of %llu MB", what, (unsigned long long)done / 1000000,
                      (unsigned long long)all / 1000000);
        notify_extend(30);
    }
    return stop_asked(o->server);
}

static void log_corpora(const struct server *s, uint64_t start_ns)
{
    const struct conf *conf = s->roster.running;
    char news[512];
    for (uint32_t i = 0; i < conf->n_corpora; i++) {
        const struct corpus *c = stock_find_corpus(s->roster.stock, &conf->corpora[i]);
        if (c == NULL)
            continue;
        log_info("corpus '%s': %llu records in %u files, %.1f MB, format %s, index %s", conf->corpora[i].name,
                 (unsigned long long)corpus_records(c), corpus_files(c), (double)corpus_bytes(c) / 1e6,
                 corpus_format_names[corpus_format(c)], corpus_scanned(c) ? "made" : "found");
        if (corpus_copied(c) > 0)
            log_info("corpus '%s': %.1f MB of it decompressed, in %s/corpora/%s.spool", conf->corpora[i].name,
                     (double)corpus_copied(c) / 1e6, conf->state_dir, conf->corpora[i].name);
        if (corpus_news(c, news, sizeof news))
            log_warn(
                "corpus '%s': %s; it is served as it was, until a `skipalignctl reload` takes what is new",
                conf->corpora[i].name, news);
    }
    log_info("%u corpora opened in %.0f ms", conf->n_corpora, (double)(clock_ns() - start_ns) / 1e6);
}

static void log_tokenizers(const struct server *s)
{
    for (uint32_t i = 0; i < s->roster.n_streams; i++) {
        const struct roster_stream *st = s->roster.streams[i];
        const struct tokenizer *t = st->generations[st->n - 1].recipe->tokenizer;
        struct tokenizer_facts facts;
        tokenizer_facts(t, &facts);
        log_info("stream '%s': tokenizer %s, %s%s", st->name, tokenizer_path(t),
                 facts.why_not != NULL ? "by libsentencepiece: " : "fast",
                 facts.why_not != NULL ? facts.why_not : "");
    }
}

static int recall(struct server *s, struct err *reterr)
{
    const uint64_t start_ns = clock_ns();
    struct opening opening = {.server = s};
    const struct stock_progress progress = {tell_opening, &opening};
    const struct recall_options options = {.reload = s->options->reload,
                                           .forget = s->options->forget,
                                           .n_forget = s->options->n_forget,
                                           .progress = &progress};
    s->roster.file = conf_ref(s->conf);
    s->roster.running = conf_ref(s->conf);
    s->roster.state_dir = s->options->state_dir;
    s->roster.stock = stock_new(&(struct corpus_place){.state_dir = s->conf->state_dir,
                                                       .io = s->conf->io,
                                                       .spool = (uint64_t)s->conf->spool,
                                                       .threads = (uint32_t)s->conf->workers});
    if (s->roster.stock == NULL)
        return err_sys(reterr, -ENOMEM, "starting");
    stock_set_tokenizers(s->roster.stock, s->conf->tokenizer_path, (uint32_t)s->conf->tokenizer_verify);
    int rc = recall_streams(&s->roster, &options, reterr);
    if (rc == 0) {
        log_corpora(s, start_ns);
        log_tokenizers(s);
    }
    return rc;
}

/* ---- threads ---- */

static int start_feed(struct server *s, struct err *reterr)
{
    const struct roster *r = &s->roster;
    struct stream_setup *streams = calloc((size_t)r->n_streams + 1, sizeof streams[0]);
    if (streams == NULL)
        return err_sys(reterr, -ENOMEM, "starting");
    for (uint32_t i = 0; i < r->n_streams; i++)
        streams[i] = (struct stream_setup){r->streams[i]->name, r->streams[i]->generations, r->streams[i]->n};
    const struct feed_setup setup = {.listen = s->conf->feed_listen,
                                     .subscribe = s->conf->feed_subscribe,
                                     .memory = (uint64_t)s->conf->memory,
                                     .state_dir = s->conf->state_dir,
                                     .workers = s->workers,
                                     .reader = s->reader,
                                     .streams = streams,
                                     .n_streams = r->n_streams};
    int rc = feed_start(&setup, &s->feed, reterr);
    free(streams);
    return rc;
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
    rc = kitchen_workers((uint32_t)conf->workers, &s->workers, reterr);
    if (rc != 0)
        return rc;
    if ((rc = start_feed(s, reterr)) != 0)
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
            if (signal == SIGHUP)
                control_reload(s->control);
            if (signal == 0 || signal == SIGHUP)
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
        rc = recall(s, reterr);
    if (rc == 0)
        rc = start_threads(s, reterr);
    if (rc != 0)
        return rc;
    notify_status("making the first batch of each stream");
    if ((rc = serve(s, true, reterr)) != 0)
        return rc;
    log_info("ready: %u stream%s, %lld workers, %.0f ms after the start", s->roster.n_streams,
             s->roster.n_streams == 1 ? "" : "s", (long long)s->conf->workers,
             (double)(clock_ns() - start) / 1e6);
    notify_ready();
    notify_status("serving %u stream%s", s->roster.n_streams, s->roster.n_streams == 1 ? "" : "s");
    return serve(s, false, reterr);
}

static void stop(struct server *s)
{
    notify_stopping();
    control_close(s->control);
    feed_stop(s->feed);
    workers_stop(s->workers);
    reader_stop(s->reader);
    roster_fini(&s->roster);
    conf_free(s->conf);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
}

int server_run(const struct conf *conf, const struct server_options *options, int signal_fd,
               struct err *reterr)
{
    struct server s = {.options = options, .conf = conf_ref(conf), .signal_fd = signal_fd, .lock_fd = -1};
    s.context.roster = &s.roster;
    int rc = start_and_serve(&s, reterr);
    stop(&s);
    return rc == ERR_CANCELLED ? 0 : rc; /* cancelled: we were asked to stop */
}
