#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void put(int priority, const char *word, const char *fmt, va_list ap)
{
    char line[2048];
    int n;
    if (getenv("JOURNAL_STREAM") != NULL) {
        n = snprintf(line, sizeof line, "<%d>", priority);
    } else {
        struct timespec now;
        struct tm tm;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)localtime_r(&now.tv_sec, &tm);
        n = snprintf(line, sizeof line, "%04d-%02d-%02d %02d:%02d:%02d.%03ld %-5s ", tm.tm_year + 1900,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000,
                     word);
    }
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    size_t size = (size_t)n + (m < 0 ? 0 : (size_t)m);
    if (size > sizeof line - 2)
        size = sizeof line - 2;
    for (size_t i = (size_t)n; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' '; /* what a peer or a path may bring must not end a line or steer a terminal */
    line[size++] = '\n';
    (void)!write(STDERR_FILENO, line, size); /* one write: lines of several threads never mix */
}

#define LOG_AT(priority, word)        \
    do {                              \
        va_list ap;                   \
        va_start(ap, fmt);            \
        put(priority, word, fmt, ap); \
        va_end(ap);                   \
    } while (0)

void log_error(const char *fmt, ...)
{
    LOG_AT(3, "error");
}

void log_warn(const char *fmt, ...)
{
    LOG_AT(4, "warn");
}

void log_info(const char *fmt, ...)
{
    LOG_AT(6, "info");
}

bool log_gate_pass(struct log_gate *g, uint32_t burst, uint32_t *ret_held)
{
    uint64_t now = clock_ns();
    *ret_held = 0;
    if (g->window_start_ns == 0 || now - g->window_start_ns > 10 * NS_PER_S) {
        *ret_held = g->held;
        *g = (struct log_gate){.window_start_ns = now};
    }
    if (g->passed >= burst) {
        g->held++;
        return false;
    }
    g->passed++;
    return true;
}

const char *log_held(uint32_t held, char ret[LOG_HELD])
{
    ret[0] = '\0';
    if (held > 0)
        (void)snprintf(ret, LOG_HELD, " (%u more not logged)", held);
    return ret;
}
