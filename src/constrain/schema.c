#include "constrain/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "constrain/front.h"
#include "constrain/grammar.h"

/* ---- places ---- */

const char *constrain_schema_path(struct schema_compiler *c, const char *base, const char *keyword,
                                  const char *name)
{
    char quoted[STR_QUOTE_MAX];
    struct buf text = {.limit = 1024};
    buf_add_text(&text, base);
    buf_add_format(&text, "/%s", keyword);
    if (name) {
        buf_add_format(&text, "/%s", str_quote(quoted, str_of(name)));
    }
    const char *out = text.failed ? base : arena_copy(c->b->arena, buf_view(&text));
    buf_deinit(&text);
    if (!out) {
        constrain_fail_memory(c->b);
        return "";
    }
    return out;
}

const char *constrain_schema_shown(const char *path)
{
    return *path ? path : "/";
}

bool constrain_schema_refuse(struct schema_compiler *c, enum err_code code, const char *path,
                             const char *what)
{
    constrain_fail(c->b, code, "schema, %s: %s", constrain_schema_shown(path), what);
    return false;
}

/* ---- goals ---- */

static const struct constrain_expr *of_numbers(struct schema_compiler *c,
                                               const struct schema_spec *spec)
{
    const bool integer = !(spec->types & SCHEMA_FRACTION) || spec->multiple;
    const bool has_bound = spec->min.is_set || spec->max.is_set;
    struct constrain_build *b = c->b;
    if (!has_bound && !spec->multiple) {
        return integer ? c->json.integer : c->json.number;
    }
    const struct constrain_expr *multiple =
        spec->multiple ? constrain_number_multiple(b, spec->multiple, has_bound,
                                                   constrain_schema_shown(spec->path))
                       : NULL;
    if (!has_bound) {
        return constrain_leaf(b, constrain_dfa_of(b, multiple));
    }
    const struct constrain_dfa *dfa =
        constrain_dfa_of(b, constrain_number_range(b, &spec->min, &spec->max, integer));
    if (multiple) {
        dfa = constrain_dfa_and(b, dfa, constrain_dfa_of(b, multiple));
    }
    return constrain_leaf(b, dfa);
}

static const struct constrain_expr *of_values(struct schema_compiler *c,
                                              const struct schema_goal *goal, const json_t *values)
{
    const size_t count = json_array_size(values);
    const struct constrain_expr **parts =
        ARENA_ARRAY(c->b->arena, const struct constrain_expr *, count);
    size_t kept = 0, bytes = 0;
    if (!parts) {
        return constrain_fail_memory(c->b);
    }
    for (size_t i = 0; i < count && !c->b->failed; i++) {
        const json_t *value = json_array_get(values, i);
        bool valid = true;
        c->known_list = values;
        c->known_value = value;
        for (size_t k = 0; k < goal->count && valid; k++) {
            valid = constrain_schema_value_valid(c, goal->sets[k], value);
        }
        if (valid) {
            parts[kept] = constrain_json_literal(c->b, value);
            bytes += parts[kept++]->size;
        }
        if (bytes > SCHEMA_ENUM_BYTES_MAX) {
            return constrain_fail(
                c->b, ERR_TOO_LARGE, "schema, %s: the values of enum have more than %d bytes",
                constrain_schema_shown(goal->sets[0].path), SCHEMA_ENUM_BYTES_MAX);
        }
    }
    return constrain_leaf(c->b, constrain_dfa_of(c->b, constrain_alt(c->b, kept, parts)));
}

