/* What a SUB socket may subscribe to: a topic that is understood is written in one way only. */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "proto/message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct msg_open open;
    bool tap;
    char again[MSG_NAME_MAX + 64];
    int rc = msg_parse_topic((const char *)data, size, &open, &tap);
    if (rc != 0) {
        CHECK(rc == -EPROTO);
        return 0;
    }
    int n = tap ? snprintf(again, sizeof again, "%s/tap/", open.stream)
                : snprintf(again, sizeof again, "%s/%" PRIu32 "/%" PRIu32 "/%" PRIu64 "/", open.stream,
                           open.world, open.rank, open.step);
    CHECK(n > 0 && (size_t)n == size && memcmp(again, data, size) == 0);
    return 0;
}
