/* The state of a sequence (states.h): copies at page borders, going on from one that is kept, and
 * going back. Nothing happens here with a model whose layers pass on none. */
#include "engine/state.h"

static bool may_step_back(const struct engine_sequence *seq)
{
    return seq->request.banned_count > 0;
}

/* The first position that a step back may return to. */
static uint32_t first_return(const struct engine_sequence *seq)
{
    return seq->prompt_count + seq->output.released - 1;
}

uint32_t engine_sequence_stride(const struct engine *engine, const struct engine_sequence *seq,
                                uint32_t count)
{
    const uint32_t borders[] = {seq->branch_count, engine_sequence_shareable(seq) * KV_PAGE_TOKENS};
    for (int i = 0; engine_states_are(&engine->states) && i < 2; i++) {
        if (borders[i] > seq->kv_count && borders[i] - seq->kv_count < count) {
            count = borders[i] - seq->kv_count;
        }
    }
    return count;
}

/* For others, with the page that ends here. */
static void keep_for_others(struct engine *engine, const struct engine_sequence *seq)
{
    const uint32_t pages = seq->kv_count / KV_PAGE_TOKENS;
    const bool is_wanted =
        seq->kv_count == seq->branch_count || pages == engine_sequence_shareable(seq);
    if (is_wanted && pages <= seq->published &&
        engine_states_keep(&engine->states, seq->pages[pages - 1], seq->state)) {
        engine_spill_note(engine, seq->pages[pages - 1]);
    }
}

void engine_sequence_save_state(struct engine *engine, struct engine_sequence *seq)
{
    struct engine_states *states = &engine->states;
    const uint32_t at = seq->kv_count;
    if (!engine_states_are(states) || at == 0 || at % KV_PAGE_TOKENS != 0) {
        return;
    }
    keep_for_others(engine, seq);
    /* What a step back may need, else the beginning of the next prompt of this conversation. */
    const bool is_base = may_step_back(seq) ? at <= first_return(seq) : at >= seq->prompt_count;
    if (is_base && at > seq->base_count) {
        seq->base = seq->base == ENGINE_STATE_NONE ? engine_states_take(states) : seq->base;
        engine_states_copy(states, seq->base, seq->state);
        seq->base_count = at;
    }
}

void engine_sequence_resume(struct engine *engine, struct engine_sequence *seq)
{
    if (!engine_states_are(&engine->states)) {
        seq->kv_count = seq->ready_count;
        return;
    }
    seq->branch_count = seq->ready_count;
    for (uint32_t i = seq->held_count; i * KV_PAGE_TOKENS > seq->kv_count; i--) {
        const uint32_t kept = engine_states_find(&engine->states, seq->pages[i - 1]);
        if (kept != ENGINE_STATE_NONE) {
            engine_states_copy(&engine->states, seq->state, kept);
            seq->kv_count = i * KV_PAGE_TOKENS;
            engine_sequence_save_state(engine, seq);
            return;
        }
    }
}

void engine_sequence_rewind(struct engine *engine, struct engine_sequence *seq, uint32_t count)
{
    seq->ready_count = seq->ready_count < count ? seq->ready_count : count;
    if (seq->kv_count <= count) {
        return;
    }
    seq->kv_count = count;
    if (engine_states_are(&engine->states)) {
        seq->base_count = seq->base_count <= count ? seq->base_count : 0;
        seq->kv_count = seq->base_count;
        if (seq->base_count > 0) {
            engine_states_copy(&engine->states, seq->state, seq->base);
        }
    }
}

void engine_sequence_drop_states(struct engine *engine, struct engine_sequence *seq, bool keep)
{
    const uint32_t last = seq->base_count / KV_PAGE_TOKENS;
    if (keep && last > 0 && last <= seq->published &&
        engine_states_keep(&engine->states, seq->pages[last - 1], seq->base)) {
        engine_spill_note(engine, seq->pages[last - 1]);
    }
    engine_states_give(&engine->states, seq->state);
    engine_states_give(&engine->states, seq->base);
    seq->state = seq->base = ENGINE_STATE_NONE;
    seq->base_count = seq->branch_count = seq->ready_count = seq->kv_count = 0;
}
