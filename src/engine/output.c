#include "engine/output.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"

/* ---- setting up ---- */

/* Marks the tokens whose own text holds a banned string, so that they are never drawn. End tokens
 * have no text. */
static void mark_banned(struct engine_output *out, const struct text *text, bool special)
{
    for (size_t id = 0; id < out->banned_bit_count; id++) {
        struct str piece = text_piece(text, (text_id)id, special);
        engine_matcher_reset(&out->banned);
        for (size_t i = 0; i < piece.len; i++) {
            if (engine_matcher_feed(&out->banned, piece.ptr[i]) != SIZE_MAX &&
                !text_is_end(text, (text_id)id)) {
                out->banned_bits[id / 64] |= 1ull << (id % 64);
                break;
            }
        }
    }
    engine_matcher_reset(&out->banned);
}

bool engine_output_init(struct engine_output *out, struct engine_stream *stream,
                        const struct engine_request *request, const struct text *text,
                        struct err *err)
{
    struct arena *arena = &stream->arena;
    *out = (struct engine_output){
        .stream = stream, .wants_tokens = request->wants_logprobs, .marks = request->marks};
    text_stream_init(&out->detok, text, request->special, false);
    text_stream_init(&out->prompt_detok, text, request->special, true);
    if (!engine_matcher_init(&out->stops, request->stops, request->stop_count, false, arena) ||
        !engine_matcher_init(&out->banned, request->banned, request->banned_count, true, arena)) {
        return err_set_memory(err, (request->stop_count + request->banned_count) * 64);
    }
    if (out->banned.count == 0) {
        return true;
    }
    out->banned_bit_count = text_vocab_count(text);
    out->banned_bits = ARENA_ARRAY(arena, uint64_t, out->banned_bit_count / 64 + 1);
    out->ban_at = ARENA_ARRAY(arena, uint32_t, ENGINE_STEP_BACKS_MAX);
    out->ban_ids = ARENA_ARRAY(arena, text_id, ENGINE_STEP_BACKS_MAX);
    if (!out->banned_bits || !out->ban_at || !out->ban_ids) {
        return err_set_memory(err, out->banned_bit_count / 8 + ENGINE_STEP_BACKS_MAX * 8);
    }
    mark_banned(out, text, request->special);
    return true;
}

void engine_output_deinit(struct engine_output *out)
{
    buf_deinit(&out->text);
    buf_deinit(&out->prompt_text);
    mem_free(out->held);
    mem_free(out->tokens);
    out->held = NULL;
    out->tokens = NULL;
}

/* ---- holding and releasing ---- */

static bool grow(struct engine_output *out)
{
    if (out->held_count < out->held_cap) {
        return true;
    }
    size_t cap = out->held_cap ? out->held_cap * 2 : 16;
    struct engine_held *held = mem_resize(out->held, cap, sizeof *held);
    if (!held) {
        return false;
    }
    out->held = held;
    if (out->wants_tokens) {
        struct engine_token *tokens = mem_resize(out->tokens, cap, sizeof *tokens);
        if (!tokens) {
            return false;
        }
        out->tokens = tokens;
    }
    out->held_cap = cap;
    return true;
}

static void forget_bans_before(struct engine_output *out, uint32_t at)
{
    size_t gone = 0;
    while (gone < out->ban_count && out->ban_at[gone] < at) {
        gone++;
    }
    if (gone == 0) {
        return;
    }
    out->ban_count -= gone;
    memmove(out->ban_at, out->ban_at + gone, out->ban_count * sizeof *out->ban_at);
    memmove(out->ban_ids, out->ban_ids + gone, out->ban_count * sizeof *out->ban_ids);
}

