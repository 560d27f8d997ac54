/* TOML config files: a shim over toml++, the only reader of TOML that the distribution has. */
#undef TOML_SHARED_LIB /* the distribution's library is built with exceptions; use the headers */
#undef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY       1
#define TOML_EXCEPTIONS        0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <cstdio>
#include <string>

#include "server/settings.h"

namespace
{

json_t *to_json(const toml::node &node)
{
    if (auto text = node.as_string()) {
        return json_stringn(text->get().data(), text->get().size());
    }
    if (auto whole = node.as_integer()) {
        return json_integer(whole->get());
    }
    if (auto number = node.as_floating_point()) {
        return json_real(number->get()); /* NULL for nan and inf */
    }
    if (auto flag = node.as_boolean()) {
        return json_boolean(flag->get());
    }
    if (auto list = node.as_array()) {
        json_t *out = json_array();
        for (const toml::node &item : *list) {
            json_t *value = item.is_array() ? nullptr : to_json(item);
            if (!value || json_array_append_new(out, value) != 0) {
                json_decref(out);
                return nullptr;
            }
        }
        return out;
    }
    return nullptr; /* tables and dates */
}

} // namespace

extern "C" bool server_toml_read(const char *text, size_t len, json_t **values, json_t **lines,
                                 char message[256])
{
    *values = json_object();
    *lines = json_object();
    toml::parse_result result = toml::parse(std::string_view(text, len));
    if (!result) {
        const std::string reason(result.error().description());
        snprintf(message, 256, "%u: %s", static_cast<unsigned>(result.error().source().begin.line),
                 reason.c_str());
        return false;
    }
    for (auto &&[key, node] : result.table()) {
        const std::string name(key.str());
        const unsigned line = static_cast<unsigned>(node.source().begin.line);
        json_t *value = to_json(node);
        if (!value) {
            snprintf(message, 256,
                     "%u: settings are plain values or lists, without tables or dates", line);
            return false;
        }
        json_object_set_new(*values, name.c_str(), value);
        json_object_set_new(*lines, name.c_str(), json_integer(line));
    }
    return true;
}
