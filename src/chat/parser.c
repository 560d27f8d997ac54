/* From source to tree: the tokens ahead, nodes under construction, and the bodies of statements.
 * What the grammar is stands in parse_expr.c; statements in parse_stmt.c.
 *
 * Depth is bounded twice: `depth` counts what is open while parsing, a node's own depth what the
 * tree is when it is walked. Chains of one level are one node, so they count once. */
#include <stdio.h>
#include <string.h>

#include "chat/parser.h"

/* ---- errors, memory, tokens ---- */

void *chat_parse_fail(struct parser *p, uint32_t line, const char *format, ...)
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

void *chat_parse_alloc(struct parser *p, size_t count, size_t size)
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

struct node *chat_node_new(struct parser *p, enum node_kind kind, uint32_t line)
{
    struct node *n = chat_parse_alloc(p, 1, sizeof(*n));
    if (n) {
        n->kind = kind;
        n->line = line;
        n->depth = 1;
    }
    return n;
}

void chat_node_deepen(struct node *node, const struct node *child)
{
    if (child && child->depth >= node->depth) {
        node->depth = child->depth + 1;
    }
}

/* Whether an operand (may be NULL) is constant; marks a subscript as part of what is folded. */
static bool fold_operand(struct node *n, bool mark)
{
    if (n && mark && n->kind == NODE_ITEM) {
        n->soft = true;
    }
    return !n || n->constant;
}

static bool fold_operands(struct node *n, bool mark)
{
    bool constant = fold_operand(n->a, mark);
    constant &= fold_operand(n->b, mark);
    constant &= fold_operand(n->c, mark);
    for (size_t i = 0; i < n->items.count; i++) {
        constant &= fold_operand(n->items.items[i], mark);
    }
    if (n->kind != NODE_FILTER && n->kind != NODE_TEST) {
        return constant;
    }
    for (size_t i = 0; i < n->sig->args.count; i++) {
        constant &= fold_operand(n->sig->args.items[i], mark);
    }
    for (size_t i = 0; i < n->sig->keyword_count; i++) {
        constant &= fold_operand(n->sig->keywords[i].value, mark);
    }
    constant &= fold_operand(n->sig->star, mark);
    constant &= fold_operand(n->sig->star_star, mark);
    return constant;
}

/* Notes whether Jinja2 would compute this at compile time; see `soft` in ast.h. */
static void fold(struct node *n)
{
    bool can = n->kind < NODE_NSREF && n->kind != NODE_NAME && n->kind != NODE_CALL &&
               (n->kind != NODE_FILTER || n->a);
    n->constant = can && fold_operands(n, false);
    if (n->constant) {
        fold_operands(n, true);
    }
}

struct node *chat_node_done(struct parser *p, struct node *n)
{
    if (!n || p->failed) {
        return NULL;
    }
    chat_node_deepen(n, n->a);
    chat_node_deepen(n, n->b);
    chat_node_deepen(n, n->c);
    for (size_t i = 0; i < n->items.count; i++) {
        chat_node_deepen(n, n->items.items[i]);
    }
    fold(n);
    if (n->depth > p->tree->depth_max) {
        return chat_parse_fail(p, n->line, "nested deeper than %zu levels", p->tree->depth_max);
    }
    return n;
}

