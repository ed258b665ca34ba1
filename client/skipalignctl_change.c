/* set, add, remove, reload, diff, revert, cancel, pause, resume: what changes a running feeder; and history.
 */
#include "skipalignctl.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Who is asking, for the feeder's log and history: behind sudo, who called it. */
static const char *who(void)
{
    static char name[65]; /* the feeder takes 64 bytes */
    const char *user = getenv("SUDO_USER");
    char host[64] = "", number[16];
    if (user == NULL || *user == '\0') {
        const struct passwd *p = getpwuid(getuid());
        (void)snprintf(number, sizeof number, "%u", (unsigned)getuid());
        user = p != NULL ? p->pw_name : number;
    }
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, sizeof name, "%.31s@%.32s", user, host);
    return name;
}

/* ---- asking ---- */

static int fail_words(const struct call *c, const char *what, const char *word)
{
    (void)fprintf(stderr, "skipalignctl: %s '%s'; `skipalignctl %s --help` explains\n", what, word,
                  c->command->name);
    return EXIT_USAGE;
}

static void put_edits(const struct call *c, struct ctl_writer *w, uint32_t first)
{
    ctl_put_list(w, "edits");
    for (uint32_t i = first; i < c->n_words; i++)
        ctl_put_text(w, NULL, c->words[i]);
    ctl_put_end(w);
}

/* The words after the command as arguments of the request. */
static int put_words(const struct call *c, struct ctl_writer *w)
{
    const char *name = c->command->name;
    const bool is_add = strcmp(name, "add") == 0, is_set = strcmp(name, "set") == 0;
    if ((is_set || is_add) && c->n_words % 2 != 0)
        return fail_words(c, "a value is missing after", c->words[c->n_words - 1]);
    if (is_set)
        put_edits(c, w, 0);
    if (is_add || strcmp(name, "remove") == 0) {
        ctl_put_text(w, "kind", c->words[0]);
        ctl_put_text(w, "name", c->words[1]);
    }
    if (is_add)
        put_edits(c, w, 2);
    if (strcmp(name, "revert") == 0) {
        char *end;
        const uint64_t generation = strtoull(c->words[1], &end, 10);
        if (c->words[1][0] < '0' || c->words[1][0] > '9' || *end != '\0')
            return fail_words(c, "not a generation's number:", c->words[1]);
        ctl_put_uint(w, "generation", generation);
    }
    return 0;
}

int run_change(struct call *c)
{
    struct ctl_writer w;
    struct token_cursor result;
    call_begin(c, &w, c->command->name);
    int rc = put_words(c, &w);
    if (rc != 0) {
        ctl_fini(&w);
        return rc;
    }
    ctl_put_text(&w, "who", who());
    if (c->command->prepares)
        ctl_put_bool(&w, "progress", true);
    rc = call_ask(c, &w, &result);
    if (rc != 0)
        return rc;
    if (c->json)
        json_print(stdout, result);
    else
        c->command->show(c, result);
    return 0;
}

void call_cancel(struct call *c)
{
    struct ctl_writer w;
    ctl_init(&w);
    ctl_put_map(&w, NULL);
    ctl_put_uint(&w, "version", CTL_VERSION);
    ctl_put_text(&w, "command", "cancel");
    ctl_put_map(&w, "arguments");
    ctl_put_text(&w, "who", who());
    ctl_put_end(&w);
    ctl_put_end(&w);
    if (w.rc == 0)
        call_send_aside(c, w.buf.data, w.buf.size);
    ctl_fini(&w);
}

/* ---- showing ---- */

static const char *text(struct token_cursor map, const char *key)
{
    return paper_text(ctl_get_text(map, key));
}

static void put_side(const struct paper *p, struct token_cursor change, const char *key, const char *indent)
{
    const struct token name = ctl_get_text(change, "name"), value = ctl_get_text(change, key),
                       applies = ctl_get_text(change, "applies");
    const bool after = strcmp(key, "after") == 0;
    const enum style style = after ? STYLE_ADDED : STYLE_REMOVED;
    if (ctl_is_nil(ctl_get(change, key)))
        return;
    (void)fputs(indent, p->out);
    paper_put(p, style, "%c ", after ? '+' : '-');
    paper_put_text(p, style, name.data, name.size);
    paper_put(p, style, ": ");
    paper_put_text(p, style, value.data, value.size);
    if (after && token_is(&applies, "restart"))
        paper_put(p, STYLE_DIM, "  (at the next start)");
    paper_end(p);
}

/* As in a unified diff: what goes, what comes. */
static uint64_t put_changes(const struct paper *p, struct token_cursor map, const char *indent)
{
    struct token_cursor list;
    const uint64_t n = ctl_get_list(map, "changes", &list);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor change = ctl_take(&list);
        put_side(p, change, "before", indent);
        put_side(p, change, "after", indent);
    }
    return n;
}

static uint64_t put_notes(const struct paper *p, struct token_cursor map, const char *indent)
{
    struct token_cursor list;
    struct token note;
    const uint64_t n = ctl_get_list(map, "notes", &list);
    for (uint64_t i = 0; i < n; i++) {
        struct token_cursor at = ctl_take(&list);
        if (!token_next(&at, &note) || note.kind != TOKEN_STR)
            continue;
        (void)fputs(indent, p->out);
        paper_put_text(p, STYLE_PLAIN, note.data, note.size);
        paper_end(p);
    }
    return n;
}

