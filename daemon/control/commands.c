#include "control/commands.h"

#include "base/log.h"
#include "base/nearest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void command_commands(struct request *q);
static void command_stop(struct request *q);

#define STREAM_ARGUMENT                                                                       \
    {                                                                                         \
        .name = "stream", .type = ARGUMENT_TEXT, .required = true, .help = "name of a stream" \
    }

#define WHO_ARGUMENT                                                                              \
    {                                                                                             \
        .name = "who", .type = ARGUMENT_TEXT, .max = 128, .help = "who wants it, for the history" \
    }
#define DRY_RUN_ARGUMENT                                                                        \
    {                                                                                           \
        .name = "dry_run", .type = ARGUMENT_BOOL, .help = "prepare and say, but change nothing" \
    }
#define AT_ARGUMENT                                                                                   \
    {                                                                                                 \
        .name = "at", .type = ARGUMENT_UINT, .dflt = STREAM_UNKNOWN, .max = INT64_MAX,                \
        .help = "first step that it is for; not given: the first one that nobody has received any of" \
    }
#define PROGRESS_ARGUMENT                                                                            \
    {                                                                                                \
        .name = "progress", .type = ARGUMENT_BOOL, .help = "messages about it come before the reply" \
    }
#define KIND_ARGUMENT                                                                                 \
    {                                                                                                 \
        .name = "kind", .type = ARGUMENT_TEXT, .required = true, .help = "corpus, stream or template" \
    }
#define NAME_ARGUMENT                                                               \
    {                                                                               \
        .name = "name", .type = ARGUMENT_TEXT, .required = true, .help = "its name" \
    }
#define EDITS_MAX 1024 /* texts; a request is full before it has many */

