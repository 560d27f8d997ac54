/* x_i: the element in model i, w_i: its weight, b: the element in the base. All sums run over the
 * models in their order, in double; the result is rounded to float once.
 *
 *   linear            sum w_i x_i / sum w_i                      ("model soup", Wortsman et al.
 * 2022) slerp             sin((1-t)o)/sin(o) x_1 + sin(t o)/sin(o) x_2          (Shoemake 1985)
 *                     with o the angle between the two tensors as vectors; where |cos o| > 0.9995,
 *                     or one is zero, (1-t) x_1 + t x_2, because sin(o) says nothing there
 *   task arithmetic   b + l sum w_i (x_i - b)                    (Ilharco et al. 2023)
 *   TIES              three steps on d_i = x_i - b               (Yadav et al. 2023)
 *     trim            of each model's tensor the `density` part with the largest |d_i| stays (to
 *                     the nearest whole number of elements, at least one; those that equal the
 *                     smallest kept stay too), the others become 0
 *     elect           g = sign of sum w_i d_i
 *     merge           b + l sum_A w_i d_i / sum_A |w_i|, A: the models with sign(w_i d_i) = g; b
 *                     where none is left
 *
 * The paper trims a model's differences as one vector; here each tensor is trimmed by itself, as
 * the tools of the field do, so that small tensors keep their share and memory stays bounded.
 *
 * Which magnitude the k-th largest difference has is found without sorting: as the bits of a float
 * order like its magnitude, one pass counts the upper 16 bits, a second the lower 15 of those in
 * the bin where k falls. Counts do not depend on the order of threads. */
#include "model/merge_elements.h"

#include <math.h>
#include <string.h>

#define PARALLEL 0.9995 /* |cos| */

static uint32_t magnitude(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static void merge_sum(const struct merge_rule *rule, const float *const *in, size_t n, float *out)
{
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t i = 0; i < rule->count; i++) {
            sum += rule->weights[i] * in[i][k];
        }
        out[k] = (float)sum;
    }
}

static void merge_task(const struct merge_rule *rule, const float *const *in, size_t n, float *out)
{
    const float *base = in[rule->count];
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t i = 0; i < rule->count; i++) {
            sum += rule->weights[i] * ((double)in[i][k] - base[k]);
        }
        out[k] = (float)(base[k] + rule->lambda * sum);
    }
}

static void merge_ties(const struct merge_rule *rule, const float *const *in, size_t n, float *out)
{
    const float *base = in[rule->count];
    for (size_t k = 0; k < n; k++) {
        double parts[MODEL_MERGE_MAX], total = 0, sum = 0, weight = 0;
        for (size_t i = 0; i < rule->count; i++) {
            bool is_kept = magnitude(in[i][k] - base[k]) >= rule->least[i]; /* as it was counted */
            parts[i] = is_kept ? rule->weights[i] * ((double)in[i][k] - base[k]) : 0;
            total += parts[i];
        }
        for (size_t i = 0; i < rule->count; i++) {
            if ((total > 0 && parts[i] > 0) || (total < 0 && parts[i] < 0)) {
                sum += parts[i];
                weight += fabs(rule->weights[i]);
            }
        }
        if (!rule->is_plain_sum && weight > 0) {
            sum /= weight;
        }
        out[k] = (float)(base[k] + rule->lambda * sum);
    }
}

void model_merge_elements(const struct merge_rule *rule, const float *const *in, size_t n,
                          float *out)
{
    switch (rule->method) {
    case MODEL_MERGE_LINEAR:
    case MODEL_MERGE_SLERP:
        merge_sum(rule, in, n, out);
        break;
    case MODEL_MERGE_TASK:
        merge_task(rule, in, n, out);
        break;
    case MODEL_MERGE_TIES:
        merge_ties(rule, in, n, out);
        break;
    }
}

void model_merge_angle_add(struct merge_angle *angle, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        angle->ab += x * y;
        angle->aa += x * x;
        angle->bb += y * y;
    }
}

void model_merge_slerp_factors(const struct merge_angle *angle, double t, double factors[2])
{
    double length = sqrt(angle->aa) * sqrt(angle->bb);
    double cosine = length > 0 ? angle->ab / length : 1;

    factors[0] = 1 - t;
    factors[1] = t;
    if (fabs(cosine) <= PARALLEL) {
        double omega = acos(cosine), sine = sin(omega);
        factors[0] = sin((1 - t) * omega) / sine;
        factors[1] = sin(t * omega) / sine;
    }
}

void model_merge_count(const float *in, const float *base, size_t n, uint32_t upper,
                       _Atomic uint64_t bins[MERGE_BINS])
{
    const uint32_t low_mask = (1U << MERGE_LOW_BITS) - 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = magnitude(in[i] - base[i]);
        if (upper == UINT32_MAX) {
            atomic_fetch_add_explicit(&bins[bits >> MERGE_LOW_BITS], 1, memory_order_relaxed);
        } else if (bits >> MERGE_LOW_BITS == upper) {
            atomic_fetch_add_explicit(&bins[bits & low_mask], 1, memory_order_relaxed);
        }
    }
}

uint32_t model_merge_find_bin(const _Atomic uint64_t bins[MERGE_BINS], uint64_t *keep)
{
    uint32_t bin = MERGE_BINS - 1;
    for (; bin > 0 && atomic_load(&bins[bin]) < *keep; bin--) {
        *keep -= atomic_load(&bins[bin]);
    }
    return bin;
}
