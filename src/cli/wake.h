/* One place to wait for three things at once: new events of a stream, keys, and Ctrl-C. Everybody
 * writes a byte to one pipe; a signal handler may do that, a condition variable would not hear it.
 */
#ifndef CLI_WAKE_H
#define CLI_WAKE_H

#include <stdbool.h>

#include "base/err.h"

/* From here on SIGINT, SIGTERM and SIGHUP no longer end the process but are counted. */
bool cli_wake_open(struct err *err);
void cli_wake_close(void);

/* For engine_submit's notify; arg is not used. */
void cli_wake_notify(void *arg);

/* Waits for a notify, a signal, or, if fd >= 0, for something to read there. timeout_ms < 0: for
 * ever. True when fd can be read (or has ended). */
bool cli_wake_wait(int fd, int timeout_ms);

/* True once for each Ctrl-C. */
bool cli_wake_take_interrupt(void);

/* SIGTERM or SIGHUP came: leave. */
bool cli_wake_must_leave(void);

#endif
