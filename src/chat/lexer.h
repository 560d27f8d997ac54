/* Template source to tokens, with Jinja2's whitespace rules for trim_blocks and lstrip_blocks. The
 * tokens' texts live in the arena or in the (normalised) source, which the arena owns. */
#ifndef CHAT_LEXER_H
#define CHAT_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum token_kind {
    TOKEN_EOF,
    TOKEN_ERROR, /* text is the message; raised when the parser gets here */
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_FLOORDIV,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_TILDE,
    TOKEN_LBRACKET,
    TOKEN_RBRACKET,
    TOKEN_LPAREN,
    TOKEN_RPAREN,
    TOKEN_LBRACE,
    TOKEN_RBRACE,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_GT,
    TOKEN_GE,
    TOKEN_LT,
    TOKEN_LE,
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_COMMA,
    TOKEN_SEMICOLON
};

struct token {
    enum token_kind kind;
    uint32_t line;
    struct str text; /* NAME, STRING (unescaped), DATA, ERROR */
    int64_t integer;
    double real;
};

struct tokens {
    struct token *items;
    size_t count; /* ends with EOF or ERROR */
};

/* ERR_TEMPLATE or ERR_MEMORY only for source that is no UTF-8 or does not fit; syntax errors become
 * an ERROR token. */
bool chat_lex(struct arena *arena, struct str source, struct tokens *out, struct err *err);

/* How Jinja2 names a kind of token in messages: "+", "end of print statement", "name". */
const char *chat_token_name(enum token_kind kind);

#endif
