#include "base/log.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

static atomic_int level_min = LOG_INFO;
static atomic_int log_fd = STDERR_FILENO;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_set_level(enum log_level level)
{
    atomic_store(&level_min, (int)level);
}

void log_set_fd(int fd)
{
    atomic_store(&log_fd, fd);
}

bool log_level_parse(struct str name, enum log_level *out)
{
    for (int i = 0; i <= LOG_OFF; i++) {
        if (str_eq_nocase(name, str_of(level_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void add_field(struct buf *line, const struct log_field *field)
{
    char number[32];
    buf_add_char(line, ',');
    json_write_string(line, str_of(field->key));
    buf_add_char(line, ':');
    switch (field->kind) {
    case LOG_TEXT:
        json_write_string(line, field->text);
        break;
    case LOG_INT:
        buf_add_format(line, "%lld", (long long)field->integer);
        break;
    case LOG_NUM:
        json_format_double(field->number, number);
        buf_add_text(line, number);
        break;
    case LOG_BOOL:
        buf_add_text(line, field->integer ? "true" : "false");
        break;
    }
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    if ((int)level < atomic_load(&level_min) || level >= LOG_OFF) {
        return;
    }
    struct buf line = {.limit = 64 << 10};
    char stamp[32];
    clock_format_utc(clock_wall_ms(), stamp);
    buf_add_format(&line, "{\"ts\":\"%s\",\"level\":\"%s\",\"msg\":", stamp, level_names[level]);
    json_write_string(&line, str_of(message));
    for (; fields && fields->key; fields++) {
        add_field(&line, fields);
    }
    buf_add_text(&line, "}\n");
    if (!line.failed) { /* a line that does not fit its limit is dropped whole, never cut */
        ssize_t written = write(atomic_load(&log_fd), line.ptr, line.len);
        (void)written; /* nobody is left to tell */
    }
    buf_deinit(&line);
}
