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
    bool is_last;   /* layer */
    bool is_added;  /* the output of the layer's last block is in x */
    size_t ffn_dim; /* of the block or expert that runs */
    /* Of model_join: what is done with the output of the last block, and where x goes on. */
    const struct join *join;
    const struct convolution *convolution; /* recurrent.h */
    struct {        /* of model_lora_add: the product whose rows are added to */
        bool is_on; /* some row of the call has an adapter */
        const struct lora_part *first;
        const struct product *product;
        const float *x;
        size_t stride;
    } lora;
    float *logits;
};

typedef void row_fn(struct forward *f, size_t row);

/* ---- the steps of the pass, for f->rows; encoder.c runs them as well ---- */

/* x = the embedding of each row; its cos and sin. */
void model_embed(struct forward *f);

/* x += the output of the layer `before` (NULL: none); then the input of f->layer's attention. */
void model_enter_attention(struct forward *f, const struct layer *before);

/* Queries to s->q, keys and values to the pages. */
void model_project(struct forward *f);

/* s->norm = W_out attn, whatever mixer made it. */
void model_mix_heads(struct forward *f);

/* x += s->norm; then the input of the feed-forward block. */
void model_enter_ffn(struct forward *f);

/* s->norm = the output of the feed-forward block, with or without experts. */
void model_feed_forward(struct forward *f);

/* x += the output of f->layer, the last one. */
void model_leave(struct forward *f);

/* The dense block of a layer. */
void model_run_dense(struct forward *f);

/* The dense one beside experts (twin.c). */
void model_run_twin(struct forward *f);

/* What layers get besides x, before the first; and what a layer does with it behind its blocks
 * (tail.c). False: nothing, and its output is still to be added. */
void model_make_layer_inputs(struct forward *f);
bool model_run_tail(struct forward *f);

/* What the feed-forward block reads. */
const float *model_ffn_input(const struct forward *f);

/* ---- what they are made of ---- */

/* Calls fn for each row; `width` is about how many floats it touches. */
void model_each_row(struct forward *f, row_fn *fn, size_t width);

/* y = W x for each product, all with the same input, for all rows. */
void model_multiply(struct forward *f, const float *x, size_t cols, const struct product *products,
                    size_t count);

/* The same of rows that are `stride` floats apart. */
void model_multiply_part(struct forward *f, const float *x, size_t stride, size_t cols,
                         const struct product *products, size_t count);

struct product model_product(const struct matrix *w, float *y, const float *bias);

/* gate = act(gate) * up, or act(up) without a gate. */
void model_activate_row(struct forward *f, size_t row);

/* What the blocks read: x, normed or not. */
const float *model_block_input(const struct forward *f);

/* ---- mixers: the block's input to s->norm ---- */

void model_run_attention(struct forward *f);
void model_run_latent(struct forward *f);
void model_run_short_conv(struct forward *f);
void model_run_delta_net(struct forward *f);
void model_run_mamba2(struct forward *f);

/* In the last layer, leaves only the rows that want something, in their order, here, in s->x and in
 * whatever else goes on. Everything the others leave to later positions must be stored. */
struct row_buffer {
    float *floats;
    size_t width; /* of a row */
};
void model_keep_wanted(struct forward *f, const struct row_buffer *buffers, size_t count);

/* ---- blocks ---- */

/* The feed-forward block of a layer with experts: s->norm to s->norm. */
void model_run_experts(struct forward *f);

/* y = norm(x) of the family's kind; w and b may be NULL. */
void model_normalize(const struct forward *f, const float *x, const float *w, const float *b,
                     float *y, size_t n);

/* cos and sin of a row ([rope dim / 2]), from a table that the model has. */
void model_rope_row(const struct forward *f, size_t row, enum rope_table table, const float **cos,
                    const float **sin);

/* Queries far behind the original context attend more sharply (Llama 4, Ministral 3). */
void model_sharpen(const struct forward *f, float *q, size_t n, uint32_t pos);

/* Finishes the queries of a row in place, and its keys and values in its page. */
void model_store_row(struct forward *f, size_t row);

/* Keys and values of a row, as they are, to its page. */
void model_store_keys(const struct forward *f, size_t row, const float *k, const float *v);

/* s->attn = attention of s->q over the pages of the layer. */
void model_attend(struct forward *f);

#endif
