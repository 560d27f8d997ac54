#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/mem.h"

/* How a job runs. `round` counts jobs; its change is the signal to start. The caller publishes the
 * job and bumps `round`; members that spin see it at once, members that sleep are woken by the
 * condition (only when `sleepers` says somebody sleeps, so a busy pool makes no system calls). A
 * member takes pieces until the counter passes the end and then adds itself to `finished`; the
 * caller works too and returns when all members have finished, so a member can never still hold an
 * old job.
 *
 * SPIN_NS is the time a member looks for the next job before it sleeps. Layers follow each other
 * within 5-50 us, waking a thread costs about as much; a longer spin only burns the CPU of others.
 */
enum { SPIN_NS = 50000, SPIN_LOOK = 64, THREADS_MAX = 256 };

struct member {
    struct pool *pool;
    size_t index;
    pthread_t thread;
};

struct pool {
    size_t size;
    struct member *members; /* [size]; member 0 is the caller and has no thread */
    size_t started;         /* threads that run; only touched by create and destroy */

    pthread_mutex_t turn; /* one job at a time */

    pthread_mutex_t lock; /* guards sleeping only */
    pthread_cond_t wake;
    atomic_size_t sleepers;
    atomic_bool stopping;

    atomic_ullong round;
    pool_fn *fn; /* fn, arg, piece_count: written before `round` is bumped */
    void *arg;
    size_t piece_count;
    char apart1[64]; /* keeps the two busy counters off each other's cache lines */
    atomic_size_t next_piece;
    char apart2[64];
    atomic_size_t finished;
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_pieces(struct pool *pool, size_t index)
{
    for (;;) {
        size_t piece = atomic_fetch_add_explicit(&pool->next_piece, 1, memory_order_relaxed);
        if (piece >= pool->piece_count) {
            return;
        }
        pool->fn(pool->arg, piece, index);
    }
}

/* Waits until `round` differs from `seen` or the pool stops. */
static void wait_round(struct pool *pool, unsigned long long seen)
{
    int64_t deadline = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_LOOK; i++) {
            if (atomic_load_explicit(&pool->round, memory_order_acquire) != seen) {
                return;
            }
            cpu_relax();
        }
    } while (clock_now_ns() < deadline);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->round) == seen && !atomic_load(&pool->stopping)) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *member_main(void *arg)
{
    struct member *me = arg;
    struct pool *pool = me->pool;
    unsigned long long seen = 0;
    for (;;) {
        wait_round(pool, seen);
        if (atomic_load(&pool->stopping)) {
            return NULL;
        }
        seen = atomic_load_explicit(&pool->round, memory_order_acquire);
        take_pieces(pool, me->index);
        atomic_fetch_add_explicit(&pool->finished, 1, memory_order_release);
    }
}

struct pool *pool_create(size_t thread_count, struct err *err)
{
    assert(thread_count >= 1 && thread_count <= THREADS_MAX);
    struct pool *pool = MEM_NEW(struct pool);
    if (!pool) {
        err_set_memory(err, sizeof *pool);
        return NULL;
    }
    pool->size = thread_count;
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->members = MEM_ARRAY(struct member, thread_count);
    if (!pool->members) {
        err_set_memory(err, thread_count * sizeof *pool->members);
        pool_destroy(pool);
        return NULL;
    }
    for (size_t i = 1; i < thread_count; i++) {
        pool->members[i] = (struct member){.pool = pool, .index = i};
        int fault = pthread_create(&pool->members[i].thread, NULL, member_main, &pool->members[i]);
        if (fault) {
            err_set_errno(err, fault, "start compute thread %zu of %zu", i, thread_count);
            pool_destroy(pool);
            return NULL;
        }
        pool->started++;
    }
    return pool;
}

static void wake_members(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void pool_destroy(struct pool *pool)
{
    if (!pool) {
        return;
    }
    atomic_store(&pool->stopping, true);
    atomic_fetch_add(&pool->round, 1); /* ends the spinning of those who spin */
    wake_members(pool);
    for (size_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->members[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->turn);
    mem_free(pool->members);
    mem_free(pool);
}

size_t pool_size(const struct pool *pool)
{
    return pool->size;
}

void pool_run(struct pool *pool, pool_fn *fn, void *arg, size_t piece_count)
{
    if (piece_count == 0) {
        return;
    }
    pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->arg = arg;
    pool->piece_count = piece_count;
    atomic_store_explicit(&pool->next_piece, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    bool alone = pool->size == 1 || piece_count == 1;
    if (!alone) {
        atomic_fetch_add(&pool->round, 1);
        if (atomic_load(&pool->sleepers)) {
            wake_members(pool);
        }
    }
    take_pieces(pool, 0);
    size_t spins = 0;
    while (!alone &&
           atomic_load_explicit(&pool->finished, memory_order_acquire) != pool->size - 1) {
        cpu_relax();
        if (++spins > 10000) { /* a member lost its CPU to somebody else: let it have ours */
            clock_sleep_ns(20000);
        }
    }
    pthread_mutex_unlock(&pool->turn);
}
