/* The lexer. Outside tags it looks for the next "{{", "{%" or "{#" and decides what becomes of the
 * white space around it:
 *
 *     text {%- tag      "-" removes all white space before the tag (and after, at the other end)
 *     \n   {% tag       lstrip_blocks: blanks between the line's start and a block or comment go
 *          {%+ tag      "+" keeps them
 *     %}\n              trim_blocks: the one newline after a block or comment goes; "+%}" keeps it
 *
 * "{% raw %}" ends only at its endraw. Inside tags a closing mark counts only when all brackets are
 * balanced, so that "}}" can end a dict. Line ends are normalised first, and one newline at the end
 * of the template is dropped (keep_trailing_newline is off).
 *
 * Source: behaviour of Jinja2 3.1's lexer, checked against it by tests/golden/make_jinja_cases.py.
 */
#include "chat/lexer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "chat/unicode.h"
#include "chat/value.h"

enum { BRACKETS_MAX = 1000 }; /* the parser refuses such depth anyway */

struct lexer {
    struct arena *arena;
    struct str s; /* normalised source */
    size_t at;
    uint32_t line;
    struct token *items; /* heap while it grows */
    size_t count, cap;
    bool failed;        /* no memory */
    bool ended;         /* an ERROR token was added */
    bool line_starting; /* the last match ended with a newline */
    char brackets[BRACKETS_MAX];
    size_t bracket_count;
};

static void add(struct lexer *x, struct token t)
{
    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        struct token *items = mem_resize(x->items, cap, sizeof(*items));
        if (!items) {
            x->failed = true;
            return;
        }
        x->items = items;
        x->cap = cap;
    }
    x->items[x->count++] = t;
}

static void add_kind(struct lexer *x, enum token_kind kind)
{
    add(x, (struct token){.kind = kind, .line = x->line});
}

static void error(struct lexer *x, const char *message)
{
    char *copy = arena_copy(x->arena, str_of(message));
    if (!copy) {
        x->failed = true;
    }
    add(x, (struct token){.kind = TOKEN_ERROR, .line = x->line, .text = str_of(copy)});
    x->ended = true;
}

static bool looking_at(const struct lexer *x, size_t at, const char *text)
{
    size_t n = strlen(text);
    return x->s.len - at >= n && memcmp(x->s.ptr + at, text, n) == 0;
}

/* Length of the white space character at `at`; 0 if there is none. */
static size_t space_at(struct str s, size_t at)
{
    uint32_t code;
    if (at >= s.len) {
        return 0;
    }
    size_t n = chat_text_decode(s, at, &code);
    return chat_char_is_space(code) ? n : 0;
}

static size_t skip_space(struct str s, size_t at)
{
    for (size_t n; (n = space_at(s, at)) != 0;) {
        at += n;
    }
    return at;
}

static struct str strip_right(struct str s)
{
    size_t end = s.len;
    while (end > 0) {
        size_t start = end - 1;
        while (start > 0 && ((unsigned char)s.ptr[start] & 0xC0) == 0x80) {
            start--;
        }
        if (space_at(s, start) != end - start) {
            break;
        }
        end = start;
    }
    s.len = end;
    return s;
}

static uint32_t newlines(struct str s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        n += s.ptr[i] == '\n';
    }
    return n;
}

/* Moves to `to` and keeps the books on lines. */
static void advance(struct lexer *x, size_t to)
{
    if (to > x->at) {
        x->line += newlines(str_slice(x->s, x->at, to));
        x->line_starting = x->s.ptr[to - 1] == '\n';
    }
    x->at = to;
}

/* Adds the text before a tag after what the tag's sign and lstrip_blocks take from it. */
static void add_data(struct lexer *x, size_t end, char sign, bool is_variable)
{
    struct str text = str_slice(x->s, x->at, end);
    if (sign == '-') {
        text = strip_right(text);
    } else if (sign != '+' && !is_variable) {
        size_t start = text.len;
        while (start > 0 && text.ptr[start - 1] != '\n') {
            start--;
        }
        if ((start > 0 || x->line_starting) && skip_space(text, start) == text.len) {
            text.len = start;
        }
    }
    if (text.len) {
        add(x, (struct token){.kind = TOKEN_DATA, .line = x->line, .text = text});
    }
}

