#include "route/adapters.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "engine/engine.h"

/* The '=' before the scale; the length without one. */
static size_t find_scale(const char *path, size_t len)
{
    const char *equals = os_path_exists(path) ? NULL : strrchr(path, '=');
    return equals ? (size_t)(equals - path) : len;
}

bool route_adapters_add(struct route_adapters *adapters, struct str text, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    double scale = 1;
    if (adapters->count == MODEL_ADAPTERS_MAX) {
        return err_set(err, ERR_USAGE, "--lora is given more than %d times", MODEL_ADAPTERS_MAX);
    }
    char *path = mem_copy(text.ptr, text.len);
    if (!path) {
        return err_set_memory(err, text.len);
    }
    const size_t end = find_scale(path, text.len);
    if (end == 0 || (end < text.len && (!str_to_f64(str_slice(text, end + 1, text.len), &scale) ||
                                        !(fabs(scale) <= ENGINE_SCALE_MAX)))) {
        mem_free(path);
        return err_set(err, ERR_USAGE, "--lora %s: FILE or FILE=SCALE, of -%d to %d, is needed",
                       str_quote(quoted, text), ENGINE_SCALE_MAX, ENGINE_SCALE_MAX);
    }
    path[end] = 0;
    adapters->items[adapters->count++] = (struct route_adapter){path, (float)scale};
    return true;
}

void route_adapters_deinit(struct route_adapters *adapters)
{
    for (size_t i = 0; i < adapters->count; i++) {
        mem_free(adapters->items[i].path);
    }
    adapters->count = 0;
}

bool route_adapters_open(const struct route_adapters *adapters,
                         struct gguf *files[MODEL_ADAPTERS_MAX], struct err *err)
{
    for (size_t i = 0; i < adapters->count; i++) {
        files[i] = gguf_open(adapters->items[i].path, err);
        if (!files[i]) {
            while (i > 0) {
                gguf_close(files[--i]);
                files[i] = NULL;
            }
            return false;
        }
    }
    return true;
}