static const struct constrain_expr *
of_spec(struct schema_compiler *c, const struct schema_goal *goal, const struct schema_spec *spec)
{
    struct constrain_build *b = c->b;
    const struct constrain_expr *parts[6];
    size_t count = 0;
    const bool is_free = !spec->min.is_set && !spec->max.is_set && !spec->multiple &&
                         spec->length_min == 0 && spec->length_max == EXPR_UNBOUNDED &&
                         !spec->contents && spec->array_count == 0 && spec->items_min == 0 &&
                         spec->items_max == EXPR_UNBOUNDED && spec->object_count == 0 &&
                         spec->required_count == 0;
    if (spec->values) {
        return of_values(c, goal, spec->values);
    }
    if (is_free && spec->types == SCHEMA_ALL) {
        return constrain_ref(b, c->json.value_rule);
    }
    if (spec->types & SCHEMA_NULL) {
        parts[count++] = constrain_json_word(b, json_null());
    }
    if (spec->types & SCHEMA_BOOLEAN) {
        parts[count++] = constrain_either(b, constrain_json_word(b, json_true()),
                                          constrain_json_word(b, json_false()));
    }
    if (spec->types & (SCHEMA_INTEGER | SCHEMA_FRACTION)) {
        parts[count++] = of_numbers(c, spec);
    }
    if (spec->types & SCHEMA_STRING) {
        parts[count++] = constrain_schema_string(c, spec);
    }
    if (spec->types & SCHEMA_ARRAY) {
        parts[count++] = constrain_schema_array(c, spec);
    }
    if (spec->types & SCHEMA_OBJECT) {
        parts[count++] = constrain_schema_object(c, spec);
    }
    return constrain_alt(b, count, parts);
}

/* Chooses from the first open anyOf or oneOf in every way. */
static const struct constrain_expr *of_branches(struct schema_compiler *c,
                                                const struct schema_goal *goal,
                                                const struct schema_spec *spec)
{
    const struct constrain_expr *out = constrain_never();
    if (spec->types == 0 || c->b->failed) {
        return out;
    }
    if (++c->spec_count > SCHEMA_SPECS_MAX) {
        return constrain_fail(c->b, ERR_TOO_LARGE,
                              "schema, %s: anyOf and oneOf have more than %d combinations",
                              constrain_schema_shown(spec->path), SCHEMA_SPECS_MAX);
    }
    if (spec->branch_count == 0) {
        return of_spec(c, goal, spec);
    }
    const struct schema_at list = spec->branches[spec->branch_count - 1];
    struct schema_spec *next = MEM_NEW(struct schema_spec);
    if (!next) {
        return constrain_fail_memory(c->b);
    }
    if (++c->depth > CONSTRAIN_DEPTH_MAX) {
        mem_free(next);
        return constrain_fail(c->b, ERR_INVALID,
                              "schema, %s: anyOf, oneOf and $ref form a circle, or are too deep",
                              constrain_schema_shown(list.path));
    }
    for (size_t i = 0; i < json_array_size(list.schema) && !c->b->failed; i++) {
        char index[24];
        *next = *spec;
        next->branch_count--;
        snprintf(index, sizeof index, "%zu", i);
        const struct schema_at at = {json_array_get(list.schema, i),
                                     constrain_schema_path(c, list.path, index, NULL)};
        if (constrain_schema_collect(c, at, next)) {
            out = constrain_either(c->b, out, of_branches(c, goal, next));
        }
    }
    c->depth--;
    mem_free(next);
    return out;
}

/* A schema that is nothing but one anyOf, oneOf or $ref refers to the goals of its parts, so that
 * parts used in many places are compiled once. */
