/* The filters that know HTML: striptags, urlize. */
#include <stdlib.h>
#include <string.h>

#include "chat/entities.h"
#include "chat/interp.h"
#include "chat/unicode.h"

/* ---- striptags ---- */

static const struct chat_entity *entity_find(struct str name)
{
    size_t low = 0, high = chat_entities_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = str_compare(name, str_of(chat_entities[mid].name));
        if (c == 0) {
            return &chat_entities[mid];
        }
        if (c > 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

/* "&#123;" and "&#x7b;": HTML5 reads 0x80-0x9F as Windows-1252. */
static bool build_number(struct builder *b, uint64_t code)
{
    static const uint16_t windows_1252[32] = {
        0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6,  0x2030, 0x160,
        0x2039, 0x152,  0x8D,   0x17D,  0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
    if (code >= 0x80 && code < 0xA0) {
        return chat_build_char(b, windows_1252[code - 0x80], false);
    }
    if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return chat_build_char(b, 0xFFFD, false);
    }
    bool invalid = (code < 0x20 && code != '\t' && code != '\n' && code != '\f' && code != '\r') ||
                   code == 0x7F || (code >= 0xFDD0 && code <= 0xFDEF) ||
                   (code & 0xFFFE) == 0xFFFE || code == 0x0B;
    return invalid || chat_build_char(b, (uint32_t)code, false);
}

/* The reference at s[at] == '&'; *end behind it, or at + 1 where there is none. */
static bool build_reference(struct builder *b, const struct txt *t, size_t at, size_t *end)
{
    struct str s = chat_str(t);
    size_t i = at + 1;
    *end = at + 1;
    if (i < s.len && s.ptr[i] == '#') {
        bool hex = i + 1 < s.len && (s.ptr[i + 1] | 32) == 'x';
        uint64_t code = 0;
        size_t start = i += hex ? 2 : 1;
        for (; i < s.len; i++) {
            char c = s.ptr[i];
            int digit = c >= '0' && c <= '9'                        ? c - '0'
                        : hex && (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                                    : -1;
            if (digit < 0) {
                break;
            }
            code = code > 0x10FFFF ? code : code * (hex ? 16 : 10) + (uint64_t)digit;
        }
        if (i == start) {
            return chat_build_text(b, t, at, at + 1);
        }
        *end = i + (i < s.len && s.ptr[i] == ';');
        return build_number(b, code);
    }
    size_t n = 0;
    while (i + n < s.len && n < 32 && !strchr("\t\n\f <&#;", s.ptr[i + n] ? s.ptr[i + n] : 'x')) {
        n++;
    }
    n += i + n < s.len && s.ptr[i + n] == ';';
    for (size_t len = n; len > 1; len--) {
        const struct chat_entity *e = entity_find(str_slice(s, i, i + len));
        if (!e) {
            continue;
        }
        *end = i + len;
        return chat_build(b, str_of(e->text), false);
    }
    return chat_build_text(b, t, at, at + 1);
}

static bool unescape(struct render *r, const struct txt *t, struct val *out)
{
    struct builder b = chat_builder(r);
    for (size_t i = 0; i < t->len;) {
        const char *hit = memchr(t->ptr + i, '&', t->len - i);
        size_t at = hit ? (size_t)(hit - t->ptr) : t->len;
        if (!chat_build_text(&b, t, i, at) || !chat_step(r, 40)) {
            return false;
        }
        i = at;
        if (i < t->len && !build_reference(&b, t, i, &i)) {
            return false;
        }
    }
    return chat_build_done(&b, out);
}

/* Removes what lies between `open` and the next `close`. */
static bool remove_between(struct render *r, const struct txt *t, struct str open, struct str close,
                           struct val *out)
{
    struct builder b = chat_builder(r);
    size_t at = 0;
    for (;;) {
        size_t from = str_find(chat_str(t), open, at);
        size_t to = from == SIZE_MAX ? SIZE_MAX : str_find(chat_str(t), close, from + open.len);
        if (to == SIZE_MAX) {
            break;
        }
        if (!chat_step(r, 1) || !chat_build_text(&b, t, at, from)) {
            return false;
        }
        at = to + close.len;
    }
    return chat_build_text(&b, t, at, t->len) && chat_build_done(&b, out);
}

bool chat_striptags(struct render *r, struct val v, struct call *call, struct val *out)
{
    struct txt *t;
    struct val text;
    struct builder b = chat_builder(r);
    uint32_t code;
    (void)call;
    if (!chat_to_text(r, v, &t) || !chat_step(r, t->len) ||
        !remove_between(r, t, STR("<!--"), STR("-->"), &text) ||
        !remove_between(r, text.text, STR("<"), STR(">"), &text)) {
        return false;
    }
    t = text.text;
    for (size_t i = 0; i < t->len;) { /* words with one space between them */
        size_t start = i, n = 0;
        while (i < t->len) {
            n = chat_text_decode(chat_str(t), i, &code);
            if (chat_char_is_space(code)) {
                break;
            }
            i += n;
        }
        if (i > start &&
            ((b.len && !chat_build_literal(&b, " ")) || !chat_build_text(&b, t, start, i))) {
            return false;
        }
        i += i < t->len ? n : 0;
    }
    return chat_build_done(&b, &text) && unescape(r, text.text, out);
}

/* ---- urlize ---- */

static size_t word_end(struct str s, size_t at, const char *also)
{
    uint32_t code;
    while (at < s.len) {
        size_t n = chat_text_decode(s, at, &code);
        if (!chat_char_is_word(code) && !(code && code < 0x80 && strchr(also, (int)code))) {
            break;
        }
        at += n;
    }
    return at;
}

static bool all_alpha(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.ptr[i] | 32) < 'a' || (s.ptr[i] | 32) > 'z') {
            return false;
        }
    }
    return true;
}

