/* Failures in the shape of Anthropic's API. */
#include "api/anthropic.h"
#include "base/json.h"

static const char *type_of(const struct err *failure)
{
    switch (failure->code) {
    case ERR_AUTH:
        return "authentication_error";
    case ERR_FORBIDDEN:
        return "permission_error";
    case ERR_MODEL:
    case ERR_NOT_FOUND:
        return "not_found_error";
    case ERR_TOO_LARGE:
        return "request_too_large";
    case ERR_TIMEOUT:
        return "timeout_error";
    case ERR_BUSY:
        return "overloaded_error";
    default:
        return err_info(failure->code)->http_status < 500 ? "invalid_request_error" : "api_error";
    }
}

int api_anthropic_status(const struct err *failure)
{
    return failure->code == ERR_BUSY ? 529 : err_info(failure->code)->http_status;
}

/* "messages[0].content[1]" -> "messages.0.content.1", as this API writes places. */
static void add_place(struct buf *out, const char *param)
{
    for (; *param; param++) {
        if (*param != ']') {
            buf_add_char(out, (char)(*param == '[' ? '.' : *param));
        }
    }
    buf_add_text(out, ": ");
}

void api_anthropic_add_error(const struct err *failure, struct buf *out)
{
    struct buf message = {0};
    if (failure->param[0]) {
        add_place(&message, failure->param);
    }
    buf_add_text(&message, failure->text);
    buf_add_format(out,
                   "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type_of(failure));
    json_write_string(out, message.failed ? str_of(failure->text) : buf_view(&message));
    buf_add_char(out, '}');
    buf_deinit(&message);
}

void api_anthropic_error(const struct err *failure, struct str request_id, struct buf *out)
{
    api_anthropic_add_error(failure, out);
    buf_add_text(out, ",\"request_id\":");
    json_write_string(out, request_id);
    buf_add_char(out, '}');
}
