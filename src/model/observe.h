/* Tells an observer of the products of a forward pass, by the names of the weight tensors. */
#ifndef MODEL_OBSERVE_H
#define MODEL_OBSERVE_H

#include "model/layout.h"
#include "model/model.h"

struct model_names;

/* The matrices of a layout, when there is an observer; before its items are freed. NULL: no memory.
 */
struct model_names *model_names_create(const struct layout *layout);
void model_names_destroy(struct model_names *names);

/* Tells of w times the `rows` rows of x ([rows, cols]). */
void model_observe(const struct model_names *names, const struct model_observer *observer,
                   const struct matrix *w, const float *x, size_t rows, size_t cols);

#endif
