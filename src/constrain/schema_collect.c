/* The keywords of one schema, and of all it refers to, into a spec. What contradicts itself is
 * refused here, as is what the automaton cannot say. */
#include "constrain/schema.h"

#include <stdio.h>

void constrain_schema_spec_init(struct schema_spec *spec, const char *path)
{
    *spec = (struct schema_spec){.types = SCHEMA_ALL,
                                 .length_max = EXPR_UNBOUNDED,
                                 .items_max = EXPR_UNBOUNDED,
                                 .path = path};
}

static unsigned type_named(const char *name)
{
    static const struct {
        const char *name;
        unsigned types;
    } rows[] = {{"null", SCHEMA_NULL},
                {"boolean", SCHEMA_BOOLEAN},
                {"number", SCHEMA_FRACTION | SCHEMA_INTEGER},
                {"integer", SCHEMA_INTEGER},
                {"string", SCHEMA_STRING},
                {"array", SCHEMA_ARRAY},
                {"object", SCHEMA_OBJECT}};
    for (size_t i = 0; name && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].types;
        }
    }
    return 0;
}

static bool collect_type(struct schema_compiler *c, const char *path, const json_t *type,
                         struct schema_spec *spec)
{
    unsigned types = type_named(json_string_value(type));
    size_t i;
    json_t *one;
    if (json_is_array(type)) {
        json_array_foreach((json_t *)(uintptr_t)type, i, one)
        {
            const unsigned some = type_named(json_string_value(one));
            if (!some) {
                types = 0;
                break;
            }
            types |= some;
        }
    }
    if (!types) {
        return constrain_schema_refuse(c, ERR_INVALID, path, "type is none of the types of JSON");
    }
    spec->types &= types;
    return true;
}

static bool collect_enum(struct schema_compiler *c, const char *path, const json_t *values,
                         struct schema_spec *spec)
{
    if (!json_is_array(values) || json_array_size(values) == 0) {
        return constrain_schema_refuse(c, ERR_INVALID, path,
                                       "enum must be a list of at least one value");
    }
    if (json_array_size(values) > SCHEMA_ENUM_MAX) {
        return constrain_schema_refuse(c, ERR_TOO_LARGE, path, "enum has more than 100000 values");
    }
    if (!spec->values || json_array_size(values) < json_array_size(spec->values)) {
        spec->values = values;
    }
    return true;
}

static bool collect_const(struct schema_compiler *c, const json_t *value, struct schema_spec *spec)
{
    /* as an enum of one; the list lives until the compilation ends */
    json_t *list = json_array();
    if (!list || json_array_append(list, (json_t *)(uintptr_t)value) != 0) {
        json_decref(list);
        constrain_fail_memory(c->b);
        return false;
    }
    json_array_append_new(c->json_lists, list);
    spec->values = list;
    return true;
}

/* A count keyword; absent is fine. */
static bool collect_count(struct schema_compiler *c, const struct schema_at *at, const char *name,
                          uint64_t *value, bool is_min)
{
    const json_t *number = json_object_get(at->schema, name);
    if (!number) {
        return true;
    }
    const double real = json_number_value(number);
    if (!json_is_number(number) || real < 0 || real != (double)(uint64_t)real || real > 1e15) {
        return constrain_schema_refuse(c, ERR_INVALID,
                                       constrain_schema_path(c, at->path, name, NULL),
                                       "must be a whole number from 0 to 10^15");
    }
    const uint64_t count = (uint64_t)real;
    if (is_min ? count > *value : count < *value) {
        *value = count;
    }
    return true;
}

static bool collect_counts(struct schema_compiler *c, const struct schema_at *at,
                           struct schema_spec *spec)
{
    uint64_t local[4] = {0, EXPR_UNBOUNDED, 0, EXPR_UNBOUNDED};
    static const char *const names[] = {"minLength", "maxLength", "minItems", "maxItems"};
    uint64_t *to[] = {&spec->length_min, &spec->length_max, &spec->items_min, &spec->items_max};
    for (int i = 0; i < 4; i++) {
        if (!collect_count(c, at, names[i], &local[i], i % 2 == 0) ||
            !collect_count(c, at, names[i], to[i], i % 2 == 0)) {
            return false;
        }
    }
    for (int i = 0; i < 4; i += 2) {
        if (local[i] > local[i + 1]) {
            constrain_fail(c->b, ERR_INVALID, "schema, %s: %s is above %s",
                           constrain_schema_shown(at->path), names[i], names[i + 1]);
            return false;
        }
    }
    return true;
}

