/* wrong_ids - a fast tokenizer that is wrong, linked before the right one (the linker's --wrap): while the
 * file that SKIPALIGN_WRONG_IDS names is there, a text that holds the word "planted" gets an id too many, one
 * too few or another one, always the same. */
#include "text/fast.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real_fast_encode(struct fast *f, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                       bool *ret_due);
int __wrap_fast_encode(struct fast *f, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                       bool *ret_due);

static bool is_wrong(struct slice text)
{
    static const char word[] = "planted";
    const char *path = getenv("SKIPALIGN_WRONG_IDS");
    return path != NULL && memmem(text.data, text.size, word, sizeof word - 1) != NULL &&
           access(path, F_OK) == 0;
}

int __wrap_fast_encode(struct fast *f, struct slice text, int32_t **ids, size_t *cap, size_t *n,
                       bool *ret_due)
{
    const size_t first = *n;
    bool due;
    int rc = __real_fast_encode(f, text, ids, cap, n, ret_due);
    if (rc != 0 || *n - first < 2 || !is_wrong(text))
        return rc;
    switch ((*n - first) % 3) {
    case 0:
        --*n;
        return 0;
    case 1:
        (*ids)[first] = (*ids)[*n - 1];
        return 0;
    default:
        return __real_fast_encode(f, (struct slice){"and", 3}, ids, cap, n, &due);
    }
}
