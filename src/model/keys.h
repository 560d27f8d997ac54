/* Reads the keys "ARCH.name" of the metadata, each with its range. The first failure sticks: later
 * reads do nothing, so that a caller may read many and look once. */
#ifndef MODEL_KEYS_H
#define MODEL_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gguf/gguf.h"

struct model_keys {
    const struct gguf *gguf;
    const char *architecture;
    struct err *err; /* where the first failure goes */
    bool failed;
    char key[160]; /* the last one */
};

/* "ARCH.name", in r->key. */
struct str model_key_of(struct model_keys *r, const char *name);

/* The value of the last key is wrong. Returns false. */
bool model_key_fail(struct model_keys *r, uint64_t value, const char *why);

/* True when it is there and within [min, max]; *out is left alone otherwise. */
bool model_key_u32(struct model_keys *r, const char *name, uint32_t *out, uint32_t min,
                   uint32_t max);
void model_key_need_u32(struct model_keys *r, const char *name, uint32_t *out, uint32_t min,
                        uint32_t max);

/* Finite, and within [min, max]. */
bool model_key_real(struct model_keys *r, const char *name, double *out, double min, double max);

bool model_key_bool(struct model_keys *r, const char *name, bool *out);

/* A number for all `count` layers or an array with one for each, to out[i * stride] in bytes. */
bool model_key_layers(struct model_keys *r, const char *name, uint32_t count, uint32_t *out,
                      size_t stride, uint32_t min, uint32_t max);
void model_key_need_layers(struct model_keys *r, const char *name, uint32_t count, uint32_t *out,
                           size_t stride, uint32_t min, uint32_t max);

/* The same for real numbers. All are needed. */
void model_key_need_reals(struct model_keys *r, const char *name, uint32_t count, double *out,
                          size_t stride, double min, double max);

#endif
