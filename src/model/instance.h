/* The loaded model: what model.h keeps opaque. Constant after load except pages and scratch, which
 * belong to the caller of model_forward. */
#ifndef MODEL_INSTANCE_H
#define MODEL_INSTANCE_H

#include "model/layout.h"
#include "model/observe.h"

struct model {
    struct hparams h;
    struct layout layout; /* items are freed after load */
    struct model_info info;
    struct model_plan plan;
    struct model_params params;
    const struct kernels *kernels;
    struct pool *pool;         /* not owned */
    struct model_names *names; /* owned; only with an observer */
    struct scratch scratch;
    double *rope_freq[ROPE_TABLE_COUNT]; /* [rope dim / 2] */
    double rope_magnitude[ROPE_TABLE_COUNT];
    /* Regions of os_pages_alloc, owned. */
    uint8_t *weights, *adapters, *pages, *states, *work;
    size_t weights_bytes, adapters_bytes, pages_bytes, states_bytes, work_bytes;
};

#endif
