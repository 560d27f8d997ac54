#include "base/err.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ERR_ROW(name, status, type, code, exit, meaning) {#name, status, type, code, exit, meaning},
static const struct err_info table[] = {ERR_TABLE(ERR_ROW)};
#undef ERR_ROW

const struct err_info *err_info(enum err_code code)
{
    assert((unsigned)code < ERR_COUNT);
    return &table[code];
}

/* A cut message ends in "..." so that nobody takes it for the whole. */
static void format_text(char *out, size_t cap, const char *format, va_list args)
{
    int n = vsnprintf(out, cap, format, args);
    if (n < 0) {
        out[0] = 0;
    } else if ((size_t)n >= cap) {
        memcpy(out + cap - 4, "...", 4);
    }
}

bool err_set(struct err *err, enum err_code code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        err->retry_s = 0;
        err->param[0] = 0;
        format_text(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return false;
}

bool err_set_param(struct err *err, enum err_code code, const char *param, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        err->retry_s = 0;
        snprintf(err->param, sizeof err->param, "%s", param);
        format_text(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return false;
}

static void prepend(char *text, size_t cap, const char *front, const char *between)
{
    char joined[sizeof((struct err *)0)->text];
    assert(cap <= sizeof joined);
    int n = snprintf(joined, cap, "%s%s%s", front, between, text);
    if (n >= (int)cap) {
        memcpy(joined + cap - 4, "...", 4);
    }
    memcpy(text, joined, cap);
}

bool err_wrap(struct err *err, const char *format, ...)
{
    if (err) {
        char front[512];
        va_list args;
        va_start(args, format);
        format_text(front, sizeof front, format, args);
        va_end(args);
        prepend(err->text, sizeof err->text, front, ": ");
    }
    return false;
}

bool err_wrap_param(struct err *err, const char *format, ...)
{
    if (err) {
        char front[sizeof err->param];
        va_list args;
        va_start(args, format);
        format_text(front, sizeof front, format, args);
        va_end(args);
        bool joins = err->param[0] && err->param[0] != '[';
        prepend(err->param, sizeof err->param, front, joins ? "." : "");
    }
    return false;
}

bool err_set_memory(struct err *err, unsigned long long bytes)
{
    return err_set(err, ERR_MEMORY, "out of memory: %llu bytes could not be allocated", bytes);
}

bool err_set_errno(struct err *err, int errno_value, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = ERR_IO;
        err->param[0] = 0;
        format_text(err->text, sizeof err->text, format, args);
        va_end(args);
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(errno_value));
    }
    return false;
}
