/* Output that is valid by construction: a JSON Schema, a GBNF grammar or a regex becomes an
 * automaton, and the automaton says before each token which tokens may come next.
 *
 *     struct constrain_grammar *g = constrain_compile_schema(schema, true, &err);    once
 *     struct constrain_run *run = constrain_run_create(g, vocab, &err);              per sequence
 *     constrain_mask(run, bits); pick a token that is allowed; constrain_accept(run, id); ...
 *
 * A grammar and a vocabulary are immutable and may be shared by threads; a run belongs to one
 * thread. What a compiled grammar accepts can always be finished: there is a way on from each text
 * that the masks allowed, and where a vocabulary lacks the bytes for it, the mask is all zero. */
#ifndef CONSTRAIN_CONSTRAIN_H
#define CONSTRAIN_CONSTRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "text/text.h"

struct constrain_vocab;
struct constrain_grammar;
struct constrain_run;

/* ---- compiling ---- */

/* Bounds; what exceeds them is refused with ERR_TOO_LARGE or ERR_UNSUPPORTED and a message that
 * names the limit. */
enum {
    CONSTRAIN_SOURCE_BYTES_MAX = 4 << 20, /* GBNF or regex text */
    CONSTRAIN_DEPTH_MAX = 128,            /* nesting of a schema, of groups */
    CONSTRAIN_MEMORY_MAX = 256 << 20      /* of one compilation */
};

/* JSON Schema 2020-12, also draft-07's `definitions` and `items` lists. With `strict` a keyword
 * that would change what is valid and is not supported is refused by name (ERR_UNSUPPORTED);
 * without it is ignored. Errors name the JSON pointer of the part. Object keys come in the order of
 * `properties`, further ones behind them. The schema is not kept. */
struct constrain_grammar *constrain_compile_schema(const json_t *schema, bool strict,
                                                   struct err *err);

/* Any JSON object ("json_object"). */
struct constrain_grammar *constrain_compile_json_object(struct err *err);

/* GBNF as llama.cpp defines it, without its token terminals. The start is `root`. */
struct constrain_grammar *constrain_compile_gbnf(struct str source, struct err *err);

/* A regular expression (ECMAScript without look-around, back references and flags) that the whole
 * text matches. */
struct constrain_grammar *constrain_compile_regex(struct str source, struct err *err);

/* How values are spelled. */
struct constrain_style {
    bool is_python;    /* True, False and None */
    bool is_canonical; /* ", " and ": " and no other white space: what json.dumps writes */
};

/* A text of several parts. Everything is borrowed for the time of the compilation; parts may be
 * shared. */
enum constrain_part_kind {
    CONSTRAIN_BYTES,  /* text, control tokens with their marks */
    CONSTRAIN_FREE,   /* any text, also none, in which none of texts[] occurs and which begins with
                         none of starts[] */
    CONSTRAIN_STRING, /* the bare contents of a string, without quotes and escapes, in which none of
                         texts[] occurs. Of `schema` count const, enum, pattern, format and the
                         lengths */
    CONSTRAIN_OBJECT, /* any JSON object */
    CONSTRAIN_VALUE,  /* any JSON value */
    CONSTRAIN_SCHEMA, /* a JSON value that is valid under `schema`, which is a part of `root` */
    CONSTRAIN_GBNF,   /* text: its source */
    CONSTRAIN_REGEX,
    CONSTRAIN_ALL,  /* parts[] one behind the other */
    CONSTRAIN_ANY,  /* one of parts[] */
    CONSTRAIN_MANY, /* parts[0], min to max times; max 0: without end */
    CONSTRAIN_SOME  /* parts[] in their order with `text` between; what is not required[] may be
                       left out */
};

struct constrain_part {
    enum constrain_part_kind kind;
    struct str text;
    const struct str *texts, *starts;
    size_t text_count, start_count;
    const json_t *schema, *root;
    bool is_strict;
    const char *path; /* of the schema, for messages; "" at its root */
    const struct constrain_part *const *parts;
    const bool *required;
    size_t count;
    uint64_t min, max;
};

struct constrain_grammar *constrain_compile_parts(const struct constrain_part *whole,
                                                  struct constrain_style style, struct err *err);

struct constrain_grammar *constrain_grammar_ref(struct constrain_grammar *grammar);
void constrain_grammar_unref(struct constrain_grammar *grammar); /* NULL is fine */

/* Bytes of memory the grammar holds, for those who cache them. */
size_t constrain_grammar_bytes(const struct constrain_grammar *grammar);

/* ---- the vocabulary ---- */

/* How a control token stands among bytes: its text between two bytes that no UTF-8 has. A text
 * never spells it, so a grammar tells "<|call|>" the token from "<|call|>" the letters. */
#define CONSTRAIN_MARK_BEGIN "\xff"
#define CONSTRAIN_MARK_END   "\xfe"

/* A trie over the bytes of all tokens; ~40 bytes per token. Control tokens are in it with their
 * marks, unused and unknown ones are never allowed, and those at which a generation ends are
 * allowed where the text may end. Borrows nothing. */
struct constrain_vocab *constrain_vocab_create(const struct text *text, struct err *err);
void constrain_vocab_destroy(struct constrain_vocab *vocab); /* NULL is fine */

/* The same from a plain list: pieces[id], empty ones never allowed; ends[id] may be NULL. */
struct constrain_vocab *constrain_vocab_of(const struct str *pieces, const bool *ends, size_t count,
                                           struct err *err);

size_t constrain_vocab_count(const struct constrain_vocab *vocab);
size_t constrain_vocab_words(const struct constrain_vocab *vocab); /* uint32_t of a mask */

/* ---- running ---- */

/* Takes a reference of the grammar; borrows the vocabulary, which must outlive the run. */
struct constrain_run *constrain_run_create(struct constrain_grammar *grammar,
                                           const struct constrain_vocab *vocab, struct err *err);
void constrain_run_destroy(struct constrain_run *run); /* NULL is fine */

/* Where a run is, as a value: steps back are constrain_restore with an older one. All states of a
 * run stay valid as long as the run. */
struct constrain_state {
    uint32_t id;
};

struct constrain_state constrain_save(const struct constrain_run *run);
void constrain_restore(struct constrain_run *run, struct constrain_state state);

/* Sets the bit of each token that may come next (bit id & 31 of word id >> 5), clears all others.
 * End tokens are allowed exactly when the text may end. Returns the number of allowed tokens; 0 is
 * a dead end: this vocabulary cannot go on. */
size_t constrain_mask(struct constrain_run *run, uint32_t *bits);

/* Goes on by one token or by bytes; false, without going, when that is not allowed. An end token is
 * allowed when the text may end, and changes nothing. */
bool constrain_accept(struct constrain_run *run, text_id id);
bool constrain_accept_bytes(struct constrain_run *run, struct str bytes);

bool constrain_can_end(const struct constrain_run *run);  /* the text is complete as it is */
bool constrain_must_end(const struct constrain_run *run); /* and nothing can follow */

/* Appends the bytes that are the only way on (at most `limit`); none when there is a choice. */
void constrain_forced(struct constrain_run *run, size_t limit, struct buf *out);

#endif