/* Labels with dots between them and a last one that can be a top level domain. */
static bool is_domain(struct str host, bool known_only)
{
    static const char *const known[] = {"com", "net",  "int", "edu", "gov",
                                        "org", "info", "mil", NULL};
    bool any_label = false;
    struct str last = host, rest = host;
    while (memchr(rest.ptr, '.', rest.len)) {
        struct str label = str_cut(&rest, '.');
        struct txt t = {.ptr = label.ptr, .len = label.len, .chars = SIZE_MAX};
        size_t chars = chat_text_chars(&t);
        if (!label.len || (known_only && (chars < 2 || chars > 63))) {
            return false;
        }
        any_label = true;
        last = rest;
    }
    if (known_only) {
        for (size_t i = 0; known[i]; i++) {
            if (any_label && str_eq_nocase(last, str_of(known[i]))) {
                return true;
            }
        }
        return false;
    }
    bool idna = last.len >= 6 && str_eq_nocase(str_slice(last, 0, 4), STR("xn--")) &&
                word_end(last, 4, "%") == last.len && last.len <= 63;
    return idna || (last.len >= 2 && last.len <= 63 && all_alpha(last));
}

static bool is_ipv4(struct str host)
{
    int parts = 0;
    struct str rest = host;
    while (rest.len || parts == 0) {
        bool dot = memchr(rest.ptr, '.', rest.len) != NULL;
        struct str part = str_cut(&rest, '.');
        if (part.len < 1 || part.len > 3) {
            return false;
        }
        for (size_t i = 0; i < part.len; i++) {
            if (part.ptr[i] < '0' || part.ptr[i] > '9') {
                return false;
            }
        }
        parts++;
        if (dot && !rest.len) {
            return false;
        }
    }
    return parts == 4;
}

/* "[" two groups "hex{0,4}:" and one to six more, the colon optional, "]" */
static size_t ipv6_end(struct str s, size_t at)
{
    size_t i = at + 1, colons = 0, run = 0;
    if (at >= s.len || s.ptr[at] != '[') {
        return 0;
    }
    for (; i < s.len && s.ptr[i] != ']'; i++) {
        char c = s.ptr[i];
        bool hex = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
        if (!hex && c != ':') {
            return 0;
        }
        run = hex ? run + 1 : 0;
        colons += !hex;
    }
    return i < s.len && colons >= 2 && colons <= 8 && i - at <= 48 ? i + 1 : 0;
}

