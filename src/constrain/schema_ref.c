/* $ref: JSON pointers and anchors within the document. Nothing is ever fetched. */
#include "constrain/schema.h"

#include <stdlib.h>

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

const json_t *constrain_schema_resolve(struct schema_compiler *c, const struct schema_at *at,
                                       const char **path)
{
    const json_t *ref = json_object_get(at->schema, "$ref");
    struct str text = json_str(ref);
    char quoted[STR_QUOTE_MAX];
    const json_t *target = NULL;
    const char *id = json_string_value(json_object_get(c->root, "$id"));
    *path = constrain_schema_path(c, at->path, "$ref", NULL);
    if (!json_is_string(ref)) {
        constrain_schema_refuse(c, ERR_TYPE, *path, "must be a string");
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
