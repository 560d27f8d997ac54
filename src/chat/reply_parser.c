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
#include "chat/reply_parser.h"

#include <string.h>

#include "base/mem.h"
#include "chat/arguments.h"

enum state { START, REASON, BODY, TEXT, LITERAL, WORD, ARGUMENTS, AFTER, HEADER };

struct chat_parser {
    const struct chat_reply *reply;
    const struct chat_spelling *spelling;
    struct chat_parts *out; /* during a feed */
    enum state state;
    struct buf held, raw;
    bool has_raw;        /* raw is being kept */
    bool is_after_space; /* white space is dropped: behind reasoning */

    /* a call */
    struct str literal; /* LITERAL: what must come, from literal_at on */
    size_t literal_at;
    struct str second; /* AFTER: the other way on */
    size_t second_at;
    bool first_lives, second_lives;
    size_t piece;
    struct buf word;
    const struct chat_tool *tool;
    char id[16];
    bool is_told;    /* CALL was given, CALL_END was not */
    struct buf late; /* arguments before the id */
    struct chat_arguments arguments;
    bool has_arguments;
    uint32_t calls;

    /* Harmony */
    enum state after_header;
    bool failed;
};

static void feed(struct chat_parser *p, char c);

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- parts ---- */

void chat_parts_clear(struct chat_parts *parts)
{
    buf_clear(&parts->bytes);
    parts->count = 0;
}

void chat_parts_deinit(struct chat_parts *parts)
{
    buf_deinit(&parts->bytes);
    mem_free(parts->items);
    *parts = (struct chat_parts){0};
}

static struct chat_part *add_part(struct chat_parts *parts, enum chat_part_kind kind)
{
    if (parts->count == parts->cap) {
        const size_t cap = parts->cap * 2 + 8;
        struct chat_part *grown = mem_resize(parts->items, cap, sizeof *grown);
        if (!grown) {
            parts->failed = true;
            return NULL;
        }
        parts->items = grown;
        parts->cap = cap;
    }
    struct chat_part *part = &parts->items[parts->count++];
    *part = (struct chat_part){.kind = kind, .at = parts->bytes.len};
    return part;
}

static void give(struct chat_parser *p, enum chat_part_kind kind, struct str bytes)
{
    struct chat_parts *parts = p->out;
    if (bytes.len == 0) {
        return;
    }
    struct chat_part *part = parts->count ? &parts->items[parts->count - 1] : NULL;
    if (!part || part->kind != kind) {
        part = add_part(parts, kind);
    }
    if (part) {
        part->call = p->calls ? p->calls - 1 : 0;
        part->len += bytes.len;
    }
    buf_add(&parts->bytes, bytes);
    parts->failed = parts->failed || parts->bytes.failed;
}

static void give_call(struct chat_parser *p)
{
    struct chat_part *part = add_part(p->out, CHAT_PART_CALL);
    if (part) {
        part->call = p->calls;
        part->tool = p->tool;
        memcpy(part->id, p->id, sizeof part->id);
    }
    p->calls++;
    p->is_told = true;
    p->has_raw = false;
    buf_clear(&p->raw);
}

static void end_call(struct chat_parser *p)
{
    if (p->has_arguments) {
        chat_arguments_deinit(&p->arguments);
        p->has_arguments = false;
    }
    if (!p->is_told && p->late.len > 0) {
        give_call(p);
    }
    if (p->is_told) {
        give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
        struct chat_part *part = add_part(p->out, CHAT_PART_CALL_END);
        if (part) {
            part->call = p->calls - 1;
        }
    }
    buf_clear(&p->late);
    p->is_told = false;
}

/* ---- held bytes ---- */

static void hold(struct chat_parser *p, char c)
{
    buf_add_char(&p->held, c);
    p->failed = p->failed || p->held.failed;
}

static void drop_held(struct chat_parser *p, size_t count)
{
    p->held.len -= count;
    memmove(p->held.ptr, p->held.ptr + count, p->held.len);
}

