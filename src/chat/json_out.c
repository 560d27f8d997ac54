/* tojson: json.dumps with ensure_ascii, indent, separators and sort_keys, byte for byte. */
#include <math.h>
#include <string.h>

#include "chat/interp.h"

struct dumper {
    struct render *r;
    struct builder b;
    bool ascii, sort, has_indent;
    struct str indent, item_separator, key_separator;
    size_t level;
};

static bool dump(struct dumper *d, struct val v);

static bool dump_string(struct dumper *d, struct str s)
{
    if (!chat_step(d->r, s.len / 4) || !chat_build_literal(&d->b, "\"")) {
        return false;
    }
    for (size_t i = 0; i < s.len;) {
        /* everything up to the next character that needs an escape, in one piece */
        size_t end = i;
        while (end < s.len && (unsigned char)s.ptr[end] >= 0x20 && s.ptr[end] != '"' &&
               s.ptr[end] != '\\' && !(d->ascii && (unsigned char)s.ptr[end] >= 0x7F)) {
            end++;
        }
        if (!chat_build(&d->b, str_slice(s, i, end), false)) {
            return false;
        }
        i = end;
        if (i >= s.len) {
            break;
        }
        uint32_t code;
        i += chat_text_decode(s, i, &code);
        static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
        const char *hit = code && code < 0x80 ? strchr(from, (int)code) : NULL;
        bool good;
        if (hit) {
            good = chat_build_format(&d->b, "\\%c", to[hit - from]);
        } else if (code > 0xFFFF && code < 0x110000) {
            good = chat_build_format(&d->b, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10),
                                     0xDC00 + ((code - 0x10000) & 0x3FF));
        } else {
            good = chat_build_format(&d->b, "\\u%04x",
                                     code >= 0x110000 ? 0xDC00 + (code - 0x110000) : code);
        }
        if (!good) {
            return false;
        }
    }
    return chat_build_literal(&d->b, "\"");
}

static bool newline(struct dumper *d)
{
    if (!d->has_indent) {
        return true;
    }
    struct txt t = {.ptr = d->indent.ptr, .len = d->indent.len};
    return chat_build_literal(&d->b, "\n") && chat_build_fill(&d->b, &t, d->level);
}

static bool dump_list(struct dumper *d, struct list *l)
{
    if (!chat_list_load(d->r, l)) {
        return false;
    }
    if (!l->count) {
        return chat_build_literal(&d->b, "[]");
    }
    if (!chat_data_enter(d->r) || !chat_build_literal(&d->b, "[")) {
        return false;
    }
    d->level++;
    for (size_t i = 0; i < l->count; i++) {
        if ((i && !chat_build(&d->b, d->item_separator, false)) || !newline(d) ||
            !dump(d, l->items[i])) {
            return false;
        }
    }
    d->level--;
    d->r->data_depth--;
    return newline(d) && chat_build_literal(&d->b, "]");
}

static void float_text(double f, char out[40])
{
    if (isnan(f) || isinf(f)) {
        snprintf(out, 40, "%s", isnan(f) ? "NaN" : f > 0 ? "Infinity" : "-Infinity");
    } else {
        chat_float_repr(f, out);
    }
}

static bool dump_key(struct dumper *d, struct val key)
{
    char text[40];
    switch (key.kind) {
    case VAL_TEXT:
        return dump_string(d, chat_str(key.text));
    case VAL_INT:
        return chat_build_format(&d->b, "\"%lld\"", (long long)key.integer);
    case VAL_FLOAT:
        float_text(key.real, text);
        return chat_build_format(&d->b, "\"%s\"", text);
    case VAL_BOOL:
        return chat_build_literal(&d->b, key.boolean ? "\"true\"" : "\"false\"");
    case VAL_NONE:
        return chat_build_literal(&d->b, "\"null\"");
    default:
        return chat_fail(d->r, "keys must be str, int, float, bool or None, not %s",
                         chat_type_name(key));
    }
}

static bool sorted_entries(struct dumper *d, struct dict *dict, struct dict_entry **out)
{
    struct render *r = d->r;
    *out = dict->entries;
    if (!d->sort || dict->count < 2) {
        return true;
    }
    struct list *order = chat_list_new(r, dict->count), *keys = chat_list_new(r, dict->count);
    struct dict_entry *sorted = chat_alloc(r, dict->count, sizeof(*sorted));
    if (!order || !keys || !sorted) {
        return false;
    }
    for (size_t i = 0; i < dict->count; i++) {
        order->items[order->count++] = val_int((int64_t)i);
        keys->items[keys->count++] = dict->entries[i].key;
    }
    if (!chat_sort(r, order, keys, false)) {
        return false;
    }
    for (size_t i = 0; i < dict->count; i++) {
        sorted[i] = dict->entries[order->items[i].integer];
    }
    *out = sorted;
    return true;
}