/* The end of a tag ("%}", "#}") at `at` with its white space rule; 0 if it is not there. */
static size_t tag_end(const struct lexer *x, size_t at, const char *mark, bool plus, bool trim)
{
    if (at >= x->s.len) {
        return 0;
    }
    if (x->s.ptr[at] == '-' && looking_at(x, at + 1, mark)) {
        return skip_space(x->s, at + 3);
    }
    if (plus && x->s.ptr[at] == '+' && looking_at(x, at + 1, mark)) {
        return at + 3;
    }
    if (!looking_at(x, at, mark)) {
        return 0;
    }
    at += 2;
    return trim && at < x->s.len && x->s.ptr[at] == '\n' ? at + 1 : at;
}

static char sign_at(const struct lexer *x, size_t at)
{
    return at < x->s.len && (x->s.ptr[at] == '-' || x->s.ptr[at] == '+') ? x->s.ptr[at] : '\0';
}

/* "{%- raw %}" at `at`: where its content starts, or 0. */
static size_t raw_begin(const struct lexer *x, size_t at)
{
    at += 2 + (sign_at(x, at + 2) != '\0');
    at = skip_space(x->s, at);
    if (!looking_at(x, at, "raw")) {
        return 0;
    }
    return tag_end(x, skip_space(x->s, at + 3), "%}", false, false);
}

static void lex_raw(struct lexer *x, size_t content)
{
    advance(x, content);
    for (size_t at = content; at < x->s.len; at++) {
        if (!looking_at(x, at, "{%")) {
            continue;
        }
        char sign = sign_at(x, at + 2);
        size_t name = skip_space(x->s, at + 2 + (sign != '\0'));
        if (!looking_at(x, name, "endraw")) {
            continue;
        }
        size_t end = tag_end(x, skip_space(x->s, name + 6), "%}", true, true);
        if (!end) {
            continue;
        }
        add_data(x, at, sign, false);
        advance(x, end);
        return;
    }
    if (x->at < x->s.len) {
        error(x, "Missing end of raw directive");
    }
}

static void lex_comment(struct lexer *x, size_t content)
{
    advance(x, content);
    for (size_t at = content; at < x->s.len; at++) {
        size_t end = tag_end(x, at, "#}", true, true);
        if (end) {
            advance(x, end);
            return;
        }
    }
    if (x->at < x->s.len) {
        error(x, "Missing end of comment tag");
    }
}

/* ---- inside tags ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits of a base, each with at most one underscore before it, from `at`; returns the end. */
static size_t digits_end(struct str s, size_t at, int base)
{
    while (at < s.len) {
        bool underscore = s.ptr[at] == '_';
        if (underscore && at + 1 >= s.len) {
            break;
        }
        char c = s.ptr[at + underscore];
        int digit = is_digit(c)                          ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : 99;
        if (digit >= base) {
            break;
        }
        at += underscore ? 2 : 1;
    }
    return at;
}

/* (\d+_)*\d+ at `at`; returns its end or `at`. */
static size_t decimal_end(struct str s, size_t at)
{
    if (at >= s.len || !is_digit(s.ptr[at])) {
        return at;
    }
    return digits_end(s, at, 10);
}

static size_t float_end(struct str s, size_t at)
{
    if (at > 0 && s.ptr[at - 1] == '.') {
        return 0;
    }
    size_t whole = decimal_end(s, at), end = whole;
    if (whole == at) {
        return 0;
    }
    bool fraction = false;
    if (whole + 1 < s.len && s.ptr[whole] == '.' && is_digit(s.ptr[whole + 1])) {
        end = decimal_end(s, whole + 1);
        fraction = true;
    }
    if (end < s.len && (s.ptr[end] | 32) == 'e') {
        size_t e = end + 1;
        if (e < s.len && (s.ptr[e] == '+' || s.ptr[e] == '-')) {
            e++;
        }
        size_t exponent = decimal_end(s, e);
        if (exponent > e) {
            return exponent;
        }
    }
    return fraction ? end : 0;
}