static const struct command commands[] = {
    {
        .name = "status",
        .help = "the server, its corpora, streams and consumers",
        .run = command_status,
    },
    {
        .name = "preview",
        .help = "documents of a batch: text by role, what is trained, position ids",
        .arguments =
            {STREAM_ARGUMENT,
             {.name = "step", .type = ARGUMENT_UINT, .max = INT64_MAX, .help = "which step"},
             {.name = "rank", .type = ARGUMENT_UINT, .max = UINT32_MAX, .help = "whose batch"},
             {.name = "world",
              .type = ARGUMENT_UINT,
              .dflt = 1,
              .min = 1,
              .max = UINT32_MAX,
              .help = "of how many"},
             {.name = "row", .type = ARGUMENT_UINT, .max = UINT32_MAX, .help = "first row of the batch"},
             {.name = "rows", .type = ARGUMENT_UINT, .dflt = 1, .min = 1, .max = 64, .help = "how many rows"},
             {.name = "tokens",
              .type = ARGUMENT_BOOL,
              .help = "each token with its id, piece, position and label"}},
        .run = command_preview,
    },
    {
        .name = "coverage",
        .help = "distances from trained tokens to their context, of what was made since the start",
        .arguments = {STREAM_ARGUMENT,
                      {.name = "generation",
                       .type = ARGUMENT_UINT,
                       .max = UINT32_MAX,
                       .help = "which; 0: the newest of which anything was made"}},
        .run = command_coverage,
    },
    {
        .name = "tail",
        .help = "batches that were sent, oldest first",
        .arguments = {STREAM_ARGUMENT,
                      {.name = "after",
                       .type = ARGUMENT_UINT,
                       .max = UINT64_MAX,
                       .help = "number of the last one already seen"},
                      {.name = "last",
                       .type = ARGUMENT_UINT,
                       .dflt = UINT64_MAX,
                       .max = UINT64_MAX,
                       .help = "at most so many"}},
        .run = command_tail,
    },
    {
        .name = "quarantine",
        .help = "records not used: where and why",
        .arguments = {STREAM_ARGUMENT,
                      {.name = "limit",
                       .type = ARGUMENT_UINT,
                       .dflt = STREAM_QUARANTINE,
                       .max = STREAM_QUARANTINE,
                       .help = "at most so many"}},
        .run = command_quarantine,
    },
    {
        .name = "config",
        .help = "the running configuration, defaults filled in",
        .run = command_config,
    },
    {
        .name = "history",
        .help = "generations of a stream: what it was, from which step on, by whom",
        .arguments = {STREAM_ARGUMENT},
        .run = command_history,
    },
    {
        .name = "diff",
        .help = "what a reload would change",
        .run = command_diff,
    },
    {
        .name = "set",
        .access = ACCESS_WRITE,
        .help = "change keys of the running configuration",
        .arguments = {{.name = "edits",
                       .type = ARGUMENT_LIST,
                       .required = true,
                       .min = 2,
                       .max = EDITS_MAX,
                       .help = "NAME, VALUE, NAME, VALUE, ...; values as in the file"},
                      WHO_ARGUMENT,
                      DRY_RUN_ARGUMENT,
                      AT_ARGUMENT,
                      PROGRESS_ARGUMENT},
        .run = command_set,
    },
    {
        .name = "add",
        .access = ACCESS_WRITE,
        .help = "a corpus, a stream or a template more",
        .arguments = {KIND_ARGUMENT,
                      NAME_ARGUMENT,
                      {.name = "edits",
                       .type = ARGUMENT_LIST,
                       .max = EDITS_MAX,
                       .help = "KEY, VALUE, KEY, VALUE, ...: of it, as in the file"},
                      WHO_ARGUMENT,
                      DRY_RUN_ARGUMENT,
                      AT_ARGUMENT,
                      PROGRESS_ARGUMENT},
        .run = command_add,
    },
    {
        .name = "remove",
        .access = ACCESS_WRITE,
        .help = "a corpus, a stream or a template less",
        .arguments = {KIND_ARGUMENT, NAME_ARGUMENT, WHO_ARGUMENT, DRY_RUN_ARGUMENT, AT_ARGUMENT,
                      PROGRESS_ARGUMENT},
        .run = command_remove,
    },
    {
        .name = "reload",
        .access = ACCESS_WRITE,
        .help = "take the configuration file as it is now, and what is new in corpora and models",
        .arguments = {WHO_ARGUMENT, DRY_RUN_ARGUMENT, AT_ARGUMENT, PROGRESS_ARGUMENT},
        .run = command_reload,
    },
    {
        .name = "revert",
        .access = ACCESS_WRITE,
        .help = "make a stream what it was in an older generation",
        .arguments = {STREAM_ARGUMENT,
                      {.name = "generation",
                       .type = ARGUMENT_UINT,
                       .required = true,
                       .min = 1,
                       .max = UINT32_MAX,
                       .help = "which"},
                      WHO_ARGUMENT,
                      DRY_RUN_ARGUMENT,
                      AT_ARGUMENT,
                      PROGRESS_ARGUMENT},
        .run = command_revert,
    },
    {
        .name = "cancel",
        .access = ACCESS_WRITE,
        .help = "give up the change that is being prepared, whoever began it",
        .arguments = {WHO_ARGUMENT},
        .run = command_cancel,
    },
    {
        .name = "pause",
        .access = ACCESS_WRITE,
        .help = "send and make nothing of a stream until it is resumed, or the daemon starts anew",
        .arguments = {STREAM_ARGUMENT, WHO_ARGUMENT},
        .run = command_pause,
    },
    {
        .name = "resume",
        .access = ACCESS_WRITE,
        .help = "let a paused stream go on",
        .arguments = {STREAM_ARGUMENT, WHO_ARGUMENT},
        .run = command_resume,
    },
    {
        .name = "commands",
        .help = "this list",
        .run = command_commands,
    },
    {
        .name = "stop",
        .access = ACCESS_WRITE,
        .help = "end the daemon in good order",
        .arguments = {{.name = "drain",
                       .type = ARGUMENT_BOOL,
                       .help = "first send what consumers have given credit for, and open no more"}},
        .run = command_stop,
    },
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const char *const argument_type_names[] = {"text", "uint", "bool", "list"};

/* ---- the reply ---- */

static void reply_begin(struct request *q, bool ok)
{
    ctl_fini(&q->reply);
    ctl_init(&q->reply);
    ctl_put_map(&q->reply, NULL);
    ctl_put_uint(&q->reply, "version", CTL_VERSION);
    ctl_put_bool(&q->reply, "ok", ok);
}

void request_fail(struct request *q, const char *code, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    q->failed = true;
    reply_begin(q, false);
    ctl_put_text(&q->reply, "code", code);
    if (n >= 0)
        ctl_put_text(&q->reply, "error", text);
    else
        q->reply.rc = -ENOMEM;
    free(n >= 0 ? text : NULL);
}

void request_tell(struct request *q, const char *what, uint64_t done, uint64_t all)
{
    struct ctl_writer *w = &q->news;
    ctl_fini(w);
    ctl_init(w);
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "version", CTL_VERSION);
    ctl_put_map(w, "progress");
    ctl_put_text(w, "what", what);
    ctl_put_uint(w, "done", done);
    ctl_put_uint(w, "all", all);
    ctl_put_end(w);
    ctl_put_end(w);
}

