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
#include <string.h>

#include "chat/parser.h"

/* ---- primaries ---- */

static bool is_tuple_end(const struct parser *p, const char *extra)
{
    return is_kind(p, TOKEN_VARIABLE_END) || is_kind(p, TOKEN_BLOCK_END) ||
           is_kind(p, TOKEN_RPAREN) || (extra && is_word(p->at, extra));
}

struct node *chat_parse_tuple(struct parser *p, bool simple, bool with_cond, const char *extra,
                              bool in_parens)
{
    char got[STR_QUOTE_MAX];
    struct node_list items = {0};
    uint32_t line = p->at->line;
    bool is_tuple = false;
    for (;;) {
        if (items.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_tuple_end(p, extra)) {
            break;
        }
        if (!chat_node_add(p, &items,
                           simple ? chat_parse_primary(p) : chat_parse_expression(p, with_cond))) {
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
        return chat_parse_fail(p, p->at->line, "Expected an expression, got '%s'",
                               chat_token_text(p->at, got));
    }
    struct node *n = chat_node_new(p, NODE_TUPLE, line);
    if (n) {
        n->items = items.n;
    }
    return chat_node_done(p, n);
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_LIST, p->at->line);
    struct node_list items = {0};
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACKET)) {
        if (items.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_kind(p, TOKEN_RBRACKET)) {
            break;
        }
        if (!chat_node_add(p, &items, chat_parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return chat_parse_expect(p, TOKEN_RBRACKET) ? chat_node_done(p, n) : NULL;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_DICT, p->at->line);
    struct node_list items = {0};
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_RBRACE)) {
        if (items.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (is_kind(p, TOKEN_RBRACE)) {
            break;
        }
        if (!chat_node_add(p, &items, chat_parse_expression(p, true)) ||
            !chat_parse_expect(p, TOKEN_COLON) ||
            !chat_node_add(p, &items, chat_parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return chat_parse_expect(p, TOKEN_RBRACE) ? chat_node_done(p, n) : NULL;
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
        char *bytes = chat_parse_alloc(p, len + 1, 1);
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
        if (!chat_parse_next(p)) {
            return NULL;
        }
    }
    struct txt *t = chat_parse_constant(p, all);
    return t ? chat_node_const(p, line, val_text(t)) : NULL;
}

static struct node *parse_name(struct parser *p)
{
    const struct token t = *p->at;
    if (!chat_parse_next(p)) {
        return NULL;
    }
    if (is_word(&t, "true") || is_word(&t, "True")) {
        return chat_node_const(p, t.line, val_bool(true));
    }
    if (is_word(&t, "false") || is_word(&t, "False")) {
        return chat_node_const(p, t.line, val_bool(false));
    }
    if (is_word(&t, "none") || is_word(&t, "None")) {
        return chat_node_const(p, t.line, val_none());
    }
    struct node *n = chat_node_new(p, NODE_NAME, t.line);
    if (n) {
        n->name = t.text;
    }
    return n;
}

struct node *chat_parse_primary(struct parser *p)
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
        return chat_parse_next(p) ? chat_node_const(p, t.line, val_int(t.integer)) : NULL;
    case TOKEN_FLOAT:
        return chat_parse_next(p) ? chat_node_const(p, t.line, val_float(t.real)) : NULL;
    case TOKEN_LPAREN:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        if (!chat_parse_enter(p)) {
            return NULL;
        }
        if (t.kind == TOKEN_LBRACKET) {
            n = parse_list(p);
        } else if (t.kind == TOKEN_LBRACE) {
            n = parse_dict(p);
        } else if (chat_parse_next(p) &&
                   (n = chat_parse_tuple(p, false, true, NULL, true)) != NULL &&
                   !chat_parse_expect(p, TOKEN_RPAREN)) {
            n = NULL;
        }
        p->depth--;
        return n;
    default:
        return chat_parse_check(p)
                   ? chat_parse_fail(p, t.line, "unexpected '%s'", chat_token_text(&t, got))
                   : NULL;
    }
}

/* ---- binary levels ---- */