static void lex_number(struct lexer *x, size_t end, bool is_float)
{
    char text[400];
    size_t n = 0;
    for (size_t i = x->at; i < end && n + 1 < sizeof(text); i++) {
        if (x->s.ptr[i] != '_') {
            text[n++] = x->s.ptr[i];
        }
    }
    text[n] = '\0';
    struct token t = {.kind = is_float ? TOKEN_FLOAT : TOKEN_INTEGER, .line = x->line};
    if (is_float) {
        t.real = strtod(text, NULL);
        add(x, t);
        return;
    }
    int base = 10;
    size_t skip = 0;
    if (n > 2 && text[0] == '0') {
        base = (text[1] | 32) == 'x'   ? 16
               : (text[1] | 32) == 'o' ? 8
               : (text[1] | 32) == 'b' ? 2
                                       : 10;
        skip = base == 10 ? 0 : 2;
    }
    uint64_t value = 0;
    bool overflow = n + 1 >= sizeof(text);
    for (size_t i = skip; i < n; i++) {
        unsigned digit = (unsigned)(is_digit(text[i]) ? text[i] - '0' : (text[i] | 32) - 'a' + 10);
        overflow |= __builtin_mul_overflow(value, (uint64_t)base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value);
    }
    if (overflow || value > INT64_MAX) {
        error(x, "an integer beyond 64 bits");
        return;
    }
    t.integer = (int64_t)value;
    add(x, t);
}

static size_t integer_end(struct str s, size_t at)
{
    if (!is_digit(s.ptr[at])) {
        return 0;
    }
    if (s.ptr[at] == '0' && at + 1 < s.len) {
        char c = s.ptr[at + 1] | 32;
        int base = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 0;
        if (base) {
            size_t end = digits_end(s, at + 2, base);
            if (end > at + 2) {
                return end;
            }
        }
    }
    return digits_end(s, at, s.ptr[at] == '0' ? 1 : 10);
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape after its backslash at s[*at]; appends to out. NULL or the message. */
static const char *unescape_one(struct str s, size_t *at, char *out, size_t *n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = s.ptr[*at];
    const char *hit = c ? strchr(from, c) : NULL;
    uint32_t code = 0;
    if (hit) {
        out[(*n)++] = to[hit - from];
        (*at)++;
        return NULL;
    }
    if (c == '\n') {
        (*at)++;
        return NULL;
    }
    if (c >= '0' && c <= '7') {
        for (int i = 0; i < 3 && *at < s.len && s.ptr[*at] >= '0' && s.ptr[*at] <= '7'; i++) {
            code = code * 8 + (uint32_t)(s.ptr[(*at)++] - '0');
        }
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        for (size_t i = 1; i <= digits; i++) {
            int h = *at + i < s.len ? hex_value(s.ptr[*at + i]) : -1;
            if (h < 0) {
                return c == 'x'   ? "truncated \\xXX escape"
                       : c == 'u' ? "truncated \\uXXXX escape"
                                  : "truncated \\UXXXXXXXX escape";
            }
            code = code * 16 + (uint32_t)h;
        }
        *at += digits + 1;
        if (code > 0x10FFFF) {
            return "illegal Unicode character";
        }
    } else if (c == 'N') {
        return "characters by name (\\N{...}) are not supported";
    } else {
        /* not an escape: the backslash stays. Python's way over "backslashreplace" shows when a
         * character beyond ASCII follows: it becomes the text of its escape. */
        out[(*n)++] = '\\';
        if ((unsigned char)c < 0x80) {
            return NULL;
        }
        *at += chat_text_decode(s, *at, &code);
        *n += (size_t)snprintf(out + *n, 10,
                               code < 0x100     ? "x%02x"
                               : code < 0x10000 ? "u%04x"
                                                : "U%08x",
                               code);
        return NULL;
    }
    /* a lone surrogate has no UTF-8: U+FFFD stands for it */
    *n += utf8_encode(code >= 0xD800 && code < 0xE000 ? 0xFFFD : code, out + *n);
    return NULL;
}

/* A string literal. No escape makes its text longer than twice the source. */
static void lex_string(struct lexer *x, size_t end)
{
    struct str s = str_slice(x->s, x->at + 1, end - 1);
    struct token t = {.kind = TOKEN_STRING, .line = x->line, .text = s};
    if (s.len && memchr(s.ptr, '\\', s.len)) {
        char *out = arena_alloc(x->arena, s.len * 2 + 4, 1);
        size_t n = 0;
        if (!out) {
            x->failed = true;
            return;
        }
        for (size_t i = 0; i < s.len;) {
            if (s.ptr[i] != '\\') {
                out[n++] = s.ptr[i++];
                continue;
            }
            i++;
            const char *message = unescape_one(s, &i, out, &n);
            if (message) {
                error(x, message);
                return;
            }
        }
        t.text = (struct str){out, n};
    }
    add(x, t);
}

static size_t string_end(struct str s, size_t at)
{
    char quote = s.ptr[at];
    for (size_t i = at + 1; i < s.len; i++) {
        if (s.ptr[i] == '\\') {
            i++;
        } else if (s.ptr[i] == quote) {
            return i + 1;
        }
    }
    return 0;
}

static const struct {
    const char *text;
    enum token_kind kind;
} operators[] = {
    {"//", TOKEN_FLOORDIV}, {"**", TOKEN_POW},     {"==", TOKEN_EQ},    {"!=", TOKEN_NE},
    {">=", TOKEN_GE},       {"<=", TOKEN_LE},      {"+", TOKEN_ADD},    {"-", TOKEN_SUB},
    {"/", TOKEN_DIV},       {"*", TOKEN_MUL},      {"%", TOKEN_MOD},    {"~", TOKEN_TILDE},
    {"[", TOKEN_LBRACKET},  {"]", TOKEN_RBRACKET}, {"(", TOKEN_LPAREN}, {")", TOKEN_RPAREN},
    {"{", TOKEN_LBRACE},    {"}", TOKEN_RBRACE},   {">", TOKEN_GT},     {"<", TOKEN_LT},
    {"=", TOKEN_ASSIGN},    {".", TOKEN_DOT},      {":", TOKEN_COLON},  {"|", TOKEN_PIPE},
    {",", TOKEN_COMMA},     {";", TOKEN_SEMICOLON}};

const char *chat_token_name(enum token_kind kind)
{
    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        if (operators[i].kind == kind) {
            return operators[i].text;
        }
    }
    static const char *const names[] = {
        [TOKEN_EOF] = "end of template",
        [TOKEN_ERROR] = "error",
        [TOKEN_DATA] = "template data / text",
        [TOKEN_VARIABLE_BEGIN] = "begin of print statement",
        [TOKEN_VARIABLE_END] = "end of print statement",
        [TOKEN_BLOCK_BEGIN] = "begin of statement block",
        [TOKEN_BLOCK_END] = "end of statement block",
        [TOKEN_NAME] = "name",
        [TOKEN_STRING] = "string",
        [TOKEN_INTEGER] = "integer",
        [TOKEN_FLOAT] = "float",
    };
    return names[kind];
}

