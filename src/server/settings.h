/* Settings of the server. One table (settings_table.c) says for each its name, type, range, default
 * and meaning; from it come the config file's keys (`idle_timeout`), the environment's variables
 * (HEARTH_IDLE_TIMEOUT), the flags (--idle-timeout), --help, docs/settings.md and all checks.
 *
 * Precedence: default < config file < environment < flags. A list that a higher layer sets replaces
 * the whole list of the layer below. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct server_list {
    struct str *items; /* each is NUL-terminated behind its length */
    size_t count;
};

struct server_settings {
    struct server_list model; /* PATH or PATH=ID */
    struct str alias;
    struct server_list lora; /* FILE or FILE=SCALE */
    struct server_list models_dir;
    double keep_alive;
    struct str host;
    uint64_t port;
    struct server_list listen;
    struct server_list api_key;
    struct str api_key_file;
    struct server_list allowed_host, allowed_origin;
    struct str tls_cert, tls_key;
    uint64_t ctx, parallel, threads, batch, prefill_chunk, drafts, kv_tokens, memory_mib, queue;
    uint64_t cache_share, cache_disk;
    struct str cache_dir, data_dir;
    uint64_t data_mib, data_days;
    struct str kv, cpu_level, chat_template_file;
    uint64_t connections, body_mib, bodies_mib, workers;
    double decode_stretch;
    struct str lane_weights, record, record_asked;
    double header_timeout, body_timeout, idle_timeout, socket_idle_timeout, write_timeout, grace;
    struct str log_level;

    /* Bit i: row i of the table was set by a layer above the defaults. */
    uint64_t given;
    struct arena arena;
};

enum server_setting_kind {
    SERVER_SET_INT,     /* a whole number in [min, max] */
    SERVER_SET_SECONDS, /* a number in [min, max], of seconds if help says so */
    SERVER_SET_TEXT,
    SERVER_SET_CHOICE, /* one of the words in `choices` */
    SERVER_SET_LIST    /* texts; the environment separates them by commas, a flag may be repeated */
};

struct server_setting {
    const char *name; /* as in a config file */
    enum server_setting_kind kind;
    size_t offset; /* in struct server_settings */
    double min, max;
    const char *choices;      /* CHOICE: "a b c" */
    const char *default_text; /* as a flag would give it; "" for none and for lists */
    const char *value;        /* what stands for it in help: "N", "FILE" */
    const char *help;
    bool is_secret; /* messages do not show the value */
};

/* Ends with a row without name. */
extern const struct server_setting server_setting_table[];
size_t server_setting_count(void);

/* "--idle-timeout", "HEARTH_IDLE_TIMEOUT" */
void server_setting_flag(const struct server_setting *setting, char out[64]);
void server_setting_env(const struct server_setting *setting, char out[64]);

struct server_settings_source {
    int argc; /* flags and models, without the command's name */
    char *const *argv;
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: none */
};

/* Reads all layers. The config file is --config FILE, else HEARTH_CONFIG. An unknown flag or key, a
 * wrong type or a value out of range is ERR_USAGE and says where: flag, variable, or file and line.
 * Variables that the table does not name are left alone: others may own them. Deinit in any case.
 */
bool server_settings_read(struct server_settings *settings,
                          const struct server_settings_source *source, struct err *err);
void server_settings_deinit(struct server_settings *settings);

/* True when a layer above the defaults set the setting of this name. */
bool server_settings_is_given(const struct server_settings *settings, const char *name);

/* The options for --help, and the page docs/settings.md. */
void server_settings_help(struct buf *out);
void server_settings_page(struct buf *out);

/* ---- config files (settings_yaml.c, settings_toml.cc) ---- */

/* A file is one mapping of names to scalars or lists of scalars. Both readers give new references:
 * an object of values, and an object of the line of each key. `message` is the reason after false,
 * with its line. */
bool server_yaml_read(struct str text, json_t **values, json_t **lines, char message[256]);

#ifdef __cplusplus
extern "C"
#endif
    bool
    server_toml_read(const char *text, size_t len, json_t **values, json_t **lines,
                     char message[256]);

#endif