static bool chain_add(struct parser *p, struct node *n, struct node_list *items, size_t *cap,
                      enum node_op op, struct node *operand)
{
    size_t at = items->n.count;
    if (!chat_node_add(p, items, operand)) {
        return false;
    }
    if (at >= *cap) {
        size_t bigger = *cap ? *cap * 2 : 4;
        unsigned char *ops = chat_parse_alloc(p, bigger, 1);
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
    struct node *first =
        level == LEVEL_POWER ? chat_parse_unary(p, true) : parse_level(p, level + 1);
    enum node_op op = OP_ADD;
    if (!first || !level_op(p, level, &op)) {
        return first;
    }
    struct node *n = chat_node_new(p, level == LEVEL_CONCAT ? NODE_CONCAT : NODE_MATH, line);
    struct node_list items = {0};
    size_t cap = 0;
    if (!n || (level == LEVEL_CONCAT && !chat_node_add(p, &items, first))) {
        return NULL;
    }
    if (level != LEVEL_CONCAT) {
        n->a = first;
    }
    while (level_op(p, level, &op)) {
        if (!chat_parse_next(p)) {
            return NULL;
        }
        struct node *operand =
            level == LEVEL_POWER ? chat_parse_unary(p, true) : parse_level(p, level + 1);
        if (level == LEVEL_CONCAT ? !chat_node_add(p, &items, operand)
                                  : !chain_add(p, n, &items, &cap, op, operand)) {
            return NULL;
        }
    }
    n->items = items.n;
    return chat_node_done(p, n);
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
            return chat_parse_next(p);
        }
    }
    if (is_word(p->at, "in")) {
        *op = OP_IN;
        return chat_parse_next(p);
    }
    if (is_word(p->at, "not") && is_word(look(p), "in")) {
        *op = OP_NOT_IN;
        return chat_parse_next(p) && chat_parse_next(p);
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
        if (!n && !(n = chat_node_new(p, NODE_COMPARE, p->at->line))) {
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
    return chat_node_done(p, n);
}

static struct node *parse_not(struct parser *p)
{
    if (!is_word(p->at, "not")) {
        return parse_compare(p);
    }
    struct node *n = chat_node_new(p, NODE_NOT, p->at->line);
    if (!n || !chat_parse_enter(p) || !chat_parse_next(p) || !(n->a = parse_not(p))) {
        return NULL;
    }
    p->depth--;
    return chat_node_done(p, n);
}

static struct node *parse_logic(struct parser *p, bool is_or)
{
    const char *word = is_or ? "or" : "and";
    uint32_t line = p->at->line;
    struct node *first = is_or ? parse_logic(p, false) : parse_not(p);
    if (!first || !is_word(p->at, word)) {
        return first;
    }
    struct node *n = chat_node_new(p, is_or ? NODE_OR : NODE_AND, line);
    struct node_list items = {0};
    if (!n || !chat_node_add(p, &items, first)) {
        return NULL;
    }
    while (chat_parse_skip(p, word)) {
        if (!chat_node_add(p, &items, is_or ? parse_logic(p, false) : parse_not(p))) {
            return NULL;
        }
    }
    n->items = items.n;
    return chat_node_done(p, n);
}

static struct node *parse_cond(struct parser *p)
{
    uint32_t line = p->at->line;
    struct node *expr = parse_logic(p, true);
    while (expr && chat_parse_skip(p, "if")) {
        struct node *n = chat_node_new(p, NODE_COND, line);
        if (!n || !(n->b = parse_logic(p, true))) {
            return NULL;
        }
        n->a = expr;
        if (chat_parse_skip(p, "else")) {
            if (!chat_parse_enter(p) || !(n->c = parse_cond(p))) {
                return NULL;
            }
            p->depth--;
        }
        expr = chat_node_done(p, n);
        line = p->at->line;
    }
    return p->failed ? NULL : expr;
}

struct node *chat_parse_expression(struct parser *p, bool with_cond)
{
    return with_cond ? parse_cond(p) : parse_logic(p, true);
}