/* "generation 2", "generations 2, 3" */
static void put_superseded(const struct paper *p, struct token_cursor stream)
{
    struct token_cursor list;
    struct token number;
    const uint64_t n = ctl_get_list(stream, "superseded", &list);
    for (uint64_t i = 0; i < n; i++) {
        struct token_cursor at = ctl_take(&list);
        (void)token_next(&at, &number);
        paper_put(p, STYLE_PLAIN, "%s%" PRIu64,
                  i > 0   ? ", "
                  : n > 1 ? ", in place of generations "
                          : ", in place of generation ",
                  number.number);
    }
    if (n > 0)
        paper_put(p, STYLE_PLAIN, ", which never took effect");
}

static void put_stream(const struct paper *p, struct token_cursor stream, bool dry_run)
{
    paper_put(p, STYLE_BOLD, "%s: ", text(stream, "stream"));
    if (ctl_is_nil(ctl_get(stream, "generation")))
        paper_put(p, STYLE_PLAIN, "%s", dry_run ? "would end" : "ended; its trainers are told");
    else
        paper_put(p, STYLE_PLAIN, "%sgeneration %" PRIu64 " from step %" PRIu64 " on",
                  dry_run ? "would be " : "", ctl_get_uint(stream, "generation"),
                  ctl_get_uint(stream, "first_step"));
    put_superseded(p, stream);
    paper_end(p);
    (void)put_notes(p, stream, "  ");
}

void show_change(struct call *c, struct token_cursor result)
{
    const bool dry_run = ctl_get_bool(result, "dry_run");
    struct token_cursor list;
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    (void)put_changes(&p, result, "");
    for (uint64_t n = ctl_get_list(result, "streams", &list); n > 0; n--)
        put_stream(&p, ctl_take(&list), dry_run);
    (void)put_notes(&p, result, "");
    if (dry_run)
        (void)puts("nothing was changed (--dry-run)");
}

void show_diff(struct call *c, struct token_cursor result)
{
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    const uint64_t n = put_changes(&p, result, "");
    if (n + put_notes(&p, result, "") == 0)
        (void)puts("no difference: the feeder runs what its file says");
    else if (n > 0)
        (void)puts("`skipalignctl reload` makes it so");
}

void show_cancel(struct call *c, struct token_cursor result)
{
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    paper_put(&p, STYLE_PLAIN, "cancelled: %s", text(result, "cancelled"));
    paper_end(&p);
}

void show_pause(struct call *c, struct token_cursor result)
{
    const bool paused = ctl_get_bool(result, "paused"), changed = ctl_get_bool(result, "changed");
    struct paper p;
    paper_open(&p, stdout);
    paper_put(&p, STYLE_BOLD, "%s", c->words[0]);
    if (paused)
        paper_put(&p, STYLE_PLAIN, " %s; `skipalignctl resume %s` lets it go on",
                  changed ? "is paused: its trainers get nothing" : "is paused already", c->words[0]);
    else
        paper_put(&p, STYLE_PLAIN, " %s", changed ? "goes on" : "was not paused");
    paper_end(&p);
}

/* ---- history ---- */

static void put_extent(const struct paper *p, struct token_cursor g)
{
    const struct token state = ctl_get_text(g, "state");
    const uint64_t first = ctl_get_uint(g, "first_step"), steps = ctl_get_uint(g, "steps");
    const bool open = ctl_is_nil(ctl_get(g, "steps"));
    paper_put(p, STYLE_BOLD, "generation %" PRIu64, ctl_get_uint(g, "generation"));
    if (token_is(&state, "superseded"))
        paper_put(p, STYLE_DIM, "  never took effect (was to be from step %" PRIu64 " on)", first);
    else if (open)
        paper_put(p, STYLE_PLAIN, "  from step %" PRIu64 " on", first);
    else
        paper_put(p, STYLE_PLAIN, "  steps %" PRIu64 " to %" PRIu64, first,
                  first + (steps > 0 ? steps - 1 : 0));
    if (token_is(&state, "lost"))
        paper_put(p, STYLE_BAD, "  cannot be made again: %s", text(g, "why"));
    else if (token_is(&state, "coming"))
        paper_put(p, STYLE_JUMP, "  coming");
    else if (token_is(&state, "serving"))
        paper_put(p, STYLE_TRAINED, "  serving");
    paper_end(p);
}

/* A logbook: the oldest first, so that the newest stands where the eye is. */
void show_history(struct call *c, struct token_cursor result)
{
    struct token_cursor list;
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    const uint64_t n = ctl_get_list(result, "generations", &list);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor g = ctl_take(&list);
        const time_t seconds = (time_t)ctl_get_uint(g, "time");
        struct tm tm;
        char when[32] = "";
        if (localtime_r(&seconds, &tm) != NULL)
            (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
        if (i > 0)
            paper_end(&p);
        put_extent(&p, g);
        paper_put(&p, STYLE_DIM, "  %s  %s", when, text(g, "who"));
        paper_put(&p, STYLE_PLAIN, "  %s", text(g, "cause"));
        paper_end(&p);
        (void)put_changes(&p, g, "  ");
    }
}
