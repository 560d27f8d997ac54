#include "tensor/limits.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/size.h"

enum { ROUNDS = 5, THREADS_MAX = 256 };

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_double);
    return values[count / 2];
}

/* ---- arithmetic ---- */

struct peak_job {
    const struct kernels *kernels;
    bool is_float;
    size_t steps;
    double ops[THREADS_MAX]; /* by piece */
    uint32_t sink[THREADS_MAX];
    float float_sink[THREADS_MAX];
};

static void peak_piece(void *arg, size_t piece, size_t thread)
{
    struct peak_job *job = arg;

    (void)thread;
    if (job->is_float) {
        job->float_sink[piece] = job->kernels->peak_f32(job->steps, &job->ops[piece]);
    } else {
        job->sink[piece] = job->kernels->peak_int8(job->steps, &job->ops[piece]);
    }
}

/* 1e9 operations per second over all threads. */
static double peak_run(struct peak_job *job, struct pool *pool, int64_t *ns)
{
    size_t threads = pool_size(pool);
    double ops = 0;

    int64_t start = clock_now_ns();
    pool_run(pool, peak_piece, job, threads);
    *ns = clock_now_ns() - start + 1;
    for (size_t i = 0; i < threads; i++) {
        ops += job->ops[i];
    }
    return ops / (double)*ns;
}

static double measure_peak(const struct kernels *k, bool is_float, struct pool *pool)
{
    enum { ROUND_NS = 15000000, STEPS_MAX = 1 << 30 };
    struct peak_job job = {.kernels = k, .is_float = is_float, .steps = 1024};
    double rate[ROUNDS];
    int64_t ns;

    for (;;) { /* as many steps as take long enough */
        peak_run(&job, pool, &ns);
        if (ns >= ROUND_NS || job.steps >= STEPS_MAX) {
            break;
        }
        job.steps *= ns < ROUND_NS / 8 ? 4 : 2;
    }
    for (int i = 0; i < ROUNDS; i++) {
        rate[i] = peak_run(&job, pool, &ns);
    }
    return median(rate, ROUNDS);
}

double cpu_peak_int8(const struct kernels *k, struct pool *pool)
{
    return measure_peak(k, false, pool);
}

double cpu_peak_f32(const struct kernels *k, struct pool *pool)
{
    return measure_peak(k, true, pool);
}

/* ---- memory ---- */

struct read_job {
    const uint8_t *bytes;
    size_t thread_bytes; /* read by each thread; a multiple of 8 * 64 */
    size_t streams;
    uint64_t sink[THREADS_MAX];
};

/* `streams` is a constant of each call, so that the inner loop unrolls. */
static ATTR_ALWAYS_INLINE uint64_t read_streams(const uint8_t *bytes, size_t len, size_t streams)
{
    enum { AHEAD = 2048, LINE = 64 };
    size_t stream_bytes = len / streams;
    uint64_t sum[4] = {0};

    for (size_t at = 0; at < stream_bytes; at += LINE) {
        for (size_t s = 0; s < streams; s++) {
            const uint8_t *p = bytes + s * stream_bytes + at;
            uint64_t word[8];
            __builtin_prefetch(p + AHEAD);
            memcpy(word, p, sizeof word);
            for (int i = 0; i < 4; i++) {
                sum[i] += word[i] ^ word[i + 4];
            }
        }
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
}

static void read_piece(void *arg, size_t piece, size_t thread)
{
    struct read_job *job = arg;
    const uint8_t *bytes = job->bytes + piece * job->thread_bytes;
    size_t len = job->thread_bytes;

    (void)thread;
    switch (job->streams) {
    case 1:
        job->sink[piece] = read_streams(bytes, len, 1);
        break;
    case 2:
        job->sink[piece] = read_streams(bytes, len, 2);
        break;
    case 4:
        job->sink[piece] = read_streams(bytes, len, 4);
        break;
    default:
        job->sink[piece] = read_streams(bytes, len, 8);
        break;
    }
}

/* Untouched pages may all be one page of zeros: write to each. */
static void touch_piece(void *arg, size_t piece, size_t thread)
{
    struct read_job *job = arg;

    (void)thread;
    memset((uint8_t *)(uintptr_t)job->bytes + piece * job->thread_bytes, (int)piece + 1,
           job->thread_bytes);
}

bool cpu_read_bandwidth(struct pool *pool, size_t bytes, struct cpu_bandwidth *out, struct err *err)
{
    size_t threads = pool_size(pool);

    bytes = bytes == 0 ? (size_t)256 << 20 : bytes;
    void *pages = os_pages_alloc(bytes, err);
    if (pages == NULL) {
        return err_wrap(err, "measure the read bandwidth");
    }
    struct read_job job = {.bytes = pages, .thread_bytes = bytes / threads / 512 * 512};
    pool_run(pool, touch_piece, &job, threads);
    *out = (struct cpu_bandwidth){0};
    for (job.streams = 1; job.streams <= 8; job.streams *= 2) {
        double rate[ROUNDS];
        for (int i = 0; i < ROUNDS; i++) {
            int64_t start = clock_now_ns();
            pool_run(pool, read_piece, &job, threads);
            int64_t ns = clock_now_ns() - start + 1;
            rate[i] = (double)(job.thread_bytes * threads) / (double)ns;
        }
        double gb_s = median(rate, ROUNDS);
        if (gb_s > out->gb_s) {
            *out = (struct cpu_bandwidth){.gb_s = gb_s, .streams = job.streams};
        }
    }
    os_pages_free(pages, bytes);
    return true;
}