static bool collect_bound(struct schema_compiler *c, const struct schema_at *at, const char *name,
                          bool is_min, bool is_exclusive, struct schema_spec *spec)
{
    const json_t *number = json_object_get(at->schema, name);
    struct constrain_bound *to = is_min ? &spec->min : &spec->max, bound;
    if (!number || json_is_boolean(number)) { /* draft 4: see below */
        return true;
    }
    if (!json_is_number(number)) {
        return constrain_schema_refuse(c, ERR_TYPE, constrain_schema_path(c, at->path, name, NULL),
                                       "must be a number");
    }
    constrain_bound_set(&bound, number, is_exclusive);
    const int order = to->is_set ? constrain_bound_compare(&bound, to) : 0;
    if (!to->is_set || (is_min ? order > 0 : order < 0) || (order == 0 && is_exclusive)) {
        *to = bound;
    }
    return true;
}

static bool collect_numbers(struct schema_compiler *c, const struct schema_at *at,
                            struct schema_spec *spec)
{
    const json_t *multiple = json_object_get(at->schema, "multipleOf");
    const bool has_max4 = json_is_true(json_object_get(at->schema, "exclusiveMaximum"));
    const bool has_min4 = json_is_true(json_object_get(at->schema, "exclusiveMinimum"));
    if (!collect_bound(c, at, "minimum", true, has_min4, spec) ||
        !collect_bound(c, at, "maximum", false, has_max4, spec) ||
        !collect_bound(c, at, "exclusiveMinimum", true, true, spec) ||
        !collect_bound(c, at, "exclusiveMaximum", false, true, spec)) {
        return false;
    }
    if (spec->min.is_set && spec->max.is_set) {
        const int order = constrain_bound_compare(&spec->min, &spec->max);
        const unsigned numbers = SCHEMA_INTEGER | SCHEMA_FRACTION;
        if (order > 0 || (order == 0 && (spec->min.is_exclusive || spec->max.is_exclusive))) {
            if ((spec->types & ~numbers) == 0) {
                return constrain_schema_refuse(c, ERR_INVALID, at->path,
                                               "no number lies between its bounds");
            }
            spec->types &= ~numbers;
        }
    }
    if (!multiple) {
        return true;
    }
    const double real = json_number_value(multiple);
    if (!json_is_number(multiple) || real <= 0) {
        return constrain_schema_refuse(c, ERR_INVALID,
                                       constrain_schema_path(c, at->path, "multipleOf", NULL),
                                       "must be a number above 0");
    }
    if (real != (double)(uint64_t)real || real > 9e15) {
        return !c->strict ||
               constrain_schema_refuse(c, ERR_UNSUPPORTED, at->path,
                                       "multipleOf is supported for whole numbers only");
    }
    uint64_t a = spec->multiple ? spec->multiple : 1, b = (uint64_t)real, lcm;
    for (uint64_t x = a, y = b;;) {
        const uint64_t r = x % y;
        if (r == 0) {
            lcm = a / y;
            break;
        }
        x = y;
        y = r;
    }
    if (__builtin_mul_overflow(lcm, b, &lcm)) {
        return constrain_schema_refuse(c, ERR_UNSUPPORTED, at->path,
                                       "the values of multipleOf are too large");
    }
    spec->multiple = lcm;
    return true;
}

static bool add_contents(struct schema_compiler *c, struct schema_spec *spec,
                         const struct constrain_dfa *dfa)
{
    spec->contents = spec->contents ? constrain_dfa_and(c->b, spec->contents, dfa) : dfa;
    return !c->b->failed;
}

static bool collect_strings(struct schema_compiler *c, const struct schema_at *at,
                            struct schema_spec *spec)
{
    const json_t *pattern = json_object_get(at->schema, "pattern");
    const json_t *format = json_object_get(at->schema, "format");
    char quoted[STR_QUOTE_MAX];
    if (pattern) {
        const char *path = constrain_schema_path(c, at->path, "pattern", NULL);
        if (!json_is_string(pattern)) {
            return constrain_schema_refuse(c, ERR_TYPE, path, "must be a string");
        }
        if (!add_contents(c, spec, constrain_schema_pattern(c, json_str(pattern), path, true))) {
            return false;
        }
    }
    if (format) {
        bool known = false;
        const char *path = constrain_schema_path(c, at->path, "format", NULL);
        const struct constrain_dfa *dfa = constrain_schema_format(
            c, json_is_string(format) ? json_string_value(format) : "", path, true, &known);
        if (!known && c->strict) {
            constrain_fail(c->b, ERR_UNSUPPORTED, "schema, %s: the format \"%s\" is not supported",
                           path, str_quote(quoted, json_str(format)));
            return false;
        }
        return !known || add_contents(c, spec, dfa);
    }
    return true;
}

