/* skipalignctl - looks into a running feeder and tells it what to do. */
#include "skipalignctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void show_stop(struct call *c, struct token_cursor result);
static void show_commands(struct call *c, struct token_cursor result);

#define STREAM .words = "STREAM", .n_words_min = 1, .n_words_max = 1, .first_word = "stream"

static const struct command commands[] = {
    {
        .name = "status",
        .help = "how it is: streams, consumers, rates, who waits for whom, memory, records not used",
        .show = show_status,
    },
    {
        .name = "preview",
        STREAM,
        .help = "documents of a batch: text by role, what is trained, position ids and where they jump",
        .options = {{"step", 0, OPTION_NUMBER, false, "N", "which step (0)"},
                    {"rank", 0, OPTION_NUMBER, false, "R", "whose batch (0)"},
                    {"world", 0, OPTION_NUMBER, false, "W", "of how many ranks (1)"},
                    {"row", 0, OPTION_NUMBER, false, "K", "first row of the batch (0)"},
                    {"rows", 0, OPTION_NUMBER, false, "N", "how many rows (1)"},
                    {"documents", 0, OPTION_NUMBER, true, "N",
                     "how many documents of each row, 0 for all (2)"},
                    {"full", 0, OPTION_FLAG, true, NULL, "do not shorten long texts"},
                    {"tokens", 0, OPTION_FLAG, false, NULL, "each token with its id, position and label"}},
        .show = show_preview,
    },
    {
        .name = "tail",
        STREAM,
        .help = "batches as they are sent, one line each, until Ctrl-C",
        .options = {{"count", 'n', OPTION_NUMBER, true, "N",
                     "begin N lines back, end after N (begin 10 back, go on)"}},
        .run = run_tail,
    },
    {
        .name = "quarantine",
        STREAM,
        .help = "records not used: file, byte offset, reason",
        .options = {{"limit", 0, OPTION_NUMBER, false, "N", "at most so many (10000)"}},
        .show = show_quarantine,
    },
    {
        .name = "config",
        .words = "[keys | check FILE]",
        .n_words_max = 2,
        .help = "the running configuration; every key with its range and default; or a check of a file",
        .more =
            "  config             the running configuration, as a file that it could be started with\n"
            "  config keys        every key with type, range, default, unit and help\n"
            "  config check FILE  would this file do? All errors at once\n"
            "The last two need no running feeder: they ask the skipalignd installed beside this program.\n",
        .run = run_config,
    },
    {
        .name = "commands",
        .help = "what the running feeder understands, for those who write a client of their own",
        .show = show_commands,
    },
    {
        .name = "stop",
        .help = "end it in good order",
        .options = {{"drain", 0, OPTION_FLAG, false, NULL,
                     "first send what consumers have given credit for"}},
        .show = show_stop,
    },
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct option global_options[] = {
    {"endpoint", 'e', OPTION_TEXT, true, "ENDPOINT",
     "the feeder's control.listen (" CTL_ENDPOINT ", or $SKIPALIGN_CONTROL)"},
    {"json", 0, OPTION_FLAG, true, NULL, "the result as JSON, for programs"},
    {"timeout", 0, OPTION_NUMBER, true, "SECONDS", "how long to wait for an answer (40)"},
    {"help", 'h', OPTION_FLAG, true, NULL, "this text; after a command, about it"},
    {"version", 0, OPTION_FLAG, true, NULL, "which version this is"},
    {0},
};

/* ---- usage ---- */

static void print_options(FILE *out, const struct option *o)
{
    for (; o->name != NULL; o++) {
        char names[64];
        (void)snprintf(names, sizeof names, "%c%c%s--%s%s%s", o->letter != 0 ? '-' : ' ',
                       o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : "  ", o->name,
                       o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        (void)fprintf(out, "  %-24s %s\n", names, o->help);
    }
}

static void print_help(FILE *out, const struct command *command)
{
    if (command == NULL) {
        (void)fprintf(out, "usage: skipalignctl [-e ENDPOINT] [--json] COMMAND\n\ncommands:\n");
        for (size_t i = 0; i < N_COMMANDS; i++) {
            char usage[64];
            (void)snprintf(usage, sizeof usage, "%s%s%s", commands[i].name,
                           commands[i].words != NULL ? " " : "",
                           commands[i].words != NULL ? commands[i].words : "");
            (void)fprintf(out, "  %-27s %s\n", usage, commands[i].help);
        }
    } else {
        (void)fprintf(out, "usage: skipalignctl %s%s%s%s\n\n%s\n", command->name,
                      command->words != NULL ? " " : "", command->words != NULL ? command->words : "",
                      command->options[0].name != NULL ? " [OPTION...]" : "", command->help);
        if (command->more != NULL)
            (void)fprintf(out, "\n%s", command->more);
        if (command->options[0].name != NULL)
            (void)fprintf(out, "\noptions:\n");
        print_options(out, command->options);
    }
    (void)fprintf(out, "\n%s:\n", command == NULL ? "options" : "options of all commands");
    print_options(out, global_options);
    if (command == NULL)
        (void)fprintf(
            out, "\nexit status: 0 done, 1 refused (with the reason), 2 wrong usage, 3 no feeder answers\n");
}

/* How many letters must be typed, deleted or replaced to make b of a. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    const size_t n = strlen(b);
    if (n >= sizeof row / sizeof *row)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (; *a != '\0'; a++) {
        size_t corner = row[0]++;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (*a != b[j - 1]);
            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n];
}

static int fail_usage(const struct command *command, const char *what, const char *word)
{
    (void)fprintf(stderr, "skipalignctl: %s%s%s%s; `skipalignctl %s%s--help` explains\n", what,
                  word != NULL ? " '" : "", word != NULL ? word : "", word != NULL ? "'" : "",
                  command != NULL ? command->name : "", command != NULL ? " " : "");
    return EXIT_USAGE;
}

static int fail_command(const char *word)
{
    const char *near = NULL;
    size_t least = strlen(word) / 3 + 1;
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (distance(word, commands[i].name) <= least) {
            near = commands[i].name;
            least = distance(word, near) - 1;
        }
    if (near == NULL)
        return fail_usage(NULL, "there is no command", word);
    (void)fprintf(stderr, "skipalignctl: there is no command '%s'; did you mean '%s'?\n", word, near);
    return EXIT_USAGE;
}

/* ---- the command line ---- */

static const struct option *find_option(const struct option *o, const char *word)
{
    const size_t n = strcspn(word, "=");
    for (; o->name != NULL; o++)
        if (word[1] == '-' ? strlen(o->name) == n - 2 && strncmp(o->name, word + 2, n - 2) == 0
                           : o->letter != 0 && word[1] == o->letter)
            return o;
    return NULL;
}

/* The option at argv[*at] and its value, which may be attached or the next word. */
static int take_option(struct call *c, char **argv, int *at)
{
    const char *word = argv[*at], *value = NULL;
    const struct option *o = find_option(global_options, word);
    if (o == NULL && c->command != NULL)
        o = find_option(c->command->options, word);
    if (o == NULL)
        return fail_usage(c->command, "there is no option", word);
    const char *equals = strchr(word, '=');
    if (word[1] == '-')
        value = equals != NULL ? equals + 1 : NULL;
    else if (word[2] != '\0')
        value = word + 2;
    if (o->type == OPTION_FLAG && value != NULL)
        return fail_usage(c->command, "no value goes with option", o->name);
    if (o->type != OPTION_FLAG && value == NULL)
        value = argv[*at + 1] != NULL ? argv[++*at] : NULL;
    if (o->type != OPTION_FLAG && value == NULL)
        return fail_usage(c->command, "a value is missing after option", o->name);
    uint64_t number = 1;
    if (o->type == OPTION_NUMBER) {
        char *end;
        errno = 0;
        number = strtoull(value, &end, 10);
        if (*value < '0' || *value > '9' || *end != '\0' || errno != 0)
            return fail_usage(c->command, "not a number:", value);
    }
    if (c->n_given == OPTIONS_MAX)
        return fail_usage(c->command, "too many options, with", word);
    c->given[c->n_given].option = o;
    c->given[c->n_given].text = value;
    c->given[c->n_given++].number = number;
    return 0;
}

static int take_word(struct call *c, const char *word)
{
    if (c->command == NULL) {
        for (size_t i = 0; i < N_COMMANDS && c->command == NULL; i++)
            if (strcmp(commands[i].name, word) == 0)
                c->command = &commands[i];
        return c->command != NULL ? 0 : fail_command(word);
    }
    if (c->n_words == c->command->n_words_max)
        return fail_usage(c->command, "one word too many:", word);
    c->words[c->n_words++] = word;
    return 0;
}

static int parse(struct call *c, int argc, char **argv)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        int rc = 0;
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1] != '\0')
            rc = take_option(c, argv, &i);
        else
            rc = take_word(c, argv[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static uint32_t find_given(const struct call *c, const char *option)
{
    uint32_t i = c->n_given;
    while (i > 0 && strcmp(c->given[i - 1].option->name, option) != 0)
        i--;
    return i; /* 1 + the last one's index: the last one counts */
}

bool call_has(const struct call *c, const char *option)
{
    return find_given(c, option) > 0;
}

uint64_t call_number(const struct call *c, const char *option, uint64_t dflt)
{
    const uint32_t i = find_given(c, option);
    return i > 0 ? c->given[i - 1].number : dflt;
}

/* ---- asking ---- */

void call_begin(const struct call *c, struct ctl_writer *w, const char *command)
{
    ctl_init(w);
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "version", CTL_VERSION);
    ctl_put_text(w, "command", command);
    ctl_put_map(w, "arguments");
    if (c->command->first_word != NULL)
        ctl_put_text(w, c->command->first_word, c->words[0]);
    for (uint32_t i = 0; i < c->n_given; i++) {
        const struct option *o = c->given[i].option;
        if (o->local || find_given(c, o->name) != i + 1)
            continue;
        if (o->type == OPTION_FLAG)
            ctl_put_bool(w, o->name, true);
        else
            ctl_put_uint(w, o->name, c->given[i].number);
    }
}

static int fail_nobody(const struct call *c, const char *why)
{
    (void)fprintf(stderr,
                  "skipalignctl: no feeder answers at %s: %s.\n"
                  "Does it run (`systemctl status skipalignd`)? Is this its control.listen? Another one: -e "
                  "ENDPOINT or "
                  "$SKIPALIGN_CONTROL.\n",
                  c->endpoint, why);
    return EXIT_NOBODY;
}

/* A socket's file tells at once whether somebody listens; ZeroMQ alone would wait for one who might come. */
static int probe(const struct call *c)
{
    if (strncmp(c->endpoint, "ipc://", 6) != 0 || c->endpoint[6] == '@')
        return 0;
    const int rc = ctl_probe(c->endpoint + 6);
    switch (-rc) {
    case 0:
        return 0;
    case ENOENT:
        return fail_nobody(c, "there is no such socket");
    case ECONNREFUSED:
        return fail_nobody(c, "the socket is left over from one that is gone");
    case EACCES:
        return fail_nobody(c, "this user may not use the socket; its group may");
    default:
        return fail_nobody(c, strerror(-rc));
    }
}

/* Not ZMQ_IMMEDIATE: with it a reply that is followed by the daemon's end (as stop's is) can be lost on our
 * side. */
static int connect_feeder(struct call *c)
{
    const int zero = 0, one = 1;
    int rc = probe(c);
    if (rc != 0)
        return rc;
    c->zmq = zmq_ctx_new();
    c->socket = c->zmq != NULL ? zmq_socket(c->zmq, ZMQ_REQ) : NULL;
    if (c->socket == NULL || zmq_setsockopt(c->socket, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_IPV6, &one, sizeof one) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_SNDTIMEO, &c->timeout_ms, sizeof c->timeout_ms) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_RCVTIMEO, &c->timeout_ms, sizeof c->timeout_ms) != 0) {
        (void)fprintf(stderr, "skipalignctl: cannot make a socket: %s\n", zmq_strerror(zmq_errno()));
        return EXIT_NOBODY;
    }
    if (zmq_connect(c->socket, c->endpoint) == 0)
        return 0;
    (void)fprintf(stderr, "skipalignctl: '%s': %s; an endpoint is ipc:///path/of/socket or tcp://host:port\n",
                  c->endpoint, zmq_strerror(zmq_errno()));
    return EXIT_USAGE;
}

