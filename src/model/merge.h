/* One model made of several that share a shape: what `hearth merge` does. Tensor by tensor, a
 * stretch of each model is mapped, decoded to float, merged and encoded by all threads, so memory
 * does not grow with the models. The output appears under its name only when it is complete. */
#ifndef MODEL_MERGE_H
#define MODEL_MERGE_H

#include "base/pool.h"
#include "gguf/mix.h"

enum { MODEL_MERGE_MAX = 16 };

enum model_merge_method { /* the formulas are in merge_elements.c */
                          MODEL_MERGE_LINEAR,
                          MODEL_MERGE_SLERP, /* two models; the second's share of the weight is t */
                          MODEL_MERGE_TASK,
                          MODEL_MERGE_TIES
};

struct model_merge_input {
    const char *path; /* any part of a split model */
    double weight;    /* finite */
};

struct model_merge {
    enum model_merge_method method;
    const struct model_merge_input *inputs;
    size_t input_count; /* 2..MODEL_MERGE_MAX; of TASK and TIES also 1 */
    const char *base;   /* of TASK and TIES, else NULL */
    double density;     /* TIES: which part of the differences stays, above 0, at most 1 */
    double lambda;      /* TASK, TIES: a factor of what is added to the base; finite */
    bool is_plain_sum;  /* LINEAR, TIES: do not divide by the sum of the weights */
    const struct gguf_mix_target *target; /* NULL: tensors keep the types of the first model */
    struct pool *pool;                    /* of the caller; it is used by this call alone */
    /* Both may be NULL and are called from the calling thread. */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    bool (*is_cancelled)(void *arg);
    void *arg;
};

struct model_merge_result {
    uint64_t tensors, elements;
    uint64_t bytes_in, bytes_out; /* of tensors, of all models */
};

/* All models have the same architecture, hyper-parameters, vocabulary, names and shapes of tensors;
 * types may differ. Metadata is the first model's. Tensors named rope_* and those of types that
 * hearth cannot decode are constants: they must be the same in all models and are copied.
 * ERR_INVALID: a wrong number of models, weight or density; the first difference between models; an
 * output that is an input. ERR_FORMAT: an element that is no finite number, or that the type cannot
 * hold. ERR_UNSUPPORTED: a type that cannot be written. ERR_IO: the disk. ERR_CANCELLED
 * when is_cancelled said so. In all cases nothing is left of the output. The same bytes come out
 * for any number of threads. */
bool model_merge(const char *out, const struct model_merge *how, struct model_merge_result *result,
                 struct err *err);

#endif
