#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"

struct count_job {
    atomic_int hits[1000];
    atomic_size_t thread_max;
};

static void hit(void *arg, size_t piece, size_t thread)
{
    struct count_job *job = arg;
    atomic_fetch_add(&job->hits[piece], 1);
    size_t seen = atomic_load(&job->thread_max);
    while (thread > seen && !atomic_compare_exchange_weak(&job->thread_max, &seen, thread)) {
    }
}

static void every_piece_runs_once(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 4; threads++) {
        struct pool *pool = pool_create(threads, NULL);
        assert_int_equal(pool_size(pool), threads);
        for (size_t round = 0; round < 300; round++) {
            static struct count_job job;
            size_t pieces = round * 3;
            for (size_t i = 0; i < 1000; i++) {
                atomic_store(&job.hits[i], 0);
            }
            pool_run(pool, hit, &job, pieces);
            for (size_t i = 0; i < 1000; i++) {
                assert_int_equal(atomic_load(&job.hits[i]), i < pieces);
            }
            assert_true(atomic_load(&job.thread_max) < threads);
        }
        pool_destroy(pool);
    }
}

/* A piece of a short job must never run under the long job that follows, nor the other way round.
 */
struct length_job {
    size_t piece_count;
    atomic_size_t done;
    atomic_bool is_wrong;
};

static void check_piece(void *arg, size_t piece, size_t thread)
{
    struct length_job *job = arg;
    (void)thread;
    if (piece >= job->piece_count) {
        atomic_store(&job->is_wrong, true);
    }
    atomic_fetch_add(&job->done, 1);
}

static void short_and_long_jobs_do_not_mix(void **state)
{
    (void)state;
    struct pool *pool = pool_create(4, NULL);
    for (size_t i = 0; i < 20000; i++) {
        struct length_job job = {.piece_count = 2 + i % 7 * (i % 5)};
        pool_run(pool, check_piece, &job, job.piece_count);
        assert_int_equal(atomic_load(&job.done), job.piece_count);
        assert_false(atomic_load(&job.is_wrong));
    }
    pool_destroy(pool);
}

static void *run_many(void *arg)
{
    static struct count_job jobs[2];
    static atomic_int next;
    struct count_job *job = &jobs[atomic_fetch_add(&next, 1) & 1];
    for (int i = 0; i < 200; i++) {
        pool_run(arg, hit, job, 50);
    }
    return NULL;
}

static void callers_take_turns(void **state)
{
    (void)state;
    struct pool *pool = pool_create(3, NULL);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, pool), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pool_destroy(pool);
}

static double cpu_seconds(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

static void an_idle_pool_uses_no_cpu(void **state)
{
    (void)state;
    static struct count_job job;
    struct pool *pool = pool_create(4, NULL);
    pool_run(pool, hit, &job, 100);
    clock_sleep_ns(20000000); /* let them fall asleep */
    double before = cpu_seconds();
    clock_sleep_ns(300000000);
    assert_true(cpu_seconds() - before < 0.01);
    pool_run(pool, hit, &job, 100); /* and they wake again */
    pool_destroy(pool);
}

static void creation_survives_lack_of_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 2; n++) {
        struct err err = {0};
        mem_fail_after(n);
        assert_null(pool_create(2, &err));
        mem_fail_after(-1);
        assert_int_equal(err.code, ERR_MEMORY);
    }
    pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_runs_once),
        cmocka_unit_test(short_and_long_jobs_do_not_mix),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(an_idle_pool_uses_no_cpu),
        cmocka_unit_test(creation_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