/* A text as it was written will do. */
static bool is_plain(const struct dumper *d, struct str text)
{
    bool is_ascii = true;
    for (size_t i = 0; d->ascii && i < text.len; i++) {
        is_ascii = is_ascii && (unsigned char)text.ptr[i] < 0x7F;
    }
    return is_ascii && !d->has_indent && !d->sort && str_eq(d->item_separator, STR(", ")) &&
           str_eq(d->key_separator, STR(": "));
}

static bool dump_dict(struct dumper *d, struct dict *dict)
{
    struct dict_entry *entries;
    if (dict->verbatim.len > 0 && is_plain(d, dict->verbatim)) {
        return chat_step(d->r, dict->verbatim.len / 4) && chat_build(&d->b, dict->verbatim, false);
    }
    if (!chat_dict_load(d->r, dict)) {
        return false;
    }
    if (!dict->count) {
        return chat_build_literal(&d->b, "{}");
    }
    if (!sorted_entries(d, dict, &entries) || !chat_data_enter(d->r) ||
        !chat_build_literal(&d->b, "{")) {
        return false;
    }
    d->level++;
    for (size_t i = 0; i < dict->count; i++) {
        if ((i && !chat_build(&d->b, d->item_separator, false)) || !newline(d) ||
            !dump_key(d, entries[i].key) || !chat_build(&d->b, d->key_separator, false) ||
            !dump(d, entries[i].value)) {
            return false;
        }
    }
    d->level--;
    d->r->data_depth--;
    return newline(d) && chat_build_literal(&d->b, "}");
}

static bool dump(struct dumper *d, struct val v)
{
    char text[40];
    if (!chat_step(d->r, 1)) {
        return false;
    }
    switch (v.kind) {
    case VAL_NONE:
        return chat_build_literal(&d->b, "null");
    case VAL_BOOL:
        return chat_build_literal(&d->b, v.boolean ? "true" : "false");
    case VAL_INT:
        return chat_build_format(&d->b, "%lld", (long long)v.integer);
    case VAL_FLOAT:
        float_text(v.real, text);
        return chat_build_literal(&d->b, text);
    case VAL_TEXT:
        return dump_string(d, chat_str(v.text));
    case VAL_LIST:
    case VAL_TUPLE:
        return dump_list(d, v.list);
    case VAL_DICT:
        return dump_dict(d, v.dict);
    default:
        return chat_fail(d->r, "Object of type %s is not JSON serializable", chat_type_name(v));
    }
}

static bool set_indent(struct dumper *d, struct val v)
{
    d->has_indent = v.kind != VAL_NONE && v.kind != VAL_MISSING;
    d->item_separator = d->has_indent ? STR(",") : STR(", ");
    if (!d->has_indent) {
        return true;
    }
    if (v.kind == VAL_TEXT) {
        d->indent = chat_str(v.text);
        return true;
    }
    int64_t width;
    if (!chat_arg_int(d->r, v, &width)) {
        return false;
    }
    struct txt space = {.ptr = " ", .len = 1};
    struct builder b = chat_builder(d->r);
    struct val text;
    if (!chat_build_fill(&b, &space, width > 0 ? (uint64_t)width : 0) ||
        !chat_build_done(&b, &text)) {
        return false;
    }
    d->indent = chat_str(text.text);
    return true;
}

static bool set_separators(struct dumper *d, struct val v)
{
    struct list *l;
    struct txt *item, *key;
    if (v.kind == VAL_NONE || v.kind == VAL_MISSING) {
        return true;
    }
    if (!chat_to_list(d->r, v, &l)) {
        return false;
    }
    if (l->count != 2) {
        return chat_fail(d->r, "tojson: separators must be two strings");
    }
    if (!chat_arg_text(d->r, l->items[0], "separator", &item) ||
        !chat_arg_text(d->r, l->items[1], "separator", &key)) {
        return false;
    }
    d->item_separator = chat_str(item);
    d->key_separator = chat_str(key);
    return true;
}

/* arguments: ensure_ascii, indent, separators, sort_keys */
bool chat_tojson(struct render *r, struct val v, struct call *call, struct val *out)
{
    struct dumper d = {.r = r, .b = chat_builder(r), .key_separator = STR(": ")};
    if (!chat_truth(r, call->args[0], &d.ascii) || !set_indent(&d, call->args[1]) ||
        !set_separators(&d, call->args[2]) || !chat_truth(r, call->args[3], &d.sort)) {
        return false;
    }
    return dump(&d, v) && chat_build_done(&d.b, out);
}
