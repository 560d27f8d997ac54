/* What str methods and filters share: case, stripping, replacing, padding, splitting into lines. */
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

/* ---- case ---- */

/* Python's rule for sigma: final when a cased letter stands before it and none after, letting
 * ignorable characters pass. */
static bool is_final_sigma(struct str s, size_t at, size_t next)
{
    uint32_t code;
    bool before = false;
    for (size_t i = at; i > 0;) {
        size_t start = i - 1;
        while (start > 0 && ((unsigned char)s.ptr[start] & 0xC0) == 0x80) {
            start--;
        }
        chat_text_decode(s, start, &code);
        i = start;
        if (chat_char_is_ignorable(code)) {
            continue;
        }
        before = chat_char_is_cased(code);
        break;
    }
    if (!before) {
        return false;
    }
    for (size_t i = next; i < s.len;) {
        i += chat_text_decode(s, i, &code);
        if (!chat_char_is_ignorable(code)) {
            return !chat_char_is_cased(code);
        }
    }
    return true;
}

static bool is_jinja_word_break(uint32_t code)
{
    return code == '-' || code == '(' || code == '{' || code == '[' || code == '<' ||
           chat_char_is_space(code);
}

static bool to_upper(enum case_kind kind, uint32_t code, bool start, bool *title)
{
    *title = false;
    switch (kind) {
    case CASE_UPPER:
        return true;
    case CASE_SWAP:
        return chat_char_is_lower(code);
    case CASE_CAPITALIZE:
    case CASE_TITLE:
        *title = start;
        return start;
    case CASE_JINJA_TITLE:
        return start;
    default:
        return false;
    }
}

bool chat_text_case(struct render *r, const struct txt *t, enum case_kind kind, struct val *out)
{
    struct builder b = chat_builder(r);
    struct str s = chat_str(t);
    bool start = true;
    if (!chat_step(r, t->len / 4)) {
        return false;
    }
    for (size_t i = 0; i < s.len;) {
        uint32_t code, mapped[3];
        size_t n = chat_text_decode(s, i, &code), count;
        bool trusted = t->mask ? t->mask[i] : t->trusted, title;
        if (to_upper(kind, code, start, &title)) {
            count = title ? chat_char_title(code, mapped) : chat_char_upper(code, mapped);
        } else if (kind == CASE_FOLD) {
            count = chat_char_fold(code, mapped);
        } else if (kind == CASE_SWAP && !chat_char_is_upper(code)) {
            mapped[0] = code, count = 1;
        } else if (code == 0x3A3) {
            mapped[0] = is_final_sigma(s, i, i + n) ? 0x3C2 : 0x3C3, count = 1;
        } else {
            count = chat_char_lower(code, mapped);
        }
        for (size_t k = 0; k < count; k++) {
            if (!chat_build_char(&b, mapped[k], trusted)) {
                return false;
            }
        }
        if (kind == CASE_TITLE) {
            start = !chat_char_is_cased(code);
        } else if (kind == CASE_JINJA_TITLE) {
            start = is_jinja_word_break(code);
        } else {
            start = false;
        }
        i += n;
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = t->markup;
    return true;
}

bool chat_text_is(const struct txt *t, bool (*each)(uint32_t code), bool empty)
{
    uint32_t code;
    if (!t->len) {
        return empty;
    }
    for (size_t i = 0; i < t->len;) {
        i += chat_text_decode(chat_str(t), i, &code);
        if (!each(code)) {
            return false;
        }
    }
    return true;
}

/* isupper or islower: at least one such letter and none of the other case. */
bool chat_text_is_upper(const struct txt *t, bool upper)
{
    uint32_t code;
    bool any = false;
    for (size_t i = 0; i < t->len;) {
        i += chat_text_decode(chat_str(t), i, &code);
        bool is_upper = chat_char_is_upper(code), is_lower = chat_char_is_lower(code);
        if ((upper ? is_lower : is_upper) || chat_char_is_title(code)) {
            return false;
        }
        any |= upper ? is_upper : is_lower;
    }
    return any;
}

/* ---- stripping ---- */

static bool in_set(const struct txt *set, struct str s, size_t at, size_t n, uint32_t code)
{
    return set ? str_find(chat_str(set), str_slice(s, at, at + n), 0) != SIZE_MAX
               : chat_char_is_space(code);
}

bool chat_text_strip(struct render *r, const struct txt *t, struct val chars, bool left, bool right,
                     struct val *out)
{
    const struct txt *set = NULL;
    struct str s = chat_str(t);
    size_t from = 0, to = s.len;
    uint32_t code;
    if (chars.kind == VAL_TEXT) {
        set = chars.text;
    } else if (chars.kind != VAL_NONE && chars.kind != VAL_MISSING) {
        return chat_fail(r, "strip arg must be None or str, not %s", chat_type_name(chars));
    }
    while (left && from < to) {
        size_t n = chat_text_decode(s, from, &code);
        if (!in_set(set, s, from, n, code)) {
            break;
        }
        from += n;
    }
    while (right && to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)s.ptr[start] & 0xC0) == 0x80) {
            start--;
        }
        size_t n = chat_text_decode(s, start, &code);
        if (start + n != to) { /* bytes that are no UTF-8 */
            start = to - 1;
            n = chat_text_decode(s, start, &code);
        }
        if (!in_set(set, s, start, n, code)) {
            break;
        }
        to = start;
    }
    uint64_t work = (s.len - (to - from)) * (set ? 1 + set->len / 16 : 1);
    return chat_step(r, 1 + work / 4) && chat_text_slice(r, t, from, to, out);
}

