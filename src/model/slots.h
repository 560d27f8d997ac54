/* The tensors of a layer: names, shapes, and when a family has them. */
#ifndef MODEL_SLOTS_H
#define MODEL_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/hparams.h"

enum weight_kind { WEIGHT_MATRIX, WEIGHT_VECTOR, WEIGHT_ROWS, WEIGHT_TURNED /* matrix, as F32 */ };

enum width {
    W_ONE,
    W_EMBED,
    W_Q,
    W_K,
    W_V,
    W_MIX,
    W_FFN,
    W_QNORM,
    W_KNORM,
    W_EXPERTS,
    W_SINKS,
    W_SHARED,
    W_EXPERT_FFN,
    W_ALL_FFN, /* of all experts */
    W_ALL_EMBED,
    W_LAYER_INPUT,
    /* of latent attention */
    W_LATENT_Q,   /* all queries */
    W_LATENT_MIX, /* what all heads give */
    W_QUERY_RANK,
    W_RANK,
    W_LATENT, /* rank and the shared key */
    /* of a recurrence */
    W_TAPS,
    W_CONV, /* taps for each channel */
    W_CHANNELS,
    W_HEADS,
    W_TWO_HEADS,
    W_INNER,
    W_VALUE,      /* of one head */
    W_GROUP,      /* inner / groups */
    W_PROJECTION, /* all inputs of the mixer at once */
};

/* When a tensor must, may or must not be there: model_slot_taking. */
enum presence {
    NEEDED,
    ATTENTION, /* needed by it */
    ATTENTION_MAYBE,
    SPLIT,      /* unless q, k and v are one tensor; so for their biases, which are optional: */
    SPLIT_BIAS, /* */
    PRE_NORM,
    PRE_NORM_BIAS,
    FFN_NORM,
    FFN_NORM_BIAS,
    SECOND_NORM,
    POST_NORM,
    POST_AS_FFN_NORM,
    SUM_NORM,
    QK_NORM,
    QK_NORM_BIAS,
    GATE,
    GATE_BIAS,
    UP,
    DOWN,
    DOWN_BIAS,
    ROUTER,
    SHARED,
    SHARED_GATE,
    ROUTER_BIAS,
    EXPERT_BIAS,
    SINKS,
    VALUE,     /* as SPLIT, or as the keys */
    SPLIT_KEY, /* as SPLIT, unless an earlier layer's are read */
    KEY_NORM,
    TAIL,
    TAIL_SCALE,
    TWIN,
    TWIN_MAYBE,
    LATENT,
    LATENT_DIRECT, /* queries come from the input itself, or: */
    LATENT_NARROW,
    SHORT_CONV,
    SSM, /* the delta net and Mamba 2 */
    DELTA_NET,
    DELTA_NET_SPLIT, /* unless its inputs are one tensor, ssm_in */
    DELTA_NET_PAIRED,
    DELTA_NET_APART,
    MAMBA2,
    MAMBA2_MAYBE,
};

struct slot {
    const char *name;
    enum weight_kind kind;
    size_t at;             /* in struct layer */
    enum width cols, rows; /* of a matrix; a vector has `rows` elements, in rows of `cols` */
    enum presence presence;
};

/* Slot i of the table; NULL past its end. */
const struct slot *model_slot_at(size_t i);

enum taking { TAKE_NOT, TAKE_IF_THERE, TAKE_ALWAYS };

/* What a file has of a layer, where that decides what else it must have. */
struct layer_facts {
    bool is_fused;     /* q, k and v are one tensor; the inputs of a mixer are */
    bool has_ffn_norm; /* its weight */
    bool has_pairs;    /* ssm_ba */
};

enum taking model_slot_taking(enum presence presence, const struct hparams *h, uint32_t index,
                              const struct layer_facts *facts);

uint64_t model_slot_width(enum width width, const struct hparams *h,
                          const struct layer_shape *shape);

/* Whether norms of the family have a bias. */
enum taking model_norm_bias_taking(const struct traits *traits);

#endif
