/* Texts of several kinds in a row: what a tool format is made of. */
#include "constrain/front.h"
#include "constrain/grammar.h"
#include "constrain/schema.h"

struct assembler {
    struct constrain_build *b;
    struct constrain_json json;
    bool pack; /* a front end of the user's is inside: see grammar.h */
    int depth;
};

static const struct constrain_expr *assemble(struct assembler *a,
                                             const struct constrain_part *part);

/* ---- free text ---- */

/* Control characters that no text has. */
static void add_controls(struct constrain_set *set)
{
    constrain_set_add(set, 0, '\t' - 1);
    constrain_set_add(set, '\n' + 1, '\r' - 1);
    constrain_set_add(set, '\r' + 1, 0x1F);
    constrain_set_add(set, 0x7F, 0x7F);
}

static const struct constrain_expr *any_text(struct constrain_build *b, uint64_t min, uint64_t max)
{
    struct constrain_set *all = ARENA_NEW(b->arena, struct constrain_set);
    if (!all) {
        return constrain_fail_memory(b);
    }
    add_controls(all);
    constrain_set_sort(all);
    constrain_set_negate(all);
    return constrain_rep(b, constrain_chars(b, all), min, max);
}

/* What is in `dfa` (NULL: any text), holds none of the texts and begins with none of the starts.
 * Names of control tokens are in no text. */
static const struct constrain_dfa *without(struct constrain_build *b,
                                           const struct constrain_dfa *dfa,
                                           const struct constrain_part *part)
{
    const struct constrain_expr *any = any_text(b, 0, EXPR_UNBOUNDED), *with = constrain_never();
    dfa = dfa || b->failed ? dfa : constrain_dfa_of(b, any);
    for (size_t i = 0; i < part->text_count; i++) {
        const struct str text = part->texts[i];
        if (text.len > 0 && text.ptr[0] != CONSTRAIN_MARK_BEGIN[0]) {
            with = constrain_either(b, with, constrain_join(b, any, constrain_bytes(b, text), any));
        }
    }
    for (size_t i = 0; i < part->start_count; i++) {
        with =
            constrain_either(b, with, constrain_join(b, constrain_bytes(b, part->starts[i]), any));
    }
    return with->kind == EXPR_NEVER || b->failed
               ? dfa
               : constrain_dfa_minus(b, dfa, constrain_dfa_of(b, with));
}

/* ---- bare strings ---- */

static const struct constrain_expr *listed_strings(struct constrain_build *b, const json_t *values)
{
    const size_t count = json_array_size(values);
    const struct constrain_expr **parts =
        ARENA_ARRAY(b->arena, const struct constrain_expr *, count);
    size_t kept = 0;
    if (!parts) {
        return constrain_fail_memory(b);
    }
    for (size_t i = 0; i < count; i++) {
        if (json_is_string(json_array_get(values, i))) {
            parts[kept++] = constrain_bytes(b, json_str(json_array_get(values, i)));
        }
    }
    return constrain_alt(b, kept, parts);
}

static uint64_t length_of(const json_t *schema, const char *name, uint64_t otherwise)
{
    const json_t *value = json_object_get(schema, name);
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? (uint64_t)json_integer_value(value)
               : otherwise;
}

/* Lengths alone are counted, not unrolled; so the texts are kept out by their first bytes. */
static const struct constrain_expr *
of_length(struct constrain_build *b, const struct constrain_part *part, uint64_t min, uint64_t max)
{
    struct constrain_set *set = ARENA_NEW(b->arena, struct constrain_set);
    if (!set) {
        return constrain_fail_memory(b);
    }
    for (size_t i = 0; i < part->text_count; i++) {
        const unsigned char first = part->texts[i].len ? (unsigned char)part->texts[i].ptr[0] : 0;
        if (first > 0 && first < 0x80) {
            constrain_set_add(set, first, first);
        }
    }
    add_controls(set);
    constrain_set_sort(set);
    constrain_set_negate(set);
    const struct constrain_expr *one =
        constrain_leaf(b, constrain_dfa_of(b, constrain_chars(b, set)));
    return constrain_rep(b, one, min, max);
}

static const struct constrain_expr *bare_string(struct assembler *a,
                                                const struct constrain_part *part)
{
    struct constrain_build *b = a->b;
    struct schema_compiler c = {.b = b, .json = a->json, .root = part->schema, .strict = true};
    const json_t *pattern = json_object_get(part->schema, "pattern");
    const json_t *format = json_object_get(part->schema, "format");
    const json_t *values = json_object_get(part->schema, "enum");
    const uint64_t min = length_of(part->schema, "minLength", 0);
    const uint64_t max = length_of(part->schema, "maxLength", EXPR_UNBOUNDED);
    const struct constrain_dfa *dfa = NULL;
    const json_t *constant = json_object_get(part->schema, "const");
    if (constant) {
        return constrain_bytes(b, json_str(constant));
    }
    if (values) {
        return listed_strings(b, values);
    }
    if (pattern) {
        dfa = constrain_schema_pattern(&c, json_str(pattern), part->path, false);
    }
    if (format && !b->failed) {
        bool known = false;
        const struct constrain_dfa *of_format =
            constrain_schema_format(&c, json_string_value(format), part->path, false, &known);
        if (!known) {
            return constrain_fail(b, ERR_UNSUPPORTED, "schema, %s: this format is not supported",
                                  part->path);
        }
        dfa = dfa && !b->failed ? constrain_dfa_and(b, dfa, of_format) : of_format;
    }
    const bool has_length = min > 0 || max != EXPR_UNBOUNDED;
    if (has_length && !dfa) {
        return of_length(b, part, min, max);
    }
    if (has_length && !b->failed) {
        dfa = constrain_dfa_and(b, dfa, constrain_dfa_of(b, any_text(b, min, max)));
    }
    return constrain_leaf(b, b->failed ? NULL : without(b, dfa, part));
}

