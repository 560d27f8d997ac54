/* Errors. Every function that can fail takes `struct err *err` last and returns false or NULL; the
 * error is filled where the fact is known and wrapped with context on the way up:
 *
 *     return err_set(err, ERR_FORMAT, "tensor %s: offset %llu past end of file", name, offset);
 *     return err_wrap(err, "load %s", path);     ->  "load m.gguf: tensor blk.3: offset ..."
 *
 * Input faults and faults of the environment are returned; our own bugs assert. One table gives
 * each code its HTTP status, OpenAI `type` and `code`, and the exit status of the command line. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/attr.h"

/* X(name, HTTP status, OpenAI type, OpenAI code or NULL, exit status, meaning) */
#define ERR_TABLE(X)                                                                               \
    X(ERR_NONE, 200, "", NULL, 0, "success")                                                       \
    X(ERR_USAGE, 400, "invalid_request_error", NULL, 2, "wrong command line")                      \
    X(ERR_INVALID, 400, "invalid_request_error", "invalid_value", 2, "a value is out of range")    \
    X(ERR_TYPE, 400, "invalid_request_error", "invalid_type", 2, "a value has the wrong type")     \
    X(ERR_MISSING, 400, "invalid_request_error", "missing_required_parameter", 2,                  \
      "a required value is missing")                                                               \
    X(ERR_UNKNOWN, 400, "invalid_request_error", "unknown_parameter", 2, "an unknown name")        \
    X(ERR_UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter", 2,                   \
      "a known feature that is not supported")                                                     \
    X(ERR_JSON, 400, "invalid_request_error", "invalid_json", 2, "malformed JSON")                 \
    X(ERR_CONTEXT, 400, "invalid_request_error", "context_length_exceeded", 7,                     \
      "a prompt does not fit the context")                                                         \
    X(ERR_TEMPLATE, 400, "invalid_request_error", "template_error", 8,                             \
      "the chat template refused or failed")                                                       \
    X(ERR_AUTH, 401, "invalid_request_error", "invalid_api_key", 9, "no or a wrong API key")       \
    X(ERR_FORBIDDEN, 403, "permission_error", "forbidden", 9, "not allowed")                       \
    X(ERR_MODEL, 404, "invalid_request_error", "model_not_found", 4, "no such model")              \
    X(ERR_NOT_FOUND, 404, "invalid_request_error", "not_found", 5, "no such thing")                \
    X(ERR_METHOD, 405, "invalid_request_error", "method_not_allowed", 2, "wrong HTTP method")      \
    X(ERR_TIMEOUT, 408, "timeout_error", "timeout", 11, "too slow")                                \
    X(ERR_TOO_LARGE, 413, "invalid_request_error", "payload_too_large", 2, "too many bytes")       \
    X(ERR_MEDIA, 415, "invalid_request_error", "unsupported_media_type", 2, "wrong content type")  \
    X(ERR_UPGRADE, 426, "invalid_request_error", "upgrade_required", 2, "not spoken over HTTP")    \
    X(ERR_FORMAT, 500, "server_error", "malformed_file", 3, "a malformed file")                    \
    X(ERR_ARCH, 500, "server_error", "unsupported_model", 4, "a model hearth cannot run")          \
    X(ERR_IO, 500, "server_error", "io_error", 5, "the operating system refused")                  \
    X(ERR_MEMORY, 503, "server_error", "out_of_memory", 6, "not enough memory")                    \
    X(ERR_BUSY, 503, "server_error", "overloaded", 12, "too much to do; try again")                \
    X(ERR_FULL, 507, "server_error", "storage_full", 14, "no room on the disk")                    \
    X(ERR_LIMIT, 500, "server_error", NULL, 15, "a limit of a load test was exceeded")             \
    X(ERR_CANCELLED, 499, "server_error", "cancelled", 13, "cancelled")                            \
    X(ERR_INTERNAL, 500, "server_error", "internal_error", 10, "a fault of hearth")

#define ERR_ENUM(name, ...) name,
enum err_code { ERR_TABLE(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

/* Text is complete sentences or `context: context: fact`, without a final newline, <= 1 KiB, and
 * holds no unescaped text from files or clients (see str_quote). */
struct err {
    enum err_code code;
    char param[160];  /* the field at fault as a path, "messages[0].role"; empty if none */
    unsigned retry_s; /* ERR_BUSY: about when it is worth trying again; 0: unknown */
    char text[1024];
};

/* One row of ERR_TABLE. */
struct err_info {
    const char *name;
    int http_status;
    const char *type;
    const char *openai_code; /* may be NULL */
    int exit_status;         /* 0..63 */
    const char *meaning;
};

const struct err_info *err_info(enum err_code code);

/* Fills *err (NULL is allowed) and returns false. */
bool err_set(struct err *err, enum err_code code, const char *format, ...) ATTR_PRINTF(3, 4);

/* The same for a fault in a named field of the input. */
bool err_set_param(struct err *err, enum err_code code, const char *param, const char *format, ...)
    ATTR_PRINTF(4, 5);

/* Puts "context: " before the text and returns false. */
bool err_wrap(struct err *err, const char *format, ...) ATTR_PRINTF(2, 3);

/* Puts `prefix` before the param path ("messages[2]" + "role" -> "messages[2].role"); false. */
bool err_wrap_param(struct err *err, const char *format, ...) ATTR_PRINTF(2, 3);

/* ERR_MEMORY with the number of bytes that could not be had; false. */
bool err_set_memory(struct err *err, unsigned long long bytes);

/* ERR_IO with what was tried and the text of `errno_value`; false. */
bool err_set_errno(struct err *err, int errno_value, const char *format, ...) ATTR_PRINTF(3, 4);

#endif
