/* notify - what systemd hears of us (sd_notify); without systemd each call does nothing. Any thread. */
#ifndef SKIPALIGN_SERVICE_NOTIFY_H
#define SKIPALIGN_SERVICE_NOTIFY_H

void notify_ready(void);
void notify_stopping(void);
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* notify_extend - start-up goes on: asks for `seconds` more before TimeoutStartSec strikes. */
void notify_extend(unsigned seconds);

#endif
