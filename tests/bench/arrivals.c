/* arrivals - a trainer that notes when each batch came: libskipalign as it is, 8 credits, several feeders
 * parted by commas.
 *
 * Opens the stream at FIRST and reads COUNT batches (0: any number), for SECONDS at the most, or to the end.
 * "STEP GENERATION TIME TOKENS" for each, on the clock that all programs share, tokens without padding;
 * "FIRST 0 TIME 0" before them says when it began to open.
 */
#include "common.h"

#include "base/array.h"
#include "skipalign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 120000

struct arrival {
    uint64_t step, generation, tokens;
    double time;
};

int main(int argc, char **argv)
{
    static const char usage[] = "arrivals ENDPOINTS STREAM FIRST COUNT SECONDS";
    double first = bench_number(argc, argv, 3, usage), count = bench_number(argc, argv, 4, usage),
           end = bench_seconds() + bench_number(argc, argv, 5, usage);
    const skipalign_options o = {.stream = argv[2], .job = "arrivals", .step = (uint64_t)first};
    const skipalign_batch *b;
    skipalign_feed *feed;
    struct arrival *seen = NULL;
    size_t n = 0, cap = 0;
    double opened = bench_seconds();
    int rc = skipalign_open(argv[1], &o, &feed);
    while (rc == 0 && (count == 0 || (double)n < count) && bench_seconds() < end &&
           (rc = skipalign_next(feed, &b, PATIENCE_MS)) == 0) {
        if (array_grow(&seen, &cap, n + 1) != 0)
            bench_fail("no memory");
        seen[n++] = (struct arrival){b->step, b->generation, bench_sum(b->tokens, b->rows), bench_seconds()};
    }
    if (rc != 0 && rc != SKIPALIGN_END)
        bench_fail("%s: %s", argv[1], skipalign_message(feed));
    skipalign_close(feed);
    printf("%.0f 0 %f 0\n", first, opened);
    for (size_t i = 0; i < n; i++)
        printf("%" PRIu64 " %" PRIu64 " %f %" PRIu64 "\n", seen[i].step, seen[i].generation, seen[i].time,
               seen[i].tokens);
    free(seen);
    return 0;
}
