/* Waiting on a condition until a moment of clock_now_ns, so that a thread that has nothing to do
 * before then sleeps instead of looking at the clock. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdint.h>

enum { COND_NEVER = -1 };

/* A condition variable whose timed waits go by the monotonic clock. */
void cond_init(pthread_cond_t *cond);

/* Like pthread_cond_wait, but returns at `deadline_ns` (of clock_now_ns) at the latest; COND_NEVER
 * waits without end. Wakes of no reason are allowed, as for every condition. */
void cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns);

#endif