static struct str held_from(const struct chat_parser *p, size_t from)
{
    return str_slice(buf_view(&p->held), from, p->held.len);
}

static size_t count_space(struct str s)
{
    size_t count = 0;
    while (count < s.len && is_space(s.ptr[count])) {
        count++;
    }
    return count;
}

/* Feeds held bytes to the state that is now. */
static void give_back(struct chat_parser *p, struct buf *from)
{
    struct buf taken = *from;
    *from = (struct buf){0};
    for (size_t i = 0; i < taken.len; i++) {
        feed(p, taken.ptr[i]);
    }
    buf_deinit(&taken);
}

static bool may_become(struct str held, struct str marker)
{
    return marker.len > 0 && str_starts(marker, held);
}

/* Bytes at the start of `held` that are a whole control token which nobody waits for. */
static size_t unknown_mark(struct str held)
{
    const char *end = held.len > 0 && held.ptr[0] == CONSTRAIN_MARK_BEGIN[0]
                          ? memchr(held.ptr, CONSTRAIN_MARK_END[0] & 0xFF, held.len)
                          : NULL;
    return end ? (size_t)(end - held.ptr) + 1 : 0;
}

/* ---- calls: what must come ---- */

/* The literal at piece `at`, behind `before`. */
static struct str literal_of(const struct chat_spelling *s, size_t at)
{
    return at < s->call_count && s->call[at].kind == 0 ? s->call[at].text : (struct str){0};
}

/* A section: open and the first piece as one literal would need a copy, so open comes first and
 * the pieces follow. */
static void begin_section(struct chat_parser *p, size_t trigger_len)
{
    const struct chat_spelling *s = p->spelling;
    struct buf seen = {0};
    p->state = LITERAL;
    p->literal = s->open;
    p->literal_at = 0;
    p->piece = SIZE_MAX; /* before the first */
    p->has_raw = true;
    buf_clear(&p->raw);
    /* The trigger is how open or the first piece begin, or stands before them. */
    const struct str first = s->open.len ? s->open : literal_of(s, 0);
    const size_t at = str_starts(first, s->trigger) ? p->held.len - trigger_len : p->held.len;
    buf_add(&p->raw, str_slice(buf_view(&p->held), 0, at));
    buf_add(&seen, held_from(p, at));
    buf_clear(&p->held);
    give_back(p, &seen);
}

/* No call after all. */
static void abandon(struct chat_parser *p)
{
    struct buf raw = p->raw;
    end_call(p);
    p->raw = (struct buf){0};
    p->has_raw = false;
    p->state = TEXT;
    if (raw.len > 0) {
        /* the first byte stays text whatever it began */
        const size_t space = count_space(buf_view(&raw));
        const size_t mark = unknown_mark(str_slice(buf_view(&raw), space, raw.len));
        const size_t text = space + (mark == 0 && space < raw.len);
        give(p, CHAT_PART_TEXT, str_slice(buf_view(&raw), 0, text));
        for (size_t i = text + mark; i < raw.len; i++) {
            feed(p, raw.ptr[i]);
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
        give_call(p);
    }
    chat_arguments_init(&p->arguments, p->spelling, kind, p->tool);
    p->has_arguments = true;
    p->state = ARGUMENTS;
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
        end_call(p);
        p->state = AFTER;
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
        p->state = LITERAL;
        p->literal = piece->text;
        p->literal_at = 0;
    } else if (strchr("axp", piece->kind)) {
        begin_arguments(p, piece->kind);
    } else {
        p->state = WORD;
        buf_clear(&p->word);
    }
}

enum match { GOES_ON, IS_WHOLE, IS_OTHER };

/* White space of the literal is any white space or none. A literal is whole when only white space
 * is left of it. */
