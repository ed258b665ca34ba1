#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const own_texts[] = {
    "wrong configuration",
    "not in the expected format",
    "changed since it was indexed",
    "unusable tokenizer model",
    "over a limit",
    "too much unusable data",
    "cancelled",
};
_Static_assert(sizeof own_texts / sizeof own_texts[0] == ERR_CONFIG - ERR__LAST + 1, "a text for each code");

const char *err_str(int rc)
{
    if (rc <= ERR_CONFIG && rc >= ERR__LAST)
        return own_texts[ERR_CONFIG - rc];
    return strerrordesc_np(rc < 0 ? -rc : rc) != NULL ? strerrordesc_np(rc < 0 ? -rc : rc) : "unknown error";
}

int err_set(struct err *e, int rc, const char *fmt, ...)
{
    if (e == NULL)
        return rc;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return rc;
}

int err_sys(struct err *e, int rc, const char *fmt, ...)
{
    if (e == NULL)
        return rc;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        (void)snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", err_str(rc));
    return rc;
}

int err_wrap(struct err *e, int rc, const char *fmt, ...)
{
    if (e == NULL)
        return rc;
    struct err cause = *e;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        (void)snprintf(e->text + n, sizeof e->text - (size_t)n, ": %.*s", (int)(sizeof e->text) - n - 3,
                       cause.text);
    return rc;
}

void err_check_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "skipalign: internal error: '%s' does not hold at %s:%d; please report this\n", what,
            file, line);
    abort();
}
