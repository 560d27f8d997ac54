#include "constrain/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "constrain/grammar.h"

/* ---- places ---- */

const char *schema_path(struct schema_compiler *c, const char *base, const char *keyword,
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

static const char *shown(const char *path)
{
    return *path ? path : "/";
}

static bool refuse(struct schema_compiler *c, enum err_code code, const char *path,
                   const char *what)
{
    constrain_fail(c->b, code, "schema, %s: %s", shown(path), what);
    return false;
}

/* ---- references ---- */

static const json_t *find_anchor(const json_t *at, const char *name, int depth)
{
    const char *key;
    json_t *value;
    size_t i;
    const json_t *found = NULL;
    if (depth > CONSTRAIN_DEPTH_MAX) {
        return NULL;
    }
    if (json_is_object(at)) {
        const char *anchor = json_string_value(json_object_get(at, "$anchor"));
        const char *id = json_string_value(json_object_get(at, "$id"));
        if ((anchor && strcmp(anchor, name) == 0) ||
            (id && id[0] == '#' && strcmp(id + 1, name) == 0)) {
            return at;
        }
        json_object_foreach((json_t *)(uintptr_t)at, key, value)
        {
            if (!found && strcmp(key, "enum") != 0 && strcmp(key, "const") != 0) {
                found = find_anchor(value, name, depth + 1);
            }
        }
    } else if (json_is_array(at)) {
        json_array_foreach((json_t *)(uintptr_t)at, i, value)
        {
            found = found ? found : find_anchor(value, name, depth + 1);
        }
    }
    return found;
}

/* One step of a pointer: ~1 is /, ~0 is ~, %XX a byte. */
static bool unescape(struct str part, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        if (c == '%' && i + 2 < part.len) {
            const char hex[3] = {part.ptr[i + 1], part.ptr[i + 2], 0};
            c = (char)strtol(hex, NULL, 16);
            i += 2;
        }
        if (c == '~' && i + 1 < part.len && (part.ptr[i + 1] == '0' || part.ptr[i + 1] == '1')) {
            c = part.ptr[++i] == '0' ? '~' : '/';
        }
        if (n + 1 >= cap) {
            return false;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

static const json_t *follow(const json_t *at, struct str pointer)
{
    for (bool is_last = false; at && !is_last;) {
        char name[512];
        uint64_t index;
        is_last = str_find(pointer, STR("/"), 0) == SIZE_MAX; /* "a/" ends with an empty key */
        const struct str part = str_cut(&pointer, '/');
        if (!unescape(part, name, sizeof name)) {
            return NULL;
        }
        if (json_is_array(at)) {
            at = str_to_u64(str_of(name), &index) ? json_array_get(at, index) : NULL;
        } else {
            at = json_object_get(at, name);
        }
    }
    return at;
}

const json_t *schema_resolve(struct schema_compiler *c, const struct schema_at *at,
                             const char **path)
{
    const json_t *ref = json_object_get(at->schema, "$ref");
    struct str text = json_str(ref);
    char quoted[STR_QUOTE_MAX];
    const json_t *target = NULL;
    const char *id = json_string_value(json_object_get(c->root, "$id"));
    *path = schema_path(c, at->path, "$ref", NULL);
    if (!json_is_string(ref)) {
        refuse(c, ERR_TYPE, *path, "must be a string");
        return NULL;
    }
    if (id && id[0] != '#') {
        str_eat(&text, str_slice(str_of(id), 0, strcspn(id, "#")));
    }
    if (text.len == 0) {
        return c->root;
    }
    if (!str_eat(&text, STR("#"))) {
        constrain_fail(c->b, ERR_UNSUPPORTED,
                       "schema, %s: %s is not in this document; remote references are not fetched",
                       *path, str_quote(quoted, json_str(ref)));
        return NULL;
    }
    if (text.len == 0) {
        target = c->root;
    } else if (str_eat(&text, STR("/"))) {
        target = follow(c->root, text);
    } else {
        char name[256];
        target = unescape(text, name, sizeof name) ? find_anchor(c->root, name, 0) : NULL;
    }
    if (!target) {
        constrain_fail(c->b, ERR_INVALID, "schema, %s: %s does not exist", *path,
                       str_quote(quoted, json_str(ref)));
        return NULL;
    }
    struct buf pointer = {.limit = 1024};
    char safe[STR_QUOTE_MAX];
    buf_add_text(&pointer, str_quote(safe, str_slice(json_str(ref), 1, SIZE_MAX)));
    const char *copy = arena_copy(c->b->arena, buf_view(&pointer));
    buf_deinit(&pointer);
    *path = copy ? copy : *path;
    return target;
}

/* ---- keywords into a spec ---- */

void schema_spec_init(struct schema_spec *spec, const char *path)
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
        return refuse(c, ERR_INVALID, path, "type is none of the types of JSON");
    }
    spec->types &= types;
    return true;
}

static bool collect_enum(struct schema_compiler *c, const char *path, const json_t *values,
                         struct schema_spec *spec)
{
    if (!json_is_array(values) || json_array_size(values) == 0) {
        return refuse(c, ERR_INVALID, path, "enum must be a list of at least one value");
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
        return refuse(c, ERR_INVALID, schema_path(c, at->path, name, NULL),
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
            constrain_fail(c->b, ERR_INVALID, "schema, %s: %s is above %s", shown(at->path),
                           names[i], names[i + 1]);
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
        return refuse(c, ERR_TYPE, schema_path(c, at->path, name, NULL), "must be a number");
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
                return refuse(c, ERR_INVALID, at->path, "no number lies between its bounds");
            }
            spec->types &= ~numbers;
        }
    }
    if (!multiple) {
        return true;
    }
    const double real = json_number_value(multiple);
    if (!json_is_number(multiple) || real <= 0) {
        return refuse(c, ERR_INVALID, schema_path(c, at->path, "multipleOf", NULL),
                      "must be a number above 0");
    }
    if (real != (double)(uint64_t)real || real > 9e15) {
        return !c->strict || refuse(c, ERR_UNSUPPORTED, at->path,
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
        return refuse(c, ERR_UNSUPPORTED, at->path, "the values of multipleOf are too large");
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
        const char *path = schema_path(c, at->path, "pattern", NULL);
        if (!json_is_string(pattern)) {
            return refuse(c, ERR_TYPE, path, "must be a string");
        }
        if (!add_contents(c, spec, schema_pattern(c, json_str(pattern), path, true))) {
            return false;
        }
    }
    if (format) {
        bool known = false;
        const char *path = schema_path(c, at->path, "format", NULL);
        const struct constrain_dfa *dfa = schema_format(
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
                       shown(layer.path), SCHEMA_LAYERS_MAX);
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
                       shown(at->path), SCHEMA_PREFIX_MAX);
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
        return refuse(c, ERR_TYPE, at->path, "properties and patternProperties must be objects");
    }
    if (json_object_size(layer.list) > SCHEMA_PROPERTIES_MAX ||
        json_array_size(required) > SCHEMA_PROPERTIES_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "schema, %s: more than %d properties", shown(at->path),
                       SCHEMA_PROPERTIES_MAX);
        return false;
    }
    if (required && !json_is_boolean(required)) {
        for (size_t i = 0; (one = json_array_get(required, i)) != NULL; i++) {
            if (!json_is_string(one)) {
                return refuse(c, ERR_TYPE, at->path, "required must be a list of names");
            }
        }
        if (!json_is_array(required) || spec->required_count == SCHEMA_LAYERS_MAX) {
            return refuse(c, ERR_TYPE, at->path, "required must be a list of names");
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
                           shown(at->path), refused[i]);
            return false;
        }
    }
    return true;
}

