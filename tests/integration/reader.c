/* What the C client gets, for tests: a line "STEP HASH" for each batch, "end STEP REASON" at last.
 *
 *     reader ENDPOINTS STREAM DEAD_AFTER_MS     (0: the default)
 */
#include "skipalign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 120000 /* until a test that hangs is given up */

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const skipalign_options o = {
        .stream = argv[2], .dead_after_ms = (uint32_t)strtoul(argv[3], NULL, 10), .verify = 1};
    const skipalign_batch *b;
    skipalign_feed *feed;
    int rc = skipalign_open(argv[1], &o, &feed);
    while (rc == 0 && (rc = skipalign_next(feed, &b, PATIENCE_MS)) == 0)
        if (printf("%" PRIu64 " %" PRIu64 "\n", b->step, b->hash) < 0 || fflush(stdout) != 0)
            break;
    if (rc == SKIPALIGN_END)
        (void)printf("end %" PRIu64 " %s\n", skipalign_end(feed)->step, skipalign_end(feed)->reason);
    else
        (void)fprintf(stderr, "reader: %s\n", skipalign_message(feed));
    skipalign_close(feed);
    return rc == SKIPALIGN_END ? 0 : 1;
}
