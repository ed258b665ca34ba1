/* scan - making the index of a corpus of one file, against `wc -l` on that file, in turn.
 * Each round: "OUR_SECONDS WC_SECONDS". */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static double scan(const struct conf *conf, const char *index)
{
    if (unlink(index) != 0 && errno != ENOENT)
        bench_fail("%s: %s", index, strerror(errno));
    double start = bench_seconds();
    struct corpus *c = bench_corpus(conf);
    double seconds = bench_seconds() - start;
    if (!corpus_scanned(c))
        bench_fail("%s: was used, though it should have been made", index);
    corpus_close(c);
    return seconds;
}

static double count_lines(const char *path)
{
    char *argv[] = {(char *)"wc", (char *)"-l", (char *)path, NULL};
    posix_spawn_file_actions_t silent;
    pid_t pid;
    int status;
    (void)posix_spawn_file_actions_init(&silent);
    (void)posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    double start = bench_seconds();
    int rc = posix_spawnp(&pid, "wc", &silent, NULL, argv, environ);
    if (rc != 0 || waitpid(pid, &status, 0) != pid || status != 0)
        bench_fail("wc -l %s did not work", path);
    double seconds = bench_seconds() - start;
    (void)posix_spawn_file_actions_destroy(&silent);
    return seconds;
}

int main(int argc, char **argv)
{
    double rounds = bench_number(argc, argv, 2, "scan CONFIG ROUNDS");
    const struct conf *conf = bench_conf(argv[1]);
    char index[PATH_MAX];
    (void)snprintf(index, sizeof index, "%s/corpora/%s.index", conf->state_dir, conf->corpora[0].name);
    (void)count_lines(conf->corpora[0].paths[0]); /* from now on the file is in memory */
    for (int i = 0; i < rounds; i++) {
        double ours = scan(conf, index);
        printf("%f %f\n", ours, count_lines(conf->corpora[0].paths[0]));
    }
    return 0;
}