static bool collect_branches(struct schema_compiler *c, const struct schema_at *at,
                             const char *name, struct schema_spec *spec)
{
    const json_t *list = json_object_get(at->schema, name);
    if (!list) {
        return true;
    }
    const char *path = schema_path(c, at->path, name, NULL);
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return refuse(c, ERR_TYPE, path, "must be a list of at least one schema");
    }
    if (spec->branch_count == SCHEMA_BRANCHES_MAX) {
        return refuse(c, ERR_TOO_LARGE, path,
                      "more than 32 anyOf and oneOf describe the same place");
    }
    if (strcmp(name, "oneOf") == 0 && c->strict) {
        for (size_t i = 0; i < json_array_size(list) && !c->b->failed; i++) {
            for (size_t j = 0; j < i && !c->b->failed; j++) {
                const struct schema_at x = {json_array_get(list, j), path};
                const struct schema_at y = {json_array_get(list, i), path};
                if (!schema_disjoint(c, x, y) && !c->b->failed) {
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
        const json_t *target = schema_resolve(c, at, &path);
        if (!target || !schema_collect(c, (struct schema_at){target, path}, spec)) {
            return false;
        }
    }
    for (size_t i = 0; (one = json_array_get(all, i)) != NULL; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        if (!schema_collect(c, (struct schema_at){one, schema_path(c, at->path, "allOf", index)},
                            spec)) {
            return false;
        }
    }
    return collect_branches(c, at, "anyOf", spec) && collect_branches(c, at, "oneOf", spec);
}

bool schema_collect(struct schema_compiler *c, struct schema_at at, struct schema_spec *spec)
{
    bool ok = !c->b->failed;
    if (json_is_boolean(at.schema)) {
        spec->types = json_is_true(at.schema) ? spec->types : 0;
        return ok;
    }
    if (!json_is_object(at.schema)) {
        return ok && refuse(c, ERR_TYPE, at.path, "a schema must be an object or a boolean");
    }
    if (++c->depth > CONSTRAIN_DEPTH_MAX) {
        return refuse(c, ERR_INVALID, at.path, "$ref and allOf form a circle, or are too deep");
    }
    if (++c->visits > SCHEMA_VISITS_MAX) {
        return refuse(c, ERR_TOO_LARGE, at.path, "the schema is too entangled");
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
    const struct constrain_expr *range =
        has_bound ? constrain_number_range(b, &spec->min, &spec->max, integer) : c->json.integer;
    const struct constrain_dfa *dfa = constrain_dfa_of(b, range);
    if (spec->multiple) {
        const struct constrain_expr *multiple =
            constrain_number_multiple(b, spec->multiple, shown(spec->path));
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
        for (size_t k = 0; k < goal->count && valid; k++) {
            valid = schema_value_valid(c, goal->sets[k], value);
        }
        if (valid) {
            parts[kept] = constrain_json_literal(c->b, value);
            bytes += parts[kept++]->size;
        }
        if (bytes > SCHEMA_ENUM_BYTES_MAX) {
            return constrain_fail(c->b, ERR_TOO_LARGE,
                                  "schema, %s: the values of enum have more than %d bytes",
                                  shown(goal->sets[0].path), SCHEMA_ENUM_BYTES_MAX);
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
        parts[count++] = constrain_text(b, "null");
    }
    if (spec->types & SCHEMA_BOOLEAN) {
        parts[count++] = constrain_either(b, constrain_text(b, "true"), constrain_text(b, "false"));
    }
    if (spec->types & (SCHEMA_INTEGER | SCHEMA_FRACTION)) {
        parts[count++] = of_numbers(c, spec);
    }
    if (spec->types & SCHEMA_STRING) {
        parts[count++] = schema_string(c, spec);
    }
    if (spec->types & SCHEMA_ARRAY) {
        parts[count++] = schema_array(c, spec);
    }
    if (spec->types & SCHEMA_OBJECT) {
        parts[count++] = schema_object(c, spec);
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
                              shown(spec->path), SCHEMA_SPECS_MAX);
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
                              shown(list.path));
    }
    for (size_t i = 0; i < json_array_size(list.schema) && !c->b->failed; i++) {
        char index[24];
        *next = *spec;
        next->branch_count--;
        snprintf(index, sizeof index, "%zu", i);
        const struct schema_at at = {json_array_get(list.schema, i),
                                     schema_path(c, list.path, index, NULL)};
        if (schema_collect(c, at, next)) {
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
    schema_spec_init(spec, at->path);
    if (collect_branches(c, at, choice, spec)) {
        for (size_t i = 0; (one = json_array_get(list, i)) != NULL; i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            const struct schema_at part = {one, schema_path(c, at->path, choice, index)};
            out = constrain_either(c->b, out, schema_goal_ref(c, &part, 1));
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
        schema_spec_init(spec, goal->sets[0].path);
        for (size_t i = 0; i < goal->count && ok; i++) {
            ok = schema_collect(c, goal->sets[i], spec);
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

const struct constrain_expr *schema_goal_ref(struct schema_compiler *c,
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
                                  shown(sets[i].path), SCHEMA_SETS_MAX);
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
    snprintf(name, sizeof name, "schema, %s", shown(unique[0].path));
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

static void build_schema(struct schema_compiler *c)
{
    struct constrain_build *b = c->b;
    const struct schema_at root = {c->root, ""};
    const uint32_t start = constrain_rule_add(b, "the schema");
    constrain_json_init(&c->json, b);
    if (!depth_ok(c->root, 0)) {
        constrain_fail(b, ERR_TOO_LARGE, "the schema is nested more than %d levels deep",
                       CONSTRAIN_DEPTH_MAX);
    }
    const struct constrain_expr *whole = schema_goal_ref(c, &root, 1);
    for (size_t i = 0; i < c->goal_count && !b->failed; i++) { /* grows meanwhile */
        const struct schema_goal goal = c->goals[i];
        const struct constrain_expr *body = of_goal(c, &goal);
        b->rules[goal.rule].body = body;
    }
    if (!b->failed) {
        b->rules[start].body = whole;
    }
}

struct constrain_grammar *constrain_compile_schema(const json_t *schema, bool strict,
                                                   struct err *err)
{
    struct constrain_build b;
    struct schema_compiler c = {.b = &b, .root = schema, .strict = strict};
    struct constrain_grammar *grammar = constrain_grammar_begin(&b, err);
    if (!grammar) {
        return NULL;
    }
    c.json_lists = json_array();
    if (c.json_lists) {
        build_schema(&c);
    } else {
        constrain_fail_memory(&b);
    }
    grammar = constrain_grammar_end(&b, grammar, false);
    json_decref(c.json_lists);
    return grammar;
}

struct constrain_grammar *constrain_compile_json_object(struct err *err)
{
    struct constrain_build b;
    struct constrain_json json;
    struct constrain_grammar *grammar = constrain_grammar_begin(&b, err);
    if (!grammar) {
        return NULL;
    }
    const uint32_t start = constrain_rule_add(&b, "a JSON object");
    constrain_json_init(&json, &b);
    const struct constrain_expr *object = constrain_ref(&b, json.object_rule);
    if (!b.failed) {
        b.rules[start].body = object;
    }
    return constrain_grammar_end(&b, grammar, false);
}
