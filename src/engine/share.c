/* Sequences that read the same: the choices of a request with n > 1, or requests of one moment that
 * begin alike. Pages that are full come from the cache (sequence.c); here is the rest.
 *
 *     leader    | page | page | part |            reads, or has read
 *     follower  | page | page |                   waits while the leader reads what it needs as
 *                               ^ copied          well, then copies the page that has begun
 *
 * A page that has begun is written at once by whoever goes on in it, so it is copied when it is
 * shared and not at the first write. What is copied are the bits that would be computed. */
#include <string.h>

#include "engine/state.h"

/* Fewer rows than that are computed sooner than they are waited for. */
enum { WORTH_TOKENS = 8 };

/* Its rows are needed for more than their keys and values. */
static bool needs_rows(const struct engine *engine, const struct engine_sequence *seq)
{
    return engine_states_are(&engine->states) ||
           (seq->request.prompt_logprobs && seq->prompt_told < seq->prompt_count);
}

/* Where what `seq` reads next and what `other` has, up to `end`, part; its kv_count or less when
 * that is at once. The last row is its own: its logits are needed. */
static uint32_t common_end(const struct engine_sequence *seq, const struct engine_sequence *other,
                           uint32_t end)
{
    const uint32_t from = seq->kv_count;
    uint32_t last = seq->token_count - 1 < end ? seq->token_count - 1 : end;
    if (last <= from || seq->salt.len != other->salt.len ||
        memcmp(seq->salt.bytes, other->salt.bytes, seq->salt.len) != 0 ||
        seq->tokens[from] != other->tokens[from] ||
        memcmp(seq->tokens, other->tokens, from * sizeof *seq->tokens) != 0) {
        return 0;
    }
    uint32_t at = from;
    while (at < last && seq->tokens[at] == other->tokens[at]) {
        at++;
    }
    return at;
}

static bool is_worth(uint32_t from, uint32_t end)
{
    return end >= from + WORTH_TOKENS || (end > from && end % KV_PAGE_TOKENS == 0);
}

bool engine_sequence_follows(const struct engine *engine, const struct engine_sequence *seq)
{
    if (needs_rows(engine, seq)) {
        return false;
    }
    for (uint32_t b = 0; b < engine->batch_count; b++) {
        const struct engine_sequence *leader = engine->batch[b];
        const uint32_t end = leader->kv_count + leader->row_count - leader->drafter.count;
        if (leader->kv_count <= seq->kv_count && end > seq->kv_count &&
            is_worth(seq->kv_count, common_end(seq, leader, end))) {
            return true;
        }
    }
    return false;
}

static void copy_begun(struct engine *engine, struct engine_sequence *seq)
{
    const uint32_t page = seq->kv_count / KV_PAGE_TOKENS, page_end = (page + 1) * KV_PAGE_TOKENS;
    const struct engine_sequence *best = NULL;
    uint32_t best_end = seq->kv_count;
    for (uint32_t i = 0; i < engine->running_count && !needs_rows(engine, seq); i++) {
        const struct engine_sequence *other = engine->running[i];
        const uint32_t end = other->kv_count < page_end ? other->kv_count : page_end;
        if (other != seq && !other->load && end > best_end) {
            const uint32_t common = common_end(seq, other, end);
            best = common > best_end ? other : best;
            best_end = common > best_end ? common : best_end;
        }
    }
    if (!best || !is_worth(seq->kv_count, best_end)) {
        return;
    }
    struct model *model = engine->params.model;
    engine_sequence_reach(engine, seq, best_end);
    memcpy(model_page(model, seq->pages[page]), model_page(model, best->pages[page]),
           model_plan_of(model)->page_bytes);
    seq->kv_count = seq->ready_count = best_end;
}

void engine_sequence_take_common(struct engine *engine, struct engine_sequence *seq)
{
    uint32_t before;
    do {
        before = seq->kv_count;
        engine_sequence_catch_up(engine, seq);
        copy_begun(engine, seq);
    } while (seq->kv_count > before);
}
