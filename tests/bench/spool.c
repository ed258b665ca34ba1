/* spool - making the copy of a compressed corpus of one file, until it is on the disk, against a command that
 * does the same, in turn. Each round: "OUR_SECONDS THEIR_SECONDS". The command is a shell's: "zcat FILE". */
#include "common.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* When the scan begins, the copy is there. */
static int note_end(void *arg, const char *doing, uint64_t done, uint64_t all)
{
    double *end = arg;
    (void)done, (void)all;
    if (*end == 0 && strcmp(doing, "indexing") == 0)
        *end = bench_seconds();
    return 0;
}

static void must_run(const char *command)
{
    if (system(command) != 0)
        bench_fail("%s: did not work", command);
}

static double spool(const struct conf *conf)
{
    const struct corpus_place place = {.state_dir = conf->state_dir,
                                       .io = conf->io,
                                       .spool = (uint64_t)conf->spool,
                                       .threads = (uint32_t)conf->workers};
    double end = 0;
    struct corpus *c;
    struct err err;
    double start = bench_seconds();
    if (corpus_open(&conf->corpora[0], &place, &(struct corpus_progress){note_end, &end}, &c, &err) != 0)
        bench_fail("%s", err.text);
    if (corpus_copied(c) == 0)
        bench_fail("%s: is not compressed", conf->corpora[0].paths[0]);
    corpus_close(c);
    return end - start;
}

int main(int argc, char **argv)
{
    double rounds = bench_number(argc, argv, 2, "spool CONFIG ROUNDS COMMAND");
    const struct conf *conf = bench_conf(argv[1]);
    char theirs[2 * PATH_MAX + 64], clean[PATH_MAX + 64];
    if (argc != 4)
        bench_fail("usage: spool CONFIG ROUNDS COMMAND");
    (void)snprintf(clean, sizeof clean, "mkdir -p '%s' && rm -rf '%s/corpora' '%s/copy'", conf->state_dir,
                   conf->state_dir, conf->state_dir);
    (void)snprintf(theirs, sizeof theirs, "%s > '%s/copy' && sync '%s/copy'", argv[3], conf->state_dir,
                   conf->state_dir);
    for (int i = -1; i < rounds; i++) { /* the first is not counted: from then on the file is in memory */
        must_run(clean);
        double ours = spool(conf);
        must_run(clean);
        double start = bench_seconds();
        must_run(theirs);
        if (i >= 0)
            printf("%f %f\n", ours, bench_seconds() - start);
    }
    must_run(clean);
    return 0;
}
