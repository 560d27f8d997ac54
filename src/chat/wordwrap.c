/* The wordwrap filter: Python's textwrap.wrap on each line. Its regular expression that cuts a line
 * into chunks (spaces, words, parts behind hyphens, dashes) is a hand-written scan here. */
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

struct wrapper {
    struct render *r;
    struct str s;
    int64_t width;
    bool break_words, break_hyphens;
    struct builder *b;
    const struct txt *t, *separator;
    bool any; /* a line was written */
};

static bool is_wrap_space(uint32_t code)
{
    return code == '\t' || code == '\n' || code == '\v' || code == '\f' || code == '\r' ||
           code == ' ';
}

static bool is_letter(uint32_t code) /* \w that is no digit */
{
    return chat_char_is_word(code) && !chat_char_is_decimal(code);
}

static bool is_word_punct(uint32_t code)
{
    return chat_char_is_word(code) || (code && code < 0x80 && strchr("!\"'&.,?", (int)code));
}

static uint32_t code_at(struct str s, size_t at)
{
    uint32_t code = 0;
    if (at < s.len) {
        chat_text_decode(s, at, &code);
    }
    return code;
}

static size_t back(struct str s, size_t at)
{
    size_t i = at - 1;
    while (i > 0 && ((unsigned char)s.ptr[i] & 0xC0) == 0x80) {
        i--;
    }
    return i;
}

static size_t forward(struct str s, size_t at)
{
    uint32_t code;
    return at < s.len ? at + chat_text_decode(s, at, &code) : at;
}

/* A run of two or more hyphens at `at` before a word character: its end, else 0. */
static size_t dash_end(struct str s, size_t at)
{
    size_t end = at;
    while (end < s.len && s.ptr[end] == '-') {
        end++;
    }
    return end - at >= 2 && end < s.len && chat_char_is_word(code_at(s, end)) ? end : 0;
}

/* May a line break follow the hyphen that ends at `at` (inside "well-known", not "-x" or "1-2")? */
static bool hyphen_breaks(struct str s, size_t start, size_t at)
{
    if (at < 3 || at - 1 < start + 1) {
        return false;
    }
    size_t one = back(s, at - 1), two = one > 0 ? back(s, one) : SIZE_MAX;
    bool before =
        is_letter(code_at(s, one)) && two != SIZE_MAX &&
        (is_letter(code_at(s, two)) || (is_word_punct(code_at(s, one)) && s.ptr[two] == '-' &&
                                        two > 0 && is_letter(code_at(s, back(s, two)))));
    if (!before && two != SIZE_MAX && is_word_punct(code_at(s, one)) && s.ptr[two] == '-' &&
        two > 0) {
        before = is_letter(code_at(s, back(s, two)));
    }
    if (!before || !is_letter(code_at(s, at))) {
        return false;
    }
    size_t next = forward(s, at);
    if (next < s.len && s.ptr[next] == '-') {
        next++;
    }
    return next < s.len && is_letter(code_at(s, next));
}

/* The end of the chunk that starts at `at`. */
static size_t chunk_end(const struct wrapper *w, size_t at)
{
    struct str s = w->s;
    size_t i = at;
    if (is_wrap_space(code_at(s, at))) {
        while (i < s.len && is_wrap_space(code_at(s, i))) {
            i = forward(s, i);
        }
        return i;
    }
    if (w->break_hyphens && at > 0 && is_word_punct(code_at(s, back(s, at)))) {
        size_t dash = dash_end(s, at);
        if (dash) {
            return dash;
        }
    }
    for (i = forward(s, at);; i = forward(s, i)) {
        if (i >= s.len || is_wrap_space(code_at(s, i))) {
            return i;
        }
        if (!w->break_hyphens) {
            continue;
        }
        if (s.ptr[i - 1] == '-' && hyphen_breaks(s, at, i)) {
            return i;
        }
        if (is_word_punct(code_at(s, back(s, i))) && dash_end(s, i)) {
            return i;
        }
    }
}

static int64_t chars_of(struct str s)
{
    struct txt t = {.ptr = s.ptr, .len = s.len, .chars = SIZE_MAX};
    return (int64_t)chat_text_chars(&t);
}

