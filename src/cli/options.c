#include "cli/options.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "route/bundled.h"
#include "route/places.h"

#define AT(field) .offset = offsetof(struct route_local_params, field)

const struct cli_option cli_local_options[] = {
    {.kind = CLI_TITLE, .help = "Model and machine"},
    {"ctx", "ctx-size", 'c', CLI_COUNT, AT(ctx_tokens), .low = 0, .high = INT32_MAX,
     .value_name = "N", .help = "longest conversation in tokens (0: the model's own)"},
    {"threads", NULL, 't', CLI_COUNT, AT(threads), .low = 0, .high = 256, .value_name = "N",
     .help = "compute threads (0: one per physical core)"},
    {"kv", "kv-type", 0, CLI_KV, AT(kv_type), .value_name = "TYPE",
     .help = "cache type: f16 (default), bf16, f32, q8_0, q4_0"},
    {"cpu-level", NULL, 0, CLI_LEVEL, AT(cpu_level), .value_name = "L",
     .help = "reference, avx2, avx512, neon; lowers the level, never raises it"},
};

#undef AT

const size_t cli_local_option_count = sizeof cli_local_options / sizeof *cli_local_options;

void cli_table_add(struct cli_table *table, const struct cli_option *options, size_t count,
                   size_t base_offset)
{
    assert(table->count + count <= CLI_OPTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct cli_option *row = &table->rows[table->count++];
        *row = options[i];
        row->offset += base_offset;
        row->is_set += row->is_set ? base_offset : 0;
    }
}

static const struct cli_option *find_name(const struct cli_table *table, struct str name)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct cli_option *o = &table->rows[i];
        bool is_named = o->kind != CLI_TITLE && (str_eq(name, str_of(o->name)) ||
                                                 (o->also && str_eq(name, str_of(o->also))));
        if (is_named) {
            return o;
        }
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_table *table, char letter)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].letter && table->rows[i].letter == letter) {
            return &table->rows[i];
        }
    }
    return NULL;
}

static bool refuse(const struct cli_option *o, struct str value, const char *want, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_set(err, ERR_USAGE, "--%s: \"%s\" is not %s", o->name, str_quote(quoted, value),
                   want);
}

static bool refuse_range(const struct cli_option *o, struct str value, struct err *err)
{
    char want[96];
    snprintf(want, sizeof want, "a number from %.10g to %.10g", o->low, o->high);
    return refuse(o, value, want, err);
}

static bool set_number(const struct cli_option *o, struct str value, void *field, struct err *err)
{
    uint64_t whole;
    double real;
    switch (o->kind) {
    case CLI_COUNT:
        if (!str_to_u64(value, &whole) || (double)whole < o->low || (double)whole > o->high) {
            return refuse_range(o, value, err);
        }
        *(uint32_t *)field = (uint32_t)whole;
        return true;
    case CLI_WINDOW:
        if (str_eq(value, STR("-1"))) {
            *(uint32_t *)field = UINT32_MAX;
            return true;
        }
        if (!str_to_u64(value, &whole) || whole >= UINT32_MAX) {
            return refuse(o, value, "a number, or -1 for all", err);
        }
        *(uint32_t *)field = (uint32_t)whole;
        return true;
    case CLI_SEED:
        if (str_eq(value, STR("-1"))) {
            return true;
        }
        if (!str_to_u64(value, &whole)) {
            return refuse(o, value, "a number, or -1 for a random one", err);
        }
        *(uint64_t *)field = whole;
        return true;
    default:
        if (!str_to_f64(value, &real) || !(real >= o->low && real <= o->high)) {
            return refuse_range(o, value, err);
        }
        *(float *)field = (float)real;
        return true;
    }
}

static bool set_value(const struct cli_option *o, const char *text, void *base, struct err *err)
{
    void *field = (char *)base + o->offset;
    struct str value = str_of(text);
    struct cli_texts *texts = field;
    enum cpu_level level;
    switch (o->kind) {
    case CLI_TEXT:
        *(const char **)field = text;
        return true;
    case CLI_TEXTS:
        if (texts->count == CLI_TEXTS_MAX) {
            return err_set(err, ERR_USAGE, "--%s: more than %d times", o->name, CLI_TEXTS_MAX);
        }
        texts->items[texts->count++] = value;
        return true;
    case CLI_LEVEL:
        if (!cpu_level_parse(value, &level)) {
            return refuse(o, value, "reference, avx2, avx512 or neon", err);
        }
        if (level < *(enum cpu_level *)field) {
            *(enum cpu_level *)field = level;
        }
        return true;
    case CLI_KV:
        return route_kv_type_parse(value, field) ||
               refuse(o, value, "f32, f16, bf16, q8_0 or q4_0", err);
    default:
        return set_number(o, value, field, err);
    }
}

