#include "base/log.h"
#include "config/file.h"
#include "config/schema.h"
#include "server.h"
#include "service/signals.h"
#include "text/template.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EXIT_CONFIG 78 /* sysexits.h EX_CONFIG: systemd does not start us again */

static const char usage[] =
    "usage: skipalignd -c FILE [--state DIR]     serve, in the foreground; the log goes to stderr\n"
    "       skipalignd -c FILE --check [--json]  check the configuration, say every error, exit 0 or 78\n"
    "       skipalignd --example                 print a commented configuration file\n"
    "       skipalignd --keys [--json]           print every configuration key with type, range, default and "
    "help\n"
    "       skipalignd --version | --help\n";

/* What only the stage behind the file can tell: whether its templates are there. */
static int check_templates(const char *path, const struct conf *conf, struct conf_errors *reterrors)
{
    struct err e;
    size_t size;
    FILE *f = open_memstream(&reterrors->text, &size);
    if (f == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < conf->n_streams; i++) {
        const struct conf_stream *s = &conf->streams[i];
        if (template_check_name(s->template_name, conf->templates, conf->n_templates, &e) == 0)
            continue;
        reterrors->n++;
        fprintf(f, "%s: streams[%u].template: %s\n", path, i, e.text);
    }
    if (fclose(f) != 0)
        return -ENOMEM;
    if (reterrors->n > 0)
        return ERR_CONFIG;
    conf_errors_fini(reterrors);
    return 0;
}

static int load(const char *path, struct conf **ret, struct conf_errors *reterrors)
{
    struct conf *conf = NULL;
    int rc = conf_load(path, &conf, reterrors);
    if (rc == 0)
        rc = check_templates(path, conf, reterrors);
    if (rc == 0)
        *ret = conf;
    else
        conf_free(conf);
    return rc;
}

/* One line of the log for each error of a file, so that the journal has them as errors. */
static void log_errors(const char *text)
{
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
        log_error("%.*s", (int)(end - text), text);
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
    int rc = load(path, &conf, &errors);
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
    if (state_dir != NULL) {
        free(conf->state_dir);
        conf->state_dir = strdup(state_dir);
        if (conf->state_dir == NULL) {
            conf_free(conf);
            fputs("skipalignd: out of memory\n", stderr);
            return EXIT_FAILURE;
        }
    }
    raise_file_limit();
    struct err err = {""};
    int signal_fd = signals_open(&err);
    rc = signal_fd < 0 ? signal_fd : server_run(conf, signal_fd, &err);
    if (rc != 0)
        log_error("%s", err.text);
    else
        log_info("stopped");
    if (signal_fd >= 0)
        (void)close(signal_fd);
    conf_free(conf);
    return rc == 0 ? EXIT_SUCCESS : rc == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
}
