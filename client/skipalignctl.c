/* skipalignctl - looks into a running feeder and tells it what to do. */
#include "skipalignctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void show_stop(struct call *c, struct token_cursor result);
static void show_commands(struct call *c, struct token_cursor result);

#define CHANGE                                                                                         \
    .options = {{"at", 0, OPTION_NUMBER, false, "STEP", "from this step on (the first one possible)"}, \
                {"dry-run", 0, OPTION_FLAG, false, NULL,                                               \
                 "only say what would change, and from which step"}},                                  \
    .prepares = true, .run = run_change, .show = show_change
#define SVG                                                                                              \
    {                                                                                                    \
        "svg", 0, OPTION_TEXT, true, "FILE", "draw it instead, as SVG into FILE (-: to standard output)" \
    }
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
                     "how many documents of each row, 0 for all (2; of a drawing 8)"},
                    {"full", 0, OPTION_FLAG, true, NULL, "do not shorten long texts"},
                    {"tokens", 0, OPTION_FLAG, false, NULL, "each token with its id, position and label"},
                    SVG},
        .show = show_preview,
        .draw = draw_preview,
    },
    {
        .name = "coverage",
        STREAM,
        .help = "how far training looks back: distances from trained tokens to their context",
        .more = "Against ordinary fine-tuning on the same data (ids 0, 1, 2, ...), and against documents of "
                "max_position tokens.\n"
                "Counted in what was made since skipalignd started.\n",
        .options = {{"generation", 0, OPTION_NUMBER, false, "N",
                     "of an older generation (the newest of which anything was made)"},
                    SVG},
        .show = show_coverage,
        .draw = draw_coverage,
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
        .name = "tokenizer",
        .words = "FILE [TEXT]",
        .n_words_min = 1,
        .n_words_max = 2,
        .help = "what a SentencePiece model is, who tokenises for it and why, and how fast",
        .more =
            "Each text is compared with libsentencepiece. TEXT is a file of yours, of which the first 4 MiB "
            "count; without it\n"
            "text is drawn from the model's own pieces. It needs no running feeder: it asks the skipalignd "
            "installed beside\n"
            "this program.\n",
        .run = run_tokenizer,
    },
    {
        .name = "plan",
        .words = "FILE",
        .n_words_min = 1,
        .n_words_max = 1,
        .help = "what a configuration file would give, without serving it",
        .more =
            "Steps of an epoch, tokens, padding, who skips and who does not, distances, speed on this "
            "machine, memory.\n"
            "Makes a stream's first epoch, or what of it can be made in 3 s: an estimate then, with its "
            "error. Needs no\n"
            "running feeder and disturbs none: it asks the skipalignd installed beside this program, which "
            "keeps what it\n"
            "writes in a folder of its own under $TMPDIR.\n",
        .options = {{"stream", 0, OPTION_TEXT, true, "NAME", "only this one (all)"}},
        .run = run_plan,
    },
    {
        .name = "set",
        .words = "KEY VALUE [KEY VALUE...]",
        .n_words_min = 2,
        .n_words_max = UINT32_MAX,
        .help = "change what runs, for all trainers at one step; `config` shows the keys as they are",
        .more = "  set chat.positions.max_position 131072\n"
                "  set chat.corpora.tulu.repeat 2 chat.seq_len 8192\n"
                "  set chat.corpora '[{name: tulu}, {name: house, repeat: 3}]'\n"
                "Values are YAML. All of it happens, or nothing.\n",
        CHANGE,
    },
    {
        .name = "add",
        .words = "corpus|stream|template NAME KEY VALUE...",
        .n_words_min = 4,
        .n_words_max = UINT32_MAX,
        .help = "one more of those",
        .more =
            "  add corpus own paths '[/srv/own/*.jsonl]' format messages\n"
            "  add stream code tokenizer /srv/yi/tokenizer.model template chatml corpora '[{name: own}]'\n",
        CHANGE,
    },
    {
        .name = "remove",
        .words = "corpus|stream|template NAME",
        .n_words_min = 2,
        .n_words_max = 2,
        .help = "one less",
        CHANGE,
    },
    {
        .name = "reload",
        .help = "change what runs to what the file says now; corpora that have grown are read anew",
        CHANGE,
    },
    {
        .name = "diff",
        .help = "what `reload` would change: the file against what runs",
        .show = show_diff,
    },
    {
        .name = "history",
        STREAM,
        .help = "a stream's generations: from which step, when, by whom, what changed",
        .show = show_history,
    },
    {
        .name = "revert",
        .words = "STREAM GENERATION",
        .n_words_min = 2,
        .n_words_max = 2,
        .first_word = "stream",
        .help = "go on with the configuration of an older generation, as a new one",
        CHANGE,
    },
    {
        .name = "cancel",
        .help = "give up the change that is being prepared, whoever asked for it",
        .run = run_change,
        .show = show_cancel,
    },
    {
        .name = "pause",
        STREAM,
        .help = "hold a stream: its trainers wait",
        .more = "Until `resume`, or until skipalignd starts anew. Trainers that know several feeders try "
                "another one after\n"
                "a while: pause the stream on each.\n",
        .run = run_change,
        .show = show_pause,
    },
    {
        .name = "resume",
        STREAM,
        .help = "let it go on",
        .run = run_change,
        .show = show_pause,
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
    {"timeout", 0, OPTION_NUMBER, true, "SECONDS",
     "how long to wait for an answer (40; for ever while a change is prepared)"},
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
            const bool fits = strlen(usage) <= 27;
            (void)fprintf(out, "  %-27s%s%*s%s\n", usage, fits ? " " : "\n", fits ? 0 : 30, "",
                          commands[i].help);
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

/* A negative one is a value of `set`, not an option. */
static bool is_number(const char *word)
{
    char *end;
    (void)strtod(word, &end);
    return *end == '\0';
}

static int parse(struct call *c, int argc, char **argv)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        int rc = 0;
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1] != '\0' && !is_number(argv[i]))
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

