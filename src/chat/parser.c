/* Recursive descent over the tokens, with Jinja2's grammar (its parser.py is the only definition):
 *
 *     condexpr  or [if or [else condexpr]]*         unary     -unary | +unary | primary postfix*
 *     or        and (or and)*                       postfix   .name .1 [subscript] (args)
 *     and       not (and not)*                      filtered  unary (|filter | is test | (args))*
 *     not       not not | compare
 *     compare   sum ((== != < <= > >= in, not in) sum)*
 *     sum       concat ((+ -) concat)*              note: ~ binds tighter than + and -,
 *     concat    product (~ product)*                ** is left associative, and -x ** y is (-x) **
 * y product   power ((* / // %) power)* power     filtered (** filtered)*
 *
 * Words are no keywords: `if`, `is`, `in` are names wherever the grammar does not look for them.
 * Chains of one level become one node with many operands, so that long chains do not nest. */
#include <stdio.h>
#include <string.h>

#include "chat/ast.h"
#include "chat/interp.h"
#include "chat/lexer.h"

struct parser {
    struct tree *tree;
    struct arena *arena;
    struct token *at;
    size_t depth;
    bool failed;
    struct err *err;
    struct str tags[256]; /* open statements, for messages */
    size_t tag_count;
    const char *const *ends[256]; /* what the open bodies wait for */
    size_t end_count;
};

struct node_list { /* grows in the arena */
    struct nodes n;
    size_t cap;
};

static struct node *parse_expression(struct parser *p, bool with_cond);
static struct node *parse_primary(struct parser *p);
static struct node *parse_postfix(struct parser *p, struct node *node);
static struct node *parse_filter(struct parser *p, struct node *node, bool start_inline);
static bool parse_body(struct parser *p, const char *const *ends, bool drop, struct nodes *out);

/* ---- errors, memory, tokens ---- */

static void *fail_at(struct parser *p, uint32_t line, const char *format, ...) ATTR_PRINTF(3, 4);
static void *fail_at(struct parser *p, uint32_t line, const char *format, ...)
{
    char text[800];
    va_list args;
    if (p->failed) {
        return NULL;
    }
    p->failed = true;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    err_set(p->err, ERR_TEMPLATE, "template line %u: %s", line, text);
    return NULL;
}

static void *take(struct parser *p, size_t count, size_t size)
{
    void *m = arena_alloc(p->arena, count ? count : 1, size);
    if (!m && !p->failed) {
        p->failed = true;
        if (p->arena->limit_bytes && p->arena->used_total + count * size >= p->arena->limit_bytes) {
            err_set(p->err, ERR_TEMPLATE, "the template is too large to parse");
        } else {
            err_set_memory(p->err, count * size);
        }
    }
    return m;
}

static struct node *node_new(struct parser *p, enum node_kind kind, uint32_t line)
{
    struct node *n = take(p, 1, sizeof(*n));
    if (n) {
        n->kind = kind;
        n->line = line;
        n->depth = 1;
    }
    return n;
}

static void deepen(struct node *node, const struct node *child)
{
    if (child && child->depth >= node->depth) {
        node->depth = child->depth + 1;
    }
}

/* Finishes a node: the bound on the tree's depth is the bound on the C stack when it is evaluated.
 */
static struct node *done(struct parser *p, struct node *n)
{
    if (!n || p->failed) {
        return NULL;
    }
    deepen(n, n->a);
    deepen(n, n->b);
    deepen(n, n->c);
    for (size_t i = 0; i < n->items.count; i++) {
        deepen(n, n->items.items[i]);
    }
    if (n->depth > p->tree->depth_max) {
        return fail_at(p, n->line, "nested deeper than %zu levels", p->tree->depth_max);
    }
    return n;
}

static bool list_add(struct parser *p, struct node_list *l, struct node *n)
{
    if (!n) {
        return false;
    }
    if (l->n.count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct node **items = take(p, cap, sizeof(struct node *));
        if (!items) {
            return false;
        }
        if (l->n.count) {
            memcpy(items, l->n.items, l->n.count * sizeof(*items));
        }
        l->n.items = items;
        l->cap = cap;
    }
    l->n.items[l->n.count++] = n;
    return true;
}

static const char *token_text(const struct token *t, char out[STR_QUOTE_MAX])
{
    return t->kind == TOKEN_NAME ? str_quote(out, t->text) : chat_token_name(t->kind);
}

/* Raises what the lexer found wrong as soon as the parser gets there. */
static bool check(struct parser *p)
{
    if (p->at->kind == TOKEN_ERROR) {
        fail_at(p, p->at->line, "%.*s", STR_ARG(p->at->text));
    }
    return !p->failed;
}

static bool next(struct parser *p)
{
    if (p->at->kind != TOKEN_EOF && p->at->kind != TOKEN_ERROR) {
        p->at++;
    }
    return check(p);
}

static const struct token *look(const struct parser *p)
{
    return p->at->kind == TOKEN_EOF || p->at->kind == TOKEN_ERROR ? p->at : p->at + 1;
}

static bool is_kind(const struct parser *p, enum token_kind kind)
{
    return p->at->kind == kind;
}

static bool is_word(const struct token *t, const char *word)
{
    return t->kind == TOKEN_NAME && str_eq(t->text, str_of(word));
}

static bool skip_word(struct parser *p, const char *word)
{
    return is_word(p->at, word) && next(p);
}

static bool expect(struct parser *p, enum token_kind kind)
{
    char got[STR_QUOTE_MAX];
    if (is_kind(p, kind)) {
        return next(p);
    }
    if (!check(p)) {
        return false;
    }
    if (is_kind(p, TOKEN_EOF)) {
        fail_at(p, p->at->line, "unexpected end of template, expected '%s'.",
                chat_token_name(kind));
    } else {
        fail_at(p, p->at->line, "expected token '%s', got '%s'", chat_token_name(kind),
                token_text(p->at, got));
    }
    return false;
}

