/* The limits of this machine, measured: what `hearth bench` and `doctor` relate results to. Short
 * (under a second each) and meant to be repeated close to what they are compared with, because a
 * shared machine changes from minute to minute. */
#ifndef TENSOR_LIMITS_H
#define TENSOR_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/pool.h"
#include "tensor/kernels.h"

/* Integer multiplications and additions of bytes per second, in 1e9 (two per multiply-add), of all
 * threads of the pool together: the widest dot product of the level on registers. Median of 5 runs
 * of about 15 ms. */
double cpu_peak_int8(const struct kernels *k, struct pool *pool);

/* Multiplications and additions of floats per second, in 1e9, measured likewise: the limit of
 * attention and of float weights, which are multiplied as floats whatever their type. */
double cpu_peak_f32(const struct kernels *k, struct pool *pool);

struct cpu_bandwidth {
    double gb_s;    /* 1e9 bytes per second */
    size_t streams; /* per thread, at which it was reached: 1, 2, 4 or 8 */
};

/* Bytes per second that all threads together read from memory: the best of 1, 2, 4 and 8 streams
 * per thread (medians of 5 passes each) over `bytes` of huge pages, which should be many times the
 * last cache; 0 takes 256 MiB. ERR_MEMORY when there is no memory for it. */
bool cpu_read_bandwidth(struct pool *pool, size_t bytes, struct cpu_bandwidth *out,
                        struct err *err);

#endif
