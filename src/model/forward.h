/* One call of model_forward, for the files that share the pass. */
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include "model/instance.h"

struct forward {
    struct model *m;
    const struct kernels *k;
    struct scratch *s;
    const struct model_batch *batch;
    const struct model_row *rows; /* those that go on */
    size_t row_count;
    const struct layer *layer; /* of this step */
    const struct layer_shape *shape;
    size_t ffn_dim; /* of the block or expert that runs */
    /* Of model_join: what is done with the output of the last block, and where x goes on. */
    const struct join *join;
    float *logits;
};

typedef void row_fn(struct forward *f, size_t row);

/* Calls fn for each row; `width` is about how many floats it touches. */
void model_each_row(struct forward *f, row_fn *fn, size_t width);

/* y = W x for each product, all with the same input, for all rows. */
void model_multiply(struct forward *f, const float *x, size_t cols, const struct product *products,
                    size_t count);

struct product model_product(const struct matrix *w, float *y, const float *bias);

/* gate = act(gate) * up, or act(up) without a gate. */
void model_activate_row(struct forward *f, size_t row);

/* The feed-forward block of a layer with experts: s->norm to s->norm. */
void model_run_experts(struct forward *f);

/* y = norm(x) of the family's kind; w and b may be NULL. */
void model_normalize(const struct forward *f, const float *x, const float *w, const float *b,
                     float *y, size_t n);

/* cos and sin of a row ([rope.dim / 2]), from a table that the model has. */
void model_rope_row(const struct forward *f, size_t row, enum rope_table table, const float **cos,
                    const float **sin);

/* Finishes the queries of a row in place, and its keys and values in its page. */
void model_store_row(struct forward *f, size_t row);

#endif