static bool expect_word(struct parser *p, const char *word)
{
    char got[STR_QUOTE_MAX];
    if (is_word(p->at, word)) {
        return next(p);
    }
    fail_at(p, p->at->line, "expected token '%s', got '%s'", word, token_text(p->at, got));
    return false;
}

static bool enter(struct parser *p)
{
    if (p->depth >= p->tree->depth_max) {
        fail_at(p, p->at->line, "nested deeper than %zu levels", p->tree->depth_max);
    } else {
        p->depth++;
    }
    return !p->failed;
}

static struct txt *constant(struct parser *p, struct str s)
{
    struct txt *t = take(p, 1, sizeof(*t));
    if (t) {
        *t = (struct txt){
            .ptr = s.ptr ? s.ptr : "", .len = s.len, .chars = SIZE_MAX, .trusted = true};
        chat_text_chars(t); /* counted now: rendering threads share it */
    }
    return t;
}

/* ---- expressions ---- */

static bool is_tuple_end(const struct parser *p, const char *extra)
{
    return is_kind(p, TOKEN_VARIABLE_END) || is_kind(p, TOKEN_BLOCK_END) ||
           is_kind(p, TOKEN_RPAREN) || (extra && is_word(p->at, extra));
}

/* `simple`: only primaries, as in targets. An empty tuple needs its parentheses. */
static struct node *parse_tuple(struct parser *p, bool simple, bool with_cond, const char *extra,
                                bool in_parens)
{
    char got[STR_QUOTE_MAX];
    struct node_list items = {0};
    uint32_t line = p->at->line;
    bool is_tuple = false;
    for (;;) {
        if (items.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_tuple_end(p, extra)) {
            break;
        }
        if (!list_add(p, &items, simple ? parse_primary(p) : parse_expression(p, with_cond))) {
            return NULL;
        }
        if (!is_kind(p, TOKEN_COMMA)) {
            break;
        }
        is_tuple = true;
        line = p->at->line;
    }
    if (!is_tuple && items.n.count) {
        return items.n.items[0];
    }
    if (!is_tuple && !in_parens) {
        return fail_at(p, p->at->line, "Expected an expression, got '%s'", token_text(p->at, got));
    }
    struct node *n = node_new(p, NODE_TUPLE, line);
    if (n) {
        n->items = items.n;
    }
    return done(p, n);
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = node_new(p, NODE_LIST, p->at->line);
    struct node_list items = {0};
    if (!n || !next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACKET)) {
        if (items.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_kind(p, TOKEN_RBRACKET)) {
            break;
        }
        if (!list_add(p, &items, parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return expect(p, TOKEN_RBRACKET) ? done(p, n) : NULL;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = node_new(p, NODE_DICT, p->at->line);
    struct node_list items = {0};
    if (!n || !next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACE)) {
        if (items.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_kind(p, TOKEN_RBRACE)) {
            break;
        }
        if (!list_add(p, &items, parse_expression(p, true)) || !expect(p, TOKEN_COLON) ||
            !list_add(p, &items, parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return expect(p, TOKEN_RBRACE) ? done(p, n) : NULL;
}

static struct node *const_node(struct parser *p, uint32_t line, struct val value)
{
    struct node *n = node_new(p, NODE_CONST, line);
    if (n) {
        n->value = value;
    }
    return n;
}

/* Adjacent literals are one string. */
static struct node *parse_string(struct parser *p)
{
    uint32_t line = p->at->line;
    size_t len = 0, n = 0;
    for (const struct token *t = p->at; t->kind == TOKEN_STRING; t++) {
        len += t->text.len;
    }
    struct str all = p->at->text;
    if (look(p)->kind == TOKEN_STRING) {
        char *bytes = take(p, len + 1, 1);
        if (!bytes) {
            return NULL;
        }
        for (const struct token *t = p->at; t->kind == TOKEN_STRING; t++) {
            if (t->text.len) {
                memcpy(bytes + n, t->text.ptr, t->text.len);
            }
            n += t->text.len;
        }
        all = (struct str){bytes, len};
    }
    while (is_kind(p, TOKEN_STRING)) {
        if (!next(p)) {
            return NULL;
        }
    }
    struct txt *t = constant(p, all);
    return t ? const_node(p, line, val_text(t)) : NULL;
}

static struct node *parse_name(struct parser *p)
{
    const struct token t = *p->at;
    if (!next(p)) {
        return NULL;
    }
    if (is_word(&t, "true") || is_word(&t, "True")) {
        return const_node(p, t.line, val_bool(true));
    }
    if (is_word(&t, "false") || is_word(&t, "False")) {
        return const_node(p, t.line, val_bool(false));
    }
    if (is_word(&t, "none") || is_word(&t, "None")) {
        return const_node(p, t.line, val_none());
    }
    struct node *n = node_new(p, NODE_NAME, t.line);
    if (n) {
        n->name = t.text;
    }
    return n;
}

static struct node *parse_primary(struct parser *p)
{
    char got[STR_QUOTE_MAX];
    const struct token t = *p->at;
    struct node *n = NULL;
    switch (t.kind) {
    case TOKEN_NAME:
        return parse_name(p);
    case TOKEN_STRING:
        return parse_string(p);
    case TOKEN_INTEGER:
        return next(p) ? const_node(p, t.line, val_int(t.integer)) : NULL;
    case TOKEN_FLOAT:
        return next(p) ? const_node(p, t.line, val_float(t.real)) : NULL;
    case TOKEN_LPAREN:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        if (!enter(p)) {
            return NULL;
        }
        if (t.kind == TOKEN_LBRACKET) {
            n = parse_list(p);
        } else if (t.kind == TOKEN_LBRACE) {
            n = parse_dict(p);
        } else if (next(p) && (n = parse_tuple(p, false, true, NULL, true)) != NULL &&
                   !expect(p, TOKEN_RPAREN)) {
            n = NULL;
        }
        p->depth--;
        return n;
    default:
        return check(p) ? fail_at(p, t.line, "unexpected '%s'", token_text(&t, got)) : NULL;
    }
}

/* One subscript: an expression or a slice. */
static struct node *parse_subscribed(struct parser *p)
{
    uint32_t line = p->at->line;
    struct node *parts[3] = {NULL, NULL, NULL};
    if (!is_kind(p, TOKEN_COLON)) {
        parts[0] = parse_expression(p, true);
        if (!parts[0] || !is_kind(p, TOKEN_COLON)) {
            return parts[0];
        }
    }
    if (!next(p)) {
        return NULL;
    }
    if (!is_kind(p, TOKEN_COLON) && !is_kind(p, TOKEN_RBRACKET) && !is_kind(p, TOKEN_COMMA) &&
        !(parts[1] = parse_expression(p, true))) {
        return NULL;
    }
    if (is_kind(p, TOKEN_COLON)) {
        if (!next(p)) {
            return NULL;
        }
        if (!is_kind(p, TOKEN_RBRACKET) && !is_kind(p, TOKEN_COMMA) &&
            !(parts[2] = parse_expression(p, true))) {
            return NULL;
        }
    }
    struct node *n = node_new(p, NODE_SLICE, line);
    if (n) {
        n->a = parts[0];
        n->b = parts[1];
        n->c = parts[2];
    }
    return done(p, n);
}

static struct node *parse_dot(struct parser *p, struct node *node)
{
    uint32_t line = p->at->line;
    if (!next(p)) {
        return NULL;
    }
    const struct token t = *p->at;
    if (t.kind != TOKEN_NAME && t.kind != TOKEN_INTEGER) {
        return fail_at(p, t.line, "expected name or number");
    }
    struct node *n = node_new(p, t.kind == TOKEN_NAME ? NODE_ATTR : NODE_ITEM, line);
    if (!n || !next(p)) {
        return NULL;
    }
    n->a = node;
    n->name = t.text;
    if (t.kind == TOKEN_INTEGER && !(n->b = const_node(p, t.line, val_int(t.integer)))) {
        return NULL;
    }
    return done(p, n);
}

static struct node *parse_subscript(struct parser *p, struct node *node)
{
    struct node *n = node_new(p, NODE_ITEM, p->at->line);
    struct node_list parts = {0};
    if (!n || !enter(p) || !next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACKET)) {
        if (parts.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!list_add(p, &parts, parse_subscribed(p))) {
            return NULL;
        }
    }
    p->depth--;
    if (!expect(p, TOKEN_RBRACKET)) {
        return NULL;
    }
    n->a = node;
    if (parts.n.count == 1) {
        n->b = parts.n.items[0];
    } else {
        n->b = node_new(p, NODE_TUPLE, n->line);
        if (n->b) {
            n->b->items = parts.n;
        }
        n->b = done(p, n->b);
    }
    return n->b ? done(p, n) : NULL;
}

static bool add_keyword(struct parser *p, struct signature *sig, size_t *cap, struct str name,
                        struct node *value)
{
    if (!value) {
        return false;
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        if (str_eq(sig->keywords[i].name, name)) {
            char quoted[STR_QUOTE_MAX];
            fail_at(p, p->at->line, "keyword argument repeated: %s", str_quote(quoted, name));
            return false;
        }
    }
    if (sig->keyword_count == *cap) {
        size_t bigger = *cap ? *cap * 2 : 4;
        struct arg *args = take(p, bigger, sizeof(*args));
        if (!args) {
            return false;
        }
        if (*cap) {
            memcpy(args, sig->keywords, *cap * sizeof(*args));
        }
        sig->keywords = args;
        *cap = bigger;
    }
    sig->keywords[sig->keyword_count++] = (struct arg){name, value};
    return true;
}

static bool bad_call(struct parser *p, uint32_t line)
{
    fail_at(p, line, "invalid syntax for function call expression");
    return false;
}

static bool parse_argument(struct parser *p, struct signature *sig, struct node_list *args,
                           size_t *cap, uint32_t line)
{
    if (is_kind(p, TOKEN_MUL)) {
        if (sig->star || sig->star_star) {
            return bad_call(p, line);
        }
        return next(p) && (sig->star = parse_expression(p, true)) != NULL;
    }
    if (is_kind(p, TOKEN_POW)) {
        if (sig->star_star) {
            return bad_call(p, line);
        }
        return next(p) && (sig->star_star = parse_expression(p, true)) != NULL;
    }
    if (is_kind(p, TOKEN_NAME) && look(p)->kind == TOKEN_ASSIGN) {
        struct str name = p->at->text;
        if (sig->star_star) {
            return bad_call(p, line);
        }
        return next(p) && next(p) && add_keyword(p, sig, cap, name, parse_expression(p, true));
    }
    if (sig->star || sig->star_star || sig->keyword_count) {
        return bad_call(p, line);
    }
    return list_add(p, args, parse_expression(p, true));
}

static struct signature *parse_call_args(struct parser *p)
{
    struct signature *sig = take(p, 1, sizeof(*sig));
    struct node_list args = {0};
    size_t cap = 0;
    uint32_t line = p->at->line;
    bool comma = false;
    if (!sig || !enter(p) || !next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RPAREN)) {
        if (comma && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (comma && is_kind(p, TOKEN_RPAREN)) {
            break;
        }
        if (!parse_argument(p, sig, &args, &cap, line)) {
            return NULL;
        }
        comma = true;
    }
    p->depth--;
    sig->args = args.n;
    return expect(p, TOKEN_RPAREN) ? sig : NULL;
}

static void deepen_signature(struct node *n)
{
    for (size_t i = 0; i < n->sig->args.count; i++) {
        deepen(n, n->sig->args.items[i]);
    }
    for (size_t i = 0; i < n->sig->keyword_count; i++) {
        deepen(n, n->sig->keywords[i].value);
    }
    deepen(n, n->sig->star);
    deepen(n, n->sig->star_star);
}

static struct node *parse_call(struct parser *p, struct node *node)
{
    struct node *n = node_new(p, NODE_CALL, p->at->line);
    if (!n || !(n->sig = parse_call_args(p))) {
        return NULL;
    }
    n->a = node;
    deepen_signature(n);
    return done(p, n);
}

static struct node *parse_postfix(struct parser *p, struct node *node)
{
    while (node && !p->failed) {
        if (is_kind(p, TOKEN_DOT)) {
            node = parse_dot(p, node);
        } else if (is_kind(p, TOKEN_LBRACKET)) {
            node = parse_subscript(p, node);
        } else if (is_kind(p, TOKEN_LPAREN)) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* "name" or "name.name": filters and tests may have dots in their names. */
static bool parse_dotted(struct parser *p, struct str *out)
{
    *out = p->at->text;
    if (!expect(p, TOKEN_NAME)) {
        return false;
    }
    while (is_kind(p, TOKEN_DOT)) {
        if (!next(p)) {
            return false;
        }
        struct str part = p->at->text;
        if (!expect(p, TOKEN_NAME)) {
            return false;
        }
        char *joined = take(p, out->len + part.len + 2, 1);
        if (!joined) {
            return false;
        }
        memcpy(joined, out->ptr, out->len);
        joined[out->len] = '.';
        memcpy(joined + out->len + 1, part.ptr, part.len);
        *out = (struct str){joined, out->len + 1 + part.len};
    }
    return true;
}

static struct node *parse_filter(struct parser *p, struct node *node, bool start_inline)
{
    while (is_kind(p, TOKEN_PIPE) || start_inline) {
        if (!start_inline && !next(p)) {
            return NULL;
        }
        start_inline = false;
        struct node *n = node_new(p, NODE_FILTER, p->at->line);
        if (!n || !parse_dotted(p, &n->name)) {
            return NULL;
        }
        n->sig = is_kind(p, TOKEN_LPAREN) ? parse_call_args(p) : take(p, 1, sizeof(*n->sig));
        if (!n->sig) {
            return NULL;
        }
        n->a = node;
        deepen_signature(n);
        if (!(node = done(p, n))) {
            return NULL;
        }
    }
    return node;
}

/* The argument of a test may stand without brackets: `x is divisibleby 3`. */
static bool test_has_argument(const struct parser *p)
{
    switch (p->at->kind) {
    case TOKEN_NAME:
        return !is_word(p->at, "else") && !is_word(p->at, "or") && !is_word(p->at, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        return true;
    default:
        return false;
    }
}

static struct node *parse_test(struct parser *p, struct node *node)
{
    struct node *n = node_new(p, NODE_TEST, p->at->line);
    if (!n || !next(p)) {
        return NULL;
    }
    n->negated = skip_word(p, "not");
    if (p->failed || !parse_dotted(p, &n->name)) {
        return NULL;
    }
    n->a = node;
    if (is_kind(p, TOKEN_LPAREN)) {
        n->sig = parse_call_args(p);
    } else {
        n->sig = take(p, 1, sizeof(*n->sig));
        if (n->sig && test_has_argument(p)) {
            struct node_list args = {0};
            if (is_word(p->at, "is")) {
                return fail_at(p, p->at->line, "You cannot chain multiple tests with is");
            }
            if (!list_add(p, &args, parse_postfix(p, parse_primary(p)))) {
                return NULL;
            }
            n->sig->args = args.n;
        }
    }
    if (!n->sig) {
        return NULL;
    }
    deepen_signature(n);
    return done(p, n);
}

static struct node *parse_unary(struct parser *p, bool with_filter)
{
    struct node *n;
    if (is_kind(p, TOKEN_SUB) || is_kind(p, TOKEN_ADD)) {
        n = node_new(p, is_kind(p, TOKEN_SUB) ? NODE_NEG : NODE_POS, p->at->line);
        if (!n || !enter(p) || !next(p) || !(n->a = parse_unary(p, false))) {
            return NULL;
        }
        p->depth--;
        n = done(p, n);
    } else {
        n = parse_primary(p);
    }
    n = parse_postfix(p, n);
    while (with_filter && n && !p->failed) {
        if (is_kind(p, TOKEN_PIPE)) {
            n = parse_filter(p, n, false);
        } else if (is_word(p->at, "is")) {
            n = parse_test(p, n);
        } else if (is_kind(p, TOKEN_LPAREN)) {
            n = parse_call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* ---- binary levels ---- */

static bool chain_add(struct parser *p, struct node *n, struct node_list *items, size_t *cap,
                      enum node_op op, struct node *operand)
{
    size_t at = items->n.count;
    if (!list_add(p, items, operand)) {
        return false;
    }
    if (at >= *cap) {
        size_t bigger = *cap ? *cap * 2 : 4;
        unsigned char *ops = take(p, bigger, 1);
        if (!ops) {
            return false;
        }
        if (*cap) {
            memcpy(ops, n->ops, *cap);
        }
        n->ops = ops;
        *cap = bigger;
    }
    n->ops[at] = (unsigned char)op;
    return true;
}

enum { LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER };

static bool level_op(const struct parser *p, int level, enum node_op *op)
{
    switch (p->at->kind) {
    case TOKEN_ADD:
        *op = OP_ADD;
        return level == LEVEL_SUM;
    case TOKEN_SUB:
        *op = OP_SUB;
        return level == LEVEL_SUM;
    case TOKEN_TILDE:
        return level == LEVEL_CONCAT;
    case TOKEN_MUL:
        *op = OP_MUL;
        return level == LEVEL_PRODUCT;
    case TOKEN_DIV:
        *op = OP_DIV;
        return level == LEVEL_PRODUCT;
    case TOKEN_FLOORDIV:
        *op = OP_FLOORDIV;
        return level == LEVEL_PRODUCT;
    case TOKEN_MOD:
        *op = OP_MOD;
        return level == LEVEL_PRODUCT;
    case TOKEN_POW:
        *op = OP_POW;
        return level == LEVEL_POWER;
    default:
        return false;
    }
}

static struct node *parse_level(struct parser *p, int level)
{
    uint32_t line = p->at->line;
    struct node *first = level == LEVEL_POWER ? parse_unary(p, true) : parse_level(p, level + 1);
    enum node_op op = OP_ADD;
    if (!first || !level_op(p, level, &op)) {
        return first;
    }
    struct node *n = node_new(p, level == LEVEL_CONCAT ? NODE_CONCAT : NODE_MATH, line);
    struct node_list items = {0};
    size_t cap = 0;
    if (!n || (level == LEVEL_CONCAT && !list_add(p, &items, first))) {
        return NULL;
    }
    if (level != LEVEL_CONCAT) {
        n->a = first;
    }
    while (level_op(p, level, &op)) {
        if (!next(p)) {
            return NULL;
        }
        struct node *operand =
            level == LEVEL_POWER ? parse_unary(p, true) : parse_level(p, level + 1);
        if (level == LEVEL_CONCAT ? !list_add(p, &items, operand)
                                  : !chain_add(p, n, &items, &cap, op, operand)) {
            return NULL;
        }
    }
    n->items = items.n;
    return done(p, n);
}

static bool compare_op(struct parser *p, enum node_op *op)
{
    static const struct {
        enum token_kind kind;
        enum node_op op;
    } table[] = {{TOKEN_EQ, OP_EQ}, {TOKEN_NE, OP_NE}, {TOKEN_LT, OP_LT},
                 {TOKEN_LE, OP_LE}, {TOKEN_GT, OP_GT}, {TOKEN_GE, OP_GE}};
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (is_kind(p, table[i].kind)) {
            *op = table[i].op;
            return next(p);
        }
    }
    if (is_word(p->at, "in")) {
        *op = OP_IN;
        return next(p);
    }
    if (is_word(p->at, "not") && is_word(look(p), "in")) {
        *op = OP_NOT_IN;
        return next(p) && next(p);
    }
    return false;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *first = parse_level(p, LEVEL_SUM), *n = NULL;
    struct node_list items = {0};
    size_t cap = 0;
    enum node_op op;
    while (first && !p->failed && compare_op(p, &op)) {
        if (!n && !(n = node_new(p, NODE_COMPARE, p->at->line))) {
            return NULL;
        }
        if (!chain_add(p, n, &items, &cap, op, parse_level(p, LEVEL_SUM))) {
            return NULL;
        }
    }
    if (!n || p->failed) {
        return p->failed ? NULL : first;
    }
    n->a = first;
    n->items = items.n;
    return done(p, n);
}

static struct node *parse_not(struct parser *p)
{
    if (!is_word(p->at, "not")) {
        return parse_compare(p);
    }
    struct node *n = node_new(p, NODE_NOT, p->at->line);
    if (!n || !enter(p) || !next(p) || !(n->a = parse_not(p))) {
        return NULL;
    }
    p->depth--;
    return done(p, n);
}

static struct node *parse_logic(struct parser *p, bool is_or)
{
    const char *word = is_or ? "or" : "and";
    uint32_t line = p->at->line;
    struct node *first = is_or ? parse_logic(p, false) : parse_not(p);
    if (!first || !is_word(p->at, word)) {
        return first;
    }
    struct node *n = node_new(p, is_or ? NODE_OR : NODE_AND, line);
    struct node_list items = {0};
    if (!n || !list_add(p, &items, first)) {
        return NULL;
    }
    while (skip_word(p, word)) {
        if (!list_add(p, &items, is_or ? parse_logic(p, false) : parse_not(p))) {
            return NULL;
        }
    }
    n->items = items.n;
    return done(p, n);
}

static struct node *parse_cond(struct parser *p)
{
    uint32_t line = p->at->line;
    struct node *expr = parse_logic(p, true);
    while (expr && skip_word(p, "if")) {
        struct node *n = node_new(p, NODE_COND, line);
        if (!n || !(n->b = parse_logic(p, true))) {
            return NULL;
        }
        n->a = expr;
        if (skip_word(p, "else")) {
            if (!enter(p) || !(n->c = parse_cond(p))) {
                return NULL;
            }
            p->depth--;
        }
        expr = done(p, n);
        line = p->at->line;
    }
    return p->failed ? NULL : expr;
}

static struct node *parse_expression(struct parser *p, bool with_cond)
{
    return with_cond ? parse_cond(p) : parse_logic(p, true);
}

/* ---- targets ---- */

static bool set_store(struct parser *p, struct node *n, struct node *whole)
{
    static const char *const names[] = {
        [NODE_CONST] = "const", [NODE_LIST] = "list", [NODE_DICT] = "dict"};
    if (n->kind == NODE_NAME) {
        n->store = true;
        return true;
    }
    if (n->kind == NODE_TUPLE) {
        for (size_t i = 0; i < n->items.count; i++) {
            if (!set_store(p, n->items.items[i], whole)) {
                return false;
            }
        }
        return true;
    }
    fail_at(p, n->line, "can't assign to '%s'",
            whole->kind == NODE_TUPLE ? "tuple"
            : names[n->kind]          ? names[n->kind]
                                      : "expression");
    return false;
}

static struct node *parse_target_name(struct parser *p)
{
    struct node *n = node_new(p, NODE_NAME, p->at->line);
    if (!n) {
        return NULL;
    }
    n->name = p->at->text;
    n->store = true;
    if (!expect(p, TOKEN_NAME)) {
        return NULL;
    }
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < 6; i++) {
        if (str_eq(n->name, str_of(reserved[i]))) {
            return fail_at(p, n->line, "can't assign to 'name'");
        }
    }
    return n;
}

static struct node *parse_target(struct parser *p, const char *extra, bool with_namespace)
{
    if (with_namespace && look(p)->kind == TOKEN_DOT) {
        struct node *n = node_new(p, NODE_NSREF, p->at->line);
        if (!n || !(n->a = node_new(p, NODE_NAME, p->at->line))) {
            return NULL;
        }
        n->a->name = p->at->text;
        if (!expect(p, TOKEN_NAME) || !next(p)) {
            return NULL;
        }
        n->name = p->at->text;
        return expect(p, TOKEN_NAME) ? n : NULL;
    }
    struct node *n = parse_tuple(p, true, true, extra, false);
    return n && set_store(p, n, n) ? n : NULL;
}

/* ---- statements ---- */

static const char *const ends_for[] = {"endfor", "else", NULL};
static const char *const ends_for_else[] = {"endfor", NULL};
static const char *const ends_if[] = {"elif", "else", "endif", NULL};
static const char *const ends_else[] = {"endif", NULL};
static const char *const ends_set[] = {"endset", NULL};
static const char *const ends_with[] = {"endwith", NULL};
static const char *const ends_autoescape[] = {"endautoescape", NULL};
static const char *const ends_block[] = {"endblock", NULL};
static const char *const ends_call[] = {"endcall", NULL};
static const char *const ends_filter[] = {"endfilter", NULL};
static const char *const ends_macro[] = {"endmacro", NULL};

static bool body_into(struct parser *p, struct node *n, const char *const *ends)
{
    if (!parse_body(p, ends, true, &n->items)) {
        return false;
    }
    return done(p, n) != NULL;
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = node_new(p, NODE_SET, p->at->line);
    if (!n || !next(p) || !(n->a = parse_target(p, NULL, true))) {
        return NULL;
    }
    if (is_kind(p, TOKEN_ASSIGN)) {
        if (!next(p) || !(n->b = parse_tuple(p, false, true, NULL, false))) {
            return NULL;
        }
        return done(p, n);
    }
    n->kind = NODE_SET_BLOCK;
    if (is_kind(p, TOKEN_PIPE) && !(n->b = parse_filter(p, NULL, false))) {
        return NULL;
    }
    n->frame = take(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_set) ? n : NULL;
}

static struct node *parse_for(struct parser *p)
{
    struct node *n = node_new(p, NODE_FOR, p->at->line);
    struct for_info *f = take(p, 1, sizeof(*f));
    if (!n || !f || !next(p)) {
        return NULL;
    }
    n->loop = f;
    if (!(f->target = parse_target(p, "in", false)) || !expect_word(p, "in") ||
        !(f->iter = parse_tuple(p, false, false, "recursive", false))) {
        return NULL;
    }
    if (skip_word(p, "if") && !(f->test = parse_expression(p, true))) {
        return NULL;
    }
    if (p->failed) {
        return NULL;
    }
    f->recursive = skip_word(p, "recursive");
    if (!parse_body(p, ends_for, false, &f->body)) {
        return NULL;
    }
    bool has_else = is_word(p->at, "else");
    if (!next(p) || (has_else && !parse_body(p, ends_for_else, true, &f->other))) {
        return NULL;
    }
    deepen(n, f->iter);
    deepen(n, f->test);
    for (size_t i = 0; i < f->body.count; i++) {
        deepen(n, f->body.items[i]);
    }
    for (size_t i = 0; i < f->other.count; i++) {
        deepen(n, f->other.items[i]);
    }
    return done(p, n);
}

/* Chains of elif are a flat list: each NODE_IF's else branch holds the next one. */
static struct node *parse_if(struct parser *p)
{
    struct node *first = NULL, *last = NULL;
    uint32_t line = p->at->line, depth = 1;
    for (;;) {
        struct node *n = node_new(p, NODE_IF, line);
        if (!n || !next(p) || !(n->a = parse_tuple(p, false, false, NULL, false)) ||
            !parse_body(p, ends_if, false, &n->items) || !done(p, n)) {
            return NULL;
        }
        depth = n->depth > depth ? n->depth : depth;
        if (last) {
            struct node_list one = {0};
            if (!list_add(p, &one, n)) {
                return NULL;
            }
            n->is_elif = true;
            last->other = one.n;
        }
        first = first ? first : n;
        last = n;
        line = p->at->line;
        if (!is_word(p->at, "elif")) {
            break;
        }
    }
    bool has_else = is_word(p->at, "else");
    if (!next(p) || (has_else && !parse_body(p, ends_else, true, &last->other))) {
        return NULL;
    }
    first->depth = depth;
    for (size_t i = 0; has_else && i < last->other.count; i++) {
        deepen(first, last->other.items[i]);
    }
    return done(p, first);
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = node_new(p, NODE_WITH, p->at->line);
    struct node_list targets = {0}, values = {0};
    if (!n || !next(p)) {
        return NULL;
    }
    n->frame = take(p, 1, sizeof(*n->frame));
    while (n->frame && !is_kind(p, TOKEN_BLOCK_END)) {
        if (targets.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!list_add(p, &targets, parse_target(p, NULL, false)) || !expect(p, TOKEN_ASSIGN) ||
            !list_add(p, &values, parse_expression(p, true))) {
            return NULL;
        }
    }
    struct node *a = node_new(p, NODE_TUPLE, n->line), *b = node_new(p, NODE_TUPLE, n->line);
    if (!n->frame || !a || !b) {
        return NULL;
    }
    a->items = targets.n;
    b->items = values.n;
    n->a = done(p, a);
    n->b = done(p, b);
    return n->a && n->b && body_into(p, n, ends_with) ? n : NULL;
}

static struct node *parse_autoescape(struct parser *p)
{
    struct node *n = node_new(p, NODE_AUTOESCAPE, p->at->line);
    if (!n || !next(p) || !(n->a = parse_expression(p, true))) {
        return NULL;
    }
    n->frame = take(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_autoescape) ? n : NULL;
}

static struct node *parse_block(struct parser *p)
{
    char quoted[STR_QUOTE_MAX];
    struct tree *tree = p->tree;
    struct node *n = node_new(p, NODE_BLOCK, p->at->line);
    if (!n || !next(p)) {
        return NULL;
    }
    n->name = p->at->text;
    if (!expect(p, TOKEN_NAME)) {
        return NULL;
    }
    n->negated = skip_word(p, "scoped"); /* sees the variables around it */
    bool required = skip_word(p, "required");
    if (is_kind(p, TOKEN_SUB)) {
        return fail_at(p, p->at->line,
                       "Block names in Jinja have to be valid Python identifiers and may not "
                       "contain hyphens, use an underscore instead.");
    }
    for (size_t i = 0; i < tree->block_count; i++) {
        if (str_eq(tree->blocks[i]->name, n->name)) {
            return fail_at(p, n->line, "block '%s' defined twice", str_quote(quoted, n->name));
        }
    }
    n->frame = take(p, 1, sizeof(*n->frame));
    if (!n->frame || !body_into(p, n, ends_block)) {
        return NULL;
    }
    if (is_kind(p, TOKEN_NAME) && str_eq(p->at->text, n->name) && !next(p)) {
        return NULL;
    }
    n->is_elif = required;
    if (tree->block_count == tree->block_cap) {
        size_t cap = tree->block_cap ? tree->block_cap * 2 : 4;
        struct node **blocks = take(p, cap, sizeof(*blocks));
        if (!blocks) {
            return NULL;
        }
        if (tree->block_count) {
            memcpy(blocks, tree->blocks, tree->block_count * sizeof(*blocks));
        }
        tree->blocks = blocks;
        tree->block_cap = cap;
    }
    tree->blocks[tree->block_count++] = n;
    return n;
}

/* "with context" and "without context" after an include or import. */
static bool skip_context(struct parser *p)
{
    if ((is_word(p->at, "with") || is_word(p->at, "without")) && is_word(look(p), "context")) {
        return next(p) && next(p);
    }
    return false;
}

/* include, extends, import, from: parsed as Jinja2 does; rendering one fails, there is no loader.
 */
static struct node *parse_import(struct parser *p)
{
    struct node *n = node_new(p, NODE_IMPORT, p->at->line);
    struct node_list names = {0};
    if (!n) {
        return NULL;
    }
    n->name = p->at->text;
    if (!next(p) || !(n->a = parse_expression(p, true))) {
        return NULL;
    }
    if (str_eq(n->name, STR("include"))) {
        if (is_word(p->at, "ignore") && is_word(look(p), "missing") && !(next(p) && next(p))) {
            return NULL;
        }
        skip_context(p);
    } else if (str_eq(n->name, STR("import"))) {
        if (!expect_word(p, "as") || !list_add(p, &names, parse_target_name(p))) {
            return NULL;
        }
        skip_context(p);
    } else if (str_eq(n->name, STR("from"))) {
        if (!expect_word(p, "import")) {
            return NULL;
        }
        for (;;) {
            if (names.n.count && !expect(p, TOKEN_COMMA)) {
                return NULL;
            }
            if (!is_kind(p, TOKEN_NAME) && !expect(p, TOKEN_NAME)) {
                return NULL;
            }
            if (skip_context(p)) {
                break;
            }
            struct node *name = parse_target_name(p);
            if (name && name->name.ptr[0] == '_') {
                return fail_at(p, name->line,
                               "names starting with an underline can not be imported");
            }
            if (name && skip_word(p, "as")) {
                name = parse_target_name(p);
            }
            if (!list_add(p, &names, name)) {
                return NULL;
            }
            if (skip_context(p) || !is_kind(p, TOKEN_COMMA)) {
                break;
            }
        }
    }
    n->items = names.n;
    return done(p, n);
}

static bool parse_params(struct parser *p, struct macro_info *m)
{
    struct node_list params = {0}, defaults = {0};
    if (!expect(p, TOKEN_LPAREN)) {
        return false;
    }
    while (!is_kind(p, TOKEN_RPAREN)) {
        if (params.n.count && !expect(p, TOKEN_COMMA)) {
            return false;
        }
        struct node *name = parse_target_name(p);
        if (!list_add(p, &params, name)) {
            return false;
        }
        name->param = true;
        if (is_kind(p, TOKEN_ASSIGN)) {
            if (!next(p) || !list_add(p, &defaults, parse_expression(p, true))) {
                return false;
            }
        } else if (defaults.n.count) {
            fail_at(p, p->at->line, "non-default argument follows default argument");
            return false;
        }
    }
    m->params = params.n;
    m->defaults = defaults.n;
    return expect(p, TOKEN_RPAREN);
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = node_new(p, NODE_MACRO, p->at->line);
    if (!n || !(n->macro = take(p, 1, sizeof(*n->macro))) || !next(p)) {
        return NULL;
    }
    struct node *name = parse_target_name(p);
    if (!name || !parse_params(p, n->macro)) {
        return NULL;
    }
    n->name = name->name;
    for (size_t i = 0; i < n->macro->defaults.count; i++) {
        deepen(n, n->macro->defaults.items[i]);
    }
    return body_into(p, n, ends_macro) ? n : NULL;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = node_new(p, NODE_CALL_BLOCK, p->at->line);
    if (!n || !(n->macro = take(p, 1, sizeof(*n->macro))) || !next(p)) {
        return NULL;
    }
    if (is_kind(p, TOKEN_LPAREN) && !parse_params(p, n->macro)) {
        return NULL;
    }
    if (!(n->a = parse_expression(p, true))) {
        return NULL;
    }
    if (n->a->kind != NODE_CALL) {
        return fail_at(p, n->line, "expected call");
    }
    return body_into(p, n, ends_call) ? n : NULL;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = node_new(p, NODE_FILTER_BLOCK, p->at->line);
    if (!n || !next(p) || !(n->b = parse_filter(p, NULL, true))) {
        return NULL;
    }
    n->frame = take(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_filter) ? n : NULL;
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = node_new(p, NODE_OUTPUT, p->at->line);
    struct node_list items = {0};
    if (!n || !next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_BLOCK_END)) {
        if (items.n.count && !expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!list_add(p, &items, parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return done(p, n);
}

static struct node *parse_loop_control(struct parser *p)
{
    struct node *n = node_new(p, is_word(p->at, "break") ? NODE_BREAK : NODE_CONTINUE, p->at->line);
    return n && next(p) ? n : NULL;
}

/* ---- the messages for tags in the wrong place ---- */

static void *fail_tags(struct parser *p, const struct token *tag, const char *const *also)
{
    char text[700], quoted[STR_QUOTE_MAX];
    size_t n;
    const char *const *looking = also ? also : p->end_count ? p->ends[p->end_count - 1] : NULL;
    bool expected = false;
    for (size_t i = 0; tag && i < p->end_count; i++) {
        for (const char *const *e = p->ends[i]; *e; e++) {
            expected |= str_eq(tag->text, str_of(*e));
        }
    }
    n = (size_t)snprintf(text, sizeof(text),
                         tag ? "Encountered unknown tag '%s'." : "Unexpected end of template.%s",
                         tag ? str_quote(quoted, tag->text) : "");
    for (const char *const *e = looking; e && *e && n < 400; e++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s'%s'",
                              e != looking ? " or "
                              : expected
                                  ? " You probably made a nesting mistake. Jinja is expecting this "
                                    "tag, but currently looking for "
                                  : " Jinja was looking for the following tags: ",
                              *e);
    }
    if (looking) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, ".");
    }
    if (p->tag_count) {
        snprintf(text + n, sizeof(text) - n,
                 " The innermost block that needs to be closed is '%s'.",
                 str_quote(quoted, p->tags[p->tag_count - 1]));
    }
    return fail_at(p, tag ? tag->line : p->at->line, "%s", text);
}

static struct node *parse_statement(struct parser *p)
{
    static const struct {
        const char *name;
        struct node *(*parse)(struct parser *p);
    } statements[] = {{"for", parse_for},
                      {"if", parse_if},
                      {"set", parse_set},
                      {"macro", parse_macro},
                      {"call", parse_call_block},
                      {"filter", parse_filter_block},
                      {"with", parse_with},
                      {"print", parse_print},
                      {"block", parse_block},
                      {"autoescape", parse_autoescape},
                      {"include", parse_import},
                      {"import", parse_import},
                      {"from", parse_import},
                      {"extends", parse_import},
                      {"break", parse_loop_control},
                      {"continue", parse_loop_control}};
    const struct token t = *p->at;
    if (t.kind != TOKEN_NAME) {
        return check(p) ? fail_at(p, t.line, "tag name expected") : NULL;
    }
    for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++) {
        if (!is_word(&t, statements[i].name)) {
            continue;
        }
        if (!enter(p)) {
            return NULL;
        }
        if (p->tag_count == sizeof(p->tags) / sizeof(*p->tags)) {
            return fail_at(p, t.line, "nested too deep");
        }
        p->tags[p->tag_count++] = t.text;
        struct node *n = statements[i].parse(p);
        p->tag_count--;
        p->depth--;
        return n;
    }
    return fail_tags(p, &t, NULL);
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++) {
        if (is_word(p->at, *ends)) {
            return true;
        }
    }
    return false;
}

/* Text, prints and statements until one of `ends` (NULL: the end of the template). */
static bool parse_until(struct parser *p, const char *const *ends, struct nodes *out)
{
    struct node_list body = {0}, data = {0};
    struct node *output = NULL;
    while (!is_kind(p, TOKEN_EOF) && check(p)) {
        const struct token t = *p->at;
        if (t.kind == TOKEN_DATA || t.kind == TOKEN_VARIABLE_BEGIN) {
            if (!output && !(output = node_new(p, NODE_OUTPUT, t.line))) {
                return false;
            }
            struct node *item;
            if (t.kind == TOKEN_DATA) {
                item = node_new(p, NODE_DATA, t.line);
                if (!item || !(item->value = val_text(constant(p, t.text))).text || !next(p)) {
                    return false;
                }
            } else if (!next(p) || !(item = parse_tuple(p, false, true, NULL, false)) ||
                       !expect(p, TOKEN_VARIABLE_END)) {
                return false;
            }
            if (!list_add(p, &data, item)) {
                return false;
            }
            continue;
        }
        if (output) {
            output->items = data.n;
            data = (struct node_list){0};
            if (!list_add(p, &body, done(p, output))) {
                return false;
            }
            output = NULL;
        }
        if (!next(p)) { /* the block_begin */
            return false;
        }
        if (is_end(p, ends)) {
            *out = body.n;
            return true;
        }
        if (!list_add(p, &body, parse_statement(p)) || !expect(p, TOKEN_BLOCK_END)) {
            return false;
        }
    }
    if (p->failed) {
        return false;
    }
    if (output) {
        output->items = data.n;
        if (!list_add(p, &body, done(p, output))) {
            return false;
        }
    }
    *out = body.n;
    return true;
}

/* The body of a statement: from the end of its tag to one of `ends`, which becomes the current
 * token (or is skipped with `drop`). */
static bool parse_body(struct parser *p, const char *const *ends, bool drop, struct nodes *out)
{
    if (is_kind(p, TOKEN_COLON) && !next(p)) {
        return false;
    }
    if (!expect(p, TOKEN_BLOCK_END)) {
        return false;
    }
    if (p->end_count == sizeof(p->ends) / sizeof(*p->ends)) {
        fail_at(p, p->at->line, "nested too deep");
        return false;
    }
    p->ends[p->end_count++] = ends;
    bool good = parse_until(p, ends, out);
    p->end_count--;
    if (good && is_kind(p, TOKEN_EOF)) {
        good = fail_tags(p, NULL, ends) != NULL;
    }
    return good && (!drop || next(p));
}

bool chat_parse(struct tree *tree, struct str source, struct err *err)
{
    struct tokens tokens;
    struct parser p = {.tree = tree, .arena = &tree->arena, .err = err};
    if (!chat_lex(&tree->arena, source, &tokens, err)) {
        return false;
    }
    p.at = tokens.items;
    return parse_until(&p, NULL, &tree->body) && chat_scope(tree, err);
}
