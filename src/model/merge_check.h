/* Whether a merge is possible: what was asked for, and the models. */
#ifndef MODEL_MERGE_CHECK_H
#define MODEL_MERGE_CHECK_H

#include "gguf/gguf.h"
#include "model/merge.h"

/* Number of models, base, weights, density, lambda. ERR_INVALID. */
bool model_merge_check_request(const struct model_merge *how, struct err *err);

/* False with the first difference in architecture, hyper-parameters (keys of the architecture),
 * vocabulary, tensors' names or shapes. ERR_INVALID. The ids of special tokens may differ, as they
 * do between a base model and what was made of it. */
bool model_merge_check(const struct gguf *first, const struct gguf *other, struct err *err);

#endif
