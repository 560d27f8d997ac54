/* Whether a value is valid by the schema: for the values of enum, which may disagree with what
 * stands beside it, and to tell the branches of oneOf apart. */
#include <math.h>

#include "base/utf8.h"
#include "constrain/schema.h"

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b) && json_is_real(a) != json_is_real(b)) {
        return json_number_value(a) == json_number_value(b);
    }
    return json_equal(a, b);
}

static bool type_valid(const json_t *type, const json_t *value)
{
    const char *name = json_string_value(type);
    if (json_is_array(type)) {
        bool any = false;
        for (size_t i = 0; i < json_array_size(type); i++) {
            any |= type_valid(json_array_get(type, i), value);
        }
        return any;
    }
    if (!name || strcmp(name, "number") == 0) {
        return name && json_is_number(value);
    }
    if (strcmp(name, "integer") == 0) {
        return json_is_integer(value) ||
               (json_is_real(value) && json_real_value(value) == floor(json_real_value(value)));
    }
    return (strcmp(name, "null") == 0 && json_is_null(value)) ||
           (strcmp(name, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(name, "string") == 0 && json_is_string(value)) ||
           (strcmp(name, "array") == 0 && json_is_array(value)) ||
           (strcmp(name, "object") == 0 && json_is_object(value));
}

static bool number_valid(const json_t *schema, const json_t *value)
{
    struct constrain_bound x, limit;
    static const struct {
        const char *name;
        int sign;
        bool exclusive;
    } rows[] = {{"minimum", 1, false},
                {"maximum", -1, false},
                {"exclusiveMinimum", 1, true},
                {"exclusiveMaximum", -1, true}};
    constrain_bound_set(&x, value, false);
    for (size_t i = 0; i < 4; i++) {
        const json_t *bound = json_object_get(schema, rows[i].name);
        if (json_is_number(bound)) {
            constrain_bound_set(&limit, bound, false);
            const int order = constrain_bound_compare(&x, &limit) * rows[i].sign;
            if (order < 0 || (order == 0 && rows[i].exclusive)) {
                return false;
            }
        }
    }
    const json_t *multiple = json_object_get(schema, "multipleOf");
    return !json_is_number(multiple) ||
           fmod(json_number_value(value), json_number_value(multiple)) == 0;
}

static bool string_valid(struct schema_compiler *c, const struct schema_at *at, const json_t *value)
{
    const struct str s = json_str(value);
    const json_t *min = json_object_get(at->schema, "minLength");
    const json_t *max = json_object_get(at->schema, "maxLength");
    const json_t *pattern = json_object_get(at->schema, "pattern");
    const json_t *format = json_object_get(at->schema, "format");
    const double count = (double)utf8_count(s);
    if ((min && count < json_number_value(min)) || (max && count > json_number_value(max))) {
        return false;
    }
    if (json_is_string(pattern)) {
        const struct constrain_dfa *dfa =
            constrain_schema_pattern(c, json_str(pattern), at->path, false);
        if (!dfa || !constrain_dfa_match(dfa, s)) {
            return false;
        }
    }
    bool known = false;
    const struct constrain_dfa *dfa =
        json_is_string(format)
            ? constrain_schema_format(c, json_string_value(format), at->path, false, &known)
            : NULL;
    return !known || (dfa && constrain_dfa_match(dfa, s));
}

static bool array_valid(struct schema_compiler *c, const struct schema_at *at, const json_t *value)
{
    const json_t *min = json_object_get(at->schema, "minItems");
    const json_t *max = json_object_get(at->schema, "maxItems");
    const json_t *prefix = json_object_get(at->schema, "prefixItems");
    const json_t *items = json_object_get(at->schema, "items");
    const double count = (double)json_array_size(value);
    if (json_is_array(items)) {
        prefix = items;
        items = json_object_get(at->schema, "additionalItems");
    }
    if ((min && count < json_number_value(min)) || (max && count > json_number_value(max))) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (one && !constrain_schema_value_valid(c, (struct schema_at){one, at->path},
                                                 json_array_get(value, i))) {
            return false;
        }
    }
    return true;
}

