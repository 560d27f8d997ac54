#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_s(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000000;
}

int64_t clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

void clock_format_utc(int64_t wall_ms, char out[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char day[24];
    gmtime_r(&seconds, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 32, "%s.%03dZ", day, (int)(wall_ms % 1000));
}

void clock_sleep_ns(int64_t duration_ns)
{
    struct timespec left = {.tv_sec = duration_ns / 1000000000,
                            .tv_nsec = duration_ns % 1000000000};
    while (duration_ns > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}