static bool is_url_tail(struct str s, size_t at)
{
    uint32_t code;
    if (at < s.len && s.ptr[at] == ':') {
        size_t digits = 0;
        for (at++; at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9'; at++) {
            digits++;
        }
        if (digits < 1 || digits > 5) {
            return false;
        }
    }
    if (at == s.len) {
        return true;
    }
    if (!strchr("/?#", s.ptr[at]) || !s.ptr[at]) {
        return false;
    }
    for (at++; at < s.len;) {
        at += chat_text_decode(s, at, &code);
        if (chat_char_is_space(code)) {
            return false;
        }
    }
    return true;
}

static bool is_url(struct str s)
{
    size_t scheme = str_eq_nocase(str_slice(s, 0, 7), STR("http://"))    ? 7
                    : str_eq_nocase(str_slice(s, 0, 8), STR("https://")) ? 8
                                                                         : 0;
    size_t www = str_eq_nocase(str_slice(s, 0, 4), STR("www.")) ? 4 : 0;
    size_t start = scheme ? scheme : www, end = word_end(s, start, "%-.");
    struct str host = str_slice(s, start, end);
    if (start && is_url_tail(s, end) && (is_domain(host, false) || (scheme && is_ipv4(host)))) {
        return true;
    }
    size_t v6 = scheme ? ipv6_end(s, scheme) : 0;
    if (v6 && is_url_tail(s, v6)) {
        return true;
    }
    end = word_end(s, 0, "%-.");
    return is_domain(str_slice(s, 0, end), true) && is_url_tail(s, end);
}

/* \S+@\w[\w.-]*\.\w+ over the whole text */
static bool is_email(struct str s)
{
    uint32_t code;
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < s.len;) {
        if (s.ptr[i] == '@') {
            at = i;
        }
        i += chat_text_decode(s, i, &code);
        if (chat_char_is_space(code)) {
            return false;
        }
    }
    if (at == SIZE_MAX || at == 0) {
        return false;
    }
    struct str host = str_slice(s, at + 1, s.len);
    size_t dot = host.len;
    while (dot > 0 && host.ptr[dot - 1] != '.') {
        dot--;
    }
    return dot > 1 && dot < host.len && word_end(host, 0, "") > 0 &&
           word_end(host, 0, ".-") == host.len && word_end(host, dot, "") == host.len;
}

struct linker {
    struct render *r;
    struct builder b;
    int64_t limit; /* < 0: none */
    struct val rel, target, schemes;
};

static bool put_attributes(struct linker *k)
{
    return (k->rel.kind != VAL_TEXT || (chat_build_literal(&k->b, " rel=\"") &&
                                        chat_build_text(&k->b, k->rel.text, 0, k->rel.text->len) &&
                                        chat_build_literal(&k->b, "\""))) &&
           (k->target.kind != VAL_TEXT ||
            (chat_build_literal(&k->b, " target=\"") &&
             chat_build_text(&k->b, k->target.text, 0, k->target.text->len) &&
             chat_build_literal(&k->b, "\"")));
}

static bool put_link(struct linker *k, const char *prefix, const struct txt *t, size_t from,
                     size_t to, bool attributes, size_t shown, bool trim)
{
    struct txt label = {.ptr = t->ptr + shown, .len = to - shown, .chars = SIZE_MAX};
    bool cut = trim && k->limit >= 0 && chat_text_chars(&label) > (uint64_t)k->limit;
    size_t end = cut ? shown + chat_text_offset(&label, (size_t)k->limit) : to;
    return chat_build_literal(&k->b, "<a href=\"") && chat_build_literal(&k->b, prefix) &&
           chat_build_text(&k->b, t, from, to) && chat_build_literal(&k->b, "\"") &&
           (!attributes || put_attributes(k)) && chat_build_literal(&k->b, ">") &&
           chat_build_text(&k->b, t, shown, end) && (!cut || chat_build_literal(&k->b, "...")) &&
           chat_build_literal(&k->b, "</a>");
}

