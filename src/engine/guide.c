#include "engine/guide.h"

#include <string.h>

#include "base/mem.h"

enum {
    FORCED_BYTES_MAX = 256, /* looked ahead at once */
    OPENS = 0,
    CLOSES = 1
};

static bool init_reasoning(struct engine_guide *guide, const struct engine_reasoning *r,
                           struct arena *arena)
{
    const struct str marks[] = {r->open, r->close};
    guide->tracks = r->close.len > 0;
    if (!guide->tracks) {
        return true;
    }
    /* Without an opening marker the reasoning is where the prompt ends; a byte that no text has
     * stands for it. */
    const struct str never = {"\xff", 1};
    const struct str both[] = {r->open.len ? marks[OPENS] : never, marks[CLOSES]};
    text_id *ids = ARENA_ARRAY(arena, text_id, r->close_count);
    if (!ids || !engine_matcher_init(&guide->marks, both, 2, false, arena)) {
        return false;
    }
    if (r->close_count) {
        memcpy(ids, r->close_ids, r->close_count * sizeof *ids);
    }
    guide->close_ids = ids;
    guide->close_count = r->close_count;
    guide->is_inside = r->is_open;
    guide->has_budget = r->has_budget && r->close_count > 0;
    guide->budget = r->budget_tokens;
    return true;
}

bool engine_guide_init(struct engine_guide *guide, const struct engine_request *request,
                       const struct text *text, const struct constrain_vocab *vocab,
                       struct arena *arena, struct err *err)
{
    *guide = (struct engine_guide){.text = text};
    if (!init_reasoning(guide, &request->reasoning, arena)) {
        return err_set_memory(err, request->reasoning.close_count * sizeof(text_id));
    }
    if (!request->grammar) {
        return true;
    }
    guide->run = constrain_run_create(request->grammar, vocab, err);
    guide->bits = MEM_ARRAY(uint32_t, constrain_vocab_words(vocab));
    if (guide->run && !guide->bits) {
        err_set_memory(err, constrain_vocab_words(vocab) * sizeof *guide->bits);
    }
    return guide->run && guide->bits;
}

void engine_guide_deinit(struct engine_guide *guide)
{
    constrain_run_destroy(guide->run);
    mem_free(guide->bits);
    text_ids_deinit(&guide->queue);
    *guide = (struct engine_guide){0};
}

/* ---- stepping back ---- */

void engine_guide_save(const struct engine_guide *guide, struct engine_point *point)
{
    if (guide->run) {
        point->place = constrain_save(guide->run);
    }
    point->is_inside = guide->is_inside;
    point->thought = guide->thought;
}

void engine_guide_restore(struct engine_guide *guide, const struct engine_point *point)
{
    if (guide->run) {
        constrain_restore(guide->run, point->place);
    }
    guide->is_masked = false;
    guide->is_inside = point->is_inside;
    guide->thought = point->thought;
    engine_matcher_reset(&guide->marks);
    guide->queue.count = guide->queue_at = 0;
}

/* ---- what comes next ---- */

void engine_guide_mask(struct engine_guide *guide)
{
    if (guide->run && !guide->is_masked) {
        guide->allowed = constrain_mask(guide->run, guide->bits);
        guide->is_masked = true;
    }
}

/* Queues the tokens of the bytes that are the only way on. */
static void look_ahead(struct engine_guide *guide)
{
    struct buf bytes = {0};
    struct err err;
    constrain_forced(guide->run, FORCED_BYTES_MAX, &bytes);
    const struct str forced = buf_view(&bytes);
    /* 0xFF begins the name of a control token, which the mask finds. */
    const char *mark = forced.len ? memchr(forced.ptr, 0xFF, forced.len) : NULL;
    const struct str plain = mark ? str_slice(forced, 0, (size_t)(mark - forced.ptr)) : forced;
    if (plain.len > 1 &&
        text_encode(guide->text, plain, &(struct text_encode_opts){0}, &guide->queue, &err)) {
        size_t at = 0, kept = 0;
        for (; kept < guide->queue.count; kept++) {
            const struct str piece = text_piece(guide->text, guide->queue.ids[kept], false);
            if (piece.len == 0 || !str_starts(str_slice(plain, at, plain.len), piece)) {
                break; /* a tokenizer that puts a space before a text, for one */
            }
            at += piece.len;
        }
        guide->queue.count = mark || kept == 0 ? kept : kept - 1;
    }
    guide->failed = guide->failed || bytes.failed;
    buf_deinit(&bytes);
}

/* Queues the closing marker, unless the grammar refuses it here: within a character. */
static void close_reasoning(struct engine_guide *guide)
{
    bool fits = true;
    if (guide->run) {
        const struct constrain_state here = constrain_save(guide->run);
        for (size_t i = 0; fits && i < guide->close_count; i++) {
            fits = constrain_accept(guide->run, guide->close_ids[i]);
        }
        constrain_restore(guide->run, here);
    }
    for (size_t i = 0; fits && i < guide->close_count; i++) {
        guide->failed |= !text_ids_add(&guide->queue, guide->close_ids[i]);
    }
}

text_id engine_guide_forced(struct engine_guide *guide)
{
    if (guide->queue_at < guide->queue.count) {
        return guide->queue.ids[guide->queue_at];
    }
    guide->queue.count = guide->queue_at = 0;
    if (guide->has_budget && guide->is_inside && guide->thought >= guide->budget) {
        close_reasoning(guide);
    } else if (guide->run) {
        look_ahead(guide);
    }
    return guide->queue.count ? guide->queue.ids[0] : TEXT_NONE;
}

static void track(struct engine_guide *guide, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        const size_t hit = engine_matcher_feed(&guide->marks, bytes.ptr[i]);
        if (hit == OPENS) {
            guide->is_inside = true;
        } else if (hit == CLOSES) {
            guide->is_inside = false;
        }
    }
}

static void track_token(struct engine_guide *guide, text_id id)
{
    guide->thought += guide->is_inside;
    if (text_kind_of(guide->text, id) == TEXT_CONTROL) {
        track(guide, STR(CONSTRAIN_MARK_BEGIN));
        track(guide, text_raw(guide->text, id));
        track(guide, STR(CONSTRAIN_MARK_END));
    } else {
        track(guide, text_piece(guide->text, id, false));
    }
}

bool engine_guide_accept(struct engine_guide *guide, text_id id)
{
    if (guide->queue_at < guide->queue.count && guide->queue.ids[guide->queue_at] == id) {
        guide->queue_at++;
    } else {
        guide->queue.count = guide->queue_at = 0;
    }
    guide->is_masked = false;
    if (guide->tracks) {
        track_token(guide, id);
    }
    return !guide->run || constrain_accept(guide->run, id);
}

bool engine_guide_must_end(const struct engine_guide *guide)
{
    return guide->run && constrain_must_end(guide->run);
}
