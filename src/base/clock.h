/* Time. Monotonic time for durations and deadlines, wall time for stamps. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_now_ns(void);  /* monotonic; not comparable across processes */
int64_t clock_wall_s(void);  /* seconds since 1970-01-01 UTC */
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */

/* "2026-01-31T23:59:59.123Z" (24 characters and NUL) */
void clock_format_utc(int64_t wall_ms, char out[32]);

void clock_sleep_ns(int64_t duration_ns);

#endif
