/* The reader of multipart/form-data, and the lines of a batch. The first line is the content type
 * (or "line"), the rest the body. Every part must lie within the body. */
#include <stdint.h>
#include <stdlib.h>

#include "api/files.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect_within(struct str part, struct str body)
{
    if (part.len && (part.ptr < body.ptr || part.ptr + part.len > body.ptr + body.len)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct api_part_field parts[4];
    struct str body = {(const char *)bytes, len};
    struct str type = str_cut(&body, '\n');
    struct err err;
    size_t count;
    if (str_eq(type, STR("line"))) {
        struct arena arena = arena_init(1 << 20);
        struct api_batch_line line;
        api_batch_line_read(body, STR("/v1/chat/completions"), &arena, &line, &err);
        buf_deinit(&line.body);
        arena_deinit(&arena);
        return 0;
    }
    if (api_multipart_read(type, body, parts, 4, &count, &err)) {
        for (size_t i = 0; i < count; i++) {
            expect_within(parts[i].content, body);
            expect_within(parts[i].name, body);
            expect_within(parts[i].file_name, body);
        }
    }
    return 0;
}
