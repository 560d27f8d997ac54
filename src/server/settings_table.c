#include <stdio.h>

#include "server/settings.h"

#define AT(field) offsetof(struct server_settings, field)
#define INT(field, low, high, initial, about)                                                      \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_INT, .offset = AT(field), .min = low, .max = high,      \
        .default_text = initial, .value = "N", .help = about                                       \
    }
#define SECONDS(field, low, high, initial, about)                                                  \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_SECONDS, .offset = AT(field), .min = low, .max = high,  \
        .default_text = initial, .value = "SECONDS", .help = about                                 \
    }
#define NUMBER(field, low, high, initial, about)                                                   \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_SECONDS, .offset = AT(field), .min = low, .max = high,  \
        .default_text = initial, .value = "X", .help = about                                       \
    }
#define TEXT(field, initial, word, about)                                                          \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_TEXT, .offset = AT(field), .default_text = initial,     \
        .value = word, .help = about                                                               \
    }
#define CHOICE(field, words, initial, about)                                                       \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_CHOICE, .offset = AT(field), .choices = words,          \
        .default_text = initial, .value = "WORD", .help = about                                    \
    }
#define LIST(field, word, about)                                                                   \
    {                                                                                              \
        .name = #field, .kind = SERVER_SET_LIST, .offset = AT(field), .default_text = "",          \
        .value = word, .help = about                                                               \
    }

const struct server_setting server_setting_table[] = {
    /* models */
    LIST(model, "PATH[=ID]", "serve this GGUF file, under ID instead of its file name"),
    TEXT(alias, "", "ID", "the id of the one model that is served"),
    LIST(lora, "FILE[=SCALE]", "a LoRA adapter of the one model; may be given several times"),
    LIST(models_dir, "FOLDER", "serve each GGUF file in it too, loaded when it is asked for"),
    SECONDS(keep_alive, -1, 1000000000, "-1",
            "that a model nobody uses stays loaded, unless a request says; -1: for ever"),
    INT(ctx, 0, 2147483647, "0", "longest sequence in tokens; 0: the model's own, or what fits"),
    INT(parallel, 1, 256, "8", "sequences generated at once"),
    INT(queue, 1, 65536, "512", "requests that may wait; beyond it the answer is 503"),
    INT(threads, 0, 256, "0", "compute threads; 0: one per core"),
    INT(batch, 1, 8192, "512", "token rows of one step"),
    INT(prefill_chunk, 0, 8192, "0", "prompt rows of one sequence per step; 0: as batch"),
    INT(drafts, 0, 15, "15", "tokens guessed ahead at most, as many as make it faster; 0: none"),
    NUMBER(decode_stretch, 0, 1000, "2",
           "while a prompt is read, others' tokens may take so many times longer; 0: any time"),
    TEXT(lane_weights, "8,4,1", "N,N,N", "shares of the lanes interactive, normal and batch"),
    CHOICE(kv, "auto f32 f16 bf16 q8_0 q4_0", "auto", "element type of the KV cache"),
    INT(kv_tokens, 0, 2147483647, "0",
        "tokens in the KV cache of all sequences; 0: what they need, or what fits"),
    INT(cache_share, 0, 100, "100",
        "percent of the KV cache that may keep prompts for later ones; 0: nothing is reused"),
    INT(cache_disk, 0, 100000000000000, "4294967296",
        "bytes on disk for prompts that are found again after a restart; 0: nothing is written"),
    TEXT(cache_dir, "", "FOLDER", "for those prompts, private; else $XDG_CACHE_HOME/hearth"),
    TEXT(data_dir, "", "FOLDER",
         "keeps stored responses, files and batches, private; else $XDG_DATA_HOME/hearth; none: "
         "nothing is stored"),
    INT(data_mib, 1, 1073741824, "4096", "largest size of what is stored in MiB"),
    INT(data_days, 0, 36500, "30", "days that stored answers are kept; 0: until deleted"),
    INT(memory_mib, 0, 1073741824, "0",
        "memory for the plans of all loaded models in MiB; 0: what is free"),
    CHOICE(cpu_level, "auto reference avx2 avx512 neon", "auto",
           "instruction set to use, at most what the machine has"),
    TEXT(record, "", "FOLDER", "keep a record of each answer there, private, for hearth replay"),
    TEXT(record_asked, "", "FOLDER", "the same for requests with \"record\": true only"),
    TEXT(chat_template_file, "", "FILE", "a Jinja template instead of the model's own"),
    /* addresses */
    TEXT(host, "127.0.0.1", "IP", "address to listen on; beyond loopback a key is needed"),
    INT(port, 0, 65535, "8484", "port to listen on; 0: a free one, which is printed"),
    LIST(listen, "IP:PORT", "listen here instead of host and port; may be given several times"),
    TEXT(tls_cert, "", "FILE", "PEM certificate chain: serve HTTPS"),
    TEXT(tls_key, "", "FILE", "PEM key of the certificate"),
    /* access */
    {.name = "api_key",
     .kind = SERVER_SET_LIST,
     .offset = AT(api_key),
     .default_text = "",
     .value = "KEY",
     .help = "a key that clients must send; other users can see flags, prefer the file",
     .is_secret = true},
    TEXT(api_key_file, "", "FILE", "keys, one per line; # starts a comment"),
    LIST(allowed_host, "NAME", "a further name in the Host header that is this server's"),
    LIST(allowed_origin, "ORIGIN", "a web origin that may ask, beyond loopback pages; *: any"),
    /* limits */
    INT(connections, 1, 65536, "1024", "connections open at once"),
    INT(body_mib, 1, 1024, "32", "largest body of a generation request in MiB"),
    INT(bodies_mib, 1, 65536, "256", "bodies being received at once in MiB; beyond it 503"),
    INT(workers, 1, 64, "2", "threads that parse and tokenise requests"),
    SECONDS(header_timeout, 0.1, 86400, "10", "until a request's head must be complete"),
    SECONDS(body_timeout, 0.1, 86400, "30", "until its body must be, plus 1 s per 16 KiB sent"),
    SECONDS(idle_timeout, 0.1, 86400, "75", "that a connection may wait between requests"),
    SECONDS(socket_idle_timeout, 0.1, 86400, "600", "that a WebSocket may have no request"),
    SECONDS(write_timeout, 0.1, 86400, "60", "that a client may take no byte of its answer"),
    SECONDS(grace, 0, 86400, "10", "that answers under way get after SIGTERM or SIGINT"),
    CHOICE(log_level, "debug info warn error off", "info", "least severe log line that is written"),
    {0},
};

