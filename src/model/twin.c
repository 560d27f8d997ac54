/* A feed-forward block of two halves with the same input x (Gemma 4): the dense one, and one of
 * experts, each normed before and behind by norms of its own:
 *
 *     y = norm_1(dense(norm(x))) + norm_2(experts(norm_x(x)))       router: of x / rms(x) * scale
 */
#include <string.h>

#include "model/forward.h"

static void keep_dense_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim, at = row * dim;
    const struct layer *layer = f->layer;
    model_normalize(f, f->s->norm + at, layer->dense_post_norm, NULL, f->s->twin + at, dim);
    model_normalize(f, f->s->x + at, layer->experts_norm, NULL, f->s->norm + at, dim);
}

static void add_row(struct forward *f, size_t row)
{
    size_t dim = f->m->h.embed_dim, at = row * dim;
    float *y = f->s->norm + at;
    model_normalize(f, y, f->layer->experts_post_norm, NULL, y, dim);
    f->k->add(y, f->s->twin + at, y, dim);
}

void model_run_twin(struct forward *f)
{
    model_run_dense(f);
    model_each_row(f, keep_dense_row, 4 * (size_t)f->m->h.embed_dim);
    model_run_experts(f);
    model_each_row(f, add_row, 4 * (size_t)f->m->h.embed_dim);
}