static size_t count_of(struct str s, struct str needle)
{
    size_t n = 0;
    for (size_t at = 0; (at = str_find(s, needle, at)) != SIZE_MAX; at += needle.len) {
        n++;
    }
    return n;
}

/* What opens before and closes behind a URL stays outside, unless brackets balance inside. */
static void trim_word(struct str s, size_t *from, size_t *to)
{
    struct str w = s;
    while (str_eat(&w, STR("(")) || str_eat(&w, STR("<")) || str_eat(&w, STR("&lt;"))) {
        ;
    }
    *from = s.len - w.len;
    *to = s.len;
    for (;;) {
        struct str middle = str_slice(s, *from, *to);
        size_t n = str_ends(middle, STR("&gt;"))                                ? 4
                   : middle.len && strchr(")>.,\n", middle.ptr[middle.len - 1]) ? 1
                                                                                : 0;
        if (!n || !middle.ptr[middle.len - 1]) {
            break;
        }
        *to -= n;
    }
    static const struct {
        struct str open, close;
    } pairs[] = {{{"(", 1}, {")", 1}}, {{"<", 1}, {">", 1}}, {{"&lt;", 4}, {"&gt;", 4}}};
    for (size_t i = 0; i < 3; i++) {
        struct str middle = str_slice(s, *from, *to), tail = str_slice(s, *to, s.len);
        size_t opens = count_of(middle, pairs[i].open);
        if (opens <= count_of(middle, pairs[i].close)) {
            continue;
        }
        size_t moves = count_of(tail, pairs[i].close);
        for (moves = moves < opens ? moves : opens; moves; moves--) {
            *to = str_find(s, pairs[i].close, *to) + pairs[i].close.len;
        }
    }
}

static bool link_word(struct linker *k, const struct txt *t, size_t start, size_t end)
{
    size_t from, to;
    trim_word(str_slice(chat_str(t), start, end), &from, &to);
    from += start;
    to += start;
    struct str m = str_slice(chat_str(t), from, to);
    bool done = false;
    if (!chat_build_text(&k->b, t, start, from)) {
        return false;
    }
    if (is_url(m)) {
        done = true;
        bool scheme = str_starts(m, STR("https://")) || str_starts(m, STR("http://"));
        if (!put_link(k, scheme ? "" : "https://", t, from, to, true, from, true)) {
            return false;
        }
    } else if (str_starts(m, STR("mailto:")) && is_email(str_slice(m, 7, m.len))) {
        done = true;
        if (!put_link(k, "", t, from, to, false, from + 7, false)) {
            return false;
        }
    } else if (str_find(m, STR("@"), 0) != SIZE_MAX && !str_starts(m, STR("www.")) &&
               str_find(m, STR(":"), 0) == SIZE_MAX && is_email(m)) {
        done = true;
        if (!put_link(k, "mailto:", t, from, to, false, from, false)) {
            return false;
        }
    } else if (k->schemes.kind == VAL_LIST) {
        for (size_t i = 0; i < k->schemes.list->count && !done; i++) {
            struct str scheme = chat_str(k->schemes.list->items[i].text);
            done = m.len > scheme.len && str_starts(m, scheme);
        }
        if (done && !put_link(k, "", t, from, to, true, from, false)) {
            return false;
        }
    }
    return (done || chat_build_text(&k->b, t, from, to)) && chat_build_text(&k->b, t, to, end);
}

