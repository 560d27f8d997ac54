/* Regex splitting with PCRE2, compiled to machine code where the system allows it.
 *
 * The time must be linear for every text:
 *  - each match is tried from where the last one ended; the patterns' own repeats stop at a class
 * of characters (see pretok.c for the two that had to be rewritten);
 *  - the JIT's stack can run out in patterns with repeated groups; such a match is done again by
 * the interpreter, and if that gives up too, the rest of the part stays in one piece, which is a
 *    valid (only coarser) splitting.
 *
 * \s differs between the libraries: in PCRE2 with UCP it has U+180E, in the originals (Oniguruma,
 * Rust) it is the property White_Space, 25 characters that have not changed since Unicode 6.3. They
 * are written out, because older PCRE2 does not know the property by name. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/split.h"

#define WHITE_SPACE                                                                                \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

struct text_split {
    pcre2_general_context *memory;
    size_t stage_count;
    bool has_jit;
    pcre2_code *stages[TEXT_STAGES_MAX]; /* NULL: groups of three digits */
    pcre2_code *digits;                  /* runs of them, for those */
    uint32_t pairs_max;                  /* of match offsets */
};

/* \s and \S (\S only outside of a class) in other words. */
static void rewrite_spaces(const char *regex, struct buf *out)
{
    bool in_class = false;
    for (const char *at = regex; *at; at++) {
        if (*at == '\\' && at[1] == 's') {
            buf_add_text(out, in_class ? WHITE_SPACE : "[" WHITE_SPACE "]");
            at++;
        } else if (*at == '\\' && at[1] == 'S' && !in_class) {
            buf_add_text(out, "[^" WHITE_SPACE "]");
            at++;
        } else if (*at == '\\' && at[1]) {
            buf_add_char(out, *at++);
            buf_add_char(out, *at);
        } else {
            if (*at == '[') {
                in_class = true; /* a '[' inside a class is escaped in the table */
            } else if (*at == ']') {
                in_class = false;
            }
            buf_add_char(out, *at);
        }
    }
}

static void *pcre2_alloc(size_t size, void *arg)
{
    (void)arg;
    return mem_alloc(1, size);
}

static void pcre2_release(void *block, void *arg)
{
    (void)arg;
    mem_free(block);
}

static pcre2_code *compile_pattern(struct text_split *split, struct str pattern, struct err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(split->memory);
    if (!context) {
        err_set_memory(err, pattern.len);
        return NULL;
    }
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!compiled) {
        PCRE2_UCHAR message[128] = {0};
        pcre2_get_error_message(code, message, sizeof message);
        err_set(err, code == PCRE2_ERROR_HEAP_FAILED ? ERR_MEMORY : ERR_INTERNAL,
                "pre-tokenizer regex: %s at %zu", (char *)message, (size_t)offset);
    } else if (pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) != 0) {
        split->has_jit = false; /* built without it, or memory may not be executable here */
    }
    return compiled;
}

static pcre2_code *compile(struct text_split *split, const char *regex, struct err *err)
{
    struct buf pattern = {0};
    rewrite_spaces(regex, &pattern);
    if (pattern.failed) {
        err_set_memory(err, strlen(regex));
        buf_deinit(&pattern);
        return NULL;
    }
    pcre2_code *compiled = compile_pattern(split, buf_view(&pattern), err);
    buf_deinit(&pattern);
    return compiled;
}

struct text_split *text_split_open(const struct text_pretok *pretok, struct err *err)
{
    struct text_split *split = MEM_NEW(struct text_split);
    if (!split) {
        err_set_memory(err, sizeof *split);
        return NULL;
    }
    split->has_jit = true;
    split->memory = pcre2_general_context_create(pcre2_alloc, pcre2_release, NULL);
    if (!split->memory) {
        err_set_memory(err, sizeof *split);
        text_split_close(split);
        return NULL;
    }
    while (split->stage_count < TEXT_STAGES_MAX && pretok->stages[split->stage_count]) {
        const char *regex = pretok->stages[split->stage_count];
        const bool is_numbers = regex == text_pretok_numbers3;
        const bool is_digits = regex == text_pretok_digits3 || is_numbers;
        const char *runs = is_numbers ? "\\d++(?!\\w)" : "\\p{N}+";
        pcre2_code *code = compile(split, is_digits ? runs : regex, err);
        if (!code) {
            text_split_close(split);
            return NULL;
        }
        uint32_t captures = 0;
        pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &captures);
        if (captures + 1 > split->pairs_max) {
            split->pairs_max = captures + 1;
        }
        if (is_digits) {
            split->digits = code;
        } else {
            split->stages[split->stage_count] = code;
        }
        split->stage_count++;
    }
    return split;
}

void text_split_close(struct text_split *split)
{
    if (!split) {
        return;
    }
    for (size_t i = 0; i < TEXT_STAGES_MAX; i++) {
        pcre2_code_free(split->stages[i]);
    }
    pcre2_code_free(split->digits);
    pcre2_general_context_free(split->memory);
    mem_free(split);
}

bool text_split_begin(struct text_split_run *run, const struct text_split *split)
{
    run->split = split;
    run->match_data = pcre2_match_data_create(split->pairs_max, split->memory);
    return run->match_data != NULL;
}

void text_split_end(struct text_split_run *run)
{
    pcre2_match_data_free(run->match_data);
    *run = (struct text_split_run){0};
}

size_t text_split_stage_count(const struct text_split *split)
{
    return split->stage_count;
}

/* The first match that is not empty at or after `at`; false if there is none. */
static bool find(struct text_split_run *run, const pcre2_code *code, struct str part, size_t at,
                 size_t *from, size_t *to)
{
    pcre2_match_data *data = run->match_data;
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (run->split->has_jit) {
        result = pcre2_jit_match(code, (PCRE2_SPTR)part.ptr, part.len, at, 0, data, NULL);
    }
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
        result = pcre2_match(code, (PCRE2_SPTR)part.ptr, part.len, at,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, NULL);
    }
    if (result < 0) {
        return false;
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
    *from = ends[0];
    *to = ends[1];
    return *to > *from;
}

/* Bytes of the first group of a run of numbers: what is over, else three characters. Only the first
 * call for a run counts it; behind it the rest is a multiple of three. */
static size_t digits_group(struct text_split_run *run, struct str part, size_t at, size_t end)
{
    const struct str digits = str_slice(part, at, end);
    const size_t over = at > 0 && run->grouped_to == end ? 0 : utf8_count(digits) % 3;
    run->grouped_to = end;
    size_t bytes = 0;
    uint32_t code;
    for (size_t left = over ? over : 3; left > 0 && bytes < digits.len; left--) {
        bytes += utf8_decode(digits, bytes, &code);
    }
    return bytes;
}

void text_split_next(struct text_split_run *run, size_t stage, struct str part, size_t at,
                     size_t *to, size_t *match_to)
{
    const pcre2_code *code = run->split->stages[stage];
    size_t from = part.len, end = part.len;
    if (*match_to > at) { /* known from the last call: the match behind the gap */
        from = at;
        end = *match_to;
    } else if (!find(run, code ? code : run->split->digits, part, at, &from, &end)) {
        from = end = part.len;
    }
    if (at == 0) {
        run->grouped_to = 0;
    }
    if (from > at) {
        *to = from;
        *match_to = end;
        return;
    }
    *to = end;
    *match_to = 0;
    if (!code && end > at) { /* all but the first group of three is cut again by the next call */
        *to = at + digits_group(run, part, at, end);
        *match_to = *to < end ? end : 0;
    }
}
