/* The list tokenizer.ggml.merges: (left id, right id) -> (rank, joined id) in one hash table.
 *
 * A merge of which a part or the result is no ordinary token can never apply and is left out; real
 * files have some (GLM-4 lists merges of three parts). Control tokens are never made by merging. */
#ifndef TEXT_MERGES_H
#define TEXT_MERGES_H

#include "text/merge.h"
#include "text/vocab.h"

struct text_merge_slot {
    uint32_t left, right; /* ids */
    uint32_t rank_1;      /* rank + 1; 0: empty */
    text_id joined;
};

struct text_merges {
    struct text_merge_slot *slots;
    size_t mask;
    uint64_t seed;
};

bool text_merges_load(struct text_merges *merges, const struct text *text, const struct gguf *gguf,
                      struct err *err);
void text_merges_deinit(struct text_merges *merges);

/* The id of an ordinary token as the file writes it, or -1. */
int64_t text_plain_find(const struct text *text, const char *bytes, size_t len);

static inline uint64_t text_merges_hash(const struct text_merges *merges, uint32_t left,
                                        uint32_t right)
{
    return text_hash_mix(((uint64_t)left << 32 | right) ^ merges->seed, 0x9E3779B97F4A7C15ull);
}

/* The rank of joining two neighbours, or TEXT_MERGE_NONE. */
static inline uint32_t text_merges_find(const struct text_merges *merges, text_id left_id,
                                        text_id right_id, text_id *joined)
{
    const uint32_t left = (uint32_t)left_id, right = (uint32_t)right_id;
    for (size_t at = text_merges_hash(merges, left, right) & merges->mask;;
         at = (at + 1) & merges->mask) {
        const struct text_merge_slot *slot = &merges->slots[at];
        if (slot->rank_1 == 0) {
            return TEXT_MERGE_NONE;
        }
        if (slot->left == left && slot->right == right) {
            *joined = slot->joined;
            return slot->rank_1 - 1;
        }
    }
}

#endif
