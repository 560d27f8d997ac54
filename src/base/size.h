/* Checked arithmetic for sizes and counts that come from outside. Each returns false, leaving *out
 * alone, when the result does not fit. */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    return !__builtin_add_overflow(a, b, &sum) && ((void)(*out = sum), true);
}

static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    return !__builtin_mul_overflow(a, b, &product) && ((void)(*out = product), true);
}

static inline bool size_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t sum;
    return !__builtin_add_overflow(a, b, &sum) && ((void)(*out = sum), true);
}

static inline bool size_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t product;
    return !__builtin_mul_overflow(a, b, &product) && ((void)(*out = product), true);
}

/* Rounds up to a multiple of `step`, a power of two. */
static inline bool size_align(size_t n, size_t step, size_t *out)
{
    size_t padded;
    return size_add(n, step - 1, &padded) && ((void)(*out = padded & ~(step - 1)), true);
}

/* The same for sizes that are known to be small (our own tables); never for input. */
static inline size_t size_align_known(size_t n, size_t step)
{
    return (n + step - 1) & ~(step - 1);
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
