/* Harmony, the format of gpt-oss: messages, each with a header that says what it is
 * (reply_grammar.c draws them). */
#include <string.h>

#include "chat/reply_state.h"

static const char message_mark[] = CONSTRAIN_MARK_BEGIN "<|message|>" CONSTRAIN_MARK_END;

static bool header_has(struct str header, const char *word)
{
    return str_find(header, str_of(word), 0) != SIZE_MAX;
}

static const struct chat_tool *header_tool(const struct chat_parser *p, struct str header)
{
    const size_t at = str_find(header, STR("to=functions."), 0);
    if (at == SIZE_MAX) {
        return NULL;
    }
    size_t from = at + strlen("to=functions."), to = from;
    while (to < header.len && !chat_is_space(header.ptr[to]) &&
           header.ptr[to] != CONSTRAIN_MARK_BEGIN[0]) {
        to++;
    }
    return chat_reply_tool(p->reply, str_slice(header, from, to));
}

/* Between messages: all up to <|message|> says what comes. */
static void feed_header(struct chat_parser *p, char c)
{
    chat_parser_hold(p, c);
    const struct str header = buf_view(&p->held);
    const bool is_begun =
        header.ptr[0] == CONSTRAIN_MARK_BEGIN[0] || chat_is_space(header.ptr[0]) ||
        chat_may_become(header, STR("assistant")) || str_starts(header, STR("assistant"));
    if (!is_begun || header.len > 1024) { /* no message of this format: text */
        chat_parser_give(p, CHAT_PART_TEXT, header);
        buf_clear(&p->held);
        p->state = CHAT_IN_TEXT;
        p->after_header = CHAT_IN_TEXT;
        return;
    }
    if (!str_ends(header, str_of(message_mark))) {
        return;
    }
    p->tool = header_tool(p, header);
    if (p->tool) {
        p->id[0] = 0;
        chat_parser_give_call(p);
        chat_arguments_init(&p->arguments, p->spelling, 'a', p->tool);
        p->has_arguments = true;
        p->after_header = CHAT_IN_ARGUMENTS;
    } else {
        p->after_header = header_has(header, "analysis") ? CHAT_REASON : CHAT_IN_TEXT;
    }
    buf_clear(&p->held);
    p->state = p->after_header;
}

/* Within a message, a control token ends it. */
static void feed_message(struct chat_parser *p, char c)
{
    if (c != CONSTRAIN_MARK_BEGIN[0] && p->held.len == 0) {
        const char *at = &c;
        if (p->state == CHAT_IN_ARGUMENTS) {
            if (p->has_arguments &&
                chat_arguments_feed(&p->arguments, c, &p->late) != CHAT_STEP_MORE) {
                chat_arguments_deinit(&p->arguments);
                p->has_arguments = false;
            }
            chat_parser_give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
            buf_clear(&p->late);
            return;
        }
        chat_parser_give(p, p->state == CHAT_REASON ? CHAT_PART_REASONING : CHAT_PART_TEXT,
                         (struct str){at, 1});
        return;
    }
    chat_parser_hold(p, c);
    if (c != CONSTRAIN_MARK_END[0]) {
        return;
    }
    const bool begins_header = header_has(buf_view(&p->held), "<|channel|>");
    if (p->state == CHAT_IN_ARGUMENTS) {
        chat_parser_end_call(p);
    }
    p->state = CHAT_HEADER;
    if (!begins_header) {
        buf_clear(&p->held); /* <|end|>, <|start|> */
    }
}

void chat_parser_harmony_byte(struct chat_parser *p, char c)
{
    if (p->state == CHAT_HEADER) {
        feed_header(p, c);
    } else {
        feed_message(p, c);
    }
}
