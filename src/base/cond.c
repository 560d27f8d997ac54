#include "base/cond.h"

#include <time.h>

#include "base/clock.h"

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
#ifndef __APPLE__ /* which has relative waits instead */
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns)
{
    if (deadline_ns == COND_NEVER) {
        pthread_cond_wait(cond, lock);
        return;
    }
#ifdef __APPLE__
    int64_t left = deadline_ns - clock_now_ns();
    left = left > 0 ? left : 0;
    struct timespec span = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    pthread_cond_timedwait_relative_np(cond, lock, &span);
#else
    struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                             .tv_nsec = deadline_ns % 1000000000};
    pthread_cond_timedwait(cond, lock, &until);
#endif
}