static bool balance(struct lexer *x, char c)
{
    char message[64];
    if (c == '(' || c == '[' || c == '{') {
        if (x->bracket_count == BRACKETS_MAX) {
            error(x, "brackets are nested too deep");
            return false;
        }
        x->brackets[x->bracket_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (!x->bracket_count) {
            snprintf(message, sizeof(message), "unexpected '%c'", c);
            error(x, message);
            return false;
        }
        char expected = x->brackets[--x->bracket_count];
        if (expected != c) {
            snprintf(message, sizeof(message), "unexpected '%c', expected '%c'", c, expected);
            error(x, message);
            return false;
        }
    }
    return true;
}

static void lex_operator(struct lexer *x)
{
    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        if (!looking_at(x, x->at, operators[i].text)) {
            continue;
        }
        if (balance(x, operators[i].text[0])) {
            add_kind(x, operators[i].kind);
            advance(x, x->at + strlen(operators[i].text));
        }
        return;
    }
    char message[STR_QUOTE_MAX + 64], quoted[STR_QUOTE_MAX];
    uint32_t code;
    size_t n = chat_text_decode(x->s, x->at, &code);
    snprintf(message, sizeof(message), "unexpected char '%s' at %zu",
             str_quote(quoted, str_slice(x->s, x->at, x->at + n)),
             utf8_count(str_slice(x->s, 0, x->at)));
    error(x, message);
}

static size_t name_end(struct str s, size_t at)
{
    uint32_t code;
    size_t start = at;
    while (at < s.len) {
        size_t n = chat_text_decode(s, at, &code);
        if (!chat_char_is_name(code, at == start)) {
            break;
        }
        at += n;
    }
    return at;
}

