/* Ctrl-C and SIGTERM as a question that long work asks, so that it can clean up. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

struct cli_interrupt {
    struct sigaction old_int, old_term;
};

/* Between the two the signals do nothing but make cli_is_interrupted true. Not nested. */
void cli_interrupt_watch(struct cli_interrupt *interrupt);
void cli_interrupt_end(const struct cli_interrupt *interrupt);

bool cli_is_interrupted(void *unused);

#endif
