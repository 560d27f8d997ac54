#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/mem.h"

/* How a job runs. `ticket` holds the number of the job in its upper half and the next piece of that
 * job in its lower half:
 *
 *     caller    spoils the old ticket; writes fn, arg, piece_count; sets ticket to (job + 1, 0);
 *               works too; returns when `finished` has reached piece_count
 *     member    sees the job number change, takes pieces by compare-and-swap on the ticket, adds
 *               each to `finished` when it has run
 *
 * The caller waits for pieces, not for members: one that still sleeps, or lost its CPU to another
 * process, holds nobody up as long as it holds no piece. A member that comes late, with the number
 * of an old job, cannot take a piece, since its swap fails; whoever holds a piece keeps the caller
 * from leaving, so fn and arg are stable while they are read. (Waiting for members instead made
 * decoding of a small model 25 times slower on a busy machine.)
 *
 * Members that spin see a job at once, members that sleep are woken by the condition (only when
 * `sleepers` says somebody sleeps, so a busy pool makes no system calls). SPIN_NS is the time a
 * member looks for the next job before it sleeps. Layers follow each other within 5-50 us, waking a
 * thread costs about as much; a longer spin only burns the CPU of others. */
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

    pool_fn *fn; /* fn, arg, piece_count: written before `ticket` */
    void *arg;
    atomic_size_t piece_count; /* atomic, for members that are late */
    char apart1[64];           /* keeps the two busy counters off each other's cache lines */
    _Atomic uint64_t ticket;
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

/* Runs pieces of job number `job` until none is left or the job is over. */
static void take_pieces(struct pool *pool, uint32_t job, size_t index)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    for (;;) {
        uint32_t piece = (uint32_t)ticket;
        if (ticket >> 32 != job ||
            piece >= atomic_load_explicit(&pool->piece_count, memory_order_acquire)) {
            return;
        }
        if (atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            pool->fn(pool->arg, piece, index);
            atomic_fetch_add_explicit(&pool->finished, 1, memory_order_release);
            ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
        }
    }
}

static uint32_t job_number(struct pool *pool)
{
    return (uint32_t)(atomic_load(&pool->ticket) >> 32);
}

/* Waits until there is another job than number `seen` or the pool stops; returns its number. */
static uint32_t wait_job(struct pool *pool, uint32_t seen)
{
    int64_t deadline = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_LOOK; i++) {
            if (job_number(pool) != seen) {
                return job_number(pool);
            }
            cpu_relax();
        }
    } while (clock_now_ns() < deadline);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (job_number(pool) == seen && !atomic_load(&pool->stopping)) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return job_number(pool);
}

static void *member_main(void *arg)
{
    struct member *me = arg;
    struct pool *pool = me->pool;
    uint32_t job = 0;
    for (;;) {
        job = wait_job(pool, job);
        if (atomic_load(&pool->stopping)) {
            return NULL;
        }
        take_pieces(pool, job, me->index);
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
    atomic_fetch_add(&pool->ticket, (uint64_t)1 << 32); /* ends the spinning of those who spin */
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
    assert(piece_count < UINT32_MAX);
    pthread_mutex_lock(&pool->turn);
    uint32_t job = job_number(pool) + 1;
    /* First no ticket of the last job may be good any more: a late member that saw the new, larger
     * piece_count beside the old ticket would take a piece that never was. */
    atomic_store(&pool->ticket, (uint64_t)(job - 1) << 32 | UINT32_MAX);
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->piece_count, piece_count, memory_order_release);
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    atomic_store(&pool->ticket, (uint64_t)job << 32);
    if (piece_count > 1 && atomic_load(&pool->sleepers)) {
        wake_members(pool);
    }
    take_pieces(pool, job, 0);
    size_t spins = 0;
    while (atomic_load_explicit(&pool->finished, memory_order_acquire) != piece_count) {
        cpu_relax();
        if (++spins > 10000) { /* a member lost its CPU to somebody else: let it have ours */
            clock_sleep_ns(20000);
        }
    }
    pthread_mutex_unlock(&pool->turn);
}
