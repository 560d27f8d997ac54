/* What follows a primary: .name, [subscript], (arguments), |filter and `is test`; and the signs
 * before it. The grammar stands in parse_expr.c. */
#include <string.h>

#include "chat/parser.h"

/* ---- subscripts ---- */

/* One subscript: an expression or a slice. */
static struct node *parse_subscribed(struct parser *p)
{
    uint32_t line = p->at->line;
    struct node *parts[3] = {NULL, NULL, NULL};
    if (!is_kind(p, TOKEN_COLON)) {
        parts[0] = chat_parse_expression(p, true);
        if (!parts[0] || !is_kind(p, TOKEN_COLON)) {
            return parts[0];
        }
    }
    if (!chat_parse_next(p)) {
        return NULL;
    }
    if (!is_kind(p, TOKEN_COLON) && !is_kind(p, TOKEN_RBRACKET) && !is_kind(p, TOKEN_COMMA) &&
        !(parts[1] = chat_parse_expression(p, true))) {
        return NULL;
    }
    if (is_kind(p, TOKEN_COLON)) {
        if (!chat_parse_next(p)) {
            return NULL;
        }
        if (!is_kind(p, TOKEN_RBRACKET) && !is_kind(p, TOKEN_COMMA) &&
            !(parts[2] = chat_parse_expression(p, true))) {
            return NULL;
        }
    }
    struct node *n = chat_node_new(p, NODE_SLICE, line);
    if (n) {
        n->a = parts[0];
        n->b = parts[1];
        n->c = parts[2];
    }
    return chat_node_done(p, n);
}

static struct node *parse_dot(struct parser *p, struct node *node)
{
    uint32_t line = p->at->line;
    if (!chat_parse_next(p)) {
        return NULL;
    }
    const struct token t = *p->at;
    if (t.kind != TOKEN_NAME && t.kind != TOKEN_INTEGER) {
        return chat_parse_fail(p, t.line, "expected name or number");
    }
    struct node *n = chat_node_new(p, t.kind == TOKEN_NAME ? NODE_ATTR : NODE_ITEM, line);
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    n->a = node;
    n->name = t.text;
    if (t.kind == TOKEN_INTEGER && !(n->b = chat_node_const(p, t.line, val_int(t.integer)))) {
        return NULL;
    }
    return chat_node_done(p, n);
}

static struct node *parse_subscript(struct parser *p, struct node *node)
{
    struct node *n = chat_node_new(p, NODE_ITEM, p->at->line);
    struct node_list parts = {0};
    if (!n || !chat_parse_enter(p) || !chat_parse_next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACKET)) {
        if (parts.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!chat_node_add(p, &parts, parse_subscribed(p))) {
            return NULL;
        }
    }
    p->depth--;
    if (!chat_parse_expect(p, TOKEN_RBRACKET)) {
        return NULL;
    }
    n->a = node;
    if (parts.n.count == 1) {
        n->b = parts.n.items[0];
    } else {
        for (size_t i = 0; i < parts.n.count; i++) {
            if (parts.n.items[i]->kind == NODE_SLICE && !node->constant) {
                return chat_parse_fail(p, n->line, "invalid syntax"); /* of the Python made of it */
            }
        }
        n->b = chat_node_new(p, NODE_TUPLE, n->line);
        if (n->b) {
            n->b->items = parts.n;
        }
        n->b = chat_node_done(p, n->b);
    }
    return n->b ? chat_node_done(p, n) : NULL;
}

/* ---- arguments ---- */

