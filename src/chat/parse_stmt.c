/* The statements, one function each: from the tag's name to the token behind its end tag. */
#include <string.h>

#include "chat/parser.h"

/* ---- targets ---- */

static bool set_store(struct parser *p, struct node *n, struct node *whole)
{
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
    const char *name = whole->kind == NODE_TUPLE ? "tuple"
                       : n->kind == NODE_CONST   ? "const"
                       : n->kind == NODE_LIST    ? "list"
                       : n->kind == NODE_DICT    ? "dict"
                                                 : "expression";
    chat_parse_fail(p, n->line, "can't assign to '%s'", name);
    return false;
}

static struct node *parse_target_name(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_NAME, p->at->line);
    if (!n) {
        return NULL;
    }
    n->name = p->at->text;
    n->store = true;
    if (!chat_parse_expect(p, TOKEN_NAME)) {
        return NULL;
    }
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < 6; i++) {
        if (str_eq(n->name, str_of(reserved[i]))) {
            return chat_parse_fail(p, n->line, "can't assign to 'name'");
        }
    }
    return n;
}

static struct node *parse_target(struct parser *p, const char *extra, bool with_namespace)
{
    if (with_namespace && look(p)->kind == TOKEN_DOT) {
        struct node *n = chat_node_new(p, NODE_NSREF, p->at->line);
        if (!n || !(n->a = chat_node_new(p, NODE_NAME, p->at->line))) {
            return NULL;
        }
        n->a->name = p->at->text;
        if (!chat_parse_expect(p, TOKEN_NAME) || !chat_parse_next(p)) {
            return NULL;
        }
        n->name = p->at->text;
        return chat_parse_expect(p, TOKEN_NAME) ? n : NULL;
    }
    struct node *n = chat_parse_tuple(p, true, true, extra, false);
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
    if (!chat_parse_body(p, ends, true, &n->items)) {
        return false;
    }
    return chat_node_done(p, n) != NULL;
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_SET, p->at->line);
    if (!n || !chat_parse_next(p) || !(n->a = parse_target(p, NULL, true))) {
        return NULL;
    }
    if (is_kind(p, TOKEN_ASSIGN)) {
        if (!chat_parse_next(p) || !(n->b = chat_parse_tuple(p, false, true, NULL, false))) {
            return NULL;
        }
        return chat_node_done(p, n);
    }
    n->kind = NODE_SET_BLOCK;
    if (is_kind(p, TOKEN_PIPE) && !(n->b = chat_parse_filter(p, NULL, false))) {
        return NULL;
    }
    n->frame = chat_parse_alloc(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_set) ? n : NULL;
}

static struct node *parse_for(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_FOR, p->at->line);
    struct for_info *f = chat_parse_alloc(p, 1, sizeof(*f));
    if (!n || !f || !chat_parse_next(p)) {
        return NULL;
    }
    n->loop = f;
    if (!(f->target = parse_target(p, "in", false)) || !chat_parse_expect_word(p, "in") ||
        !(f->iter = chat_parse_tuple(p, false, false, "recursive", false))) {
        return NULL;
    }
    if (chat_parse_skip(p, "if") && !(f->test = chat_parse_expression(p, true))) {
        return NULL;
    }
    if (p->failed) {
        return NULL;
    }
    f->recursive = chat_parse_skip(p, "recursive");
    if (!chat_parse_body(p, ends_for, false, &f->body)) {
        return NULL;
    }
    bool has_else = is_word(p->at, "else");
    if (!chat_parse_next(p) || (has_else && !chat_parse_body(p, ends_for_else, true, &f->other))) {
        return NULL;
    }
    chat_node_deepen(n, f->iter);
    chat_node_deepen(n, f->test);
    for (size_t i = 0; i < f->body.count; i++) {
        chat_node_deepen(n, f->body.items[i]);
    }
    for (size_t i = 0; i < f->other.count; i++) {
        chat_node_deepen(n, f->other.items[i]);
    }
    return chat_node_done(p, n);
}