/* rel: the words given, "nofollow" if asked for, always "noopener", sorted. */
static bool make_rel(struct render *r, struct val given, bool nofollow, struct val *out)
{
    struct list *words = chat_list_new(r, 4), *keys = chat_list_new(r, 4);
    struct builder b = chat_builder(r);
    struct val word;
    if (!words || !keys) {
        return false;
    }
    struct str rest = given.kind == VAL_TEXT ? chat_str(given.text) : STR("");
    if (!chat_text_view(r, STR("noopener"), false, &word) || !chat_list_add(r, words, word) ||
        (nofollow &&
         (!chat_text_view(r, STR("nofollow"), false, &word) || !chat_list_add(r, words, word)))) {
        return false;
    }
    while (rest.len) {
        struct str one = str_cut(&rest, ' ');
        if (one.len && (!chat_text_view(r, one, false, &word) || !chat_list_add(r, words, word))) {
            return false;
        }
    }
    for (size_t i = 0; i < words->count; i++) {
        if (!chat_list_add(r, keys, words->items[i])) {
            return false;
        }
    }
    if (!chat_sort(r, words, keys, false)) {
        return false;
    }
    for (size_t i = 0; i < words->count; i++) {
        struct txt *t = words->items[i].text;
        if (i && str_eq(chat_str(t), chat_str(words->items[i - 1].text))) {
            continue;
        }
        if ((i && !chat_build_literal(&b, " ")) || !chat_build_text(&b, t, 0, t->len)) {
            return false;
        }
    }
    return chat_build_done(&b, &word) && chat_escape(r, word, out);
}

/* [\w.+-]{2,}:(/){0,2} */
static bool is_scheme(struct str s)
{
    size_t end = word_end(s, 0, ".+-");
    struct txt name = {.ptr = s.ptr, .len = end, .chars = SIZE_MAX};
    struct str rest = str_slice(s, end, s.len);
    return chat_text_chars(&name) >= 2 &&
           (str_eq(rest, STR(":")) || str_eq(rest, STR(":/")) || str_eq(rest, STR("://")));
}

/* arguments: trim_url_limit, nofollow, target, rel, extra_schemes */
bool chat_urlize(struct render *r, struct val v, struct call *call, struct val *out)
{
    struct linker k = {.r = r, .b = chat_builder(r), .limit = -1};
    char quoted[STR_QUOTE_MAX];
    bool nofollow;
    uint32_t code;
    struct list *schemes;
    if (val_is_int(call->args[0])) {
        k.limit = val_as_int(call->args[0]) < 0 ? 0 : val_as_int(call->args[0]);
    }
    if (!chat_truth(r, call->args[1], &nofollow) || !make_rel(r, call->args[3], nofollow, &k.rel) ||
        !chat_escape(r, v, &v)) {
        return false;
    }
    if (call->args[2].kind == VAL_TEXT && call->args[2].text->len &&
        !chat_escape(r, call->args[2], &k.target)) {
        return false;
    }
    if (call->args[4].kind != VAL_MISSING && call->args[4].kind != VAL_NONE) {
        if (!chat_to_list(r, call->args[4], &schemes)) {
            return false;
        }
        for (size_t i = 0; i < schemes->count; i++) {
            if (schemes->items[i].kind != VAL_TEXT ||
                !is_scheme(chat_str(schemes->items[i].text))) {
                return chat_fail(r, "'%s' is not a valid URI scheme prefix.",
                                 schemes->items[i].kind == VAL_TEXT
                                     ? str_quote(quoted, chat_str(schemes->items[i].text))
                                     : chat_type_name(schemes->items[i]));
            }
        }
        k.schemes = val_list(schemes);
    }
    const struct txt *t = v.text;
    if (!chat_step(r, t->len)) {
        return false;
    }
    for (size_t i = 0; i < t->len;) {
        size_t start = i, n;
        bool space = false;
        for (; i < t->len; i += n) {
            n = chat_text_decode(chat_str(t), i, &code);
            bool is_space = chat_char_is_space(code);
            if (i == start) {
                space = is_space;
            } else if (space != is_space) {
                break;
            }
        }
        if (space ? !chat_build_text(&k.b, t, start, i) : !link_word(&k, t, start, i)) {
            return false;
        }
    }
    if (!chat_build_done(&k.b, out)) {
        return false;
    }
    out->text->markup = r->autoescape;
    return true;
}
