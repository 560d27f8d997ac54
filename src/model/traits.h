/* The families of models hearth runs: one row each. A row says what the file's numbers do not:
 * which pairs of a head rotary embedding turns, which tensors must be there, which optional
 * hyper-parameters scale what. Everything else comes from the file, so that a family is a row here
 * and at most a few lines elsewhere. */
#ifndef MODEL_TRAITS_H
#define MODEL_TRAITS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

enum rope_style {
    ROPE_NORM, /* pairs (2i, 2i + 1) */
    ROPE_NEOX, /* pairs (i, i + rope_dim / 2) */
};

struct traits {
    const char *architecture; /* general.architecture, also the prefix of the keys */
    const char *models;       /* for people: which published models these are */
    enum rope_style rope;
    bool has_qk_norm; /* RMS norm of every query and key head before it is rotated */
    bool has_scales;  /* embedding_scale, residual_scale, logit_scale, attention.scale are read */
    bool has_temperature; /* attention.temperature_scale is read (Ministral 3) */
};

/* NULL if the architecture is not supported. */
const struct traits *model_traits_find(struct str architecture);

/* Row i of the table; NULL past its end. */
const struct traits *model_traits_at(size_t i);

/* Appends "llama, qwen2, qwen3". */
void model_traits_list(struct buf *out);

#endif