static enum match match_byte(struct str literal, size_t *at, char c)
{
    if (is_space(c)) {
        while (*at < literal.len && is_space(literal.ptr[*at])) {
            ++*at;
        }
        return GOES_ON;
    }
    while (*at < literal.len && is_space(literal.ptr[*at])) {
        ++*at;
    }
    if (*at >= literal.len || literal.ptr[*at] != c) {
        return IS_OTHER;
    }
    ++*at;
    return count_space(str_slice(literal, *at, literal.len)) == literal.len - *at ? IS_WHOLE
                                                                                  : GOES_ON;
}

static bool is_blank(struct str literal)
{
    return count_space(literal) == literal.len;
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
        feed(p, c);
        return;
    }
    keep_raw(p, c);
    switch (match_byte(p->literal, &p->literal_at, c)) {
    case IS_WHOLE:
        next_piece(p);
        return;
    case IS_OTHER:
        abandon(p);
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
        p->state = TEXT;
        return true;
    }
    p->tool = chat_reply_tool(p->reply, name);
    return p->tool != NULL;
}

static bool may_be_name(const struct chat_parser *p)
{
    struct str word = buf_view(&p->word);
    word = str_slice(word, count_space(word), word.len);
    bool may_be = word.len == 0 || may_become(word, p->spelling->text_name);
    for (size_t i = 0; i < p->reply->tool_count; i++) {
        may_be = may_be || may_become(word, p->reply->tools[i].name);
    }
    return may_be;
}

static void feed_word(struct chat_parser *p, char c)
{
    const char kind = p->spelling->call[p->piece].kind;
    const struct str next = literal_of(p->spelling, p->piece + 1);
    const struct str core = str_trim(next);
    /* A literal of white space alone ends at any of it; others where they begin. */
    const bool ends = next.len > 0 && is_space(next.ptr[0])
                          ? is_space(c) || (core.len && c == core.ptr[0])
                          : core.len && c == core.ptr[0];
    if (!ends) {
        keep_raw(p, c);
        buf_add_char(&p->word, c);
        if (p->word.len > CHAT_NAME_MAX || (kind == 'n' && !may_be_name(p))) {
            abandon(p);
        }
        return;
    }
    if (kind == 'n' && !set_name(p)) {
        keep_raw(p, c);
        abandon(p);
        return;
    }
    if (kind == 'n' && p->state == TEXT) {
        return; /* the break behind the name of text */
    }
    if (kind == 'i' && p->word.len < sizeof p->id) {
        memcpy(p->id, p->word.ptr ? p->word.ptr : "", p->word.len);
        p->id[p->word.len] = 0;
    }
    next_piece(p);
    feed(p, c);
}

