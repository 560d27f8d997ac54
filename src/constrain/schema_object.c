/* { "a": ..., "b": ..., more }: the named members in the order of the schema, optional ones may be
 * left out, and behind them members that only patternProperties and additionalProperties know.
 *
 *     R(i)  a member that is i or later, and what follows it     = member_i T(i+1) | R(i+1)
 *     T(i)  what may follow once members were written            = nothing | "," R(i)
 *
 * The right side of | only where the rest may be left out. So the automaton is linear in the number
 * of members. What is used twice becomes a rule of its own, and so does each block of members,
 * which keeps expressions flat.
 *
 * A further key must not be one of the names (it would be written twice, and not be checked). Which
 * patterns it matches decides what its value must be: one kind of key per set of patterns, each an
 * automaton of its own: "in these, not in those, none of the names". */
#include <stdlib.h>

#include "base/mem.h"
#include "constrain/schema.h"

enum { BLOCK = 16 };

struct names {
    const char **items;
    size_t count;
    const char **sorted;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool contains(const char **sorted, size_t count, const char *name)
{
    return count && bsearch(&name, sorted, count, sizeof *sorted, by_name);
}

/* All names, in the order of the first schema that has them, then what is only required. */
static bool collect_names(struct schema_compiler *c, const struct schema_spec *spec,
                          struct names *names)
{
    size_t cap = 0;
    const char *key;
    json_t *value;
    json_t *seen = json_object();
    for (size_t k = 0; k < spec->object_count; k++) {
        cap += json_object_size(spec->objects[k].list);
    }
    for (size_t k = 0; k < spec->required_count; k++) {
        cap += json_array_size(spec->required[k]);
    }
    names->items = ARENA_ARRAY(c->b->arena, const char *, cap);
    names->sorted = ARENA_ARRAY(c->b->arena, const char *, cap);
    if (!names->items || !names->sorted || !seen) {
        json_decref(seen);
        constrain_fail_memory(c->b);
        return false;
    }
    for (size_t k = 0; k < spec->object_count; k++) {
        json_object_foreach((json_t *)(uintptr_t)spec->objects[k].list, key, value)
        {
            if (!json_object_get(seen, key) && json_object_set_new(seen, key, json_true()) == 0) {
                names->items[names->count++] = key;
            }
        }
    }
    for (size_t k = 0; k < spec->required_count; k++) {
        for (size_t i = 0; i < json_array_size(spec->required[k]); i++) {
            key = json_string_value(json_array_get(spec->required[k], i));
            if (!json_object_get(seen, key) && json_object_set_new(seen, key, json_true()) == 0) {
                names->items[names->count++] = key;
            }
        }
    }
    json_decref(seen);
    if (names->count) {
        memcpy(names->sorted, names->items, names->count * sizeof *names->items);
        qsort(names->sorted, names->count, sizeof *names->sorted, by_name);
    }
    return true;
}

/* Which names must be there: a flag for each of names->items. */
static bool *required_flags(struct schema_compiler *c, const struct schema_spec *spec,
                            const struct names *names)
{
    size_t cap = 0, count = 0;
    for (size_t k = 0; k < spec->required_count; k++) {
        cap += json_array_size(spec->required[k]);
    }
    const char **sorted = ARENA_ARRAY(c->b->arena, const char *, cap);
    bool *flags = ARENA_ARRAY(c->b->arena, bool, names->count);
    if (!sorted || !flags) {
        constrain_fail_memory(c->b);
        return NULL;
    }
    for (size_t k = 0; k < spec->required_count; k++) {
        for (size_t i = 0; i < json_array_size(spec->required[k]); i++) {
            sorted[count++] = json_string_value(json_array_get(spec->required[k], i));
        }
    }
    if (count) {
        qsort(sorted, count, sizeof *sorted, by_name);
    }
    for (size_t i = 0; i < names->count; i++) {
        flags[i] = contains(sorted, count, names->items[i]);
    }
    return flags;
}

/* All patterns of all layers. */
struct patterns {
    const char *texts[SCHEMA_PATTERNS_MAX];
    const json_t *schemas[SCHEMA_PATTERNS_MAX];
    size_t layers[SCHEMA_PATTERNS_MAX];
    const struct constrain_dfa *raw[SCHEMA_PATTERNS_MAX], *in_json[SCHEMA_PATTERNS_MAX];
    size_t count;
};

static bool collect_patterns(struct schema_compiler *c, const struct schema_spec *spec,
                             struct patterns *patterns)
{
    for (size_t k = 0; k < spec->object_count; k++) {
        const char *key;
        json_t *value;
        const char *path =
            constrain_schema_path(c, spec->objects[k].path, "patternProperties", NULL);
        json_object_foreach((json_t *)(uintptr_t)spec->objects[k].patterns, key, value)
        {
            const size_t i = patterns->count;
            if (i == SCHEMA_PATTERNS_MAX) {
                constrain_fail(c->b, ERR_TOO_LARGE, "schema, %s: more than %d patterns", path,
                               SCHEMA_PATTERNS_MAX);
                return false;
            }
            patterns->texts[i] = key;
            patterns->schemas[i] = value;
            patterns->layers[i] = k;
            patterns->raw[i] = constrain_schema_pattern(c, str_of(key), path, false);
            patterns->in_json[i] = constrain_schema_pattern(c, str_of(key), path, true);
            if (!patterns->raw[i] || !patterns->in_json[i]) {
                return false;
            }
            patterns->count++;
        }
    }
    return true;
}

/* The value of a member: `name` NULL for one that no `properties` knows; `matches` has a bit for
 * each pattern its key matches. */
static const struct constrain_expr *member_value(struct schema_compiler *c,
                                                 const struct schema_spec *spec,
                                                 const struct patterns *patterns, const char *name,
                                                 unsigned matches)
{
    struct schema_at sets[SCHEMA_LAYERS_MAX + SCHEMA_PATTERNS_MAX];
    size_t count = 0;
    for (size_t k = 0; k < spec->object_count; k++) {
        const struct schema_layer *layer = &spec->objects[k];
        const json_t *one = name ? json_object_get(layer->list, name) : NULL;
        bool found = one != NULL;
        if (one) {
            sets[count++] =
                (struct schema_at){one, constrain_schema_path(c, layer->path, "properties", name)};
        }
        for (size_t i = 0; i < patterns->count; i++) {
            if (patterns->layers[i] == k && (matches & 1u << i)) {
                found = true;
                sets[count++] = (struct schema_at){
                    patterns->schemas[i],
                    constrain_schema_path(c, layer->path, "patternProperties", patterns->texts[i])};
            }
        }
        if (!found && layer->rest) {
            sets[count++] = (struct schema_at){
                layer->rest, constrain_schema_path(c, layer->path, "additionalProperties", NULL)};
        }
    }
    return constrain_schema_goal_ref(c, sets, count);
}

static bool name_allowed(struct schema_compiler *c, const struct schema_spec *spec,
                         const char *name)
{
    bool allowed = true;
    json_t *text = json_string(name);
    for (size_t k = 0; k < spec->object_count && text; k++) {
        if (spec->objects[k].names) {
            const struct schema_at at = {
                spec->objects[k].names,
                constrain_schema_path(c, spec->objects[k].path, "propertyNames", NULL)};
            allowed = allowed && constrain_schema_value_valid(c, at, text);
        }
    }
    json_decref(text);
    return allowed && text;
}

/* "name": value */
static const struct constrain_expr *named_member(struct schema_compiler *c,
                                                 const struct schema_spec *spec,
                                                 const struct patterns *patterns, const char *name)
{
    unsigned matches = 0;
    for (size_t i = 0; i < patterns->count; i++) {
        matches |= constrain_dfa_match(patterns->raw[i], str_of(name)) ? 1u << i : 0;
    }
    const struct constrain_expr *value = member_value(c, spec, patterns, name, matches);
    json_t *text = json_string(name);
    if (!text || !name_allowed(c, spec, name)) {
        json_decref(text);
        return constrain_never();
    }
    const struct constrain_expr *key = constrain_json_literal(c->b, text);
    json_decref(text);
    struct buf literal = {0};
    if (key->kind == EXPR_BYTES) {
        buf_add(&literal, key->bytes);
    }
    buf_add_char(&literal, ':');
    key = constrain_bytes(c->b, buf_view(&literal));
    buf_deinit(&literal);
    return constrain_join(c->b, key, c->json.gap, value);
}

/* Contents of keys that propertyNames allows. */
static const struct constrain_dfa *names_dfa(struct schema_compiler *c,
                                             const struct schema_spec *spec)
{
    struct constrain_build *b = c->b;
    const struct constrain_dfa *all = constrain_dfa_of(b, c->json.contents), *out = all;
    for (size_t k = 0; k < spec->object_count && !b->failed; k++) {
        const json_t *names = spec->objects[k].names;
        struct schema_spec *of = names ? MEM_NEW(struct schema_spec) : NULL;
        if (!of) {
            continue;
        }
        const char *path = constrain_schema_path(c, spec->objects[k].path, "propertyNames", NULL);
        const struct schema_at at = {names, path};
        constrain_schema_spec_init(of, path);
        if (constrain_schema_collect(c, at, of) && of->branch_count > 0) {
            constrain_fail(b, ERR_UNSUPPORTED, "schema, %s: anyOf and oneOf are not supported here",
                           path);
        } else if (of->values) {
            const struct constrain_expr *keys = constrain_never();
            for (size_t i = 0; i < json_array_size(of->values) && !b->failed; i++) {
                const json_t *value = json_array_get(of->values, i);
                if (json_is_string(value) && constrain_schema_value_valid(c, at, value)) {
                    const struct constrain_expr *text = constrain_json_literal(b, value);
                    if (text->kind == EXPR_BYTES) {
                        const struct str inside = str_slice(text->bytes, 1, text->bytes.len - 1);
                        keys = constrain_either(b, keys, constrain_bytes(b, inside));
                    }
                }
            }
            out = constrain_dfa_and(b, out, constrain_dfa_of(b, keys));
        } else {
            const bool has_length = of->length_min > 0 || of->length_max != EXPR_UNBOUNDED;
            if (!(of->types & SCHEMA_STRING) || of->length_min > of->length_max) {
                out = constrain_dfa_of(b, constrain_never());
            }
            if (of->contents) {
                out = constrain_dfa_and(b, out, of->contents);
            }
            if (has_length && c->json.contents->kind == EXPR_REP) {
                out = constrain_dfa_and(
                    b, out,
                    constrain_dfa_of(b, constrain_rep(b, c->json.contents->parts[0], of->length_min,
                                                      of->length_max)));
            }
        }
        mem_free(of);
    }
    return out;
}

/* One further member, of any kind. */
static const struct constrain_expr *further_member(struct schema_compiler *c,
                                                   const struct schema_spec *spec,
                                                   const struct patterns *patterns,
                                                   const struct names *names)
{
    struct constrain_build *b = c->b;
    const struct constrain_expr *out = constrain_never(), *quote = constrain_text(b, "\"");
    const struct constrain_expr **literals =
        ARENA_ARRAY(b->arena, const struct constrain_expr *, names->count);
    const struct constrain_dfa *others = NULL;
    if (!literals) {
        return constrain_fail_memory(b);
    }
    for (unsigned matches = 0; matches < 1u << patterns->count && !b->failed; matches++) {
        const struct constrain_expr *value = member_value(c, spec, patterns, NULL, matches);
        if (value->kind == EXPR_NEVER) {
            continue;
        }
        if (!others) {
            for (size_t i = 0; i < names->count; i++) {
                json_t *text = json_string(names->items[i]);
                const struct constrain_expr *e = constrain_json_literal(b, text);
                literals[i] = e->kind == EXPR_BYTES
                                  ? constrain_bytes(b, str_slice(e->bytes, 1, e->bytes.len - 1))
                                  : constrain_never();
                json_decref(text);
            }
            others =
                constrain_dfa_minus(b, names_dfa(c, spec),
                                    constrain_dfa_of(b, constrain_alt(b, names->count, literals)));
        }
        const struct constrain_dfa *keys = others;
        for (size_t i = 0; i < patterns->count; i++) {
            keys = matches & 1u << i ? constrain_dfa_and(b, keys, patterns->in_json[i])
                                     : constrain_dfa_minus(b, keys, patterns->in_json[i]);
        }
        if (!keys || keys->state_count == 0) {
            continue;
        }
        const struct constrain_expr *key =
            constrain_leaf(b, constrain_dfa_of(b, constrain_join(b, quote, constrain_leaf(b, keys),
                                                                 quote, constrain_text(b, ":"))));
        out = constrain_either(b, out, constrain_join(b, key, c->json.gap, value));
    }
    return out;
}

const struct constrain_expr *constrain_schema_object(struct schema_compiler *c,
                                                     const struct schema_spec *spec)
{
    struct constrain_build *b = c->b;
    struct names names = {0};
    struct patterns *patterns = ARENA_NEW(b->arena, struct patterns);
    if (!patterns || !collect_names(c, spec, &names) || !collect_patterns(c, spec, patterns)) {
        return patterns ? constrain_never() : constrain_fail_memory(b);
    }
    const bool *required = required_flags(c, spec, &names);
    const struct constrain_expr *comma = constrain_join(b, constrain_text(b, ","), c->json.gap);
    const struct constrain_expr *further = further_member(c, spec, patterns, &names);
    const struct constrain_expr *more =
        constrain_rep(b, constrain_join(b, comma, further), 0, EXPR_UNBOUNDED);
    const struct constrain_expr *members = constrain_join(b, further, more); /* R(n) */
    const struct constrain_expr *tail = more;                                /* T(n) */
    bool may_stop = true; /* nothing from i on is required */
    for (size_t i = names.count; i-- > 0 && !b->failed;) {
        const struct constrain_expr *one = named_member(c, spec, patterns, names.items[i]);
        const struct constrain_expr *with = constrain_join(b, one, tail);
        may_stop = may_stop && !required[i];
        members = required[i] ? with : constrain_either(b, with, members);
        if ((i % BLOCK == 0 || !required[i]) && i > 0 && members->kind != EXPR_NEVER) {
            const uint32_t rule = constrain_rule_add(b, "members of an object");
            if (rule == UINT32_MAX) {
                break;
            }
            b->rules[rule].body = members;
            members = constrain_ref(b, rule);
        }
        tail = constrain_join(b, comma, members);
        tail = may_stop ? constrain_either(b, constrain_empty(), tail) : tail;
    }
    if (may_stop) {
        members = constrain_either(b, constrain_empty(), members);
    }
    return constrain_join(b, constrain_text(b, "{"), c->json.space, members, c->json.space,
                          constrain_text(b, "}"));
}