int request_seal(struct request *q)
{
    if (!q->failed)
        ctl_put_end(&q->reply); /* the result */
    ctl_put_end(&q->reply);
    return q->reply.rc;
}

void request_fini(struct request *q)
{
    for (unsigned i = 0; i < ARGUMENTS_MAX; i++) {
        for (uint32_t k = 0; k < q->arguments[i].n; k++)
            free(q->arguments[i].list[k]);
        free(q->arguments[i].list);
    }
    ctl_fini(&q->reply);
    ctl_fini(&q->news);
}

/* ---- the request ---- */

static void fail_command(struct request *q, const struct token *name)
{
    const char *names[N_COMMANDS];
    char word[MSG_NAME_MAX + 1];
    (void)snprintf(word, sizeof word, "%.*s", (int)(name->size < sizeof word ? name->size : sizeof word),
                   name->data);
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = nearest(word, names, N_COMMANDS);
    request_fail(q, "unknown-command", "there is no command '%s'%s%s%s; `commands` lists what there is", word,
                 near != NULL ? " (did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?)" : "");
}

static bool fail_value(struct request *q, const struct argument *a)
{
    const uint64_t bytes = a->type == ARGUMENT_LIST ? ARGUMENT_BYTES_MAX : a->max > 0 ? a->max : MSG_NAME_MAX;
    if (a->type == ARGUMENT_UINT)
        request_fail(q, "bad-argument", "%s: argument '%s' is a number, %" PRIu64 " to %" PRIu64,
                     q->command->name, a->name, a->min, a->max);
    else if (a->type == ARGUMENT_BOOL)
        request_fail(q, "bad-argument", "%s: argument '%s' is a bool", q->command->name, a->name);
    else if (a->type == ARGUMENT_TEXT)
        request_fail(q, "bad-argument",
                     "%s: argument '%s' is a text of at most %" PRIu64 " bytes, none of them NUL",
                     q->command->name, a->name, bytes);
    else
        request_fail(q, "bad-argument",
                     "%s: argument '%s' is a list of %" PRIu64 " to %" PRIu64
                     " texts, each of at most %" PRIu64 " bytes, none of them NUL",
                     q->command->name, a->name, a->min, a->max, bytes);
    return false;
}

/* One more text of an argument. */
static bool take_text(struct request *q, unsigned i, const struct token *value, uint64_t max)
{
    if (value->kind != TOKEN_STR || value->size > max || memchr(value->data, 0, value->size) != NULL)
        return fail_value(q, &q->command->arguments[i]);
    char *text = strndup(value->data, value->size);
    if (text == NULL) {
        q->reply.rc = -ENOMEM;
        return false;
    }
    q->arguments[i].list[q->arguments[i].n++] = text;
    return true;
}