/* Chains of elif are a flat list: each NODE_IF's else branch holds the next one. */
static struct node *parse_if(struct parser *p)
{
    struct node *first = NULL, *last = NULL;
    uint32_t line = p->at->line, depth = 1;
    for (;;) {
        struct node *n = chat_node_new(p, NODE_IF, line);
        if (!n || !chat_parse_next(p) || !(n->a = chat_parse_tuple(p, false, false, NULL, false)) ||
            !chat_parse_body(p, ends_if, false, &n->items) || !chat_node_done(p, n)) {
            return NULL;
        }
        depth = n->depth > depth ? n->depth : depth;
        if (last) {
            struct node_list one = {0};
            if (!chat_node_add(p, &one, n)) {
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
    if (!chat_parse_next(p) || (has_else && !chat_parse_body(p, ends_else, true, &last->other))) {
        return NULL;
    }
    first->depth = depth;
    for (size_t i = 0; has_else && i < last->other.count; i++) {
        chat_node_deepen(first, last->other.items[i]);
    }
    return chat_node_done(p, first);
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_WITH, p->at->line);
    struct node_list targets = {0}, values = {0};
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    n->frame = chat_parse_alloc(p, 1, sizeof(*n->frame));
    while (n->frame && !is_kind(p, TOKEN_BLOCK_END)) {
        if (targets.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!chat_node_add(p, &targets, parse_target(p, NULL, false)) ||
            !chat_parse_expect(p, TOKEN_ASSIGN) ||
            !chat_node_add(p, &values, chat_parse_expression(p, true))) {
            return NULL;
        }
    }
    struct node *a = chat_node_new(p, NODE_TUPLE, n->line),
                *b = chat_node_new(p, NODE_TUPLE, n->line);
    if (!n->frame || !a || !b) {
        return NULL;
    }
    a->items = targets.n;
    b->items = values.n;
    n->a = chat_node_done(p, a);
    n->b = chat_node_done(p, b);
    return n->a && n->b && body_into(p, n, ends_with) ? n : NULL;
}

static struct node *parse_autoescape(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_AUTOESCAPE, p->at->line);
    if (!n || !chat_parse_next(p) || !(n->a = chat_parse_expression(p, true))) {
        return NULL;
    }
    n->frame = chat_parse_alloc(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_autoescape) ? n : NULL;
}

static struct node *parse_block(struct parser *p)
{
    char quoted[STR_QUOTE_MAX];
    struct tree *tree = p->tree;
    struct node *n = chat_node_new(p, NODE_BLOCK, p->at->line);
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    n->name = p->at->text;
    if (!chat_parse_expect(p, TOKEN_NAME)) {
        return NULL;
    }
    n->negated = chat_parse_skip(p, "scoped"); /* sees the variables around it */
    bool required = chat_parse_skip(p, "required");
    if (is_kind(p, TOKEN_SUB)) {
        return chat_parse_fail(
            p, p->at->line,
            "Block names in Jinja have to be valid Python identifiers and may not "
            "contain hyphens, use an underscore instead.");
    }
    for (size_t i = 0; i < tree->block_count; i++) {
        if (str_eq(tree->blocks[i]->name, n->name)) {
            return chat_parse_fail(p, n->line, "block '%s' defined twice",
                                   str_quote(quoted, n->name));
        }
    }
    n->frame = chat_parse_alloc(p, 1, sizeof(*n->frame));
    if (!n->frame || !body_into(p, n, ends_block)) {
        return NULL;
    }
    if (is_kind(p, TOKEN_NAME) && str_eq(p->at->text, n->name) && !chat_parse_next(p)) {
        return NULL;
    }
    n->is_elif = required;
    if (tree->block_count == tree->block_cap) {
        size_t cap = tree->block_cap ? tree->block_cap * 2 : 4;
        struct node **blocks = chat_parse_alloc(p, cap, sizeof(*blocks));
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
        return chat_parse_next(p) && chat_parse_next(p);
    }
    return false;
}

/* include, extends, import, from: parsed as Jinja2 does; rendering one fails, there is no loader.
 */
static struct node *parse_import(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_IMPORT, p->at->line);
    struct node_list names = {0};
    if (!n) {
        return NULL;
    }
    n->name = p->at->text;
    if (!chat_parse_next(p) || !(n->a = chat_parse_expression(p, true))) {
        return NULL;
    }
    if (str_eq(n->name, STR("include"))) {
        if (is_word(p->at, "ignore") && is_word(look(p), "missing") &&
            !(chat_parse_next(p) && chat_parse_next(p))) {
            return NULL;
        }
        skip_context(p);
    } else if (str_eq(n->name, STR("import"))) {
        if (!chat_parse_expect_word(p, "as") || !chat_node_add(p, &names, parse_target_name(p))) {
            return NULL;
        }
        skip_context(p);
    } else if (str_eq(n->name, STR("from"))) {
        if (!chat_parse_expect_word(p, "import")) {
            return NULL;
        }
        for (;;) {
            if (names.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
                return NULL;
            }
            if (!is_kind(p, TOKEN_NAME) && !chat_parse_expect(p, TOKEN_NAME)) {
                return NULL;
            }
            if (skip_context(p)) {
                break;
            }
            struct node *name = parse_target_name(p);
            if (name && name->name.ptr[0] == '_') {
                return chat_parse_fail(p, name->line,
                                       "names starting with an underline can not be imported");
            }
            if (name && chat_parse_skip(p, "as")) {
                name = parse_target_name(p);
            }
            if (!chat_node_add(p, &names, name)) {
                return NULL;
            }
            if (skip_context(p) || !is_kind(p, TOKEN_COMMA)) {
                break;
            }
        }
    }
    n->items = names.n;
    return chat_node_done(p, n);
}

