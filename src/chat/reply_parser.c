/* One byte at a time through these states:
 *
 *     START --think_open--> REASON --think_close--> BODY
 *       `--------------------------------------------^
 *     BODY  --a family without trigger--> CALL, else TEXT
 *     TEXT  --trigger--> CALL --all pieces--> AFTER --between--> CALL
 *                                               `--close, or anything else--> TEXT
 *     HEADER --<|message|>--> TEXT, REASON or ARGUMENTS        Harmony's messages
 *
 * `held` has the bytes that may still be a marker, `raw` what becomes text if a call turns out to
 * be none. A state that learns that held bytes belong to the next one gives them back. */
#include "chat/reply_state.h"

#include <string.h>

#include "base/mem.h"

/* ---- text and reasoning ---- */

/* Text until the trigger; the words around text are dropped. */
static void feed_text(struct chat_parser *p, char c)
{
    const struct chat_spelling *s = p->spelling;
    const bool has_calls = p->reply->tool_count > 0 && s->trigger.len > 0;
    chat_parser_hold(p, c);
    while (p->held.len > 0) {
        const struct str all = buf_view(&p->held);
        const size_t space = chat_count_space(all);
        const struct str word = chat_parser_held(p, space);
        if (has_calls && str_eq(word, s->trigger)) {
            chat_parser_section(p, s->trigger.len);
            return;
        }
        if (s->text_close.len > 0 && (str_eq(word, s->text_close) || str_eq(word, s->text_open))) {
            p->held.len -= word.len;
            continue;
        }
        const size_t mark = chat_unknown_mark(word);
        const bool waits =
            (has_calls && (word.len == 0 || chat_may_become(word, s->trigger))) ||
            (word.len > 0 && s->text_close.len > 0 &&
             (chat_may_become(word, s->text_close) || chat_may_become(word, s->text_open))) ||
            (word.len > 0 && word.ptr[0] == CONSTRAIN_MARK_BEGIN[0] && mark == 0);
        if (waits) {
            return;
        }
        if (mark > 0) {
            memmove(p->held.ptr + space, p->held.ptr + space + mark, word.len - mark);
            p->held.len -= mark;
            continue;
        }
        const size_t count = space + (word.len > 0);
        chat_parser_give(p, CHAT_PART_TEXT, str_slice(all, 0, count));
        chat_parser_drop(p, count);
    }
}

/* Reasoning until its closing marker, without the white space around it. */
static void feed_reasoning(struct chat_parser *p, char c)
{
    const struct str close = p->spelling->think_close;
    chat_parser_hold(p, c);
    while (p->held.len > 0) {
        const struct str all = buf_view(&p->held);
        const size_t space = chat_count_space(all);
        const struct str word = chat_parser_held(p, space);
        if (str_eq(word, close)) {
            buf_clear(&p->held);
            p->state = CHAT_BODY;
            p->is_after_space = true;
            return;
        }
        const size_t mark = chat_unknown_mark(word);
        if (word.len == 0 || chat_may_become(word, close) ||
            (word.ptr[0] == CONSTRAIN_MARK_BEGIN[0] && mark == 0)) {
            return;
        }
        if (mark > 0) {
            memmove(p->held.ptr + space, p->held.ptr + space + mark, word.len - mark);
            p->held.len -= mark;
            continue;
        }
        if (p->is_after_space) { /* before its first word */
            p->is_after_space = false;
            chat_parser_drop(p, space);
            continue;
        }
        chat_parser_give(p, CHAT_PART_REASONING, str_slice(all, 0, space + 1));
        chat_parser_drop(p, space + 1);
    }
}

static void feed_start(struct chat_parser *p, char c)
{
    const struct str open = p->spelling->think_open;
    chat_parser_hold(p, c);
    const struct str word = chat_parser_held(p, chat_count_space(buf_view(&p->held)));
    if (str_eq(word, open)) {
        buf_clear(&p->held);
        p->state = CHAT_REASON;
        p->is_after_space = true;
    } else if (!chat_may_become(word, open)) {
        struct buf held = p->held;
        p->held = (struct buf){0};
        p->state = CHAT_BODY;
        chat_parser_give_back(p, &held);
        buf_deinit(&held);
    }
}

