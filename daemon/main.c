#include "base/log.h"
#include "config/schema.h"
#include "control/draft.h"
#include "plan.h"
#include "server.h"
#include "service/signals.h"
#include "text/inspect.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FORGET_MAX 256
#define EXIT_CONFIG 78 /* sysexits.h EX_CONFIG: systemd does not start us again */

static const char usage[] =
    "usage: skipalignd -c FILE [--state DIR] [--standby] [--reload] [--forget STREAM]...\n"
    "                                            serve, in the foreground; the log goes to stderr\n"
    "                 --standby  where another skipalignd has the state directory, wait and take over when "
    "it ends\n"
    "                 --reload   go on with an edited file, or with changed corpora and models, from the "
    "first\n"
    "                            step on that was never handed out (without it that is refused)\n"
    "                 --forget   begin this stream anew; what it was is kept beside it in the state "
    "directory\n"
    "       skipalignd -c FILE --check [--json]  check the configuration, say every error, exit 0 or 78\n"
    "       skipalignd -c FILE --plan [--stream NAME]   what `skipalignctl plan FILE` shows, as messages of "
    "the "
    "control\n"
    "                                            socket on the standard output\n"
    "       skipalignd --example                 print a commented configuration file\n"
    "       skipalignd --keys [--json]           print every configuration key with type, range, default and "
    "help\n"
    "       skipalignd --tokenizer FILE [TEXT] [--json]\n"
    "                                            what a SentencePiece model is, who tokenises for it, and "
    "how "
    "fast:\n"
    "                                            on the start of a text file, or on text drawn from its "
    "pieces\n"
    "       skipalignd --version | --help\n";

/* One line of the log for each error of a file, so that the journal has them as errors. */
static void log_errors(const char *text)
{
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
        log_error("%.*s", (int)(end - text), text);
}

/* EXIT_FAILURE, too, where the fast path is wrong. */
static int show_tokenizer(const char *path, const char *text, bool json)
{
    struct inspection *i;
    struct err err;
    if (inspect_model(path, text, &i, &err) != 0) {
        fprintf(stderr, "skipalignd: %s\n", err.text);
        return EXIT_FAILURE;
    }
    int rc = (json ? inspect_print_json : inspect_print)(i, stdout);
    bool good = rc == 0 && !inspect_differs(i);
    inspect_free(i);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A corpus keeps each of its files open: as many as the system lets us have. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    enum {
        OPT_CHECK = 256,
        OPT_PLAN,
        OPT_STREAM,
        OPT_STATE,
        OPT_STANDBY,
        OPT_RELOAD,
        OPT_FORGET,
        OPT_EXAMPLE,
        OPT_KEYS,
        OPT_JSON,
        OPT_TOKENIZER,
        OPT_VERSION
    };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"plan", no_argument, NULL, OPT_PLAN},
        {"stream", required_argument, NULL, OPT_STREAM},
        {"state", required_argument, NULL, OPT_STATE},
        {"standby", no_argument, NULL, OPT_STANDBY},
        {"reload", no_argument, NULL, OPT_RELOAD},
        {"forget", required_argument, NULL, OPT_FORGET},
        {"example", no_argument, NULL, OPT_EXAMPLE},
        {"keys", no_argument, NULL, OPT_KEYS},
        {"json", no_argument, NULL, OPT_JSON},
        {"tokenizer", required_argument, NULL, OPT_TOKENIZER},

        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *path = NULL, *stream = NULL, *tokenizer = NULL, *forget[FORGET_MAX];
    struct server_options how = {.forget = forget};
    bool check = false, plan = false, example = false, keys = false, json = false;
    for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case OPT_CHECK:
            check = true;
            break;
        case OPT_PLAN:
            plan = true;
            break;
        case OPT_STREAM:
            stream = optarg;
            break;
        case OPT_STATE:
            how.state_dir = optarg;
            break;
        case OPT_STANDBY:
            how.standby = true;
            break;
        case OPT_RELOAD:
            how.reload = true;
            break;
        case OPT_FORGET:
            if (how.n_forget == FORGET_MAX) {
                fputs("skipalignd: --forget: too many at once\n", stderr);
                return EXIT_FAILURE;
            }
            forget[how.n_forget++] = optarg;
            break;
        case OPT_EXAMPLE:
            example = true;
            break;
        case OPT_KEYS:
            keys = true;
            break;
        case OPT_JSON:
            json = true;
            break;
        case OPT_TOKENIZER:
            tokenizer = optarg;
            break;
        case OPT_VERSION:
            puts("skipalignd " SKIPALIGN_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_FAILURE;
        }
    }
    if (example)
        return schema_print_example(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (keys)
        return (json ? schema_print_keys_json : schema_print_keys)(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (tokenizer != NULL && path == NULL && optind + 1 >= argc)
        return show_tokenizer(tokenizer, optind < argc ? argv[optind] : NULL, json);
    if (path == NULL || optind != argc) {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }

    if (plan) {
        raise_file_limit();
        const int planned = plan_run(path, stream, stdout);
        return planned == 0 ? EXIT_SUCCESS : planned == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
    }

    struct conf *conf = NULL;
    struct conf_errors errors = {0};
    int rc = draft_load(path, how.state_dir, &conf, &errors);
    if (rc == -ENOMEM) {
        fputs("skipalignd: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    if (check && json)
        (void)conf_errors_print_json(&errors, path, stdout);
    else if (rc != 0 && check)
        fputs(errors.text, stderr);
    else if (rc != 0)
        log_errors(errors.text);
    else if (check)
        printf("%s: good: %u corpora, %u streams\n", path, conf->n_corpora, conf->n_streams);
    conf_errors_fini(&errors);
    if (check || rc != 0) {
        conf_free(conf);
        return rc == 0 ? EXIT_SUCCESS : EXIT_CONFIG;
    }
    raise_file_limit();
    struct err err = {""};
    int signal_fd = signals_open(&err);
    rc = signal_fd < 0 ? signal_fd : server_run(conf, &how, signal_fd, &err);
    if (rc != 0)
        log_error("%s", err.text);
    else
        log_info("stopped");
    if (signal_fd >= 0)
        (void)close(signal_fd);
    conf_free(conf);
    return rc == 0 ? EXIT_SUCCESS : rc == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
}