/* Tells the reader the first `bytes` of the held text and the first `count` held tokens. */
static bool release(struct engine_output *out, size_t bytes, size_t count)
{
    if (bytes == 0 && count == 0) {
        return true;
    }
    struct str text = {out->text.ptr, bytes};
    bool is_news = bytes > 0 || out->wants_tokens;
    if (is_news && !engine_stream_emit(out->stream, text, out->wants_tokens ? out->tokens : NULL,
                                       count, false)) {
        return false;
    }
    out->text.len -= bytes;
    if (bytes) {
        memmove(out->text.ptr, out->text.ptr + bytes, out->text.len);
    }
    out->held_count -= count;
    if (count) {
        memmove(out->held, out->held + count, out->held_count * sizeof *out->held);
        if (out->wants_tokens) {
            memmove(out->tokens, out->tokens + count, out->held_count * sizeof *out->tokens);
        }
        out->step_backs = 0;
    }
    for (size_t i = 0; i < out->held_count; i++) {
        out->held[i].start = out->held[i].start > bytes ? out->held[i].start - bytes : 0;
        out->held[i].end -= bytes;
    }
    out->released += (uint32_t)count;
    forget_bans_before(out, out->released);
    return true;
}

/* Tokens that end within the first `bytes` of the held text. */
static size_t count_within(const struct engine_output *out, size_t bytes)
{
    size_t count = 0;
    while (count < out->held_count && out->held[count].end <= bytes) {
        count++;
    }
    return count;
}

/* Bytes of the first `bytes` that stay out of every banned string, also after a step back to a
 * token that is held behind them. */
static size_t count_safe(const struct engine_output *out, size_t bytes)
{
    for (size_t i = out->held_count; i-- > 0 && out->held[i].end > bytes;) {
        const struct engine_held *held = &out->held[i];
        bytes = size_min(bytes, held->start - size_min(held->reach, held->start));
    }
    return bytes;
}

/* Releases all that cannot become part of a match. */
static bool release_safe(struct engine_output *out)
{
    size_t held = size_max(engine_matcher_held(&out->stops), engine_matcher_held(&out->banned));
    size_t bytes = out->text.len - size_min(held, out->text.len);
    if (out->banned.count) {
        bytes = count_safe(out, bytes);
    }
    size_t count = count_within(out, bytes);
    if (out->banned.count) {
        bytes = count ? out->held[count - 1].end : 0;
    }
    /* A token without text waits for the next text: half a character is no event. */
    return bytes == 0 || release(out, bytes, count);
}

bool engine_output_flush(struct engine_output *out)
{
    return release(out, out->text.len, out->held_count);
}

/* ---- matches ---- */

static void feed_again(struct engine_output *out)
{
    engine_matcher_reset(&out->stops);
    engine_matcher_reset(&out->banned);
    for (size_t i = 0; i < out->text.len; i++) {
        engine_matcher_feed(&out->stops, out->text.ptr[i]);
        engine_matcher_feed(&out->banned, out->text.ptr[i]);
    }
}

/* A banned string began at byte `start` of the held text. */
static struct engine_accepted step_back(struct engine_output *out, size_t start)
{
    size_t k = count_within(out, start);
    assert(k < out->held_count);
    const struct engine_held *token = &out->held[k];
    const uint32_t at = out->released + (uint32_t)k;
    if (++out->step_backs > ENGINE_STEP_BACKS_MAX || out->ban_count == ENGINE_STEP_BACKS_MAX) {
        return (struct engine_accepted){.verdict = ENGINE_NO_WAY};
    }
    while (out->ban_count && out->ban_at[out->ban_count - 1] > at) {
        out->ban_count--; /* they were for another text */
    }
    out->ban_at[out->ban_count] = at;
    out->ban_ids[out->ban_count++] = token->id;
    out->detok = token->before;
    out->text.len = token->start;
    out->held_count = k;
    feed_again(out);
    return (struct engine_accepted){.verdict = ENGINE_STEP_BACK, .keep = at, .point = token->point};
}

