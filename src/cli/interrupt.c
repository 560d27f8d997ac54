#include "cli/interrupt.h"

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

void cli_interrupt_watch(struct cli_interrupt *interrupt)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    is_interrupted = 0;
    sigaction(SIGINT, &action, &interrupt->old_int);
    sigaction(SIGTERM, &action, &interrupt->old_term);
}

void cli_interrupt_end(const struct cli_interrupt *interrupt)
{
    sigaction(SIGINT, &interrupt->old_int, NULL);
    sigaction(SIGTERM, &interrupt->old_term, NULL);
}

bool cli_is_interrupted(void *unused)
{
    (void)unused;
    return is_interrupted != 0;
}