/* One value that nests no deeper than our own messages do. */
static bool walk(struct token_cursor *at, unsigned depth)
{
    struct token t;
    if (depth == 0 || !token_next(at, &t))
        return false;
    uint64_t n = t.kind == TOKEN_MAP ? 2 * t.number : t.kind == TOKEN_ARRAY ? t.number : 0;
    while (n > 0 && walk(at, depth - 1))
        n--;
    return n == 0;
}

static int read_reply(struct call *c, struct token_cursor *ret)
{
    const char *data = zmq_msg_data(&c->reply);
    const struct token_cursor message = {data, data + zmq_msg_size(&c->reply)};
    struct token_cursor at = message;
    struct paper p;
    if (!walk(&at, CTL_DEPTH + 1) || at.at != at.end || ctl_is_nil(ctl_get(message, "ok")))
        return fail_nobody(c, "what answers there is not a feeder's control socket");
    if (ctl_get_bool(message, "ok")) {
        *ret = ctl_get(message, "result");
        return 0;
    }
    if (c->json) {
        json_print(stdout, message);
        return EXIT_REFUSED;
    }
    paper_open(&p, stderr);
    const struct token why = ctl_get_text(message, "error");
    paper_put(&p, STYLE_PLAIN, "skipalignctl: ");
    paper_put_text(&p, STYLE_PLAIN, why.data, why.size);
    paper_end(&p);
    return EXIT_REFUSED;
}