static bool parse_params(struct parser *p, struct macro_info *m)
{
    struct node_list params = {0}, defaults = {0};
    if (!chat_parse_expect(p, TOKEN_LPAREN)) {
        return false;
    }
    while (!is_kind(p, TOKEN_RPAREN)) {
        if (params.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return false;
        }
        struct node *name = parse_target_name(p);
        if (!chat_node_add(p, &params, name)) {
            return false;
        }
        name->param = true;
        if (params.n.count > PARSER_NAMES_MAX) {
            chat_parse_fail(p, name->line, "more than %d parameters", PARSER_NAMES_MAX);
            return false;
        }
        if (is_kind(p, TOKEN_ASSIGN)) {
            if (!chat_parse_next(p) ||
                !chat_node_add(p, &defaults, chat_parse_expression(p, true))) {
                return false;
            }
        } else if (defaults.n.count) {
            chat_parse_fail(p, p->at->line, "non-default argument follows default argument");
            return false;
        }
    }
    m->params = params.n;
    m->defaults = defaults.n;
    return chat_parse_expect(p, TOKEN_RPAREN);
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_MACRO, p->at->line);
    if (!n || !(n->macro = chat_parse_alloc(p, 1, sizeof(*n->macro))) || !chat_parse_next(p)) {
        return NULL;
    }
    struct node *name = parse_target_name(p);
    if (!name || !parse_params(p, n->macro)) {
        return NULL;
    }
    n->name = name->name;
    for (size_t i = 0; i < n->macro->defaults.count; i++) {
        chat_node_deepen(n, n->macro->defaults.items[i]);
    }
    return body_into(p, n, ends_macro) ? n : NULL;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_CALL_BLOCK, p->at->line);
    if (!n || !(n->macro = chat_parse_alloc(p, 1, sizeof(*n->macro))) || !chat_parse_next(p)) {
        return NULL;
    }
    if (is_kind(p, TOKEN_LPAREN) && !parse_params(p, n->macro)) {
        return NULL;
    }
    if (!(n->a = chat_parse_expression(p, true))) {
        return NULL;
    }
    if (n->a->kind != NODE_CALL) {
        return chat_parse_fail(p, n->line, "expected call");
    }
    return body_into(p, n, ends_call) ? n : NULL;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_FILTER_BLOCK, p->at->line);
    if (!n || !chat_parse_next(p) || !(n->b = chat_parse_filter(p, NULL, true))) {
        return NULL;
    }
    n->frame = chat_parse_alloc(p, 1, sizeof(*n->frame));
    return n->frame && body_into(p, n, ends_filter) ? n : NULL;
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = chat_node_new(p, NODE_OUTPUT, p->at->line);
    struct node_list items = {0};
    if (!n || !chat_parse_next(p)) {
        return NULL;
    }
    while (!is_kind(p, TOKEN_BLOCK_END)) {
        if (items.n.count && !chat_parse_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        if (!chat_node_add(p, &items, chat_parse_expression(p, true))) {
            return NULL;
        }
    }
    n->items = items.n;
    return chat_node_done(p, n);
}

static struct node *parse_loop_control(struct parser *p)
{
    struct node *n =
        chat_node_new(p, is_word(p->at, "break") ? NODE_BREAK : NODE_CONTINUE, p->at->line);
    return n && chat_parse_next(p) ? n : NULL;
}

/* ---- dispatch ---- */

struct node *chat_parse_statement(struct parser *p)
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
        return chat_parse_check(p) ? chat_parse_fail(p, t.line, "tag name expected") : NULL;
    }
    for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++) {
        if (!is_word(&t, statements[i].name)) {
            continue;
        }
        if (!chat_parse_enter(p)) {
            return NULL;
        }
        if (p->tag_count == sizeof(p->tags) / sizeof(*p->tags)) {
            return chat_parse_fail(p, t.line, "nested too deep");
        }
        p->tags[p->tag_count++] = t.text;
        struct node *n = statements[i].parse(p);
        p->tag_count--;
        p->depth--;
        return n;
    }
    return chat_parse_fail_tags(p, &t, NULL);
}