size_t server_setting_count(void)
{
    return sizeof server_setting_table / sizeof *server_setting_table - 1;
}

_Static_assert(sizeof server_setting_table / sizeof *server_setting_table <= 65,
               "`given` has a bit per row");

void server_setting_flag(const struct server_setting *setting, char out[64])
{
    snprintf(out, 64, "--%s", setting->name);
    for (char *c = out; *c; c++) {
        *c = *c == '_' ? '-' : *c;
    }
}

void server_setting_env(const struct server_setting *setting, char out[64])
{
    snprintf(out, 64, "HEARTH_%s", setting->name);
    for (char *c = out; *c; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

/* ---- what is generated ---- */

void server_settings_help(struct buf *out)
{
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char flag[64], left[96];
        server_setting_flag(setting, flag);
        snprintf(left, sizeof left, "%s %s", flag, setting->value);
        buf_add_format(out, "  %-28s %s", left, setting->help);
        if (setting->choices) {
            buf_add_format(out, ": %s", setting->choices);
        }
        if (setting->default_text[0]) {
            buf_add_format(out, " (%s)", setting->default_text);
        }
        buf_add_char(out, '\n');
    }
}

void server_settings_page(struct buf *out)
{
    buf_add_text(
        out, "# Settings\n\n"
             "Generated from `src/server/settings_table.c`; `hearth serve --help` prints the same "
             "rows.\n\n"
             "A config file (`--config FILE` or `HEARTH_CONFIG`; YAML, or TOML if its name ends in "
             "`.toml`) is overridden\nby environment variables, and those by flags. Lists are "
             "replaced as "
             "a whole. Unknown names, wrong types and\nvalues out of range are errors that say "
             "where they "
             "stand. In a variable a list is separated by commas.\n\n"
             "| key | flag | variable | value | default | meaning |\n|---|---|---|---|---|---|\n");
    for (const struct server_setting *setting = server_setting_table; setting->name; setting++) {
        char flag[64], env[64];
        server_setting_flag(setting, flag);
        server_setting_env(setting, env);
        buf_add_format(out, "| `%s` | `%s` | `%s` | ", setting->name, flag, env);
        switch (setting->kind) {
        case SERVER_SET_INT:
        case SERVER_SET_SECONDS:
            buf_add_format(out, "%.15g to %.15g", setting->min, setting->max);
            break;
        case SERVER_SET_CHOICE:
            buf_add_text(out, setting->choices);
            break;
        case SERVER_SET_TEXT:
            buf_add_format(out, "`%s`", setting->value);
            break;
        case SERVER_SET_LIST:
            buf_add_format(out, "list of `%s`", setting->value);
            break;
        }
        buf_add_format(out, " | %s | %s |\n", setting->default_text, setting->help);
    }
}
