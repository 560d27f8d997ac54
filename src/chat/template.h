/* Chat templates: a Jinja interpreter whose output is byte for byte that of Jinja2's
 * ImmutableSandboxedEnvironment(trim_blocks, lstrip_blocks, loopcontrols) with `tojson` being
 * json.dumps(ensure_ascii=False, indent, separators, sort_keys), `raise_exception` and
 * `strftime_now`. Templates and their input are hostile: steps, depth and output are bounded.
 *
 * Every byte of the output carries its origin: text that comes from the context (what a client
 * sent) is never part of a `trusted` span, however the template joined, cut or replaced it. Only
 * trusted spans may become special tokens. */
#ifndef CHAT_TEMPLATE_H
#define CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct chat_template;

struct chat_limits {         /* 0 takes the default */
    uint64_t steps_max;      /* evaluated nodes and bytes touched; 50 million */
    size_t output_bytes_max; /* 64 MiB */
    size_t memory_bytes_max; /* 256 MiB of live values */
    size_t depth_max;        /* nesting of expressions, blocks, calls; 200 */
    size_t source_bytes_max; /* 4 MiB */
};

struct chat_span {
    size_t from, to; /* bytes of the output, ascending, not touching */
};

struct chat_text {
    struct buf text;
    struct chat_span *trusted; /* mem_free by chat_text_deinit */
    size_t trusted_count;
};

void chat_text_deinit(struct chat_text *text);

/* Parses. ERR_TEMPLATE with the line number. Immutable afterwards; may be shared by threads. */
struct chat_template *chat_template_compile(struct str source, const struct chat_limits *limits,
                                            struct err *err);
void chat_template_destroy(struct chat_template *tmpl);

/* A value of the context whose text is known: tojson gives an object as it was written, and a
 * string's bytes with a mask of 1 count as the template's own. */
struct chat_verbatim {
    const json_t *value;
    struct str text;
    const unsigned char *mask; /* strings: [text.len] */
};

struct chat_render_opts {
    const json_t *context; /* object: messages, tools, add_generation_prompt, anything else */
    /* Names of the context whose text counts as trusted: the server lists bos_token, eos_token.
     * NULL-terminated; NULL: none. */
    const char *const *trusted_names;
    /* The known role words ("user", "assistant" ...) under a key "role" count as trusted too, for
     * templates that make control tokens of them: <|{{ message.role }}|>. */
    bool trusted_roles;
    const struct chat_verbatim *verbatim; /* ascending by the address of `value` */
    size_t verbatim_count;
    bool has_clock;  /* fixes strftime_now; else local time */
    int64_t clock_s; /* seconds since 1970 of the wall clock to print, without zone */
};

/* Renders. Errors are ERR_TEMPLATE with the template's line; a raise_exception gives exactly its
 * message in err->text. */
bool chat_template_render(const struct chat_template *tmpl, const struct chat_render_opts *opts,
                          struct chat_text *out, struct err *err);

#endif