static void feed_arguments(struct chat_parser *p, char c)
{
    const enum chat_step step = chat_arguments_feed(&p->arguments, c, &p->late);
    p->failed = p->failed || p->late.failed;
    if (p->is_told) {
        give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
        buf_clear(&p->late);
    }
    if (step == CHAT_STEP_MORE) {
        return;
    }
    struct buf rest = {0};
    if (step == CHAT_STEP_BAD) {
        end_call(p);
        p->state = TEXT;
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
    give_back(p, &rest);
}

/* Behind a call: another one, the end of the section, or neither. */
static void feed_after(struct chat_parser *p, char c)
{
    const struct chat_spelling *s = p->spelling;
    const bool has_way = !is_blank(s->between) || s->close.len > 0;
    if (!has_way) { /* the next call begins like the first */
        p->state = TEXT;
        p->has_raw = false;
        feed(p, c);
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
        p->state = TEXT;
    } else if (!p->first_lives && !p->second_lives) {
        abandon(p);
    }
}

/* ---- text and reasoning ---- */

/* Text until the trigger; the words around text are dropped. */
static void feed_text(struct chat_parser *p, char c)
{
    const struct chat_spelling *s = p->spelling;
    const bool has_calls = p->reply->tool_count > 0 && s->trigger.len > 0;
    hold(p, c);
    while (p->held.len > 0) {
        const struct str all = buf_view(&p->held);
        const size_t space = count_space(all);
        const struct str word = held_from(p, space);
        if (has_calls && str_eq(word, s->trigger)) {
            begin_section(p, s->trigger.len);
            return;
        }
        if (s->text_close.len > 0 && (str_eq(word, s->text_close) || str_eq(word, s->text_open))) {
            p->held.len -= word.len;
            continue;
        }
        const size_t mark = unknown_mark(word);
        const bool waits = (has_calls && (word.len == 0 || may_become(word, s->trigger))) ||
                           (word.len > 0 && s->text_close.len > 0 &&
                            (may_become(word, s->text_close) || may_become(word, s->text_open))) ||
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
        give(p, CHAT_PART_TEXT, str_slice(all, 0, count));
        drop_held(p, count);
    }
}

/* Reasoning until its closing marker, without the white space around it. */
static void feed_reasoning(struct chat_parser *p, char c)
{
    const struct str close = p->spelling->think_close;
    hold(p, c);
    while (p->held.len > 0) {
        const struct str all = buf_view(&p->held);
        const size_t space = count_space(all);
        const struct str word = held_from(p, space);
        if (str_eq(word, close)) {
            buf_clear(&p->held);
            p->state = BODY;
            p->is_after_space = true;
            return;
        }
        const size_t mark = unknown_mark(word);
        if (word.len == 0 || may_become(word, close) ||
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
            drop_held(p, space);
            continue;
        }
        give(p, CHAT_PART_REASONING, str_slice(all, 0, space + 1));
        drop_held(p, space + 1);
    }
}

static void feed_start(struct chat_parser *p, char c)
{
    const struct str open = p->spelling->think_open;
    hold(p, c);
    const struct str word = held_from(p, count_space(buf_view(&p->held)));
    if (str_eq(word, open)) {
        buf_clear(&p->held);
        p->state = REASON;
        p->is_after_space = true;
    } else if (!may_become(word, open)) {
        struct buf held = p->held;
        p->held = (struct buf){0};
        p->state = BODY;
        give_back(p, &held);
        buf_deinit(&held);
    }
}

static void feed_body(struct chat_parser *p, char c)
{
    if (is_space(c) && p->is_after_space) {
        return;
    }
    p->is_after_space = false;
    const bool begins_call = p->reply->tool_count > 0 &&
                             (p->spelling->trigger.len == 0 || p->spelling->text_name.len > 0);
    if (begins_call && is_space(c)) {
        hold(p, c);
        return;
    }
    struct buf held = p->held;
    p->held = (struct buf){0};
    p->state = TEXT;
    if (begins_call) {
        begin_section(p, 0);
        buf_add(&p->raw, buf_view(&held));
    } else {
        give_back(p, &held);
    }
    buf_deinit(&held);
    feed(p, c);
}

/* ---- Harmony ---- */

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
    while (to < header.len && !is_space(header.ptr[to]) &&
           header.ptr[to] != CONSTRAIN_MARK_BEGIN[0]) {
        to++;
    }
    return chat_reply_tool(p->reply, str_slice(header, from, to));
}

/* Between messages: all up to <|message|> says what comes. */
static void feed_header(struct chat_parser *p, char c)
{
    hold(p, c);
    const struct str header = buf_view(&p->held);
    const bool is_begun = header.ptr[0] == CONSTRAIN_MARK_BEGIN[0] || is_space(header.ptr[0]) ||
                          may_become(header, STR("assistant")) ||
                          str_starts(header, STR("assistant"));
    if (!is_begun || header.len > 1024) { /* no message of this format: text */
        give(p, CHAT_PART_TEXT, header);
        buf_clear(&p->held);
        p->state = TEXT;
        p->after_header = TEXT;
        return;
    }
    if (!str_ends(header, str_of(message_mark))) {
        return;
    }
    p->tool = header_tool(p, header);
    if (p->tool) {
        p->id[0] = 0;
        give_call(p);
        chat_arguments_init(&p->arguments, p->spelling, 'a', p->tool);
        p->has_arguments = true;
        p->after_header = ARGUMENTS;
    } else {
        p->after_header = header_has(header, "analysis") ? REASON : TEXT;
    }
    buf_clear(&p->held);
    p->state = p->after_header;
}