static bool take_texts(struct request *q, unsigned i, struct token_cursor value)
{
    const struct argument *a = &q->command->arguments[i];
    struct token list = {.number = 1}, text;
    uint64_t max = a->max > 0 ? a->max : MSG_NAME_MAX;
    if (a->type == ARGUMENT_LIST) {
        (void)token_next(&value, &list);
        if (list.kind != TOKEN_ARRAY || list.number < a->min || list.number > a->max)
            return fail_value(q, a);
        max = ARGUMENT_BYTES_MAX;
    }
    q->arguments[i].list = calloc(list.number + 1, sizeof q->arguments[i].list[0]);
    if (q->arguments[i].list == NULL) {
        q->reply.rc = -ENOMEM;
        return false;
    }
    for (uint64_t n = list.number; n > 0; n--)
        if (!token_next(&value, &text) || !take_text(q, i, &text, max))
            return false;
    if (a->type == ARGUMENT_TEXT)
        q->arguments[i].text = q->arguments[i].list[0];
    return true;
}

static bool take_argument(struct request *q, unsigned i, struct token_cursor at)
{
    const struct argument *a = &q->command->arguments[i];
    struct token value = {0};
    if (q->arguments[i].given) {
        request_fail(q, "bad-argument", "%s: argument '%s' is there twice", q->command->name, a->name);
        return false;
    }
    q->arguments[i].given = true;
    if (a->type == ARGUMENT_TEXT || a->type == ARGUMENT_LIST)
        return take_texts(q, i, at);
    (void)token_next(&at, &value);
    if (a->type == ARGUMENT_UINT ? value.kind != TOKEN_UINT || value.number < a->min || value.number > a->max
                                 : value.kind != TOKEN_BOOL)
        return fail_value(q, a);
    q->arguments[i].number = value.number;
    return true;
}

static bool fail_argument(struct request *q, const struct token *name)
{
    char words[512] = "";
    size_t n = 0;
    for (const struct argument *a = q->command->arguments; a->name != NULL && n < sizeof words; a++)
        n += (size_t)snprintf(words + n, sizeof words - n, "%s%s", n > 0 ? ", " : "", a->name);
    request_fail(q, "bad-argument", "%s has no argument '%.*s'; it takes %s", q->command->name,
                 name->size > MSG_NAME_MAX ? MSG_NAME_MAX : (int)name->size, name->data,
                 n > 0 ? words : "none");
    return false;
}

/* The arguments are a map; `arguments` stands before it. */
static bool take_arguments(struct request *q, struct token_cursor arguments)
{
    const struct argument *row = q->command->arguments;
    for (unsigned i = 0; i < ARGUMENTS_MAX && row[i].name != NULL; i++) {
        q->arguments[i].number = row[i].dflt;
        q->arguments[i].text = "";
    }
    struct token map = {.kind = TOKEN_MAP}, name;
    if (!ctl_is_nil(arguments) && (!token_next(&arguments, &map) || map.kind != TOKEN_MAP)) {
        request_fail(q, "bad-message", "'arguments' must be a map");
        return false;
    }
    for (uint64_t n = map.number; n > 0; n--) {
        if (!token_next(&arguments, &name) || name.kind != TOKEN_STR) {
            request_fail(q, "bad-message", "the names of arguments must be strings");
            return false;
        }
        unsigned i = 0;
        while (i < ARGUMENTS_MAX && row[i].name != NULL && !token_is(&name, row[i].name))
            i++;
        if (i == ARGUMENTS_MAX || row[i].name == NULL)
            return fail_argument(q, &name);
        if (!take_argument(q, i, arguments))
            return false;
        (void)token_skip(&arguments); /* the whole message has been walked through before */
    }
    for (unsigned i = 0; i < ARGUMENTS_MAX && row[i].name != NULL; i++)
        if (row[i].required && !q->arguments[i].given) {
            request_fail(q, "bad-argument", "%s: argument '%s' is missing: %s", q->command->name, row[i].name,
                         row[i].help);
            return false;
        }
    return true;
}

