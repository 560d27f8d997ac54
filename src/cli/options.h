/* Command lines by table: one row per option gives parsing, range check and the line of --help.
 * `--name VALUE`, `--name=VALUE`, `-x VALUE` and `-xVALUE`; options and operands in any order; `--`
 * ends the options; a value may begin with a minus. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/str.h"
#include "engine/engine.h"
#include "route/local.h"

enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_COUNT,  /* uint32_t, low..high */
    CLI_WINDOW, /* uint32_t, -1 meaning all (UINT32_MAX) */
    CLI_SEED,   /* uint64_t; -1 leaves it alone (random) */
    CLI_NUMBER, /* float, low..high */
    CLI_TEXT,   /* const char *, borrowed from argv */
    CLI_TEXTS,  /* struct cli_texts, repeatable */
    CLI_LEVEL,  /* enum cpu_level */
    CLI_KV,     /* enum kv_type */
    CLI_TITLE   /* no option: a heading in --help */
};

enum { CLI_TEXTS_MAX = 256 };

struct cli_texts {
    struct str items[CLI_TEXTS_MAX];
    size_t count;
};

struct cli_option {
    const char *name; /* without "--" */
    const char *also; /* a second name, or NULL */
    char letter;      /* 0: none */
    enum cli_kind kind;
    size_t offset;    /* of the value in the caller's struct */
    size_t is_set;    /* of a bool that becomes true, or 0 */
    double low, high; /* CLI_COUNT, CLI_NUMBER */
    const char *value_name;
    const char *help;
};

/* True when --help or -h stands among the options. */
bool cli_options_want_help(int argc, char **argv);

/* HEARTH_CPU_LEVEL lowers the level, as --cpu-level does. */
bool cli_level_from_environment(enum cpu_level *level, struct err *err);

/* ---- what several commands share ---- */

/* A table put together from parts. Offsets of a part count from `base_offset` of the caller's
 * struct. */
enum { CLI_OPTIONS_MAX = 64 };

struct cli_table {
    struct cli_option rows[CLI_OPTIONS_MAX];
    size_t count;
};

void cli_table_add(struct cli_table *table, const struct cli_option *options, size_t count,
                   size_t base_offset);

/* --ctx --threads --kv --cpu-level; offsets in struct route_local_params. */
extern const struct cli_option cli_local_options[];
extern const size_t cli_local_option_count;

/* Fills the struct at `base`. Operands are stored in argv order, at most operand_max. ERR_USAGE. */
bool cli_options_parse(const struct cli_table *table, void *base, int argc, char **argv,
                       const char **operands, size_t operand_max, size_t *operand_count,
                       struct err *err);

void cli_options_print(const struct cli_table *table, FILE *out);

/* The path of a model as a user names it: a file, or a name that `hearth list` shows; NULL is the
 * bundled model. mem_free the result. */
char *cli_find_model(const char *name, struct err *err);

/* A progress callback for route_local_open; arg is a struct cli_progress. */
void cli_show_progress(void *progress, uint64_t done, uint64_t all);

#endif