static const struct constrain_expr *of_plain_choice(struct schema_compiler *c,
                                                    const struct schema_at *at)
{
    static const char *const annotations[] = {
        "$schema", "$id",         "$comment",   "title",    "description", "default", "examples",
        "$defs",   "definitions", "deprecated", "readOnly", "writeOnly",   "$anchor"};
    const char *key, *choice = NULL;
    json_t *value;
    const struct constrain_expr *out = constrain_never();
    json_object_foreach((json_t *)(uintptr_t)at->schema, key, value)
    {
        bool is_annotation = false;
        for (size_t i = 0; i < sizeof annotations / sizeof annotations[0]; i++) {
            is_annotation |= strcmp(key, annotations[i]) == 0;
        }
        if (is_annotation) {
            continue;
        }
        if (choice || (strcmp(key, "anyOf") != 0 && strcmp(key, "oneOf") != 0)) {
            return NULL;
        }
        choice = key;
    }
    const json_t *list = choice ? json_object_get(at->schema, choice) : NULL, *one;
    struct schema_spec *spec = list ? MEM_NEW(struct schema_spec) : NULL;
    if (!spec) {
        return NULL;
    }
    constrain_schema_spec_init(spec, at->path);
    if (constrain_schema_collect_branches(c, at, choice, spec)) {
        for (size_t i = 0; (one = json_array_get(list, i)) != NULL; i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            const struct schema_at part = {one, constrain_schema_path(c, at->path, choice, index)};
            out = constrain_either(c->b, out, constrain_schema_goal_ref(c, &part, 1));
        }
    }
    mem_free(spec);
    return out;
}

static const struct constrain_expr *of_goal(struct schema_compiler *c,
                                            const struct schema_goal *goal)
{
    const struct constrain_expr *out = NULL;
    if (goal->count == 1 && json_is_object(goal->sets[0].schema)) {
        out = of_plain_choice(c, &goal->sets[0]);
    }
    struct schema_spec *spec = out ? NULL : MEM_NEW(struct schema_spec);
    if (!out && !spec) {
        return constrain_fail_memory(c->b);
    }
    if (spec) {
        bool ok = true;
        c->spec_count = 0;
        c->depth = 0;
        constrain_schema_spec_init(spec, goal->sets[0].path);
        for (size_t i = 0; i < goal->count && ok; i++) {
            ok = constrain_schema_collect(c, goal->sets[i], spec);
        }
        out = ok ? of_branches(c, goal, spec) : constrain_never();
        mem_free(spec);
    }
    return out;
}

static int by_schema(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct schema_at *)a)->schema;
    const uintptr_t y = (uintptr_t)((const struct schema_at *)b)->schema;
    return x < y ? -1 : x > y;
}

