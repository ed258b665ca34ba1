#include "common.h"

#include "base/clock.h"
#include "config/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void bench_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

double bench_seconds(void)
{
    return (double)clock_ns() / (double)NS_PER_S;
}

static double timeval_seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

double bench_cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return timeval_seconds(u.ru_utime) + timeval_seconds(u.ru_stime);
}

uint64_t bench_sum(const int32_t *x, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (uint64_t)x[i];
    return sum;
}

double bench_number(int argc, char **argv, int i, const char *usage)
{
    char *end = NULL;
    double x = i < argc ? strtod(argv[i], &end) : 0;
    if (end == NULL || end == argv[i] || *end != '\0')
        bench_fail("usage: %s", usage);
    return x;
}

const struct conf *bench_conf(const char *path)
{
    struct conf *conf;
    struct conf_errors errors = {NULL, 0};
    if (conf_load(path, &conf, &errors) != 0)
        bench_fail("%s", errors.text != NULL ? errors.text : path);
    return conf;
}

struct corpus *bench_corpus(const struct conf *conf)
{
    struct corpus *c;
    struct err err;
    const struct corpus_place place = {.state_dir = conf->state_dir,
                                       .io = conf->io,
                                       .spool = (uint64_t)conf->spool,
                                       .threads = (uint32_t)conf->workers};
    if (corpus_open(&conf->corpora[0], &place, NULL, &c, &err) != 0)
        bench_fail("%s", err.text);
    return c;
}

void bench_read(const struct corpus_extent *e, char *data)
{
    for (uint64_t got = 0; got < e->size;) {
        ssize_t n = pread(e->fd, data + got, e->size - got, (off_t)(e->offset + got));
        if (n <= 0)
            bench_fail("pread: %s", n < 0 ? strerror(errno) : "the file has become shorter");
        got += (uint64_t)n;
    }
}
