/* The seeded rows whose quantisation error is compared: shared by
 * tests/data/tensor/make_rmse.c and the test. */
#ifndef TENSOR_TEST_ROWS_H
#define TENSOR_TEST_ROWS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS_COUNT = 16, ROWS_LEN = 1024 };

enum rows_kind { ROWS_NORMAL, ROWS_HEAVY, ROWS_KIND_COUNT };

static inline double rows_uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static inline double rows_normal(uint64_t *state)
{
    double radius = sqrt(-2 * log(rows_uniform(state)));
    return radius * cos(6.283185307179586 * rows_uniform(state));
}

/* Normal with the deviation 0.02, or Student's t with 3 degrees of freedom times that. */
static inline void rows_fill(enum rows_kind kind, float *x)
{
    uint64_t state = 42 + (uint64_t)kind;

    for (size_t i = 0; i < (size_t)ROWS_COUNT * ROWS_LEN; i++) {
        double value = rows_normal(&state);
        if (kind == ROWS_HEAVY) {
            double a = rows_normal(&state), b = rows_normal(&state), c = rows_normal(&state);
            value /= sqrt((a * a + b * b + c * c) / 3);
        }
        x[i] = (float)(0.02 * value);
    }
}

/* An importance matrix as they look: the mean squares of activations, a few large. */
static inline void rows_importance(float *w)
{
    uint64_t state = 7;

    for (size_t i = 0; i < ROWS_LEN; i++) {
        w[i] = (float)exp(1.5 * rows_normal(&state));
    }
}

/* Root of the weighted mean square error. */
static inline double rows_error(const float *x, const float *back, const float *w)
{
    double sum = 0, all = 0;

    for (size_t i = 0; i < (size_t)ROWS_COUNT * ROWS_LEN; i++) {
        double e = (double)x[i] - back[i], weight = w != NULL ? w[i % ROWS_LEN] : 1;
        sum += weight * e * e;
        all += weight;
    }
    return sqrt(sum / all);
}

#endif