int call_ask(struct call *c, struct ctl_writer *w, struct token_cursor *ret)
{
    ctl_put_end(w);
    ctl_put_end(w);
    int rc = w->rc == 0 ? 0 : EXIT_REFUSED;
    if (rc == 0 && c->socket == NULL)
        rc = connect_feeder(c);
    if (rc == 0 &&
        (zmq_send(c->socket, w->buf.data, w->buf.size, 0) < 0 || zmq_msg_recv(&c->reply, c->socket, 0) < 0))
        rc = fail_nobody(c, zmq_errno() == EAGAIN ? "nothing came in time (--timeout)"
                                                  : zmq_strerror(zmq_errno()));
    ctl_fini(w);
    return rc == 0 ? read_reply(c, ret) : rc;
}

static int ask_and_show(struct call *c)
{
    struct ctl_writer w;
    struct token_cursor result;
    call_begin(c, &w, c->command->name);
    const int rc = call_ask(c, &w, &result);
    if (rc != 0)
        return rc;
    if (c->json)
        json_print(stdout, result);
    else
        c->command->show(c, result);
    return 0;
}

static void show_stop(struct call *c, struct token_cursor result)
{
    (void)c;
    (void)puts(ctl_get_bool(result, "drain") ? "stopping, when consumers have what they gave credit for"
                                             : "stopping");
}