static bool put_line(struct wrapper *w, size_t from, size_t to)
{
    if (w->any && !chat_build_text(w->b, w->separator, 0, w->separator->len)) {
        return false;
    }
    w->any = true;
    return chat_build_text(w->b, w->t, from, to);
}

/* Where to cut a word that starts at `from` for a line with `room` characters left: behind the last
 * hyphen in there that something else precedes, else where the room ends. */
static size_t cut_word(const struct wrapper *w, size_t from, int64_t room)
{
    struct str s = w->s;
    size_t end = from;
    for (int64_t i = 0; i < room; i++) {
        end = forward(s, end);
    }
    size_t hyphen = end;
    while (w->break_hyphens && hyphen > from && s.ptr[hyphen - 1] != '-') {
        hyphen--;
    }
    for (size_t i = from; w->break_hyphens && i + 1 < hyphen; i++) {
        if (s.ptr[i] != '-') {
            return hyphen;
        }
    }
    return end;
}

static bool wrap_line(struct wrapper *w)
{
    struct str s = w->s;
    size_t at = 0;
    while (at < s.len) {
        if (w->any && is_wrap_space(code_at(s, at))) { /* a later line starts without blanks */
            at = chunk_end(w, at);
        }
        size_t start = at, end = at;
        int64_t used = 0;
        bool is_cut = false; /* behind nothing: then blanks before it are not the line's end */
        while (end < s.len) {
            size_t next = chunk_end(w, end);
            int64_t n = chars_of(str_slice(s, end, next));
            if (!chat_step(w->r, 1 + (uint64_t)n / 4)) {
                return false;
            }
            if (used + n > w->width) {
                if (n > w->width && w->break_words) { /* a word longer than a line is cut */
                    is_cut = used == w->width;
                    end = cut_word(w, end, w->width - used);
                } else if (end == start) {
                    end = next; /* alone on its line */
                }
                break;
            }
            used += n;
            end = next;
        }
        size_t text_end = end;
        while (!is_cut && text_end > start && is_wrap_space(code_at(s, back(s, text_end)))) {
            text_end = back(s, text_end);
        }
        if (text_end > start && !put_line(w, start, text_end)) {
            return false;
        }
        if (end == start) {
            break;
        }
        at = end;
    }
    return true;
}

/* arguments: width, break_long_words, wrapstring, break_on_hyphens */
bool chat_wordwrap(struct render *r, struct val v, struct call *call, struct val *out)
{
    struct txt newline = {.ptr = "\n", .len = 1, .chars = 1};
    struct builder b = chat_builder(r);
    struct wrapper w = {.r = r,
                        .width = 79,
                        .break_words = true,
                        .break_hyphens = true,
                        .b = &b,
                        .separator = &newline};
    struct txt *separator;
    struct list *lines;
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (v.kind != VAL_TEXT) {
        return chat_fail(r, "'%s' object has no attribute 'splitlines'", chat_type_name(v));
    }
    if ((!val_is_missing(call->args[0]) && !chat_arg_int(r, call->args[0], &w.width)) ||
        (!val_is_missing(call->args[1]) && !chat_truth(r, call->args[1], &w.break_words)) ||
        (!val_is_missing(call->args[3]) && !chat_truth(r, call->args[3], &w.break_hyphens))) {
        return false;
    }
    if (call->args[2].kind == VAL_TEXT) {
        if (!chat_arg_text(r, call->args[2], "wrapstring", &separator)) {
            return false;
        }
        w.separator = separator;
    }
    if (w.width <= 0) {
        return chat_fail(r, "invalid width %lld (must be > 0)", (long long)w.width);
    }
    if (!chat_text_lines(r, v.text, false, &lines)) {
        return false;
    }
    for (size_t i = 0; i < lines->count; i++) {
        w.t = lines->items[i].text;
        w.s = chat_str(w.t);
        w.any = false;
        if ((i && !chat_build_text(&b, w.separator, 0, w.separator->len)) || !wrap_line(&w)) {
            return false;
        }
    }
    return chat_build_done(&b, out);
}