const char *call_text(const struct call *c, const char *option)
{
    const uint32_t i = find_given(c, option);
    return i > 0 ? c->given[i - 1].text : NULL;
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
        char name[32];
        (void)snprintf(name, sizeof name, "%s", o->name);
        for (char *dash = name; (dash = strchr(dash, '-')) != NULL;)
            *dash = '_';
        if (o->type == OPTION_FLAG)
            ctl_put_bool(w, name, true);
        else
            ctl_put_uint(w, name, c->given[i].number);
    }
}

static int ask_and_show(struct call *c)
{
    struct ctl_writer w;
    struct token_cursor result;
    call_begin(c, &w, c->command->name);
    const int rc = call_ask(c, &w, &result);
    const char *svg = call_text(c, "svg");
    if (rc != 0)
        return rc;
    if (c->json)
        json_print(stdout, result);
    else if (svg == NULL)
        c->command->show(c, result);
    return svg != NULL ? c->command->draw(c, result, svg) : 0;
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
    const char *endpoint = call_text(c, "endpoint");
    const uint64_t seconds = call_number(c, "timeout", 40); /* a preview may wait 30 s for its step */
    c->endpoint = endpoint != NULL                              ? endpoint
                  : environment != NULL && *environment != '\0' ? environment
                                                                : CTL_ENDPOINT;
    c->json = call_has(c, "json");
    c->timeout_ms = seconds > 86400 ? 86400000 : (int)seconds * 1000;
    if (c->command->prepares && !call_has(c, "timeout"))
        c->timeout_ms = -1;
    return c->command->run != NULL ? c->command->run(c) : ask_and_show(c);
}

int main(int argc, char **argv)
{
    struct call c = {.words = calloc((size_t)argc + 1, sizeof *c.words), .interrupts = -1};
    (void)zmq_msg_init(&c.reply);
    int rc = c.words != NULL ? run(&c, argc, argv) : EXIT_REFUSED;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "skipalignctl: cannot write the output: %s\n", strerror(errno));
        rc = rc == 0 ? EXIT_REFUSED : rc;
    }
    (void)zmq_msg_close(&c.reply);
    void *const sockets[] = {c.aside, c.monitor, c.socket};
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++)
        if (sockets[i] != NULL)
            (void)zmq_close(sockets[i]);
    free(c.words);
    if (c.zmq != NULL)
        (void)zmq_ctx_term(c.zmq);
    return rc;
}
