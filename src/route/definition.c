#include "route/definition.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"

static bool take(struct route_definition *definition, const char *key, const json_t *value,
                 struct err *err)
{
    const struct member {
        const char *name;
        json_type type;
    } members[] = {{"template", JSON_STRING},
                   {"system", JSON_STRING},
                   {"parameters", JSON_OBJECT},
                   {"messages", JSON_ARRAY},
                   {"license", JSON_ARRAY}};
    char quoted[STR_QUOTE_MAX];
    size_t at = 0;
    while (at < sizeof members / sizeof *members && strcmp(members[at].name, key) != 0) {
        at++;
    }
    if (at == sizeof members / sizeof *members) {
        return err_set(err, ERR_UNKNOWN, "a model's definition has no '%s'",
                       str_quote(quoted, str_of(key)));
    }
    if (json_typeof(value) != members[at].type) {
        return err_set(err, ERR_FORMAT, "'%s' of a model's definition has the wrong type", key);
    }
    switch (at) {
    case 0:
        definition->template_text = json_str(value);
        break;
    case 1:
        definition->system = json_str(value);
        break;
    case 2:
        definition->parameters = json_object_size(value) ? value : NULL;
        break;
    case 3:
        definition->messages = json_array_size(value) ? value : NULL;
        break;
    default:
        definition->license = json_array_size(value) ? value : NULL;
    }
    return true;
}

struct route_definition *route_definition_create(json_t *object, struct err *err)
{
    struct route_definition *definition = MEM_NEW(struct route_definition);
    if (!definition || !json_is_object(object)) {
        json_decref(object);
        mem_free(definition);
        err_set(err, definition ? ERR_FORMAT : ERR_MEMORY, "a model's definition is an object");
        return NULL;
    }
    definition->object = object;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        if (!take(definition, json_object_iter_key(it), json_object_iter_value(it), err)) {
            route_definition_destroy(definition);
            return NULL;
        }
    }
    return definition;
}

void route_definition_destroy(struct route_definition *definition)
{
    if (definition) {
        json_decref(definition->object);
        mem_free(definition);
    }
}

struct route_definition *route_definition_copy(const struct route_definition *definition,
                                               struct err *err)
{
    json_t *object = definition ? json_deep_copy(definition->object) : NULL;
    if (definition && !object) {
        err_set_memory(err, sizeof *definition);
    }
    return object ? route_definition_create(object, err) : NULL;
}
