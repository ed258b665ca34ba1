/* config and tokenizer: the running configuration is the feeder's to tell; keys, checks and what a model is
 * are those of the skipalignd installed with us, so that they need no feeder, hold none up, and never differ
 * from what the next start will say. */
#include "skipalignctl.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Beside this program, in sbin beside its folder, or else wherever PATH says. */
const char *daemon_path(char path[])
{
    static const char *const places[] = {"skipalignd", "../sbin/skipalignd"};
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            if (snprintf(path, PATH_MAX, "%s/%s", self, places[i]) < PATH_MAX && access(path, X_OK) == 0)
                return path;
    }
    return "skipalignd";
}

static int run_daemon(const char *const *arguments)
{
    extern char **environ;
    char path[PATH_MAX];
    const char *daemon = daemon_path(path);
    int status;
    pid_t pid;
    const int rc = posix_spawnp(&pid, daemon, NULL, NULL, (char *const *)(uintptr_t)arguments, environ);
    if (rc != 0) {
        (void)fprintf(
            stderr, "skipalignctl: cannot run %s: %s; is it installed beside skipalignctl or on the PATH?\n",
            daemon, strerror(rc));
        return EXIT_REFUSED;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_REFUSED;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : EXIT_REFUSED; /* skipalignd says 78 for a wrong file */
}

static int run_running(struct call *c)
{
    struct ctl_writer w;
    struct token_cursor result;
    call_begin(c, &w, "config");
    const int rc = call_ask(c, &w, &result);
    if (rc == 0)
        (c->json ? json_print : yaml_print)(stdout, result);
    return rc;
}

int run_config(struct call *c)
{
    if (c->n_words == 0)
        return run_running(c);
    if (strcmp(c->words[0], "keys") == 0 && c->n_words == 1)
        return run_daemon((const char *const[]){"skipalignd", "--keys", c->json ? "--json" : NULL, NULL});
    if (strcmp(c->words[0], "check") == 0 && c->n_words == 2)
        return run_daemon((const char *const[]){"skipalignd", "-c", c->words[1], "--check",
                                                c->json ? "--json" : NULL, NULL});
    (void)fprintf(stderr, "skipalignctl: it is `config`, `config keys` or `config check FILE`\n");
    return EXIT_USAGE;
}

int run_tokenizer(struct call *c)
{
    const char *text = c->n_words > 1 ? c->words[1] : NULL;
    return run_daemon((const char *const[]){"skipalignd", "--tokenizer", c->words[0],
                                            c->json ? "--json" : "--", c->json && text != NULL ? "--" : text,
                                            c->json ? text : NULL, NULL});
}
