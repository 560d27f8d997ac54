#include "route/bundled.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/str.h"

static const char model_name[] = "hearth-nano.gguf", encoder_name[] = "hearth-nano-embed.gguf";

/* Relative to the directory of the binary, first match wins. */
static const char *const places[] = {
    "/../models/",              /* build/hearth of a source tree */
    "/../share/hearth/models/", /* PREFIX/bin/hearth */
    "/models/",                 /* an unpacked archive */
};

enum { PLACE_COUNT = sizeof places / sizeof *places };

static bool find(const char *exe_path, const char *name, char **path, struct err *err)
{
    const char *slash = strrchr(exe_path, '/');
    struct str dir = {exe_path, slash ? (size_t)(slash - exe_path) : 0};
    if (!slash) {
        dir = STR(".");
    }
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        struct buf candidate = {0};
        buf_add(&candidate, dir);
        buf_add_text(&candidate, places[i]);
        buf_add_text(&candidate, name);
        if (candidate.failed) {
            buf_deinit(&candidate);
            return err_set_memory(err, dir.len);
        }
        if (os_path_exists(candidate.ptr)) {
            size_t len;
            *path = buf_take(&candidate, &len);
            return true;
        }
        buf_deinit(&candidate);
    }
    char quoted[STR_QUOTE_MAX];
    return err_set(
        err, ERR_MODEL,
        "the bundled model %s is neither in ../models nor in ../share/hearth/models nor in "
        "models beside the binary (%s); name a model file",
        name, str_quote(quoted, dir));
}

bool route_bundled_model_of(const char *exe_path, char **path, struct err *err)
{
    return find(exe_path, model_name, path, err);
}

static bool find_here(const char *name, char **path, struct err *err)
{
    char *exe = os_exe_path(err);
    if (!exe) {
        return err_wrap(err, "look for the bundled model");
    }
    bool is_found = find(exe, name, path, err);
    mem_free(exe);
    return is_found;
}

bool route_bundled_model(char **path, struct err *err)
{
    return find_here(model_name, path, err);
}

bool route_bundled_encoder(char **path, struct err *err)
{
    return find_here(encoder_name, path, err);
}