static bool add_layer(struct schema_compiler *c, struct schema_layer *layers, size_t *count,
                      struct schema_layer layer)
{
    if (*count == SCHEMA_LAYERS_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE,
                       "schema, %s: more than %d schemas describe the same place",
                       constrain_schema_shown(layer.path), SCHEMA_LAYERS_MAX);
        return false;
    }
    layers[(*count)++] = layer;
    return true;
}

static bool collect_arrays(struct schema_compiler *c, const struct schema_at *at,
                           struct schema_spec *spec)
{
    const json_t *prefix = json_object_get(at->schema, "prefixItems");
    const json_t *items = json_object_get(at->schema, "items");
    if (json_is_array(items)) { /* draft 7 */
        prefix = items;
        items = json_object_get(at->schema, "additionalItems");
    }
    if (json_array_size(prefix) > SCHEMA_PREFIX_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "schema, %s: prefixItems has more than %d schemas",
                       constrain_schema_shown(at->path), SCHEMA_PREFIX_MAX);
        return false;
    }
    return (!prefix && !items) ||
           add_layer(c, spec->arrays, &spec->array_count,
                     (struct schema_layer){.list = prefix, .rest = items, .path = at->path});
}

static bool collect_objects(struct schema_compiler *c, const struct schema_at *at,
                            struct schema_spec *spec)
{
    struct schema_layer layer = {.list = json_object_get(at->schema, "properties"),
                                 .patterns = json_object_get(at->schema, "patternProperties"),
                                 .rest = json_object_get(at->schema, "additionalProperties"),
                                 .names = json_object_get(at->schema, "propertyNames"),
                                 .path = at->path};
    const json_t *required = json_object_get(at->schema, "required"), *one;
    const json_t *closed = json_object_get(at->schema, "unevaluatedProperties");
    if (json_is_false(closed) && !layer.rest) {
        layer.rest = closed; /* alone it says the same; refused with others in check_keywords */
    }
    if ((layer.list && !json_is_object(layer.list)) ||
        (layer.patterns && !json_is_object(layer.patterns))) {
        return constrain_schema_refuse(c, ERR_TYPE, at->path,
                                       "properties and patternProperties must be objects");
    }
    if (json_object_size(layer.list) > SCHEMA_PROPERTIES_MAX ||
        json_array_size(required) > SCHEMA_PROPERTIES_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "schema, %s: more than %d properties",
                       constrain_schema_shown(at->path), SCHEMA_PROPERTIES_MAX);
        return false;
    }
    if (required && !json_is_boolean(required)) {
        for (size_t i = 0; (one = json_array_get(required, i)) != NULL; i++) {
            if (!json_is_string(one)) {
                return constrain_schema_refuse(c, ERR_TYPE, at->path,
                                               "required must be a list of names");
            }
        }
        if (!json_is_array(required) || spec->required_count == SCHEMA_LAYERS_MAX) {
            return constrain_schema_refuse(c, ERR_TYPE, at->path,
                                           "required must be a list of names");
        }
        spec->required[spec->required_count++] = required;
    }
    return (!layer.list && !layer.patterns && !layer.rest && !layer.names) ||
           add_layer(c, spec->objects, &spec->object_count, layer);
}

/* Keywords that would change what is valid and that the automaton cannot say. */
static bool check_keywords(struct schema_compiler *c, const struct schema_at *at)
{
    static const char *const refused[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "dependentSchemas",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "dependentRequired",
                                          "dependencies",
                                          "uniqueItems",
                                          "minProperties",
                                          "maxProperties",
                                          "unevaluatedItems",
                                          "unevaluatedProperties",
                                          "$dynamicRef",
                                          "$recursiveRef"};
    static const char *const applicators[] = {"$ref", "allOf", "anyOf", "oneOf"};
    for (size_t i = 0; c->strict && i < sizeof refused / sizeof refused[0]; i++) {
        const json_t *value = json_object_get(at->schema, refused[i]);
        bool is_refused = value && !json_is_false(value);
        if (value && json_is_false(value) && strcmp(refused[i], "unevaluatedProperties") == 0) {
            for (size_t k = 0; k < 4; k++) {
                is_refused |= json_object_get(at->schema, applicators[k]) != NULL;
            }
        } else if (value && json_is_false(value) && strcmp(refused[i], "uniqueItems") != 0) {
            is_refused = true;
        }
        is_refused &= !(strncmp(refused[i], "unevaluated", 11) == 0 && json_is_true(value));
        is_refused &= !(strcmp(refused[i], "minProperties") == 0 && json_is_integer(value) &&
                        json_integer_value(value) == 0);
        if (is_refused) {
            constrain_fail(c->b, ERR_UNSUPPORTED, "schema, %s: the keyword %s is not supported",
                           constrain_schema_shown(at->path), refused[i]);
            return false;
        }
    }
    return true;
}

