#include "server/settings.h"

#include <stdio.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

enum { FILE_BYTES_MAX = 1 << 20, LIST_MAX = 256 };

static const struct server_setting *find(struct str name)
{
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        if (str_eq(name, str_of(setting->name))) {
            return setting;
        }
    }
    return NULL;
}

static uint64_t bit_of(const struct server_setting *setting)
{
    return 1ull << (setting - server_setting_table);
}

bool server_settings_is_given(const struct server_settings *settings, const char *name)
{
    const struct server_setting *setting = find(str_of(name));
    return setting && (settings->given & bit_of(setting));
}

/* "--port: 99999 is not ...": where the value stands, then the value unless it is secret. */
static bool bad_value(const struct server_setting *setting, const char *where, struct str value,
                      struct err *err)
{
    char quoted[STR_QUOTE_MAX], shown[STR_QUOTE_MAX + 4];
    if (setting->is_secret) {
        snprintf(shown, sizeof shown, "the value");
    } else {
        snprintf(shown, sizeof shown, "\"%s\"", str_quote(quoted, value));
    }
    switch (setting->kind) {
    case SERVER_SET_INT:
        return err_set(err, ERR_USAGE, "%s: %s is not a whole number between %.15g and %.15g",
                       where, shown, setting->min, setting->max);
    case SERVER_SET_SECONDS:
        return err_set(err, ERR_USAGE, "%s: %s is not a number between %.15g and %.15g", where,
                       shown, setting->min, setting->max);
    case SERVER_SET_CHOICE:
        return err_set(err, ERR_USAGE, "%s: %s is none of: %s", where, shown, setting->choices);
    case SERVER_SET_TEXT:
    case SERVER_SET_LIST:
        break;
    }
    return err_set(err, ERR_USAGE, "%s: %s is empty, has a NUL, or is one too many", where, shown);
}

static bool copy_text(struct server_settings *settings, struct str value, struct str *out)
{
    *out = (struct str){arena_copy(&settings->arena, value), value.len};
    return out->ptr && !memchr(out->ptr, 0, out->len);
}

static bool add_to_list(struct server_settings *settings, struct server_list *list,
                        struct str value)
{
    if (!list->items) {
        list->items = ARENA_ARRAY(&settings->arena, struct str, LIST_MAX);
    }
    return list->items && list->count < LIST_MAX && value.len > 0 &&
           copy_text(settings, value, &list->items[list->count]) && ++list->count;
}

/* One value as text, from a flag, a variable or a string in a file. */
static bool set_text(struct server_settings *settings, const struct server_setting *setting,
                     struct str value, const char *where, struct err *err)
{
    void *slot = (char *)settings + setting->offset;
    uint64_t whole;
    double number;
    bool ok = false;
    switch (setting->kind) {
    case SERVER_SET_INT:
        ok = str_to_u64(value, &whole) && (double)whole >= setting->min &&
             (double)whole <= setting->max;
        *(uint64_t *)slot = ok ? whole : 0;
        break;
    case SERVER_SET_SECONDS:
        ok = str_to_f64(value, &number) && number >= setting->min && number <= setting->max;
        *(double *)slot = ok ? number : 0;
        break;
    case SERVER_SET_CHOICE: {
        struct str words = str_of(setting->choices);
        while (!ok && words.len) {
            ok = str_eq(str_cut(&words, ' '), value);
        }
        ok = ok && copy_text(settings, value, slot);
        break;
    }
    case SERVER_SET_TEXT:
        ok = copy_text(settings, value, slot);
        break;
    case SERVER_SET_LIST:
        ok = add_to_list(settings, slot, value);
        break;
    }
    settings->given |= bit_of(setting);
    return ok || bad_value(setting, where, value, err);
}

static void clear_list(struct server_settings *settings, const struct server_setting *setting)
{
    if (setting->kind == SERVER_SET_LIST) {
        ((struct server_list *)((char *)settings + setting->offset))->count = 0;
    }
}

