#include "toolkit/sse.h"

void toolkit_sse_deinit(struct toolkit_sse *sse)
{
    buf_deinit(&sse->line);
    buf_deinit(&sse->data);
}

void toolkit_sse_reset(struct toolkit_sse *sse)
{
    buf_clear(&sse->line);
    buf_clear(&sse->data);
    sse->has_data = sse->after_return = false;
}

static void end_line(struct toolkit_sse *sse)
{
    struct str line = buf_view(&sse->line);
    if (line.len == 0) {
        if (sse->has_data) {
            sse->event(sse->arg, buf_view(&sse->data));
        }
        sse->has_data = false;
        buf_clear(&sse->data);
        return;
    }
    struct str field = str_cut(&line, ':');
    str_eat(&line, STR(" "));
    if (str_eq(field, STR("data"))) {
        if (sse->has_data) {
            buf_add_char(&sse->data, '\n');
        }
        buf_add(&sse->data, line);
        sse->has_data = true;
    }
    buf_clear(&sse->line);
}

bool toolkit_sse_feed(struct toolkit_sse *sse, struct str bytes)
{
    while (bytes.len) {
        size_t end = 0;
        while (end < bytes.len && bytes.ptr[end] != '\n' && bytes.ptr[end] != '\r') {
            end++;
        }
        bool is_second_half = end == 0 && bytes.ptr[0] == '\n' && sse->after_return;
        sse->after_return = false;
        buf_add(&sse->line, str_slice(bytes, 0, end));
        if (sse->line.failed || sse->data.failed ||
            sse->line.len + sse->data.len > TOOLKIT_SSE_BYTES_MAX) {
            return false;
        }
        if (end < bytes.len) {
            sse->after_return = bytes.ptr[end] == '\r';
            if (!is_second_half) {
                end_line(sse);
            }
            end++;
        }
        bytes = str_slice(bytes, end, bytes.len);
    }
    return true;
}