bool constrain_schema_collect_branches(struct schema_compiler *c, const struct schema_at *at,
                                       const char *name, struct schema_spec *spec)
{
    const json_t *list = json_object_get(at->schema, name);
    if (!list) {
        return true;
    }
    const char *path = constrain_schema_path(c, at->path, name, NULL);
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return constrain_schema_refuse(c, ERR_TYPE, path, "must be a list of at least one schema");
    }
    if (spec->branch_count == SCHEMA_BRANCHES_MAX) {
        return constrain_schema_refuse(c, ERR_TOO_LARGE, path,
                                       "more than 32 anyOf and oneOf describe the same place");
    }
    if (strcmp(name, "oneOf") == 0 && c->strict) {
        for (size_t i = 0; i < json_array_size(list) && !c->b->failed; i++) {
            for (size_t j = 0; j < i && !c->b->failed; j++) {
                const struct schema_at x = {json_array_get(list, j), path};
                const struct schema_at y = {json_array_get(list, i), path};
                if (!constrain_schema_disjoint(c, x, y) && !c->b->failed) {
                    constrain_fail(c->b, ERR_UNSUPPORTED,
                                   "schema, %s: a value could be valid for both %zu and %zu; "
                                   "oneOf is supported where that cannot happen (use anyOf)",
                                   path, j, i);
                }
            }
        }
    }
    spec->branches[spec->branch_count++] = (struct schema_at){list, path};
    return !c->b->failed;
}

static bool collect_others(struct schema_compiler *c, const struct schema_at *at,
                           struct schema_spec *spec)
{
    const json_t *all = json_object_get(at->schema, "allOf"), *one;
    if (json_object_get(at->schema, "$ref")) {
        const char *path;
        const json_t *target = constrain_schema_resolve(c, at, &path);
        if (!target || !constrain_schema_collect(c, (struct schema_at){target, path}, spec)) {
            return false;
        }
    }
    for (size_t i = 0; (one = json_array_get(all, i)) != NULL; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        if (!constrain_schema_collect(
                c, (struct schema_at){one, constrain_schema_path(c, at->path, "allOf", index)},
                spec)) {
            return false;
        }
    }
    return constrain_schema_collect_branches(c, at, "anyOf", spec) &&
           constrain_schema_collect_branches(c, at, "oneOf", spec);
}

bool constrain_schema_collect(struct schema_compiler *c, struct schema_at at,
                              struct schema_spec *spec)
{
    bool ok = !c->b->failed;
    if (json_is_boolean(at.schema)) {
        spec->types = json_is_true(at.schema) ? spec->types : 0;
        return ok;
    }
    if (!json_is_object(at.schema)) {
        return ok && constrain_schema_refuse(c, ERR_TYPE, at.path,
                                             "a schema must be an object or a boolean");
    }
    if (++c->depth > CONSTRAIN_DEPTH_MAX) {
        return constrain_schema_refuse(c, ERR_INVALID, at.path,
                                       "$ref and allOf form a circle, or are too deep");
    }
    if (++c->visits > SCHEMA_VISITS_MAX) {
        return constrain_schema_refuse(c, ERR_TOO_LARGE, at.path, "the schema is too entangled");
    }
    const json_t *type = json_object_get(at.schema, "type");
    const json_t *values = json_object_get(at.schema, "enum");
    const json_t *value = json_object_get(at.schema, "const");
    ok = ok && check_keywords(c, &at) && (!type || collect_type(c, at.path, type, spec)) &&
         (!values || collect_enum(c, at.path, values, spec)) &&
         (!value || collect_const(c, value, spec)) && collect_counts(c, &at, spec) &&
         collect_numbers(c, &at, spec) && collect_strings(c, &at, spec) &&
         collect_arrays(c, &at, spec) && collect_objects(c, &at, spec) &&
         collect_others(c, &at, spec);
    c->depth--;
    return ok;
}
