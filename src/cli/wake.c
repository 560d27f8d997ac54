#include "cli/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static int ends[2] = {-1, -1}; /* read, write; both non-blocking, so a full pipe is simply full */
static volatile sig_atomic_t interrupts, leaving;

void cli_wake_notify(void *arg)
{
    (void)arg;
    const char byte = 0;
    ssize_t n = write(ends[1], &byte, 1);
    (void)n; /* full: the reader has enough to wake up for */
}

static void on_signal(int number)
{
    int kept = errno;
    if (number == SIGINT) {
        interrupts = interrupts + 1;
    } else {
        leaving = 1;
    }
    cli_wake_notify(NULL);
    errno = kept;
}

bool cli_wake_open(struct err *err)
{
    if (pipe(ends) != 0) {
        return err_set_errno(err, errno, "make a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return true;
}

void cli_wake_close(void)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0) {
            close(ends[i]);
        }
        ends[i] = -1;
    }
}

bool cli_wake_wait(int fd, int timeout_ms)
{
    struct pollfd polled[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    if (poll(polled, fd >= 0 ? 2 : 1, timeout_ms) <= 0) {
        return false; /* time is up, or a signal: its byte is there for the next call */
    }
    if (polled[0].revents) {
        char bytes[256];
        while (read(ends[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
        }
    }
    return fd >= 0 && polled[1].revents != 0;
}

bool cli_wake_take_interrupt(void)
{
    if (interrupts == 0) {
        return false;
    }
    interrupts = 0;
    return true;
}

bool cli_wake_must_leave(void)
{
    return leaving != 0;
}