static void show_commands(struct call *c, struct token_cursor result)
{
    (void)c;
    yaml_print(stdout, result);
}

static int run(struct call *c, int argc, char **argv)
{
    int rc = parse(c, argc, argv);
    if (rc != 0)
        return rc;
    if (call_has(c, "help")) {
        print_help(stdout, c->command);
        return 0;
    }
    if (call_has(c, "version")) {
        (void)puts("skipalignctl " SKIPALIGN_VERSION);
        return 0;
    }
    if (c->command == NULL) {
        print_help(stderr, NULL);
        return EXIT_USAGE;
    }
    if (c->n_words < c->command->n_words_min)
        return fail_usage(c->command, "missing:", c->command->words);
    const char *environment = getenv("SKIPALIGN_CONTROL");
    const uint32_t endpoint = find_given(c, "endpoint");
    const uint64_t seconds = call_number(c, "timeout", 40); /* a preview may wait 30 s for its step */
    c->endpoint = endpoint > 0                                  ? c->given[endpoint - 1].text
                  : environment != NULL && *environment != '\0' ? environment
                                                                : CTL_ENDPOINT;
    c->json = call_has(c, "json");
    c->timeout_ms = seconds > 86400 ? 86400000 : (int)seconds * 1000;
    return c->command->run != NULL ? c->command->run(c) : ask_and_show(c);
}

int main(int argc, char **argv)
{
    struct call c = {0};
    (void)zmq_msg_init(&c.reply);
    int rc = run(&c, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "skipalignctl: cannot write the output: %s\n", strerror(errno));
        rc = rc == 0 ? EXIT_REFUSED : rc;
    }
    (void)zmq_msg_close(&c.reply);
    if (c.socket != NULL)
        (void)zmq_close(c.socket);
    if (c.zmq != NULL)
        (void)zmq_ctx_term(c.zmq);
    return rc;
}