/* The inside of "{{ }}" or "{% %}" up to and with its end. */
static void lex_tag(struct lexer *x, bool is_block)
{
    x->bracket_count = 0;
    while (x->at < x->s.len && !x->ended && !x->failed) {
        size_t end = 0;
        if (!x->bracket_count) {
            end = is_block ? tag_end(x, x->at, "%}", true, true)
                           : tag_end(x, x->at, "}}", false, false);
        }
        if (end) {
            add_kind(x, is_block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END);
            advance(x, end);
            return;
        }
        char c = x->s.ptr[x->at];
        if ((end = skip_space(x->s, x->at)) > x->at) {
            advance(x, end);
        } else if ((end = float_end(x->s, x->at)) != 0) {
            lex_number(x, end, true);
            advance(x, end);
        } else if ((end = integer_end(x->s, x->at)) != 0) {
            lex_number(x, end, false);
            advance(x, end);
        } else if ((end = name_end(x->s, x->at)) > x->at) {
            add(x, (struct token){
                       .kind = TOKEN_NAME, .line = x->line, .text = str_slice(x->s, x->at, end)});
            advance(x, end);
        } else if ((c == '"' || c == '\'') && (end = string_end(x->s, x->at)) != 0) {
            lex_string(x, end);
            advance(x, end);
        } else {
            lex_operator(x);
        }
    }
}

static void lex_root(struct lexer *x)
{
    while (x->at < x->s.len && !x->ended && !x->failed) {
        size_t at = x->at;
        while (at < x->s.len) {
            const char *brace = memchr(x->s.ptr + at, '{', x->s.len - at);
            at = brace ? (size_t)(brace - x->s.ptr) : x->s.len;
            if (at + 1 < x->s.len && strchr("{%#", x->s.ptr[at + 1]) && x->s.ptr[at + 1]) {
                break;
            }
            at = at < x->s.len ? at + 1 : at;
        }
        if (at >= x->s.len) {
            add(x, (struct token){.kind = TOKEN_DATA,
                                  .line = x->line,
                                  .text = str_slice(x->s, x->at, x->s.len)});
            advance(x, x->s.len);
            return;
        }
        char mark = x->s.ptr[at + 1], sign = sign_at(x, at + 2);
        size_t raw = mark == '%' ? raw_begin(x, at) : 0;
        size_t inside = at + 2 + (sign != '\0');
        add_data(x, at, sign, mark == '{');
        advance(x, at);
        if (raw) {
            lex_raw(x, raw);
        } else if (mark == '#') {
            lex_comment(x, inside);
        } else {
            add_kind(x, mark == '{' ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN);
            advance(x, inside);
            lex_tag(x, mark == '%');
        }
    }
}

/* "\r\n" and "\r" become "\n", and one newline at the end goes. */
static bool normalise(struct lexer *x, struct str source)
{
    char *copy = arena_alloc(x->arena, source.len + 1, 1);
    if (!copy) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < source.len; i++) {
        if (source.ptr[i] == '\r') {
            copy[n++] = '\n';
            if (i + 1 < source.len && source.ptr[i + 1] == '\n') {
                i++;
            }
        } else {
            copy[n++] = source.ptr[i];
        }
    }
    if (n && copy[n - 1] == '\n') {
        n--;
    }
    x->s = (struct str){copy, n};
    return true;
}

bool chat_lex(struct arena *arena, struct str source, struct tokens *out, struct err *err)
{
    struct lexer x = {.arena = arena, .line = 1, .line_starting = true};
    if (!utf8_is_valid(source)) {
        return err_set(err, ERR_TEMPLATE, "the template is not UTF-8 (byte %zu)",
                       utf8_valid_prefix(source));
    }
    if (!normalise(&x, source)) {
        return err_set_memory(err, source.len);
    }
    lex_root(&x);
    add_kind(&x, TOKEN_EOF);
    out->items = x.failed ? NULL : arena_alloc(arena, x.count, sizeof(*x.items));
    if (out->items) {
        memcpy(out->items, x.items, x.count * sizeof(*x.items));
    }
    out->count = x.count;
    mem_free(x.items);
    return out->items ? true : err_set_memory(err, x.count * sizeof(*x.items));
}