static bool object_valid(struct schema_compiler *c, const struct schema_at *at, const json_t *value)
{
    const json_t *list = json_object_get(at->schema, "properties");
    const json_t *patterns = json_object_get(at->schema, "patternProperties");
    const json_t *rest = json_object_get(at->schema, "additionalProperties");
    const json_t *required = json_object_get(at->schema, "required");
    const char *key, *pattern;
    json_t *member, *schema;
    bool ok = true;
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        ok = ok && (!name || json_object_get(value, name));
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        const json_t *one = json_object_get(list, key);
        bool found = one != NULL;
        ok = ok &&
             (!one || constrain_schema_value_valid(c, (struct schema_at){one, at->path}, member));
        json_object_foreach((json_t *)(uintptr_t)patterns, pattern, schema)
        {
            const struct constrain_dfa *dfa =
                constrain_schema_pattern(c, str_of(pattern), at->path, false);
            if (dfa && constrain_dfa_match(dfa, str_of(key))) {
                found = true;
                ok = ok &&
                     constrain_schema_value_valid(c, (struct schema_at){schema, at->path}, member);
            }
        }
        if (!found && rest) {
            ok = ok && constrain_schema_value_valid(c, (struct schema_at){rest, at->path}, member);
        }
    }
    return ok;
}

static bool choices_valid(struct schema_compiler *c, const struct schema_at *at,
                          const json_t *value)
{
    static const char *const names[] = {"allOf", "anyOf", "oneOf"};
    const char *path;
    if (json_object_get(at->schema, "$ref")) {
        const json_t *target = constrain_schema_resolve(c, at, &path);
        if (!target || !constrain_schema_value_valid(c, (struct schema_at){target, path}, value)) {
            return false;
        }
    }
    for (int k = 0; k < 3; k++) {
        const json_t *list = json_object_get(at->schema, names[k]);
        size_t valid = 0;
        for (size_t i = 0; i < json_array_size(list); i++) {
            valid += constrain_schema_value_valid(
                c, (struct schema_at){json_array_get(list, i), at->path}, value);
        }
        if (list && (k == 0   ? valid != json_array_size(list)
                     : k == 1 ? valid == 0
                              : valid != 1 && (c->strict || valid == 0))) {
            return false;
        }
    }
    return true;
}

bool constrain_schema_value_valid(struct schema_compiler *c, struct schema_at at,
                                  const json_t *value)
{
    const json_t *type = json_object_get(at.schema, "type");
    const json_t *values = json_object_get(at.schema, "enum");
    const json_t *constant = json_object_get(at.schema, "const");
    if (!json_is_object(at.schema)) {
        return !json_is_false(at.schema);
    }
    if (++c->visits > SCHEMA_VISITS_MAX) {
        constrain_fail(c->b, ERR_TOO_LARGE, "schema, %s: the schema is too entangled", at.path);
    }
    if (++c->depth > CONSTRAIN_DEPTH_MAX) {
        constrain_fail(c->b, ERR_INVALID, "schema, %s: $ref forms a circle, or is too deep",
                       at.path);
    }
    bool ok = !c->b->failed && (!type || type_valid(type, value)) &&
              (!constant || same_value(constant, value));
    if (ok && values && !(values == c->known_list && value == c->known_value)) {
        ok = false;
        c->visits += (long)(json_array_size(values) / 64);
        for (size_t i = 0; i < json_array_size(values) && !ok; i++) {
            ok = same_value(json_array_get(values, i), value);
        }
    }
    if (ok && json_is_number(value)) {
        ok = number_valid(at.schema, value);
    } else if (ok && json_is_string(value)) {
        ok = string_valid(c, &at, value);
    } else if (ok && json_is_array(value)) {
        ok = array_valid(c, &at, value);
    } else if (ok && json_is_object(value)) {
        ok = object_valid(c, &at, value);
    }
    ok = ok && choices_valid(c, &at, value);
    c->depth--;
    return ok;
}
