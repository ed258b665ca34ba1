/* status, tail and quarantine for people. */
#include "skipalignctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAIL_START 10 /* lines of the past that tail begins with */
#define TAIL_POLL_NS 100000000

static const char *text(struct token_cursor map, const char *key)
{
    return paper_text(ctl_get_text(map, key));
}

static bool is(struct token_cursor map, const char *key, const char *word)
{
    const struct token t = ctl_get_text(map, key);
    return token_is(&t, word);
}

/* "name" in bold, then the facts about it. */
static void put_line(const struct paper *p, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void put_line(const struct paper *p, const char *name, const char *fmt, ...)
{
    char *facts = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&facts, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    paper_put(p, STYLE_DIM, "  %-11s ", name);
    paper_put_text(p, STYLE_PLAIN, facts, (size_t)n);
    paper_end(p);
    free(facts);
}

static void show_server(const struct paper *p, struct token_cursor result)
{
    const struct token_cursor s = ctl_get(result, "server"), m = ctl_get(result, "memory"),
                              r = ctl_get(result, "reads"), sent = ctl_get(result, "sent"),
                              rate = ctl_get(sent, "per_second");
    paper_put(p, STYLE_BOLD, "skipalignd %s", text(s, "version"));
    paper_put(p, STYLE_PLAIN, "  up %s, pid %" PRIu64, paper_seconds(ctl_get_real(s, "uptime_s")),
              ctl_get_uint(s, "pid"));
    paper_end(p);
    put_line(p, "config", "%s, state in %s", text(s, "config"), text(s, "state_dir"));
    put_line(p, "listen", "%s", is(s, "listen", "") ? "(shut)" : text(s, "listen"));
    put_line(p, "subscribe", "%s", is(s, "subscribe", "") ? "(shut)" : text(s, "subscribe"));
    put_line(p, "last 10 s", "%s batches/s, %s tokens/s, %s/s", paper_short(ctl_get_real(rate, "batches")),
             paper_short(ctl_get_real(rate, "tokens")), paper_bytes(ctl_get_real(rate, "bytes")));
    put_line(p, "sent", "%s batches, %s tokens, %s", paper_count(ctl_get_uint(sent, "batches")),
             paper_short(ctl_get_real(sent, "tokens")), paper_bytes(ctl_get_real(sent, "bytes")));
    put_line(p, "read", "%s reads, %s, by %s", paper_count(ctl_get_uint(r, "reads")),
             paper_bytes(ctl_get_real(r, "bytes")), text(s, "io"));
    put_line(p, "workers", "%" PRIu64 ", busy %.0f %% of the time since the start",
             ctl_get_uint(s, "workers"), 100 * ctl_get_real(s, "workers_busy"));
    put_line(p, "memory", "%s of %s: %s windows held, %s being made", paper_bytes(ctl_get_real(m, "windows")),
             paper_bytes(ctl_get_real(m, "windows_max")), paper_count(ctl_get_uint(m, "windows_held")),
             paper_count(ctl_get_uint(m, "windows_making")));
    put_line(p, "windows", "%s made, %s of them again", paper_count(ctl_get_uint(m, "windows_made")),
             paper_count(ctl_get_uint(m, "windows_made_again")));
    if (ctl_get_uint(sent, "errors") > 0 || ctl_get_uint(sent, "bad_messages") > 0 ||
        ctl_get_uint(sent, "tap_dropped") > 0)
        put_line(p, "refused", "%s errors sent, %s messages not understood, %s batches dropped on taps",
                 paper_count(ctl_get_uint(sent, "errors")), paper_count(ctl_get_uint(sent, "bad_messages")),
                 paper_count(ctl_get_uint(sent, "tap_dropped")));
}

static void show_corpora(const struct paper *p, struct token_cursor result)
{
    struct table t = {.format = "<<>>>"};
    struct token_cursor list;
    static const char *const heads[] = {"corpus", "format", "records", "size", "files"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_put(&t, STYLE_DIM, "%s", heads[i]);
    for (uint64_t n = ctl_get_list(result, "corpora", &list); n > 0; n--) {
        const struct token_cursor c = ctl_take(&list);
        table_put(&t, STYLE_BOLD, "%s", text(c, "name"));
        table_put(&t, STYLE_PLAIN, "%s", text(c, "format"));
        table_put(&t, STYLE_PLAIN, "%s", paper_count(ctl_get_uint(c, "records")));
        table_put(&t, STYLE_PLAIN, "%s", paper_bytes(ctl_get_real(c, "bytes")));
        table_put(&t, STYLE_PLAIN, "%s", paper_count(ctl_get_uint(c, "files")));
    }
    paper_end(p);
    table_print(&t, p, "");
    for (uint64_t n = ctl_get_list(result, "corpora", &list); n > 0; n--) {
        const struct token_cursor c = ctl_take(&list);
        if (ctl_get_uint(c, "duplicates") > 0) {
            paper_put(p, STYLE_PLAIN, "%s: %s records are duplicates of others and left out", text(c, "name"),
                      paper_count(ctl_get_uint(c, "duplicates")));
            paper_end(p);
        }
        if (ctl_is_nil(ctl_get(c, "news")))
            continue;
        paper_put(p, STYLE_JUMP, "%s: %s", text(c, "name"), text(c, "news"));
        paper_put(p, STYLE_DIM, "  (skipalignctl reload)");
        paper_end(p);
    }
}

/* {"json": 3, "overlong": 1} as "3 json, 1 overlong". */
static void put_reasons(const struct paper *p, struct token_cursor map)
{
    struct token t, name, count;
    if (!token_next(&map, &t) || t.kind != TOKEN_MAP)
        return;
    for (uint64_t i = 0; i < t.number && token_next(&map, &name) && token_next(&map, &count); i++) {
        paper_put(p, STYLE_PLAIN, "%s%s ", i > 0 ? ", " : "", paper_count(count.number));
        paper_put_text(p, STYLE_PLAIN, name.data, name.size);
    }
}

static uint64_t count_of(struct token_cursor map)
{
    struct token t;
    return token_next(&map, &t) && t.kind == TOKEN_MAP ? t.number : 0;
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static void show_steps(const struct paper *p, struct token_cursor s)
{
    const uint64_t epochs = ctl_get_uint(s, "epochs"), known = ctl_get_uint(s, "steps_known");
    const char *slots = paper_count(ctl_get_uint(s, "epoch_slots"));
    char epoch[64];
    if (epochs == 0)
        (void)snprintf(epoch, sizeof epoch, "endless epochs");
    else
        (void)snprintf(epoch, sizeof epoch, "%" PRIu64 " epoch%s", epochs, epochs == 1 ? "" : "s");
    if (ctl_is_nil(ctl_get(s, "steps")))
        put_line(p, "steps", "%s known so far; %s of %s records", paper_count(known), epoch, slots);
    else
        put_line(p, "steps", "%s in all (%s rows dropped at the end); %s of %s records",
                 paper_count(ctl_get_uint(s, "steps")), paper_count(ctl_get_uint(s, "dropped_rows")), epoch,
                 slots);
}

/* What keeps a stream, or older steps of it, from being served. */
static void show_trouble(const struct paper *p, struct token_cursor s)
{
    const uint64_t known = ctl_get_uint(s, "steps_known"), sent = ctl_get_uint(s, "sent");
    const struct token_cursor doubtful = ctl_get(s, "doubtful");
    struct token_cursor list;
    struct token number;
    const uint64_t n = ctl_get_list(s, "lost", &list);
    if (!ctl_is_nil(ctl_get(s, "failure"))) {
        paper_put(p, STYLE_BAD, "  failed: %s", text(s, "failure"));
        paper_end(p);
    }
    if (!ctl_is_nil(doubtful)) {
        paper_put(p, STYLE_BAD, "  steps %s to ", paper_count(ctl_get_uint(doubtful, "first_step")));
        paper_put(p, STYLE_BAD, "%s went out with ids of the fast path, which has been found wrong",
                  paper_count(ctl_get_uint(doubtful, "end_step") - 1));
        paper_put(p, STYLE_DIM, "  (sent again, they are right)");
        paper_end(p);
    }
    if (ctl_get_bool(s, "paused")) {
        paper_put(p, STYLE_JUMP, "  paused");
        paper_put(p, STYLE_DIM, "  (skipalignctl resume %s)", text(s, "name"));
        paper_end(p);
    }
    if (known < sent) {
        paper_put(p, STYLE_JUMP, "  ledger lost, being worked out again: %s of %s steps", paper_count(known),
                  paper_count(sent));
        paper_end(p);
    }
    for (uint64_t i = 0; i < n; i++) {
        struct token_cursor at = ctl_take(&list);
        (void)token_next(&at, &number);
        paper_put(p, STYLE_JUMP, "%s%" PRIu64,
                  i > 0 ? ", " : "  steps that cannot be made again: of generation ", number.number);
    }
    if (n > 0) {
        paper_put(p, STYLE_DIM, "  (skipalignctl history %s)", text(s, "name"));
        paper_end(p);
    }
}

static void show_made(const struct paper *p, struct token_cursor s)
{
    const struct token_cursor m = ctl_get(s, "made"), unskipped = ctl_get(m, "unskipped"),
                              bad = ctl_get(m, "quarantined");
    const double tokens = ctl_get_real(m, "tokens"), documents = ctl_get_real(m, "documents");
    put_line(p, "made", "%s rows, %s documents, %s tokens", paper_count(ctl_get_uint(m, "rows")),
             paper_count(ctl_get_uint(m, "documents")), paper_short(tokens));
    put_line(p, "rows", "%.1f %% real tokens, %.1f %% of those trained",
             percent(tokens, ctl_get_real(m, "row_tokens")), percent(ctl_get_real(m, "supervised"), tokens));
    paper_put(p, STYLE_DIM, "  %-11s ", "skipping");
    paper_put(p, STYLE_PLAIN, "%.1f %% of documents", percent(ctl_get_real(m, "skipped"), documents));
    if (count_of(unskipped) > 0) {
        paper_put(p, STYLE_PLAIN, "; not: ");
        put_reasons(p, unskipped);
    }
    paper_end(p);
    if (ctl_get_uint(m, "left_out") > 0)
        put_line(p, "not text", "%s parts left out", paper_count(ctl_get_uint(m, "left_out")));
    if (ctl_get_uint(m, "truncated") > 0 || ctl_get_uint(m, "split") > 0)
        put_line(p, "over-long", "%s truncated, %s split", paper_count(ctl_get_uint(m, "truncated")),
                 paper_count(ctl_get_uint(m, "split")));
    if (count_of(bad) > 0) {
        paper_put(p, STYLE_DIM, "  %-11s ", "not used");
        put_reasons(p, bad);
        paper_put(p, STYLE_DIM, "  (skipalignctl quarantine %s)", text(s, "name"));
        paper_end(p);
    }
    if (ctl_get_uint(s, "not_carried") > 0)
        put_line(p, "left behind", "%s documents of corpora that left or changed with generation %" PRIu64,
                 paper_count(ctl_get_uint(s, "not_carried")), ctl_get_uint(s, "generation"));
}

/* By whom, and how that is proved: texts of all streams with this model, since the start. */
static void show_tokenizing(const struct paper *p, struct token_cursor t)
{
    const uint64_t compared = ctl_get_uint(t, "compared"), differed = ctl_get_uint(t, "differed");
    const double texts = ctl_get_real(t, "texts");
    if (!ctl_get_bool(t, "fast")) {
        put_line(p, "", "by libsentencepiece: %s", text(t, "why_not"));
    } else {
        put_line(p, "", "fast: %s texts, %.2g %% of them left to libsentencepiece; %s compared with it%s",
                 paper_short(texts), percent(ctl_get_real(t, "refused"), texts), paper_count(compared),
                 compared > 0 && differed == 0 ? ", all the same" : "");
    }
}

static void show_positions(const struct paper *p, struct token_cursor s)
{
    struct token_cursor groups;
    const uint64_t n = ctl_get_list(s, "mixture", &groups);
    double all = 0;
    if (n == 0) {
        put_line(p, "positions", "%s, %s, below %s", text(s, "strategy"), text(s, "sampler"),
                 paper_count(ctl_get_uint(s, "max_position")));
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        all += ctl_get_real(ctl_take(&groups), "weight");
    (void)ctl_get_list(s, "mixture", &groups);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor g = ctl_take(&groups);
        put_line(p, i == 0 ? "positions" : "", "%.3g %% %s: %s, %s, below %s",
                 percent(ctl_get_real(g, "weight"), all), text(g, "name"), text(g, "strategy"),
                 text(g, "sampler"), paper_count(ctl_get_uint(g, "max_position")));
    }
}

static void show_stream(const struct paper *p, struct token_cursor s)
{
    const struct token_cursor rate = ctl_get(s, "per_second");
    struct token_cursor list;
    paper_end(p);
    paper_put(p, STYLE_BOLD, "stream %s", text(s, "name"));
    const uint64_t first_step = ctl_get_uint(s, "first_step");
    paper_put(p, STYLE_PLAIN, "  generation %" PRIu64, ctl_get_uint(s, "generation"));
    if (first_step > 0)
        paper_put(p, STYLE_PLAIN, " from step %s on", paper_count(first_step));
    paper_put(p, STYLE_PLAIN, ", %s batches/s, %s tokens/s", paper_short(ctl_get_real(rate, "batches")),
              paper_short(ctl_get_real(rate, "tokens")));
    paper_end(p);
    show_trouble(p, s);
    put_line(p, "batch", "%s rows of %s tokens, %s", paper_count(ctl_get_uint(s, "global_batch")),
             paper_count(ctl_get_uint(s, "seq_len")),
             ctl_get_bool(s, "packing") ? "packed" : "one document each");
    show_positions(p, s);
    put_line(p, "template", "%s", text(s, "template"));
    put_line(p, "tokenizer", "%s  sha256 %.12s...", text(s, "tokenizer"), text(s, "tokenizer_sha256"));
    show_tokenizing(p, ctl_get(s, "tokenizing"));
    paper_put(p, STYLE_DIM, "  %-11s ", "corpora");
    for (uint64_t n = ctl_get_list(s, "corpora", &list), i = 0; i < n; i++) {
        const struct token_cursor c = ctl_take(&list);
        paper_put(p, STYLE_PLAIN, "%s%s x %g", i > 0 ? ", " : "", text(c, "name"), ctl_get_real(c, "repeat"));
    }
    paper_end(p);
    show_steps(p, s);
    show_made(p, s);
}

static const char *waits(struct token_cursor consumer)
{
    static const struct {
        const char *word, *meaning;
    } words[] = {
        {"nothing", "nothing"},
        {"credit", "trainer: gives no credit"},
        {"socket", "trainer: reads too slowly"},
        {"step", "feeder: makes the step"},
        {"paused", "you: the stream is paused"},
        {"end", "nothing: has got the end"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is(consumer, "waits_for", words[i].word))
            return words[i].meaning;
    return text(consumer, "waits_for");
}

static void show_consumers(const struct paper *p, struct token_cursor result)
{
    struct table t = {.format = "<<<>>>><"};
    struct token_cursor list;
    static const char *const heads[] = {"consumer", "door", "rank", "next step",
                                        "credit",   "sent", "idle", "waits for"};
    const uint64_t n = ctl_get_list(result, "consumers", &list);
    paper_end(p);
    if (n == 0) {
        paper_put(p, STYLE_DIM, "no consumers");
        paper_end(p);
        return;
    }
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_put(&t, STYLE_DIM, "%s", heads[i]);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor c = ctl_take(&list);
        const bool named = !is(c, "job", "") && is(c, "door", "router");
        const bool slow = is(c, "waits_for", "step");
        table_put(&t, STYLE_BOLD, "%s%s%s", text(c, "stream"), named ? " " : "", named ? text(c, "job") : "");
        table_put(&t, STYLE_PLAIN, "%s", text(c, "door"));
        table_put(&t, STYLE_PLAIN, "%" PRIu64 " of %" PRIu64, ctl_get_uint(c, "rank"),
                  ctl_get_uint(c, "world"));
        table_put(&t, STYLE_PLAIN, "%s", paper_count(ctl_get_uint(c, "next_step")));
        table_put(&t, STYLE_PLAIN, "%s",
                  is(c, "door", "router") ? paper_count(ctl_get_uint(c, "credit")) : "");
        table_put(&t, STYLE_PLAIN, "%s, %s", paper_count(ctl_get_uint(c, "batches")),
                  paper_bytes(ctl_get_real(c, "bytes")));
        table_put(&t, STYLE_PLAIN, "%s", paper_seconds(ctl_get_real(c, "idle_s")));
        table_put(&t, slow ? STYLE_JUMP : STYLE_PLAIN, "%s", waits(c));
    }
    table_print(&t, p, "");
}

void show_status(struct call *c, struct token_cursor result)
{
    struct token_cursor list;
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    show_server(&p, result);
    show_corpora(&p, result);
    for (uint64_t n = ctl_get_list(result, "streams", &list); n > 0; n--)
        show_stream(&p, ctl_take(&list));
    show_consumers(&p, result);
}

/* ---- tail ---- */

static void show_batch(struct call *c, const struct paper *p, struct token_cursor b)
{
    if (c->json) {
        json_print(stdout, b);
        return;
    }
    const uint64_t ns = ctl_get_uint(b, "time_ns");
    const time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    char when[32] = "";
    if (localtime_r(&seconds, &tm) != NULL)
        (void)strftime(when, sizeof when, "%H:%M:%S", &tm);
    paper_put(p, STYLE_DIM, "%s.%03u  ", when, (unsigned)(ns / 1000000 % 1000));
    paper_put(p, STYLE_BOLD, "step %s", paper_count(ctl_get_uint(b, "step")));
    paper_put(p, STYLE_PLAIN, "  epoch %" PRIu64 "  rank %" PRIu64 " of %" PRIu64 "  %s tokens  %s  %s",
              ctl_get_uint(b, "epoch"), ctl_get_uint(b, "rank"), ctl_get_uint(b, "world"),
              paper_count(ctl_get_uint(b, "tokens")), paper_bytes(ctl_get_real(b, "bytes")), text(b, "door"));
    paper_end(p);
}

/* Asks for what came since, again and again: the feeder keeps no list of those who watch. */
int run_tail(struct call *c)
{
    const struct timespec pause = {.tv_nsec = TAIL_POLL_NS};
    const uint64_t count = call_number(c, "count", UINT64_MAX);
    uint64_t after = 0;
    struct paper p;
    paper_open(&p, stdout);
    for (uint64_t shown = 0; shown < count;) {
        struct ctl_writer w;
        struct token_cursor result, list;
        call_begin(c, &w, "tail");
        ctl_put_uint(&w, "after", after);
        if (after == 0)
            ctl_put_uint(&w, "last", call_has(c, "count") ? count : TAIL_START);
        const int rc = call_ask(c, &w, &result);
        if (rc != 0)
            return rc;
        after = ctl_get_uint(result, "after");
        if (ctl_get_uint(result, "missed") > 0 && !c->json) {
            paper_put(&p, STYLE_DIM, "(%s batches went by faster than they can be shown)",
                      paper_count(ctl_get_uint(result, "missed")));
            paper_end(&p);
        }
        uint64_t n = ctl_get_list(result, "batches", &list);
        for (; n > 0 && shown < count; n--, shown++)
            show_batch(c, &p, ctl_take(&list));
        if (fflush(stdout) != 0)
            return EXIT_REFUSED;
        if (shown < count)
            (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* ---- quarantine ---- */

void show_quarantine(struct call *c, struct token_cursor result)
{
    struct token_cursor list;
    struct paper p;
    struct table t = {.format = "<>>><<"};
    static const char *const heads[] = {"corpus", "record", "offset", "bytes", "reason", "file, detail"};
    paper_open(&p, stdout);
    const uint64_t unused = ctl_get_uint(result, "unused"), n = ctl_get_list(result, "records", &list);
    paper_put(&p, STYLE_BOLD, "stream %s: ", c->words[0]);
    paper_put(&p, STYLE_PLAIN, "%s of the %s records looked at so far are not used%s", paper_count(unused),
              paper_count(ctl_get_uint(result, "seen")), unused > 0 ? ": " : "");
    put_reasons(&p, ctl_get(result, "reasons"));
    paper_end(&p);
    if (n == 0)
        return;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_put(&t, STYLE_DIM, "%s", heads[i]);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor r = ctl_take(&list);
        table_put(&t, STYLE_BOLD, "%s", text(r, "corpus"));
        table_put(&t, STYLE_PLAIN, "%" PRIu64, ctl_get_uint(r, "record"));
        table_put(&t, STYLE_PLAIN, "%" PRIu64, ctl_get_uint(r, "offset"));
        table_put(&t, STYLE_PLAIN, "%" PRIu64, ctl_get_uint(r, "size"));
        table_put(&t, STYLE_JUMP, "%s", text(r, "reason"));
        table_put(&t, STYLE_PLAIN, "%s%s%s", text(r, "file"), is(r, "detail", "") ? "" : ": ",
                  text(r, "detail"));
    }
    paper_end(&p);
    table_print(&t, &p, "");
    if (n < unused) {
        paper_put(&p, STYLE_DIM, "(the first %s of them)", paper_count(n));
        paper_end(&p);
    }
}