/* One whole map that our version of the protocol understands. */
static bool understand(struct request *q, struct token_cursor message)
{
    struct token_cursor end = message;
    struct token t;
    if (!token_skip(&end) || end.at != end.end ||
        !token_next(&(struct token_cursor){message.at, message.end}, &t) || t.kind != TOKEN_MAP) {
        request_fail(q, "bad-message",
                     "a request is one msgpack map {\"version\": %d, \"command\": ..., \"arguments\": "
                     "{...}}",
                     CTL_VERSION);
        return false;
    }
    if (ctl_get_uint(message, "version") != CTL_VERSION) {
        request_fail(q, "bad-version",
                     "this daemon (%s) speaks version %d of the control protocol, the request another; "
                     "use the skipalignctl that came with it",
                     SKIPALIGN_VERSION, CTL_VERSION);
        return false;
    }
    return true;
}

void request_run(struct request *q, const struct control_context *context, const char *data, size_t size)
{
    *q = (struct request){.context = context};
    ctl_init(&q->reply);
    ctl_init(&q->news);
    if (size > CTL_REQUEST_MAX) {
        request_fail(q, "bad-message", "a request has at most %d bytes; this one has %zu", CTL_REQUEST_MAX,
                     size);
        return;
    }
    const struct token_cursor message = {data, data + size};
    if (!understand(q, message))
        return;
    const struct token name = ctl_get_text(message, "command");
    for (size_t i = 0; i < N_COMMANDS && q->command == NULL; i++)
        if (token_is(&name, commands[i].name))
            q->command = &commands[i];
    if (q->command == NULL)
        fail_command(q, &name);
    if (q->command == NULL || !take_arguments(q, ctl_get(message, "arguments")))
        return;
    reply_begin(q, true);
    ctl_put_map(&q->reply, "result");
    q->command->run(q);
}

const struct conf_stream *request_stream(struct request *q, unsigned argument)
{
    const struct conf *conf = q->context->roster->running;
    const char *name = q->arguments[argument].text, *near = NULL;
    for (uint32_t i = 0; i < conf->n_streams; i++)
        if (strcmp(conf->streams[i].name, name) == 0)
            return &conf->streams[i];
    char names[1024] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < conf->n_streams && n < sizeof names; i++) {
        const char *candidates[2] = {near, conf->streams[i].name};
        near = nearest(name, candidates, 2);
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n > 0 ? ", " : "", conf->streams[i].name);
    }
    if (near != NULL)
        request_fail(q, "unknown-stream", "there is no stream '%s' here; did you mean '%s'? There are: %s",
                     name, near, names);
    else
        request_fail(q, "unknown-stream", "there is no stream '%s' here; there are: %s", name, names);
    return NULL;
}

/* ---- commands about the socket itself ---- */

static void command_commands(struct request *q)
{
    struct ctl_writer *w = &q->reply;
    ctl_put_list(w, "commands");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        ctl_put_map(w, NULL);
        ctl_put_text(w, "name", commands[i].name);
        ctl_put_text(w, "help", commands[i].help);
        ctl_put_text(w, "access", commands[i].access == ACCESS_READ ? "read" : "write");
        ctl_put_list(w, "arguments");
        for (const struct argument *a = commands[i].arguments; a->name != NULL; a++) {
            ctl_put_map(w, NULL);
            ctl_put_text(w, "name", a->name);
            ctl_put_text(w, "type", argument_type_names[a->type]);
            ctl_put_text(w, "help", a->help);
            ctl_put_bool(w, "required", a->required);
            if (a->type == ARGUMENT_UINT) {
                ctl_put_uint(w, "default", a->dflt);
                ctl_put_uint(w, "min", a->min);
                ctl_put_uint(w, "max", a->max);
            }
            ctl_put_end(w);
        }
        ctl_put_end(w);
        ctl_put_end(w);
    }
    ctl_put_end(w);
}

static void command_stop(struct request *q)
{
    log_info("control: '%s' asked for", q->command->name);
    q->then = q->arguments[0].number ? CONTROL_DRAIN : CONTROL_STOP;
    ctl_put_bool(&q->reply, "stopping", true);
    ctl_put_bool(&q->reply, "drain", q->then == CONTROL_DRAIN);
}
