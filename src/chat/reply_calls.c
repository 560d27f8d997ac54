/* Calls: literals, names and arguments of the family's pattern, one behind the other. */
#include <string.h>

#include "base/mem.h"
#include "chat/reply_state.h"

/* ---- calls: what must come ---- */

/* The literal at piece `at`, behind `before`. */
static struct str literal_of(const struct chat_spelling *s, size_t at)
{
    return at < s->call_count && s->call[at].kind == 0 ? s->call[at].text : (struct str){0};
}

/* A section: open and the first piece as one literal would need a copy, so open comes first and
 * the pieces follow. */
void chat_parser_section(struct chat_parser *p, size_t trigger_len)
{
    const struct chat_spelling *s = p->spelling;
    struct buf seen = {0};
    p->state = CHAT_LITERAL;
    p->literal = s->open;
    p->literal_at = 0;
    p->piece = SIZE_MAX; /* before the first */
    p->has_raw = true;
    buf_clear(&p->raw);
    /* The trigger is how open or the first piece begin, or stands before them. */
    const struct str first = s->open.len ? s->open : literal_of(s, 0);
    const size_t at = str_starts(first, s->trigger) ? p->held.len - trigger_len : p->held.len;
    buf_add(&p->raw, str_slice(buf_view(&p->held), 0, at));
    buf_add(&seen, chat_parser_held(p, at));
    buf_clear(&p->held);
    chat_parser_give_back(p, &seen);
}

/* No call after all. */
void chat_parser_abandon(struct chat_parser *p)
{
    struct buf raw = p->raw;
    chat_parser_end_call(p);
    p->raw = (struct buf){0};
    p->has_raw = false;
    p->state = CHAT_IN_TEXT;
    if (raw.len > 0) {
        /* the first byte stays text whatever it began */
        const size_t space = chat_count_space(buf_view(&raw));
        const size_t mark = chat_unknown_mark(str_slice(buf_view(&raw), space, raw.len));
        const size_t text = space + (mark == 0 && space < raw.len);
        chat_parser_give(p, CHAT_PART_TEXT, str_slice(buf_view(&raw), 0, text));
        for (size_t i = text + mark; i < raw.len; i++) {
            chat_parser_byte(p, raw.ptr[i]);
        }
    }
    buf_deinit(&raw);
}

static void next_piece(struct chat_parser *p);

static void begin_arguments(struct chat_parser *p, char kind)
{
    bool has_late_id = false;
    for (size_t i = p->piece + 1; i < p->spelling->call_count; i++) {
        has_late_id = has_late_id || p->spelling->call[i].kind == 'i';
    }
    if (!has_late_id) {
        chat_parser_give_call(p);
    }
    chat_arguments_init(&p->arguments, p->spelling, kind, p->tool);
    p->has_arguments = true;
    p->state = CHAT_IN_ARGUMENTS;
}

static void next_piece(struct chat_parser *p)
{
    const struct chat_spelling *s = p->spelling;
    p->piece = p->piece == SIZE_MAX ? 0 : p->piece + 1;
    if (p->piece == 0) {
        p->id[0] = 0;
        p->tool = NULL;
    }
    if (p->piece == s->call_count) {
        if (!p->is_told) { /* its id came last, and it has no arguments to tell */
            chat_parser_give_call(p);
        }
        chat_parser_end_call(p);
        p->state = CHAT_AFTER;
        p->literal = s->between;
        p->second = s->close;
        p->literal_at = p->second_at = 0;
        p->first_lives = p->second_lives = true;
        p->has_raw = true;
        buf_clear(&p->raw);
        return;
    }
    const struct chat_piece *piece = &s->call[p->piece];
    if (piece->kind == 0) {
        p->state = CHAT_LITERAL;
        p->literal = piece->text;
        p->literal_at = 0;
    } else if (strchr("axp", piece->kind)) {
        begin_arguments(p, piece->kind);
    } else {
        p->state = CHAT_WORD;
        buf_clear(&p->word);
    }
}

enum match { GOES_ON, IS_WHOLE, IS_OTHER };

/* White space of the literal is any white space or none. A literal is whole when only white space
 * is left of it. */
static enum match match_byte(struct str literal, size_t *at, char c)
{
    if (chat_is_space(c)) {
        while (*at < literal.len && chat_is_space(literal.ptr[*at])) {
            ++*at;
        }
        return GOES_ON;
    }
    while (*at < literal.len && chat_is_space(literal.ptr[*at])) {
        ++*at;
    }
    if (*at >= literal.len || literal.ptr[*at] != c) {
        return IS_OTHER;
    }
    ++*at;
    return chat_count_space(str_slice(literal, *at, literal.len)) == literal.len - *at ? IS_WHOLE
                                                                                       : GOES_ON;
}

static bool is_blank(struct str literal)
{
    return chat_count_space(literal) == literal.len;
}

static void keep_raw(struct chat_parser *p, char c)
{
    if (p->has_raw) {
        buf_add_char(&p->raw, c);
        p->failed = p->failed || p->raw.failed;
    }
}

