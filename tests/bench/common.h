/* common - what the benchmark programs share: time, a configuration, an end with a message.
 *
 * A program measures one thing, for as many rounds as it is told, and prints a line of numbers for each;
 * `run` starts them in turn and compares. Whatever goes wrong ends the program with exit code 1.
 */
#ifndef SKIPALIGN_BENCH_COMMON_H
#define SKIPALIGN_BENCH_COMMON_H

#include "config/conf.h"
#include "corpus/corpus.h"

#include <stdint.h>

void bench_fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

double bench_seconds(void);     /* monotonic */
double bench_cpu_seconds(void); /* user and system time of this process, all threads */

uint64_t bench_sum(const int32_t *x, uint32_t n); /* of a batch's tokens, row by row */

/* bench_number - argument number i; usage is told where it is missing or not a number. */
double bench_number(int argc, char **argv, int i, const char *usage);

/* The first corpus of a configuration, as the daemon would open it. */
const struct conf *bench_conf(const char *path);
struct corpus *bench_corpus(const struct conf *conf);
void bench_read(const struct corpus_extent *e, char *data); /* all of it, one pread after another */

#endif
