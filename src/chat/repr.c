/* str() and repr() of values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/interp.h"
#include "chat/unicode.h"

/* The fewest digits that read back as the same double, written as Python's repr: positional for
 * exponents -4..15, else scientific with at least two exponent digits. */
void chat_float_repr(double value, char out[40])
{
    if (isnan(value) || isinf(value)) {
        snprintf(out, 40, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    char e[40];
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(e, sizeof(e), "%.*e", precision, value);
        if (strtod(e, NULL) == value) {
            break;
        }
    }
    char digits[24];
    size_t n = 0;
    const char *p = e;
    bool negative = *p == '-';
    for (p += negative; *p && *p != 'e'; p++) {
        if (*p != '.') {
            digits[n++] = *p;
        }
    }
    int exponent = (int)strtol(p + 1, NULL, 10);
    char *q = out;
    if (negative) {
        *q++ = '-';
    }
    if (exponent < -4 || exponent >= 16) {
        *q++ = digits[0];
        if (n > 1) {
            *q++ = '.';
            memcpy(q, digits + 1, n - 1);
            q += n - 1;
        }
        snprintf(q, 16, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        q += snprintf(q, 8, "0.%.*s", -exponent - 1, "0000");
        memcpy(q, digits, n);
        q[n] = '\0';
        return;
    }
    for (int i = 0; i <= exponent; i++) {
        *q++ = (size_t)i < n ? digits[i] : '0';
    }
    *q++ = '.';
    if (n <= (size_t)exponent + 1) {
        *q++ = '0';
    }
    for (size_t i = (size_t)exponent + 1; i < n; i++) {
        *q++ = digits[i];
    }
    *q = '\0';
}

/* repr of a str: single quotes unless only those occur inside; what is not printable is escaped. */
bool chat_build_repr(struct builder *b, struct str s)
{
    bool single = s.len && memchr(s.ptr, '\'', s.len), dbl = s.len && memchr(s.ptr, '"', s.len);
    char quote = single && !dbl ? '"' : '\'';
    if (!chat_step(b->r, s.len / 4) || !chat_build_char(b, (unsigned char)quote, false)) {
        return false;
    }
    for (size_t i = 0; i < s.len;) {
        uint32_t code;
        size_t n = chat_text_decode(s, i, &code);
        bool good;
        if (code == (unsigned char)quote || code == '\\') {
            good = chat_build_format(b, "\\%c", (int)code);
        } else if (code == '\n') {
            good = chat_build_literal(b, "\\n");
        } else if (code == '\r') {
            good = chat_build_literal(b, "\\r");
        } else if (code == '\t') {
            good = chat_build_literal(b, "\\t");
        } else if (code >= 0x110000) { /* as surrogateescape would show it */
            good = chat_build_format(b, "\\udc%02x", code - 0x110000u);
        } else if ((code >= 0x20 && code < 0x7F) ||
                   (code >= 0x7F && chat_char_is_printable(code))) {
            good = chat_build(b, str_slice(s, i, i + n), false);
        } else if (code <= 0xFF) {
            good = chat_build_format(b, "\\x%02x", code);
        } else if (code <= 0xFFFF) {
            good = chat_build_format(b, "\\u%04x", code);
        } else {
            good = chat_build_format(b, "\\U%08x", code);
        }
        if (!good) {
            return false;
        }
        i += n;
    }
    return chat_build_char(b, (unsigned char)quote, false);
}

static bool repr_items(struct render *r, struct list *l, const char *open, const char *close,
                       struct builder *b)
{
    if (!chat_list_load(r, l) || !chat_data_enter(r) || !chat_build_literal(b, open)) {
        return false;
    }
    for (size_t i = 0; i < l->count; i++) {
        if ((i && !chat_build_literal(b, ", ")) || !chat_repr(r, l->items[i], b)) {
            return false;
        }
    }
    r->data_depth--;
    return chat_build_literal(b, close);
}

static bool repr_dict(struct render *r, struct dict *d, struct builder *b)
{
    if (!chat_dict_load(r, d) || !chat_data_enter(r) || !chat_build_literal(b, "{")) {
        return false;
    }
    for (size_t i = 0; i < d->count; i++) {
        if ((i && !chat_build_literal(b, ", ")) || !chat_repr(r, d->entries[i].key, b) ||
            !chat_build_literal(b, ": ") || !chat_repr(r, d->entries[i].value, b)) {
            return false;
        }
    }
    r->data_depth--;
    return chat_build_literal(b, "}");
}

static bool repr_view(struct render *r, struct view *v, struct builder *b)
{
    struct val view = {.kind = VAL_VIEW, .view = v};
    struct list *l;
    return chat_build_format(b, "%s(", chat_type_name(view)) && chat_to_list(r, view, &l) &&
           repr_items(r, l, "[", "]", b) && chat_build_literal(b, ")");
}

static bool repr_loop(struct render *r, struct val v, struct builder *b)
{
    int64_t length;
    return chat_length(r, v, &length) &&
           chat_build_format(b, "<LoopContext %lld/%lld>", (long long)v.loop->index0 + 1,
                             (long long)length);
}

bool chat_repr(struct render *r, struct val v, struct builder *b)
{
    char number[40];
    switch (v.kind) {
    case VAL_MISSING:
    case VAL_UNDEFINED:
        return chat_build_literal(b, "Undefined");
    case VAL_NONE:
        return chat_build_literal(b, "None");
    case VAL_BOOL:
        return chat_build_literal(b, v.boolean ? "True" : "False");
    case VAL_INT:
        return chat_build_format(b, "%lld", (long long)v.integer);
    case VAL_FLOAT:
        chat_float_repr(v.real, number);
        return chat_build_literal(b, number);
    case VAL_TEXT:
        if (!v.text->markup) {
            return chat_build_repr(b, chat_str(v.text));
        }
        return chat_build_literal(b, "Markup(") && chat_build_repr(b, chat_str(v.text)) &&
               chat_build_literal(b, ")");
    case VAL_LIST:
        return repr_items(r, v.list, "[", "]", b);
    case VAL_TUPLE:
        if (!chat_list_load(r, v.list)) {
            return false;
        }
        return repr_items(r, v.list, "(", v.list->count == 1 ? ",)" : ")", b);
    case VAL_DICT:
        return repr_dict(r, v.dict, b);
    case VAL_RANGE:
        if (v.range->step != 1) {
            return chat_build_format(b, "range(%lld, %lld, %lld)", (long long)v.range->start,
                                     (long long)v.range->stop, (long long)v.range->step);
        }
        return chat_build_format(b, "range(%lld, %lld)", (long long)v.range->start,
                                 (long long)v.range->stop);
    case VAL_VIEW:
        return repr_view(r, v.view, b);
    case VAL_NAMESPACE:
        return chat_build_literal(b, "<Namespace ") && repr_dict(r, v.dict, b) &&
               chat_build_literal(b, ">");
    case VAL_MACRO:
        if (!v.macro->name.len) {
            return chat_build_literal(b, "<Macro anonymous>");
        }
        return chat_build_literal(b, "<Macro ") && chat_build_repr(b, v.macro->name) &&
               chat_build_literal(b, ">");
    case VAL_LOOP:
        return repr_loop(r, v, b);
    case VAL_FUNC:
        return chat_build_format(b, "<function %s>", v.func->name);
    case VAL_METHOD:
        return chat_build_format(b, "<built-in method %s of %s object>", v.method->def->name,
                                 chat_type_name(v.method->self));
    case VAL_SELF:
        return chat_build_literal(b, "<TemplateReference None>");
    case VAL_SLICE:
        return chat_build_literal(b, "slice(") && chat_repr(r, v.slice[0], b) &&
               chat_build_literal(b, ", ") && chat_repr(r, v.slice[1], b) &&
               chat_build_literal(b, ", ") && chat_repr(r, v.slice[2], b) &&
               chat_build_literal(b, ")");
    default: /* Python prints an address here */
        return chat_build_format(b, "<%s object>", chat_type_name(v));
    }
}

bool chat_to_text(struct render *r, struct val v, struct txt **out)
{
    struct val text;
    if (v.kind == VAL_TEXT) {
        *out = v.text;
        return true;
    }
    if (v.kind == VAL_UNDEFINED || v.kind == VAL_MISSING) {
        if (!chat_text_view(r, STR(""), true, &text)) {
            return false;
        }
    } else {
        struct builder b = chat_builder(r);
        if (!chat_repr(r, v, &b) || !chat_build_done(&b, &text)) {
            return false;
        }
    }
    *out = text.text;
    return true;
}

/* ascii(): repr() with everything else escaped. */
bool chat_ascii_repr(struct render *r, struct val v, struct txt **out)
{
    struct builder b = chat_builder(r);
    struct val text;
    struct txt *t;
    if (!chat_repr(r, v, &b) || !chat_build_done(&b, &text)) {
        return false;
    }
    t = text.text;
    for (size_t i = 0; i < t->len;) {
        uint32_t code;
        size_t n = chat_text_decode(chat_str(t), i, &code);
        bool good = code < 0x80      ? chat_build_text(&b, t, i, i + n)
                    : code < 0x100   ? chat_build_format(&b, "\\x%02x", code)
                    : code < 0x10000 ? chat_build_format(&b, "\\u%04x", code)
                                     : chat_build_format(&b, "\\U%08x", code);
        if (!good) {
            return false;
        }
        i += n;
    }
    if (!chat_build_done(&b, &text)) {
        return false;
    }
    *out = text.text;
    return true;
}