static void feed_literal(struct chat_parser *p, char c)
{
    if (is_blank(str_slice(p->literal, p->literal_at, p->literal.len))) {
        next_piece(p);
        chat_parser_byte(p, c);
        return;
    }
    keep_raw(p, c);
    switch (match_byte(p->literal, &p->literal_at, c)) {
    case IS_WHOLE:
        next_piece(p);
        return;
    case IS_OTHER:
        chat_parser_abandon(p);
        return;
    case GOES_ON:
    default:
        return;
    }
}

static bool set_name(struct chat_parser *p)
{
    const struct str name = str_trim(buf_view(&p->word));
    if (p->spelling->text_name.len > 0 && str_eq(name, p->spelling->text_name)) {
        buf_clear(&p->raw);
        p->has_raw = false;
        p->state = CHAT_IN_TEXT;
        return true;
    }
    p->tool = chat_reply_tool(p->reply, name);
    return p->tool != NULL;
}

static bool may_be_name(const struct chat_parser *p)
{
    struct str word = buf_view(&p->word);
    word = str_slice(word, chat_count_space(word), word.len);
    bool may_be = word.len == 0 || chat_may_become(word, p->spelling->text_name);
    for (size_t i = 0; i < p->reply->tool_count; i++) {
        may_be = may_be || chat_may_become(word, p->reply->tools[i].name);
    }
    return may_be;
}

static void feed_word(struct chat_parser *p, char c)
{
    const char kind = p->spelling->call[p->piece].kind;
    const struct str next = literal_of(p->spelling, p->piece + 1);
    const struct str core = str_trim(next);
    /* A literal of white space alone ends at any of it; others where they begin. */
    const bool ends = next.len > 0 && chat_is_space(next.ptr[0])
                          ? chat_is_space(c) || (core.len && c == core.ptr[0])
                          : core.len && c == core.ptr[0];
    if (!ends) {
        keep_raw(p, c);
        buf_add_char(&p->word, c);
        if (p->word.len > CHAT_NAME_MAX || (kind == 'n' && !may_be_name(p))) {
            chat_parser_abandon(p);
        }
        return;
    }
    if (kind == 'n' && !set_name(p)) {
        keep_raw(p, c);
        chat_parser_abandon(p);
        return;
    }
    if (kind == 'n' && p->state == CHAT_IN_TEXT) {
        return; /* the break behind the name of text */
    }
    if (kind == 'i' && p->word.len < sizeof p->id) {
        memcpy(p->id, p->word.ptr ? p->word.ptr : "", p->word.len);
        p->id[p->word.len] = 0;
    }
    next_piece(p);
    chat_parser_byte(p, c);
}

static void feed_arguments(struct chat_parser *p, char c)
{
    const enum chat_step step = chat_arguments_feed(&p->arguments, c, &p->late);
    p->failed = p->failed || p->late.failed;
    if (p->is_told) {
        chat_parser_give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
        buf_clear(&p->late);
    }
    if (step == CHAT_STEP_MORE) {
        return;
    }
    struct buf rest = {0};
    if (step == CHAT_STEP_BAD) {
        chat_parser_end_call(p);
        p->state = CHAT_IN_TEXT;
        return;
    }
    if (p->arguments.kind == 'x') {
        chat_arguments_end(&p->arguments, &p->late);
        rest = p->arguments.held;
        p->arguments.held = (struct buf){0};
    } else if (p->arguments.kind == 'p') {
        buf_add_char(&rest, c);
    }
    next_piece(p);
    chat_parser_give_back(p, &rest);
}

/* Behind a call: another one, the end of the section, or neither. */
static void feed_after(struct chat_parser *p, char c)
{
    const struct chat_spelling *s = p->spelling;
    const bool has_way = !is_blank(s->between) || s->close.len > 0;
    if (!has_way) { /* the next call begins like the first */
        p->state = CHAT_IN_TEXT;
        p->has_raw = false;
        chat_parser_byte(p, c);
        return;
    }
    keep_raw(p, c);
    enum match first = IS_OTHER, second = IS_OTHER;
    if (p->first_lives && is_blank(s->between)) {
        /* the first piece of the next call tells */
        first = match_byte(literal_of(s, 0), &p->literal_at, c);
    } else if (p->first_lives) {
        first = match_byte(s->between, &p->literal_at, c);
    }
    if (p->second_lives && s->close.len > 0) {
        second = match_byte(s->close, &p->second_at, c);
    }
    p->first_lives = first != IS_OTHER;
    p->second_lives = second != IS_OTHER;
    if (first == IS_WHOLE) {
        p->piece = is_blank(s->between) ? 0 : SIZE_MAX;
        if (p->piece == 0) {
            p->id[0] = 0;
        }
        next_piece(p);
    } else if (second == IS_WHOLE) {
        p->has_raw = false;
        buf_clear(&p->raw);
        p->state = CHAT_IN_TEXT;
    } else if (!p->first_lives && !p->second_lives) {
        chat_parser_abandon(p);
    }
}

void chat_parser_call_byte(struct chat_parser *p, char c)
{
    switch (p->state) {
    case CHAT_LITERAL:
        feed_literal(p, c);
        return;
    case CHAT_WORD:
        feed_word(p, c);
        return;
    case CHAT_IN_ARGUMENTS:
        feed_arguments(p, c);
        return;
    default:
        feed_after(p, c);
    }
}
