/* Fields that say what an answer's text must be: response_format, and llama-server's and vLLM's
 * shorter words for it. One of them, not several. */
#include "api/openai.h"
#include "base/json.h"

static bool set_format(struct gen_request *request, const char *name, enum gen_format format,
                       struct err *err)
{
    if (request->format != GEN_FORMAT_TEXT) {
        return err_set_param(err, ERR_INVALID, name, "'%s' and '%s' both say what the answer is",
                             request->format_param, name);
    }
    request->format = format;
    request->format_param = name;
    return true;
}

static bool set_schema(struct gen_request *request, const char *name, const json_t *schema,
                       bool is_strict, struct err *err)
{
    request->schema = schema;
    request->schema_strict = is_strict;
    return set_format(request, name, GEN_FORMAT_SCHEMA, err);
}

/* {"name":..., "description":..., "schema":..., "strict":...} */
static bool read_json_schema(struct gen_request *request, const struct api_field *field,
                             const json_t *given, struct err *err)
{
    static const char *const names[] = {"name", "description", "schema", "strict"};
    json_t *object = (json_t *)(uintptr_t)given;
    const json_t *schema = json_object_get(given, "schema");
    const json_t *strict = json_object_get(given, "strict");
    if (!json_is_object(given)) {
        return given ? api_type_error("response_format.json_schema", "an object", given, err)
                     : err_set_param(err, ERR_MISSING, "response_format.json_schema",
                                     "type 'json_schema' needs 'json_schema'");
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        bool is_known = false;
        for (size_t i = 0; i < 4; i++) {
            is_known = is_known || strcmp(names[i], json_object_iter_key(it)) == 0;
        }
        if (!is_known) {
            api_unknown_error(json_object_iter_key(it), err);
            return err_wrap_param(err, "response_format.json_schema");
        }
    }
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        return err_set_param(err, schema ? ERR_TYPE : ERR_MISSING,
                             "response_format.json_schema.schema",
                             "'json_schema' needs a 'schema', which is an object");
    }
    if (strict && !json_is_boolean(strict) && !json_is_null(strict)) {
        return api_type_error("response_format.json_schema.strict", "a boolean", strict, err);
    }
    return set_schema(request, field->name, schema, !json_is_false(strict), err);
}

static bool apply_response_format(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err)
{
    if (!json_is_object(value)) {
        return api_type_error(field->name, "an object", value, err);
    }
    const json_t *kind = json_object_get(value, "type");
    if (!json_is_string(kind)) {
        return kind ? api_type_error("response_format.type", "a string", kind, err)
                    : err_set_param(err, ERR_MISSING, "response_format.type",
                                    "'response_format' needs a 'type'");
    }
    const struct str type = json_str(kind);
    if (str_eq(type, STR("json_schema"))) {
        return read_json_schema(request, field, json_object_get(value, "json_schema"), err);
    }
    const json_t *schema = json_object_get(value, "schema"); /* llama-server's json_object */
    const bool is_object = str_eq(type, STR("json_object"));
    if (json_object_size(value) != (is_object && schema ? 2 : 1)) {
        return err_set_param(err, ERR_UNKNOWN, "response_format",
                             "'response_format' of this type has no other fields");
    }
    if (is_object && schema) {
        return json_is_object(schema)
                   ? set_schema(request, field->name, schema, true, err)
                   : api_type_error("response_format.schema", "an object", schema, err);
    }
    if (is_object) {
        return set_format(request, field->name, GEN_FORMAT_JSON_OBJECT, err);
    }
    char quoted[STR_QUOTE_MAX];
    return str_eq(type, STR("text")) ||
           err_set_param(err, ERR_INVALID, "response_format.type",
                         "'%s' is not one of 'text', 'json_object', 'json_schema'",
                         str_quote(quoted, type));
}

static bool apply_schema(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    return json_is_object(value) ? set_schema(request, field->name, value, true, err)
                                 : api_type_error(field->name, "an object", value, err);
}

static bool apply_source(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    const bool is_regex = strstr(field->name, "regex") != NULL;
    if (!json_is_string(value)) {
        return api_type_error(field->name, "a string", value, err);
    }
    if (json_str(value).len == 0) {
        return true; /* clients send an empty grammar for none */
    }
    request->grammar = json_str(value);
    return set_format(request, field->name, is_regex ? GEN_FORMAT_REGEX : GEN_FORMAT_GBNF, err);
}

const struct api_field api_openai_format_fields[] = {
    {.name = "response_format", .kind = API_CUSTOM, .apply = apply_response_format},
    {.name = "json_schema",
     .kind = API_CUSTOM,
     .apply = apply_schema,
     .note = "an extension: the schema alone"},
    {.name = "grammar",
     .kind = API_CUSTOM,
     .apply = apply_source,
     .note = "an extension: GBNF, as llama.cpp defines it"},
    {.name = "regex",
     .kind = API_CUSTOM,
     .apply = apply_source,
     .note = "an extension: what the whole answer matches"},
    {.name = "guided_json", .kind = API_CUSTOM, .apply = apply_schema, .note = "json_schema"},
    {.name = "guided_regex", .kind = API_CUSTOM, .apply = apply_source, .note = "regex"},
    {.name = "guided_grammar", .kind = API_CUSTOM, .apply = apply_source, .note = "grammar"},
    {0},
};