/* ---- replacing ---- */

bool chat_text_replace(struct render *r, const struct txt *t, const struct txt *from,
                       const struct txt *to, int64_t count, struct val *out)
{
    struct builder b = chat_builder(r);
    struct str s = chat_str(t);
    size_t at = 0;
    uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count;
    if (!chat_step(r, 1 + s.len / 16)) {
        return false;
    }
    if (!from->len) { /* before each character and at the end */
        for (uint32_t code; left && at <= s.len; left--) {
            size_t n = at < s.len ? chat_text_decode(s, at, &code) : 0;
            if (!chat_step(r, 1) || !chat_build_text(&b, to, 0, to->len) ||
                !chat_build_text(&b, t, at, at + n)) {
                return false;
            }
            at += n ? n : 1;
        }
    } else {
        for (; left; left--) {
            size_t hit = str_find(s, chat_str(from), at);
            if (hit == SIZE_MAX) {
                break;
            }
            if (!chat_step(r, 1) || !chat_build_text(&b, t, at, hit) ||
                !chat_build_text(&b, to, 0, to->len)) {
                return false;
            }
            at = hit + from->len;
        }
        if (at == 0) {
            return chat_text_slice(r, t, 0, s.len, out);
        }
    }
    if (at < s.len && !chat_build_text(&b, t, at, s.len)) {
        return false;
    }
    if (!chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = t->markup;
    return true;
}

/* ---- padding ---- */

/* align -1: text at the left, 0: centered (as CPython places the odd blank), 1: at the right */
bool chat_text_center(struct render *r, struct txt *t, int64_t width, const struct txt *fill,
                      int align, struct val *out)
{
    int64_t length = (int64_t)chat_text_chars(t);
    if (width <= length) {
        return chat_text_slice(r, t, 0, t->len, out);
    }
    int64_t pad = width - length;
    int64_t left = align < 0 ? 0 : align > 0 ? pad : pad / 2 + (pad & width & 1);
    struct builder b = chat_builder(r);
    if (!chat_room(r, (uint64_t)pad) || !chat_build_fill(&b, fill, (uint64_t)left) ||
        !chat_build_text(&b, t, 0, t->len) || !chat_build_fill(&b, fill, (uint64_t)(pad - left)) ||
        !chat_build_done(&b, out)) {
        return false;
    }
    out->text->markup = t->markup;
    return true;
}

/* ---- lines ---- */

bool chat_text_lines(struct render *r, const struct txt *t, bool keep_ends, struct list **out)
{
    struct str s = chat_str(t);
    struct list *l = chat_list_new(r, 0);
    if (!l || !chat_step(r, s.len / 8)) {
        return false;
    }
    for (size_t i = 0; i < s.len;) {
        size_t start = i, end = i;
        uint32_t code = 0;
        while (i < s.len) {
            end = i;
            i += chat_text_decode(s, i, &code);
            if (chat_char_is_line_end(code)) {
                break;
            }
            end = i;
        }
        if (code == '\r' && i < s.len && s.ptr[i] == '\n') {
            i++;
        }
        struct val line;
        if (!chat_text_slice(r, t, start, keep_ends ? i : end, &line) ||
            !chat_list_add(r, l, line)) {
            return false;
        }
    }
    *out = l;
    return true;
}

/* ---- searching ---- */

size_t chat_text_find_last(struct str s, struct str needle, size_t from, size_t to)
{
    if (to - from < needle.len) {
        return SIZE_MAX;
    }
    for (size_t at = to - needle.len;; at--) {
        if (!needle.len || memcmp(s.ptr + at, needle.ptr, needle.len) == 0) {
            return at;
        }
        if (at == from) {
            return SIZE_MAX;
        }
    }
}