bool chat_node_add(struct parser *p, struct node_list *l, struct node *n)
{
    if (!n) {
        return false;
    }
    if (l->n.count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct node **items = chat_parse_alloc(p, cap, sizeof(struct node *));
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

struct node *chat_node_const(struct parser *p, uint32_t line, struct val value)
{
    struct node *n = chat_node_new(p, NODE_CONST, line);
    if (n) {
        n->constant = true;
        n->value = value;
    }
    return n;
}

const char *chat_token_text(const struct token *t, char out[STR_QUOTE_MAX])
{
    return t->kind == TOKEN_NAME ? str_quote(out, t->text) : chat_token_name(t->kind);
}

bool chat_parse_check(struct parser *p)
{
    if (p->at->kind == TOKEN_ERROR) {
        chat_parse_fail(p, p->at->line, "%.*s", STR_ARG(p->at->text));
    }
    return !p->failed;
}

bool chat_parse_next(struct parser *p)
{
    if (p->at->kind != TOKEN_EOF && p->at->kind != TOKEN_ERROR) {
        p->at++;
    }
    return chat_parse_check(p);
}

bool chat_parse_skip(struct parser *p, const char *word)
{
    return is_word(p->at, word) && chat_parse_next(p);
}

bool chat_parse_expect(struct parser *p, enum token_kind kind)
{
    char got[STR_QUOTE_MAX];
    if (is_kind(p, kind)) {
        return chat_parse_next(p);
    }
    if (!chat_parse_check(p)) {
        return false;
    }
    if (is_kind(p, TOKEN_EOF)) {
        chat_parse_fail(p, p->at->line, "unexpected end of template, expected '%s'.",
                        chat_token_name(kind));
    } else {
        chat_parse_fail(p, p->at->line, "expected token '%s', got '%s'", chat_token_name(kind),
                        chat_token_text(p->at, got));
    }
    return false;
}

bool chat_parse_expect_word(struct parser *p, const char *word)
{
    char got[STR_QUOTE_MAX];
    if (is_word(p->at, word)) {
        return chat_parse_next(p);
    }
    chat_parse_fail(p, p->at->line, "expected token '%s', got '%s'", word,
                    chat_token_text(p->at, got));
    return false;
}

bool chat_parse_enter(struct parser *p)
{
    if (p->depth >= p->tree->depth_max) {
        chat_parse_fail(p, p->at->line, "nested deeper than %zu levels", p->tree->depth_max);
    } else {
        p->depth++;
    }
    return !p->failed;
}

struct txt *chat_parse_constant(struct parser *p, struct str s)
{
    struct txt *t = chat_parse_alloc(p, 1, sizeof(*t));
    if (t) {
        *t = (struct txt){
            .ptr = s.ptr ? s.ptr : "", .len = s.len, .chars = SIZE_MAX, .trusted = true};
        chat_text_chars(t); /* counted now: rendering threads share it */
    }
    return t;
}

/* ---- the messages for tags in the wrong place ---- */

void *chat_parse_fail_tags(struct parser *p, const struct token *tag, const char *const *also)
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
    return chat_parse_fail(p, tag ? tag->line : p->at->line, "%s", text);
}

/* ---- bodies ---- */

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
    while (!is_kind(p, TOKEN_EOF) && chat_parse_check(p)) {
        const struct token t = *p->at;
        if (t.kind == TOKEN_DATA || t.kind == TOKEN_VARIABLE_BEGIN) {
            if (!output && !(output = chat_node_new(p, NODE_OUTPUT, t.line))) {
                return false;
            }
            struct node *item;
            if (t.kind == TOKEN_DATA) {
                item = chat_node_new(p, NODE_DATA, t.line);
                if (!item || !(item->value = val_text(chat_parse_constant(p, t.text))).text ||
                    !chat_parse_next(p)) {
                    return false;
                }
            } else if (!chat_parse_next(p) ||
                       !(item = chat_parse_tuple(p, false, true, NULL, false)) ||
                       !chat_parse_expect(p, TOKEN_VARIABLE_END)) {
                return false;
            }
            item->soft |= item->kind == NODE_ITEM && item->constant;
            if (!chat_node_add(p, &data, item)) {
                return false;
            }
            continue;
        }
        if (output) {
            output->items = data.n;
            data = (struct node_list){0};
            if (!chat_node_add(p, &body, chat_node_done(p, output))) {
                return false;
            }
            output = NULL;
        }
        if (!chat_parse_next(p)) { /* the block_begin */
            return false;
        }
        if (is_end(p, ends)) {
            *out = body.n;
            return true;
        }
        if (!chat_node_add(p, &body, chat_parse_statement(p)) ||
            !chat_parse_expect(p, TOKEN_BLOCK_END)) {
            return false;
        }
    }
    if (p->failed) {
        return false;
    }
    if (output) {
        output->items = data.n;
        if (!chat_node_add(p, &body, chat_node_done(p, output))) {
            return false;
        }
    }
    *out = body.n;
    return true;
}

bool chat_parse_body(struct parser *p, const char *const *ends, bool drop, struct nodes *out)
{
    if (is_kind(p, TOKEN_COLON) && !chat_parse_next(p)) {
        return false;
    }
    if (!chat_parse_expect(p, TOKEN_BLOCK_END)) {
        return false;
    }
    if (p->end_count == sizeof(p->ends) / sizeof(*p->ends)) {
        chat_parse_fail(p, p->at->line, "nested too deep");
        return false;
    }
    p->ends[p->end_count++] = ends;
    bool good = parse_until(p, ends, out);
    p->end_count--;
    if (good && is_kind(p, TOKEN_EOF)) {
        good = chat_parse_fail_tags(p, NULL, ends) != NULL;
    }
    return good && (!drop || chat_parse_next(p));
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