static bool set_option(const struct cli_option *o, const char *value, void *base, struct err *err)
{
    if (o->kind == CLI_FLAG) {
        *(bool *)((char *)base + o->offset) = true;
    } else if (!set_value(o, value, base, err)) {
        return false;
    }
    if (o->is_set) {
        *(bool *)((char *)base + o->is_set) = true;
    }
    return true;
}

/* The option at argv[*at], with the value in the same or the next argument. */
static bool parse_one(const struct cli_table *table, void *base, int argc, char **argv, int *at,
                      struct err *err)
{
    const char *arg = argv[*at], *value = NULL;
    const struct cli_option *o;
    char quoted[STR_QUOTE_MAX];
    if (arg[1] == '-') {
        const char *equals = strchr(arg, '=');
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        o = find_name(table, (struct str){arg + 2, len - 2});
        value = equals ? equals + 1 : NULL;
    } else {
        o = find_letter(table, arg[1]);
        value = arg[2] ? arg + 2 : NULL;
    }
    if (!o) {
        return err_set(err, ERR_USAGE, "unknown option \"%s\"", str_quote(quoted, str_of(arg)));
    }
    if (o->kind == CLI_FLAG && value) {
        return err_set(err, ERR_USAGE, "--%s takes no value", o->name);
    }
    if (o->kind != CLI_FLAG && !value) {
        if (*at + 1 >= argc) {
            return err_set(err, ERR_USAGE, "--%s needs a value", o->name);
        }
        value = argv[++*at];
    }
    return set_option(o, value, base, err);
}

bool cli_options_parse(const struct cli_table *table, void *base, int argc, char **argv,
                       const char **operands, size_t operand_max, size_t *operand_count,
                       struct err *err)
{
    bool has_ended = false;
    *operand_count = 0;
    for (int at = 1; at < argc; at++) {
        const char *arg = argv[at];
        if (!has_ended && strcmp(arg, "--") == 0) {
            has_ended = true;
        } else if (!has_ended && arg[0] == '-' && arg[1] != 0) {
            if (!parse_one(table, base, argc, argv, &at, err)) {
                return false;
            }
        } else if (*operand_count == operand_max) {
            char quoted[STR_QUOTE_MAX];
            return err_set(err, ERR_USAGE, "\"%s\" is one argument too many",
                           str_quote(quoted, str_of(arg)));
        } else {
            operands[(*operand_count)++] = arg;
        }
    }
    return true;
}

bool cli_options_want_help(int argc, char **argv)
{
    for (int at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            return true;
        }
    }
    return false;
}

void cli_options_print(const struct cli_table *table, FILE *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct cli_option *o = &table->rows[i];
        char left[64], letter[8] = "    ";
        if (o->kind == CLI_TITLE) {
            fprintf(out, "\n%s\n", o->help);
            continue;
        }
        if (o->letter) {
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        }
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value_name ? " " : "",
                 o->value_name ? o->value_name : "");
        fprintf(out, "  %-32s %s\n", left, o->help);
    }
    fprintf(out, "  %-32s %s\n", "-h, --help", "this text");
}

bool cli_level_from_environment(enum cpu_level *level, struct err *err)
{
    const char *name = getenv("HEARTH_CPU_LEVEL");
    const struct cli_option row = {.name = "cpu-level", .kind = CLI_LEVEL};
    if (!name || !*name) {
        return true;
    }
    return set_value(&row, name, level, err) || err_wrap(err, "HEARTH_CPU_LEVEL");
}

char *cli_find_model(const char *name, struct err *err)
{
    struct route_places places;
    char *path = NULL;
    if (!name) {
        return route_bundled_model(&path, err) ? path : NULL;
    }
    if (route_places_init(&places, err)) {
        path = route_places_find(&places, name, err);
    }
    route_places_deinit(&places);
    return path;
}

void cli_show_progress(void *progress, uint64_t done, uint64_t all)
{
    struct cli_progress *p = progress;
    p->total = all;
    cli_progress_update(p, done);
}