static void feed_body(struct chat_parser *p, char c)
{
    if (chat_is_space(c) && p->is_after_space) {
        return;
    }
    p->is_after_space = false;
    const bool begins_call = p->reply->tool_count > 0 &&
                             (p->spelling->trigger.len == 0 || p->spelling->text_name.len > 0);
    if (begins_call && chat_is_space(c)) {
        chat_parser_hold(p, c);
        return;
    }
    struct buf held = p->held;
    p->held = (struct buf){0};
    p->state = CHAT_IN_TEXT;
    if (begins_call) {
        chat_parser_section(p, 0);
        buf_add(&p->raw, buf_view(&held));
    } else {
        chat_parser_give_back(p, &held);
    }
    buf_deinit(&held);
    chat_parser_byte(p, c);
}

/* ---- all ---- */

void chat_parser_byte(struct chat_parser *p, char c)
{
    if (p->spelling->format->is_harmony) {
        chat_parser_harmony_byte(p, c);
        return;
    }
    switch (p->state) {
    case CHAT_START:
        feed_start(p, c);
        return;
    case CHAT_REASON:
        feed_reasoning(p, c);
        return;
    case CHAT_BODY:
        feed_body(p, c);
        return;
    case CHAT_LITERAL:
    case CHAT_WORD:
    case CHAT_IN_ARGUMENTS:
    case CHAT_AFTER:
        chat_parser_call_byte(p, c);
        return;
    case CHAT_IN_TEXT:
    case CHAT_HEADER:
    default:
        feed_text(p, c);
    }
}

struct chat_parser *chat_parser_create(const struct chat_reply *reply)
{
    struct chat_parser *p = MEM_NEW(struct chat_parser);
    if (!p) {
        return NULL;
    }
    p->reply = reply;
    p->spelling = reply->spelling;
    p->state = reply->spelling->format->is_harmony   ? CHAT_HEADER
               : reply->thinking == CHAT_IS_THINKING ? CHAT_REASON
               : reply->thinking == CHAT_MAY_THINK   ? CHAT_START
                                                     : CHAT_BODY;
    p->is_after_space = p->state == CHAT_REASON;
    return p;
}

void chat_parser_destroy(struct chat_parser *p)
{
    if (!p) {
        return;
    }
    buf_deinit(&p->held);
    buf_deinit(&p->raw);
    buf_deinit(&p->word);
    buf_deinit(&p->late);
    if (p->has_arguments) {
        chat_arguments_deinit(&p->arguments);
    }
    mem_free(p);
}

void chat_parser_feed(struct chat_parser *p, struct str text, struct chat_parts *out)
{
    p->out = out;
    for (size_t i = 0; i < text.len; i++) {
        chat_parser_byte(p, text.ptr[i]);
    }
    out->failed = out->failed || p->failed;
    p->out = NULL;
}

/* Held bytes as they are, without a control token that was cut. */
static void give_held(struct chat_parser *p, enum chat_part_kind kind)
{
    const struct str held = buf_view(&p->held);
    const char *mark = held.len ? memchr(held.ptr, CONSTRAIN_MARK_BEGIN[0] & 0xFF, held.len) : NULL;
    chat_parser_give(p, kind, mark ? str_slice(held, 0, (size_t)(mark - held.ptr)) : held);
    buf_clear(&p->held);
}

void chat_parser_end(struct chat_parser *p, struct chat_parts *out)
{
    p->out = out;
    if (p->state == CHAT_LITERAL || p->state == CHAT_WORD || p->state == CHAT_AFTER) {
        if (!p->is_told && p->late.len == 0 && p->state != CHAT_AFTER) {
            chat_parser_abandon(p);
        }
    }
    if (p->is_told || p->late.len > 0) {
        chat_parser_end_call(p);
    }
    if (p->state == CHAT_REASON && !p->spelling->format->is_harmony) {
        if (chat_count_space(buf_view(&p->held)) < p->held.len) {
            give_held(p, CHAT_PART_REASONING);
        }
    } else if (p->state != CHAT_HEADER) {
        give_held(p, CHAT_PART_TEXT);
    }
    out->failed = out->failed || p->failed;
    p->out = NULL;
}

uint32_t chat_parser_calls(const struct chat_parser *p)
{
    return p->calls;
}

enum chat_part_kind chat_parser_kind(const struct chat_parser *p)
{
    return p->state == CHAT_REASON ? CHAT_PART_REASONING
           : p->state == CHAT_IN_ARGUMENTS || p->state == CHAT_LITERAL || p->state == CHAT_WORD
               ? CHAT_PART_ARGUMENTS
               : CHAT_PART_TEXT;
}
