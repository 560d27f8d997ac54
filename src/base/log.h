/* JSON log lines on stderr (or a file descriptor set at start): one object per line,
 * {"ts":"...","level":"info","msg":"...", fields...}. Thread-safe: one write(2) per line. Field
 * values are escaped as JSON, so nothing a client sends can forge a line. Nothing in a log line may
 * hold a prompt, an answer or a key. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log_field {
    const char *key; /* NULL ends a list */
    enum { LOG_TEXT, LOG_INT, LOG_NUM, LOG_BOOL } kind;
    struct str text;
    int64_t integer;
    double number;
};

#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = 0}})
#define LOG_S(name, value)                                                                         \
    {                                                                                              \
        .key = (name), .kind = LOG_TEXT, .text = (value)                                           \
    }
#define LOG_C(name, value)                                                                         \
    {                                                                                              \
        .key = (name), .kind = LOG_TEXT, .text = str_of(value)                                     \
    }
#define LOG_I(name, value)                                                                         \
    {                                                                                              \
        .key = (name), .kind = LOG_INT, .integer = (int64_t)(value)                                \
    }
#define LOG_F(name, value)                                                                         \
    {                                                                                              \
        .key = (name), .kind = LOG_NUM, .number = (value)                                          \
    }
#define LOG_B(name, value)                                                                         \
    {                                                                                              \
        .key = (name), .kind = LOG_BOOL, .integer = (value)                                        \
    }

/* Set before threads start. */
void log_set_level(enum log_level level);
void log_set_fd(int fd);
bool log_level_parse(struct str name, enum log_level *out); /* debug info warn error off */

/* `fields` may be NULL. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);

#endif