static bool set_defaults(struct server_settings *settings, struct err *err)
{
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        if (setting->kind != SERVER_SET_LIST &&
            !set_text(settings, setting, str_of(setting->default_text), setting->name, err)) {
            return false;
        }
    }
    settings->given = 0;
    return true;
}

/* ---- config file ---- */

static bool wrong_type(const struct server_setting *setting, const char *where, struct err *err)
{
    static const char *const wanted[] = {
        [SERVER_SET_INT] = "a whole number",
        [SERVER_SET_SECONDS] = "a number",
        [SERVER_SET_TEXT] = "a text (quote it)",
        [SERVER_SET_CHOICE] = "a word",
        [SERVER_SET_LIST] = "a text or a list of texts",
    };
    return err_set(err, ERR_USAGE, "%s must be %s", where, wanted[setting->kind]);
}

static bool set_json(struct server_settings *settings, const struct server_setting *setting,
                     const json_t *value, const char *where, struct err *err)
{
    char number[32];
    switch (setting->kind) {
    case SERVER_SET_INT:
        if (!json_is_integer(value)) {
            return wrong_type(setting, where, err);
        }
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return set_text(settings, setting, str_of(number), where, err);
    case SERVER_SET_SECONDS:
        if (!json_is_number(value)) {
            return wrong_type(setting, where, err);
        }
        json_format_double(json_number_value(value), number);
        return set_text(settings, setting, str_of(number), where, err);
    case SERVER_SET_TEXT:
    case SERVER_SET_CHOICE:
        return json_is_string(value) ? set_text(settings, setting, json_str(value), where, err)
                                     : wrong_type(setting, where, err);
    case SERVER_SET_LIST:
        break;
    }
    if (json_is_string(value)) {
        return set_text(settings, setting, json_str(value), where, err);
    }
    if (!json_is_array(value)) {
        return wrong_type(setting, where, err);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_string(item)) {
            return wrong_type(setting, where, err);
        }
        if (!set_text(settings, setting, json_str(item), where, err)) {
            return false;
        }
    }
    return true;
}

static bool apply_file(struct server_settings *settings, const char *quoted_path, json_t *values,
                       const json_t *lines, struct err *err)
{
    for (void *it = json_object_iter(values); it; it = json_object_iter_next(values, it)) {
        char where[400], quoted[STR_QUOTE_MAX];
        const char *key = json_object_iter_key(it);
        snprintf(where, sizeof where, "%s:%lld: %s", quoted_path,
                 (long long)json_integer_value(json_object_get(lines, key)),
                 str_quote(quoted, str_of(key)));
        const struct server_setting *setting = find(str_of(key));
        if (!setting) {
            return err_set(err, ERR_USAGE, "%s is no setting; see docs/settings.md", where);
        }
        clear_list(settings, setting);
        if (!set_json(settings, setting, json_object_iter_value(it), where, err)) {
            return false;
        }
    }
    return true;
}

static bool read_file(struct server_settings *settings, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX], message[256];
    size_t len = 0;
    json_t *values = NULL, *lines = NULL;
    str_quote(quoted, str_of(path));
    char *text = os_file_slurp(path, FILE_BYTES_MAX, &len, err);
    if (!text) {
        return err_wrap(err, "read the config file");
    }
    bool is_toml = str_ends(str_of(path), STR(".toml"));
    bool ok = is_toml ? server_toml_read(text, len, &values, &lines, message)
                      : server_yaml_read((struct str){text, len}, &values, &lines, message);
    if (!ok) {
        char reason[STR_QUOTE_MAX];
        err_set(err, ERR_USAGE, "%s:%s", quoted, str_quote(reason, str_of(message)));
    }
    ok = ok && apply_file(settings, quoted, values, lines, err);
    json_decref(values);
    json_decref(lines);
    mem_free(text);
    return ok;
}

/* ---- environment ---- */

static struct str variable(const struct server_settings_source *source, const char *name)
{
    for (const char *const *at = source->environment; at && *at; at++) {
        struct str value = str_of(*at);
        if (str_eat(&value, str_of(name)) && str_eat(&value, STR("="))) {
            return value;
        }
    }
    return (struct str){0};
}

