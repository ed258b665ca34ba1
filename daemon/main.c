#include "base/log.h"
#include "config/file.h"
#include "config/schema.h"
#include "server.h"
#include "service/signals.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_CONFIG 78 /* sysexits.h EX_CONFIG: systemd does not start us again */

static const char usage[] =
    "usage: skipalignd -c FILE [--state DIR]     serve, in the foreground; the log goes to stderr\n"
    "       skipalignd -c FILE --check [--json]  check the configuration, say every error, exit 0 or 78\n"
    "       skipalignd --example                 print a commented configuration file\n"
    "       skipalignd --keys [--json]           print every configuration key with type, range, default and "
    "help\n"
    "       skipalignd --version | --help\n";

int main(int argc, char **argv)
{
    enum { OPT_CHECK = 256, OPT_STATE, OPT_EXAMPLE, OPT_KEYS, OPT_JSON, OPT_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"state", required_argument, NULL, OPT_STATE},
        {"example", no_argument, NULL, OPT_EXAMPLE},
        {"keys", no_argument, NULL, OPT_KEYS},
        {"json", no_argument, NULL, OPT_JSON},

        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *path = NULL, *state_dir = NULL;
    bool check = false, example = false, keys = false, json = false;
    for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case OPT_CHECK:
            check = true;
            break;
        case OPT_STATE:
            state_dir = optarg;
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
    if (path == NULL || optind != argc) {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }

    struct conf *conf = NULL;
    struct conf_errors errors = {0};
    int loaded = conf_load(path, &conf, &errors);
    if (check && json) {
        int rc = conf_errors_print_json(&errors, path, stdout);
        conf_errors_fini(&errors);
        conf_free(conf);
        return rc != 0 ? EXIT_FAILURE : loaded == 0 ? EXIT_SUCCESS : EXIT_CONFIG;
    }
    if (loaded != 0) {
        fputs(errors.text != NULL ? errors.text : "out of memory\n", stderr);
        conf_errors_fini(&errors);
        return EXIT_CONFIG;
    }
    if (check) {
        printf("%s: good: %u corpora, %u streams\n", path, conf->n_corpora, conf->n_streams);
        conf_free(conf);
        return EXIT_SUCCESS;
    }
    if (state_dir != NULL) {
        free(conf->state_dir);
        conf->state_dir = strdup(state_dir);
    }
    struct err err = {""};
    int signal_fd = signals_open(&err);
    int rc = signal_fd < 0 ? signal_fd : conf->state_dir == NULL ? -1 : server_run(conf, signal_fd, &err);
    if (rc != 0)
        log_error("%s", err.text);
    else
        log_info("stopped");
    if (signal_fd >= 0)
        (void)close(signal_fd);
    conf_free(conf);
    return rc == 0 ? EXIT_SUCCESS : rc == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
}
