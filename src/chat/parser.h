/* What the files of the parser share: its state, the tokens ahead, nodes under construction.
 * parser.c has these and the bodies of statements, parse_expr.c and parse_postfix.c expressions,
 * parse_stmt.c statements. Every parse function returns NULL (or false) once p->failed is set;
 * memory comes from the tree's arena and is never freed alone. */
#ifndef CHAT_PARSER_H
#define CHAT_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "chat/ast.h"
#include "chat/lexer.h"

/* Names in one call or macro: they are compared one by one, and 200,000 of them took minutes. */
enum { PARSER_NAMES_MAX = 128 };

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

/* ---- errors, memory ---- */

/* Records "template line N: message" once; always NULL. */
void *chat_parse_fail(struct parser *p, uint32_t line, const char *format, ...) ATTR_PRINTF(3, 4);
/* The error of a tag nobody waits for, or (tag NULL) of the end where `also` was wanted. */
void *chat_parse_fail_tags(struct parser *p, const struct token *tag, const char *const *also);
void *chat_parse_alloc(struct parser *p, size_t count, size_t size);

/* ---- nodes ---- */

struct node *chat_node_new(struct parser *p, enum node_kind kind, uint32_t line);
struct node *chat_node_const(struct parser *p, uint32_t line, struct val value);
void chat_node_deepen(struct node *node, const struct node *child);
/* Finishes a node: the bound on the tree's depth is the bound on the C stack when it is evaluated.
 */
struct node *chat_node_done(struct parser *p, struct node *n);
/* False for a NULL node as well, so that the result of a parse function can be passed on. */
bool chat_node_add(struct parser *p, struct node_list *l, struct node *n);
struct txt *chat_parse_constant(struct parser *p, struct str s);

/* ---- tokens ---- */

const char *chat_token_text(const struct token *t, char out[STR_QUOTE_MAX]);
/* Raises what the lexer found wrong as soon as the parser gets there. */
bool chat_parse_check(struct parser *p);
bool chat_parse_next(struct parser *p);
bool chat_parse_skip(struct parser *p, const char *word); /* true: it was there */
bool chat_parse_expect(struct parser *p, enum token_kind kind);
bool chat_parse_expect_word(struct parser *p, const char *word);
bool chat_parse_enter(struct parser *p); /* one level of nesting; pair with p->depth-- */

static inline const struct token *look(const struct parser *p) /* the token after this one */
{
    return p->at->kind == TOKEN_EOF || p->at->kind == TOKEN_ERROR ? p->at : p->at + 1;
}

static inline bool is_kind(const struct parser *p, enum token_kind kind)
{
    return p->at->kind == kind;
}

static inline bool is_word(const struct token *t, const char *word)
{
    return t->kind == TOKEN_NAME && str_eq(t->text, str_of(word));
}

/* ---- the grammar ---- */

struct node *chat_parse_expression(struct parser *p, bool with_cond);
/* `simple`: only primaries, as in targets. An empty tuple needs its parentheses. */
struct node *chat_parse_tuple(struct parser *p, bool simple, bool with_cond, const char *extra,
                              bool in_parens);
struct node *chat_parse_primary(struct parser *p);
struct node *chat_parse_unary(struct parser *p, bool with_filter);
struct node *chat_parse_filter(struct parser *p, struct node *node, bool start_inline);
struct node *chat_parse_statement(struct parser *p);
/* The body of a statement: from the end of its tag to one of `ends`, which becomes the current
 * token (or is skipped with `drop`). */
bool chat_parse_body(struct parser *p, const char *const *ends, bool drop, struct nodes *out);

#endif