/* An empty variable is as good as none: that is how shells and containers unset them. */
static bool read_environment(struct server_settings *settings,
                             const struct server_settings_source *source, struct err *err)
{
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char name[64];
        server_setting_env(setting, name);
        struct str value = variable(source, name);
        if (value.len == 0) {
            continue;
        }
        clear_list(settings, setting);
        if (setting->kind != SERVER_SET_LIST) {
            if (!set_text(settings, setting, value, name, err)) {
                return false;
            }
            continue;
        }
        while (value.len) {
            if (!set_text(settings, setting, str_trim(str_cut(&value, ',')), name, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- flags ---- */

static const struct server_setting *find_flag(struct str flag)
{
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char name[64];
        server_setting_flag(setting, name);
        if (str_eq(flag, str_of(name))) {
            return setting;
        }
    }
    return NULL;
}

/* One argument, with its value in the same word (--port=1) or the next. */
struct argument {
    bool is_operand;
    struct str flag, value;
};

static bool next_argument(const struct server_settings_source *source, int *at, bool *only_operands,
                          struct argument *out, struct err *err)
{
    struct str word = str_of(source->argv[(*at)++]);
    *out = (struct argument){.is_operand = *only_operands || word.len < 2 || word.ptr[0] != '-',
                             .value = word};
    if (out->is_operand) {
        return true;
    }
    if (str_eq(word, STR("--"))) {
        *only_operands = true;
        *out = (struct argument){0};
        return true;
    }
    char quoted[STR_QUOTE_MAX];
    struct str value = word;
    out->flag = str_cut(&value, '=');
    bool is_joined = out->flag.len < word.len;
    if (!str_eq(out->flag, STR("--config")) && !find_flag(out->flag)) {
        return err_set(err, ERR_USAGE, "unknown option %s", str_quote(quoted, out->flag));
    }
    if (!is_joined && *at >= source->argc) {
        return err_set(err, ERR_USAGE, "%s needs a value", str_quote(quoted, out->flag));
    }
    out->value = is_joined ? value : str_of(source->argv[(*at)++]);
    return true;
}

static bool read_flags(struct server_settings *settings,
                       const struct server_settings_source *source, struct err *err)
{
    uint64_t seen = 0;
    bool only_operands = false;
    for (int at = 0; at < source->argc;) {
        struct argument argument;
        if (!next_argument(source, &at, &only_operands, &argument, err)) {
            return false;
        }
        const struct server_setting *setting =
            argument.is_operand ? find(STR("model")) : find_flag(argument.flag);
        if (!setting) { /* --config, or the mark -- */
            continue;
        }
        if (!(seen & bit_of(setting))) {
            clear_list(settings, setting);
        }
        seen |= bit_of(setting);
        char flag[64];
        server_setting_flag(setting, flag);
        if (!set_text(settings, setting, argument.value, flag, err)) {
            return false;
        }
    }
    return true;
}

static bool find_config(const struct server_settings_source *source, struct str *path,
                        struct err *err)
{
    bool only_operands = false;
    *path = variable(source, "HEARTH_CONFIG");
    for (int at = 0; at < source->argc;) {
        struct argument argument;
        if (!next_argument(source, &at, &only_operands, &argument, err)) {
            return false;
        }
        if (str_eq(argument.flag, STR("--config"))) {
            *path = argument.value;
        }
    }
    return true;
}

bool server_settings_read(struct server_settings *settings,
                          const struct server_settings_source *source, struct err *err)
{
    struct str path, copy;
    *settings = (struct server_settings){0};
    settings->arena = arena_init(0);
    if (!set_defaults(settings, err) || !find_config(source, &path, err)) {
        return false;
    }
    if (path.len > 0 &&
        (!copy_text(settings, path, &copy) || !read_file(settings, copy.ptr, err))) {
        return false;
    }
    return read_environment(settings, source, err) && read_flags(settings, source, err);
}

void server_settings_deinit(struct server_settings *settings)
{
    arena_deinit(&settings->arena);
}