/* ---- lists of parts ---- */

static const struct constrain_expr *all_or_any(struct assembler *a,
                                               const struct constrain_part *part)
{
    struct constrain_build *b = a->b;
    const struct constrain_expr **parts =
        ARENA_ARRAY(b->arena, const struct constrain_expr *, part->count);
    if (!parts) {
        return constrain_fail_memory(b);
    }
    for (size_t i = 0; i < part->count; i++) {
        parts[i] = assemble(a, part->parts[i]);
    }
    return part->kind == CONSTRAIN_ALL ? constrain_seq(b, part->count, parts)
                                       : constrain_alt(b, part->count, parts);
}

/* Behind what was written: nothing, if nothing more is required, or a separator and the rest. */
static const struct constrain_expr *rest_of_some(struct constrain_build *b, struct str between,
                                                 const struct constrain_expr *rest, bool may_stop)
{
    const struct constrain_expr *more = constrain_join(b, constrain_bytes(b, between), rest);
    return may_stop ? constrain_either(b, constrain_empty(), more) : more;
}

/* From the last to the first: a rule for "the i-th or a later one, and what follows". */
static const struct constrain_expr *some_of(struct assembler *a, const struct constrain_part *part)
{
    struct constrain_build *b = a->b;
    const struct constrain_expr *later = constrain_never(), *behind = constrain_empty();
    bool may_stop = true;
    for (size_t i = part->count; i-- > 0 && !b->failed;) {
        const struct constrain_expr *with = constrain_join(b, assemble(a, part->parts[i]), behind);
        const uint32_t rule = constrain_rule_add(b, "some of several parts");
        if (rule == UINT32_MAX) {
            break;
        }
        b->rules[rule].body = part->required[i] ? with : constrain_either(b, with, later);
        may_stop = may_stop && !part->required[i];
        later = constrain_ref(b, rule);
        behind = rest_of_some(b, part->text, later, may_stop);
    }
    return may_stop ? constrain_either(b, constrain_empty(), later) : later;
}

/* ---- all kinds ---- */

static const struct constrain_expr *of_kind(struct assembler *a, const struct constrain_part *part)
{
    struct constrain_build *b = a->b;
    switch (part->kind) {
    case CONSTRAIN_BYTES:
        return constrain_bytes(b, part->text);
    case CONSTRAIN_FREE:
        return constrain_leaf(b, without(b, NULL, part));
    case CONSTRAIN_STRING:
        return bare_string(a, part);
    case CONSTRAIN_OBJECT:
        return constrain_ref(b, a->json.object_rule);
    case CONSTRAIN_VALUE:
        return constrain_ref(b, a->json.value_rule);
    case CONSTRAIN_SCHEMA:
        return constrain_schema_expr(b, &a->json, part);
    case CONSTRAIN_GBNF:
        a->pack = true;
        return constrain_gbnf_expr(b, part->text);
    case CONSTRAIN_REGEX:
        return constrain_regex_expr(b, part->text);
    case CONSTRAIN_MANY:
        return constrain_rep(b, assemble(a, part->parts[0]), part->min,
                             part->max ? part->max : EXPR_UNBOUNDED);
    case CONSTRAIN_SOME:
        return some_of(a, part);
    case CONSTRAIN_ALL:
    case CONSTRAIN_ANY:
    default:
        return all_or_any(a, part);
    }
}

static const struct constrain_expr *assemble(struct assembler *a, const struct constrain_part *part)
{
    if (++a->depth > CONSTRAIN_DEPTH_MAX) {
        return constrain_fail(a->b, ERR_TOO_LARGE, "more than %d parts within each other",
                              CONSTRAIN_DEPTH_MAX);
    }
    const struct constrain_expr *e = a->b->failed ? constrain_never() : of_kind(a, part);
    a->depth--;
    return e;
}

struct constrain_grammar *constrain_compile_parts(const struct constrain_part *whole,
                                                  struct constrain_style style, struct err *err)
{
    struct constrain_build b;
    struct assembler a = {.b = &b};
    struct constrain_grammar *grammar = constrain_grammar_begin(&b, err);
    if (!grammar) {
        return NULL;
    }
    b.style = style;
    const uint32_t start = constrain_rule_add(&b, "the answer");
    constrain_json_init(&a.json, &b);
    const struct constrain_expr *body = assemble(&a, whole);
    if (!b.failed) {
        b.rules[start].body = body;
    }
    return constrain_grammar_end(&b, grammar, a.pack);
}