static uint64_t goal_hash(const struct schema_goal *goal)
{
    uint64_t hash = goal->count;
    for (size_t i = 0; i < goal->count; i++) {
        hash = (hash ^ (uintptr_t)goal->sets[i].schema) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static bool goal_same(const struct schema_goal *a, const struct schema_goal *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = a->sets[i].schema == b->sets[i].schema;
    }
    return same;
}

static bool goals_grow(struct schema_compiler *c)
{
    const size_t size = c->table_size ? c->table_size * 2 : 64;
    uint32_t *table = ARENA_ARRAY(c->b->arena, uint32_t, size);
    struct schema_goal *goals = ARENA_ARRAY(c->b->arena, struct schema_goal, size / 2);
    if (!table || !goals) {
        constrain_fail_memory(c->b);
        return false;
    }
    for (size_t i = 0; i < c->goal_count; i++) {
        size_t slot = goal_hash(&c->goals[i]) & (size - 1);
        while (table[slot]) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (uint32_t)i + 1;
        goals[i] = c->goals[i];
    }
    c->table = table;
    c->table_size = size;
    c->goals = goals;
    return true;
}

const struct constrain_expr *constrain_schema_goal_ref(struct schema_compiler *c,
                                                       const struct schema_at *sets, size_t count)
{
    struct schema_at unique[SCHEMA_SETS_MAX];
    struct schema_goal goal = {.sets = unique};
    for (size_t i = 0; i < count; i++) {
        if (json_is_false(sets[i].schema)) {
            return constrain_never();
        }
        if (json_is_true(sets[i].schema) ||
            (json_is_object(sets[i].schema) && json_object_size(sets[i].schema) == 0)) {
            continue;
        }
        if (goal.count == SCHEMA_SETS_MAX) {
            return constrain_fail(c->b, ERR_TOO_LARGE,
                                  "schema, %s: more than %d schemas describe the same place",
                                  constrain_schema_shown(sets[i].path), SCHEMA_SETS_MAX);
        }
        unique[goal.count++] = sets[i];
    }
    if (goal.count == 0) {
        return constrain_ref(c->b, c->json.value_rule);
    }
    qsort(unique, goal.count, sizeof unique[0], by_schema);
    size_t kept = 1;
    for (size_t i = 1; i < goal.count; i++) {
        if (unique[i].schema != unique[kept - 1].schema) {
            unique[kept++] = unique[i];
        }
    }
    goal.count = kept;
    if (c->b->failed || (c->goal_count * 2 >= c->table_size && !goals_grow(c))) {
        return constrain_never();
    }
    size_t slot = goal_hash(&goal) & (c->table_size - 1);
    for (; c->table[slot]; slot = (slot + 1) & (c->table_size - 1)) {
        if (goal_same(&c->goals[c->table[slot] - 1], &goal)) {
            return constrain_ref(c->b, c->goals[c->table[slot] - 1].rule);
        }
    }
    char name[256];
    snprintf(name, sizeof name, "schema, %s", constrain_schema_shown(unique[0].path));
    goal.rule = constrain_rule_add(c->b, name);
    goal.sets = ARENA_ARRAY(c->b->arena, struct schema_at, kept);
    if (goal.rule == UINT32_MAX || !goal.sets) {
        return constrain_fail_memory(c->b);
    }
    memcpy(goal.sets, unique, kept * sizeof unique[0]);
    c->goals[c->goal_count] = goal;
    c->table[slot] = (uint32_t)++c->goal_count;
    return constrain_ref(c->b, goal.rule);
}

/* ---- the whole ---- */

static bool depth_ok(const json_t *value, int depth)
{
    const char *key;
    json_t *part;
    size_t i;
    bool ok = depth <= CONSTRAIN_DEPTH_MAX;
    if (ok && json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, part)
        {
            ok = ok && depth_ok(part, depth + 1);
        }
    } else if (ok && json_is_array(value)) {
        json_array_foreach((json_t *)(uintptr_t)value, i, part)
        {
            ok = ok && depth_ok(part, depth + 1);
        }
    }
    return ok;
}

static const struct constrain_expr *build_schema(struct schema_compiler *c, struct schema_at at)
{
    struct constrain_build *b = c->b;
    if (!depth_ok(c->root, 0)) {
        constrain_fail(b, ERR_TOO_LARGE, "the schema is nested more than %d levels deep",
                       CONSTRAIN_DEPTH_MAX);
    }
    const struct constrain_expr *whole = constrain_schema_goal_ref(c, &at, 1);
    for (size_t i = 0; i < c->goal_count && !b->failed; i++) { /* grows meanwhile */
        const struct schema_goal goal = c->goals[i];
        const struct constrain_expr *body = of_goal(c, &goal);
        b->rules[goal.rule].body = body;
    }
    return whole;
}

const struct constrain_expr *constrain_schema_expr(struct constrain_build *b,
                                                   const struct constrain_json *json,
                                                   const struct constrain_part *part)
{
    struct schema_compiler c = {.b = b,
                                .json = *json,
                                .root = part->root ? part->root : part->schema,
                                .strict = part->is_strict,
                                .json_lists = json_array()};
    const struct schema_at at = {part->schema, part->path ? part->path : ""};
    const struct constrain_expr *whole =
        c.json_lists ? build_schema(&c, at) : constrain_fail_memory(b);
    json_decref(c.json_lists);
    return whole;
}

struct constrain_grammar *constrain_compile_schema(const json_t *schema, bool strict,
                                                   struct err *err)
{
    const struct constrain_part part = {
        .kind = CONSTRAIN_SCHEMA, .schema = schema, .is_strict = strict};
    return constrain_compile_parts(&part, (struct constrain_style){0}, err);
}

struct constrain_grammar *constrain_compile_json_object(struct err *err)
{
    const struct constrain_part part = {.kind = CONSTRAIN_OBJECT};
    return constrain_compile_parts(&part, (struct constrain_style){0}, err);
}
