#include "route/places.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "gguf/gguf.h"
#include "route/bundled.h"

static bool add(struct route_places *places, struct str folder, const char *tail, struct err *err)
{
    struct buf path = {0};
    size_t len;
    if (folder.len == 0 || places->count == ROUTE_PLACES_MAX) {
        return true;
    }
    buf_add(&path, folder);
    buf_add_text(&path, tail);
    char *owned = buf_take(&path, &len);
    if (!owned) {
        buf_deinit(&path);
        return err_set_memory(err, folder.len);
    }
    for (size_t i = 0; i < places->count; i++) {
        if (strcmp(places->folders[i], owned) == 0) {
            mem_free(owned);
            return true;
        }
    }
    places->folders[places->count++] = owned;
    return true;
}

bool route_places_of(struct route_places *places, const struct str *folders, size_t count,
                     struct err *err)
{
    *places = (struct route_places){0};
    bool ok = count <= ROUTE_PLACES_MAX ||
              err_set(err, ERR_USAGE, "%zu folders of models; at most %d", count, ROUTE_PLACES_MAX);
    for (size_t i = 0; ok && i < count; i++) {
        ok = add(places, folders[i], "", err);
    }
    if (!ok) {
        route_places_deinit(places);
    }
    return ok;
}

bool route_places_init(struct route_places *places, struct err *err)
{
    char *bundled = NULL;
    struct err none;
    bool ok = true;
    *places = (struct route_places){0};
    if (route_bundled_model(&bundled, &none)) {
        const char *slash = strrchr(bundled, '/');
        ok = add(places, (struct str){bundled, slash ? (size_t)(slash - bundled) : 0}, "", err);
        mem_free(bundled);
    }
    struct str list = str_of(getenv("HEARTH_MODELS"));
    while (ok && list.len) {
        ok = add(places, str_cut(&list, ':'), "", err);
    }
    struct str data = str_of(getenv("XDG_DATA_HOME"));
    ok = ok && (data.len && data.ptr[0] == '/' /* else invalid, says the XDG specification */
                    ? add(places, data, "/hearth/models", err)
                    : add(places, str_of(getenv("HOME")), "/.local/share/hearth/models", err));
    if (!ok) {
        route_places_deinit(places);
    }
    return ok;
}

void route_places_deinit(struct route_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        mem_free(places->folders[i]);
    }
    *places = (struct route_places){0};
}

struct visit {
    const char *folder;
    bool (*fn)(void *arg, const char *path);
    void *arg;
    bool stopped;
};

/* "x-00002-of-00003.gguf" and the like: a part that is not the first. */
static bool is_later_part(struct str name)
{
    size_t at = name.len >= 20 ? name.len - 20 : 0; /* -NNNNN-of-NNNNN.gguf */
    struct str part = str_slice(name, at, name.len);
    uint64_t number;
    return part.len == 20 && part.ptr[0] == '-' && str_eq(str_slice(part, 6, 10), STR("-of-")) &&
           str_to_u64(str_slice(part, 1, 6), &number) && number != 1;
}

static bool on_name(void *arg, const char *name)
{
    struct visit *visit = arg;
    char path[4096];
    if (!str_ends(str_of(name), STR(".gguf")) || is_later_part(str_of(name)) ||
        snprintf(path, sizeof path, "%s/%s", visit->folder, name) >= (int)sizeof path) {
        return true;
    }
    visit->stopped = !visit->fn(visit->arg, path);
    return !visit->stopped;
}

bool route_places_each(const struct route_places *places, bool (*fn)(void *arg, const char *path),
                       void *arg, struct err *err)
{
    for (size_t i = 0; i < places->count; i++) {
        struct visit visit = {.folder = places->folders[i], .fn = fn, .arg = arg};
        struct err unreadable;
        bool ok = os_dir_each(places->folders[i], on_name, &visit, &unreadable);
        if (!ok && !visit.stopped && unreadable.code == ERR_MEMORY) {
            *err = unreadable;
            return false;
        }
        if (visit.stopped) {
            break;
        }
    }
    return true;
}

struct search {
    struct str id;
    char *path;
};

static bool on_path(void *arg, const char *path)
{
    struct search *search = arg;
    if (str_eq(gguf_model_id(path), search->id)) {
        search->path = mem_copy(path, strlen(path));
        return false;
    }
    return true;
}

char *route_places_find(const struct route_places *places, const char *name, struct err *err)
{
    struct search search = {.id = str_of(name)};
    bool is_path = os_path_exists(name) || strchr(name, '/');
    if (is_path) {
        search.path = mem_copy(name, strlen(name)); /* opening it tells what is wrong with it */
        if (!search.path) {
            err_set_memory(err, strlen(name));
        }
        return search.path;
    }
    if (!route_places_each(places, on_path, &search, err)) {
        return NULL;
    }
    if (!search.path) {
        char quoted[STR_QUOTE_MAX];
        struct buf folders = {.limit = 512};
        for (size_t i = 0; i < places->count; i++) {
            char folder[STR_QUOTE_MAX];
            buf_add_format(&folders, "%s%s", i ? ", " : "",
                           str_quote(folder, str_of(places->folders[i])));
        }
        err_set(err, ERR_MODEL, "there is no file and no model %s (looked in %s)",
                str_quote(quoted, search.id), folders.ptr ? folders.ptr : "no folder");
        buf_deinit(&folders);
    }
    return search.path;
}
