/* log - one line on stderr a message; any thread.
 *
 * Only the thread that decides what happens next logs, once: what, which object, what we do now, the error.
 * No keys and no corpus text. Under systemd (JOURNAL_STREAM is set) each line starts with its <priority>;
 * otherwise with the time and a word.
 */
#ifndef SKIPALIGN_BASE_LOG_H
#define SKIPALIGN_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_gate - for what a peer can cause: true at most `burst` times in each 10 s window; when a new window
 * opens after some were held back, *ret_held says how many. One gate belongs to one thread. */
struct log_gate {
    uint64_t window_start_ns;
    uint32_t passed, held;
};
bool log_gate_pass(struct log_gate *g, uint32_t burst, uint32_t *ret_held);
/* log_held - " (7 more not logged)" for the end of such a line; empty if none were held back. */
#define LOG_HELD 40
const char *log_held(uint32_t held, char ret[LOG_HELD]);

#endif