static struct engine_accepted stop(struct engine_output *out, size_t which, size_t start)
{
    size_t count = 0;
    while (count < out->held_count && out->held[count].start < start) {
        count++;
    }
    bool is_told = release(out, start, count);
    out->held_count = 0;
    out->text.len = 0;
    return (struct engine_accepted){.verdict = is_told ? ENGINE_HIT_STOP : ENGINE_NO_MEMORY,
                                    .stop = which};
}

/* Appends the text of a token, or with `marks` that of a control token between its marks. */
static void add_text(struct engine_output *out, text_id id)
{
    const struct text *text = out->detok.text;
    if (!out->marks || text_kind_of(text, id) != TEXT_CONTROL) {
        text_stream_feed(&out->detok, id, &out->text);
        return;
    }
    text_stream_end(&out->detok, &out->text);
    buf_add_text(&out->text, CONSTRAIN_MARK_BEGIN);
    buf_add(&out->text, text_raw(text, id));
    buf_add_text(&out->text, CONSTRAIN_MARK_END);
}

struct engine_accepted engine_output_accept(struct engine_output *out, text_id id,
                                            const struct engine_token *token,
                                            const struct engine_point *point)
{
    if (!grow(out)) {
        return (struct engine_accepted){.verdict = ENGINE_NO_MEMORY};
    }
    struct engine_held *held = &out->held[out->held_count];
    *held = (struct engine_held){.id = id,
                                 .start = out->text.len,
                                 .reach = engine_matcher_held(&out->banned),
                                 .before = out->detok,
                                 .point = *point};
    add_text(out, id);
    held->end = out->text.len;
    if (out->text.failed) {
        return (struct engine_accepted){.verdict = ENGINE_NO_MEMORY};
    }
    if (out->wants_tokens) {
        out->tokens[out->held_count] = *token;
    }
    out->held_count++;
    for (size_t i = held->start; i < out->text.len; i++) {
        size_t hit = engine_matcher_feed(&out->stops, out->text.ptr[i]);
        size_t banned = engine_matcher_feed(&out->banned, out->text.ptr[i]);
        size_t stop_start = hit == SIZE_MAX ? SIZE_MAX : i + 1 - out->stops.patterns[hit].text.len;
        size_t ban_start =
            banned == SIZE_MAX ? SIZE_MAX : i + 1 - out->banned.patterns[banned].text.len;
        if (ban_start < stop_start) {
            return step_back(out, ban_start);
        }
        if (hit != SIZE_MAX) {
            return stop(out, hit, stop_start);
        }
    }
    bool is_told = release_safe(out);
    return (struct engine_accepted){.verdict = is_told ? ENGINE_GO_ON : ENGINE_NO_MEMORY};
}

void engine_output_bans(const struct engine_output *out, uint32_t at, struct engine_bans *bans)
{
    size_t end = out->ban_count;
    while (end > 0 && out->ban_at[end - 1] > at) {
        end--;
    }
    size_t first = end;
    while (first > 0 && out->ban_at[first - 1] == at) {
        first--;
    }
    bans->ids = out->ban_ids ? out->ban_ids + first : NULL;
    bans->id_count = end - first;
    bans->bits[1] = out->banned_bits;
    bans->bit_count[1] = out->banned_bit_count;
}

bool engine_output_is_banned(const struct engine_output *out, uint32_t at, text_id id)
{
    struct engine_bans bans = {0};
    engine_output_bans(out, at, &bans);
    const size_t bit = (size_t)id;
    bool is_banned =
        bans.bits[1] && bit < bans.bit_count[1] && (bans.bits[1][bit / 64] >> (bit % 64) & 1);
    for (size_t i = 0; i < bans.id_count; i++) {
        is_banned = is_banned || bans.ids[i] == id;
    }
    return is_banned;
}

bool engine_output_prompt(struct engine_output *out, const struct engine_token *token)
{
    buf_clear(&out->prompt_text);
    text_stream_feed(&out->prompt_detok, token->chosen.id, &out->prompt_text);
    return !out->prompt_text.failed &&
           engine_stream_emit(out->stream, buf_view(&out->prompt_text), token, 1, true);
}
