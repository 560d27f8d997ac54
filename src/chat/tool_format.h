/* How families of models write tool calls and reasoning: a row of a table each, from which prompt,
 * grammar and parser are made.
 *
 *     open call (between call)* close            one section of calls, at the end of a reply
 *
 * A call is a pattern: letters stand for themselves, and
 *
 *     %n  the tool's name                 %a  its arguments as a JSON object
 *     %i  an id, letters and digits       %p  its arguments as Python keywords: a=1, b="x"
 *     %d  a number                        %x  its arguments as elements, each a `param`
 *     %k  a parameter's name              %v  its value: strings bare, all else as JSON
 *
 * A parser takes white space in patterns as any white space or none. Words that are control tokens
 * in a vocabulary stand for those tokens. Sources: the chat templates of the models. */
#ifndef CHAT_TOOL_FORMAT_H
#define CHAT_TOOL_FORMAT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"
#include "text/text.h"

struct chat_tool_format {
    const char *name;
    const char *hints[3]; /* all stand in the templates of the family */
    const char *not_hint; /* and this does not */
    const char *trigger;  /* in a text: a section begins. NULL: only at the start of a reply */
    const char *open, *call, *between, *close;
    const char *param;
    const char *text_open, *text_close; /* around the answer's text */
    const char *text_name;              /* as a call's name it is text */
    bool is_harmony;
    bool has_short_ids; /* ids are nine letters and digits */
};

/* The first whose hints fit the template; the last, for templates that know no tools, fits all. */
const struct chat_tool_format *chat_tool_format_find(struct str source);

/* For tests: by number, NULL behind the last. */
const struct chat_tool_format *chat_tool_format_at(size_t index);

/* Marker pairs of reasoning. */
struct chat_think_format {
    const char *open, *close;
};

/* NULL: the template knows none. */
const struct chat_think_format *chat_think_format_find(struct str source);

/* ---- for one vocabulary ---- */

enum { CHAT_PIECES_MAX = 16 };

struct chat_piece {
    char kind;       /* 0: bytes; else the letter behind the % */
    struct str text; /* control tokens with their marks (constrain.h); tokens that end a generation
                        are left out: they are never seen */
};

/* A format with its words as they come from a model. */
struct chat_spelling {
    const struct chat_tool_format *format;
    struct str trigger, open, between, close, text_open, text_close, text_name;
    struct chat_piece call[CHAT_PIECES_MAX];
    size_t call_count;
    struct str param[3];                /* before %k, between, behind %v */
    struct str think_open, think_close; /* empty: no reasoning */
};

/* The texts of a vocabulary's control tokens that end nothing. */
struct chat_controls {
    struct str *items;
    bool *ends;
    size_t count;
};

bool chat_controls_init(struct chat_controls *controls, const struct text *text,
                        struct arena *arena);

/* `s` with control tokens in their marks; false: no memory. */
bool chat_spell(const struct chat_controls *controls, struct str s, struct arena *arena,
                struct str *out);

bool chat_spelling_init(struct chat_spelling *spelling, const struct chat_tool_format *format,
                        const struct chat_think_format *think, const struct chat_controls *controls,
                        struct arena *arena);

#endif