static bool add_keyword(struct parser *p, struct signature *sig, size_t *cap, struct str name,
                        struct node *value)
{
    if (!value) {
        return false;
    }
    if (sig->keyword_count == PARSER_NAMES_MAX) {
        chat_parse_fail(p, p->at->line, "more than %d keyword arguments", PARSER_NAMES_MAX);
        return false;
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        if (str_eq(sig->keywords[i].name, name)) {
            char quoted[STR_QUOTE_MAX];
            chat_parse_fail(p, p->at->line, "keyword argument repeated: %s",
                            str_quote(quoted, name));
            return false;
        }
    }
    if (sig->keyword_count == *cap) {
        size_t bigger = *cap ? *cap * 2 : 4;
        struct arg *args = chat_parse_alloc(p, bigger, sizeof(*args));
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
    chat_parse_fail(p, line, "invalid syntax for function call expression");
    return false;
}

static bool parse_argument(struct parser *p, struct signature *sig, struct node_list *args,
                           size_t *cap, uint32_t line)
{
    if (is_kind(p, TOKEN_MUL)) {
        if (sig->star || sig->star_star) {
            return bad_call(p, line);
        }
        return chat_parse_next(p) && (sig->star = chat_parse_expression(p, true)) != NULL;
    }
    if (is_kind(p, TOKEN_POW)) {
        if (sig->star_star) {
            return bad_call(p, line);
        }
        return chat_parse_next(p) && (sig->star_star = chat_parse_expression(p, true)) != NULL;
    }
    if (is_kind(p, TOKEN_NAME) && look(p)->kind == TOKEN_ASSIGN) {
        struct str name = p->at->text;
        if (sig->star_star) {
            return bad_call(p, line);
        }
        return chat_parse_next(p) && chat_parse_next(p) &&
               add_keyword(p, sig, cap, name, chat_parse_expression(p, true));
    }
    if (sig->star || sig->star_star || sig->keyword_count) {
        return bad_call(p, line);
    }
    return chat_node_add(p, args, chat_parse_expression(p, true));
}

static struct signature *parse_call_args(struct parser *p)
{
    struct signature *sig = chat_parse_alloc(p, 1, sizeof(*sig));
    struct node_list args = {0};
    size_t cap = 0;
    uint32_t line = p->at->line;
    bool comma = false;
    if (!sig || !chat_parse_enter(p) || !chat_parse_next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RPAREN)) {
        if (comma && !chat_parse_expect(p, TOKEN_COMMA)) {
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
    return chat_parse_expect(p, TOKEN_RPAREN) ? sig : NULL;
}

static void deepen_signature(struct node *n)
{
    for (size_t i = 0; i < n->sig->args.count; i++) {
        chat_node_deepen(n, n->sig->args.items[i]);
    }
    for (size_t i = 0; i < n->sig->keyword_count; i++) {
        chat_node_deepen(n, n->sig->keywords[i].value);
    }
    chat_node_deepen(n, n->sig->star);
    chat_node_deepen(n, n->sig->star_star);
}

static struct node *parse_call(struct parser *p, struct node *node)
{
    struct node *n = chat_node_new(p, NODE_CALL, p->at->line);
    if (!n || !(n->sig = parse_call_args(p))) {
        return NULL;
    }
    n->a = node;
    deepen_signature(n);
    return chat_node_done(p, n);
}

/* ---- filters, tests, signs ---- */

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
    if (!chat_parse_expect(p, TOKEN_NAME)) {
        return false;
    }
    while (is_kind(p, TOKEN_DOT)) {
        if (!chat_parse_next(p)) {
            return false;
        }
        struct str part = p->at->text;
        if (!chat_parse_expect(p, TOKEN_NAME)) {
            return false;
        }
        char *joined = chat_parse_alloc(p, out->len + part.len + 2, 1);
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

struct node *chat_parse_filter(struct parser *p, struct node *node, bool start_inline)
{
    while (is_kind(p, TOKEN_PIPE) || start_inline) {
        if (!start_inline && !chat_parse_next(p)) {
            return NULL;
        }
        start_inline = false;
        struct node *n = chat_node_new(p, NODE_FILTER, p->at->line);
        if (!n || !parse_dotted(p, &n->name)) {
            return NULL;
        }
        n->sig =
            is_kind(p, TOKEN_LPAREN) ? parse_call_args(p) : chat_parse_alloc(p, 1, sizeof(*n->sig));
        if (!n->sig) {
            return NULL;
        }
        n->a = node;
        deepen_signature(n);
        if (!(node = chat_node_done(p, n))) {
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
    struct node *n = chat_node_new(p, NODE_TEST, p->at->line);
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    n->negated = chat_parse_skip(p, "not");
    if (p->failed || !parse_dotted(p, &n->name)) {
        return NULL;
    }
    n->a = node;
    if (is_kind(p, TOKEN_LPAREN)) {
        n->sig = parse_call_args(p);
    } else {
        n->sig = chat_parse_alloc(p, 1, sizeof(*n->sig));
        if (n->sig && test_has_argument(p)) {
            struct node_list args = {0};
            if (is_word(p->at, "is")) {
                return chat_parse_fail(p, p->at->line, "You cannot chain multiple tests with is");
            }
            if (!chat_node_add(p, &args, parse_postfix(p, chat_parse_primary(p)))) {
                return NULL;
            }
            n->sig->args = args.n;
        }
    }
    if (!n->sig) {
        return NULL;
    }
    deepen_signature(n);
    return chat_node_done(p, n);
}

struct node *chat_parse_unary(struct parser *p, bool with_filter)
{
    struct node *n;
    if (is_kind(p, TOKEN_SUB) || is_kind(p, TOKEN_ADD)) {
        n = chat_node_new(p, is_kind(p, TOKEN_SUB) ? NODE_NEG : NODE_POS, p->at->line);
        if (!n || !chat_parse_enter(p) || !chat_parse_next(p) ||
            !(n->a = chat_parse_unary(p, false))) {
            return NULL;
        }
        p->depth--;
        n = chat_node_done(p, n);
    } else {
        n = chat_parse_primary(p);
    }
    n = parse_postfix(p, n);
    while (with_filter && n && !p->failed) {
        if (is_kind(p, TOKEN_PIPE)) {
            n = chat_parse_filter(p, n, false);
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