/* Within a message, a control token ends it. */
static void feed_message(struct chat_parser *p, char c)
{
    if (c != CONSTRAIN_MARK_BEGIN[0] && p->held.len == 0) {
        const char *at = &c;
        if (p->state == ARGUMENTS) {
            if (p->has_arguments &&
                chat_arguments_feed(&p->arguments, c, &p->late) != CHAT_STEP_MORE) {
                chat_arguments_deinit(&p->arguments);
                p->has_arguments = false;
            }
            give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
            buf_clear(&p->late);
            return;
        }
        give(p, p->state == REASON ? CHAT_PART_REASONING : CHAT_PART_TEXT, (struct str){at, 1});
        return;
    }
    hold(p, c);
    if (c != CONSTRAIN_MARK_END[0]) {
        return;
    }
    const bool begins_header = header_has(buf_view(&p->held), "<|channel|>");
    if (p->state == ARGUMENTS) {
        end_call(p);
    }
    p->state = HEADER;
    if (!begins_header) {
        buf_clear(&p->held); /* <|end|>, <|start|> */
    }
}

/* ---- all ---- */

static void feed(struct chat_parser *p, char c)
{
    if (p->spelling->format->is_harmony) {
        if (p->state == HEADER) {
            feed_header(p, c);
        } else {
            feed_message(p, c);
        }
        return;
    }
    switch (p->state) {
    case START:
        feed_start(p, c);
        return;
    case REASON:
        feed_reasoning(p, c);
        return;
    case BODY:
        feed_body(p, c);
        return;
    case LITERAL:
        feed_literal(p, c);
        return;
    case WORD:
        feed_word(p, c);
        return;
    case ARGUMENTS:
        feed_arguments(p, c);
        return;
    case AFTER:
        feed_after(p, c);
        return;
    case TEXT:
    case HEADER:
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
    p->state = reply->spelling->format->is_harmony   ? HEADER
               : reply->thinking == CHAT_IS_THINKING ? REASON
               : reply->thinking == CHAT_MAY_THINK   ? START
                                                     : BODY;
    p->is_after_space = p->state == REASON;
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
        feed(p, text.ptr[i]);
    }
    out->failed = out->failed || p->failed;
    p->out = NULL;
}

/* Held bytes as they are, without a control token that was cut. */
static void give_held(struct chat_parser *p, enum chat_part_kind kind)
{
    const struct str held = buf_view(&p->held);
    const char *mark = held.len ? memchr(held.ptr, CONSTRAIN_MARK_BEGIN[0] & 0xFF, held.len) : NULL;
    give(p, kind, mark ? str_slice(held, 0, (size_t)(mark - held.ptr)) : held);
    buf_clear(&p->held);
}

void chat_parser_end(struct chat_parser *p, struct chat_parts *out)
{
    p->out = out;
    if (p->state == LITERAL || p->state == WORD || p->state == AFTER) {
        if (!p->is_told && p->late.len == 0 && p->state != AFTER) {
            abandon(p);
        }
    }
    if (p->is_told || p->late.len > 0) {
        end_call(p);
    }
    if (p->state == REASON && !p->spelling->format->is_harmony) {
        if (count_space(buf_view(&p->held)) < p->held.len) {
            give_held(p, CHAT_PART_REASONING);
        }
    } else if (p->state != HEADER) {
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
    return p->state == REASON                                                 ? CHAT_PART_REASONING
           : p->state == ARGUMENTS || p->state == LITERAL || p->state == WORD ? CHAT_PART_ARGUMENTS
                                                                              : CHAT_PART_TEXT;
}
