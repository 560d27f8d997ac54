/* The compute pool: a fixed team of threads that run one job at a time. The caller works too, so a
 * pool of 1 has no threads of its own. Idle members spin for some microseconds (the next layer
 * comes soon) and then sleep: an idle pool uses no CPU.
 *
 * Work is cut in pieces by the caller and pieces are stolen by an atomic counter, so which thread
 * runs a piece is not defined: pieces must not share accumulators. That is what makes results
 * independent of the thread count. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#include "base/err.h"

struct pool;

/* Runs one piece. `thread` is 0..pool_size-1 and unique among pieces that run at the same time:
 * an index for per-thread scratch. */
typedef void pool_fn(void *arg, size_t piece, size_t thread);

/* thread_count 1..256. NULL with ERR_IO or ERR_MEMORY. */
struct pool *pool_create(size_t thread_count, struct err *err);
void pool_destroy(struct pool *pool);
size_t pool_size(const struct pool *pool);

/* Runs pieces 0..piece_count-1 and returns when all have ended. One caller at a time per pool
 * (callers on several threads take turns on a lock). Never allocates. */
void pool_run(struct pool *pool, pool_fn *fn, void *arg, size_t piece_count);

#endif
