/* The envelope of WebSocket messages, which is taken apart without parsing it. What is accepted and
 * is JSON must say the same to jansson; what jansson reads as a good message must be accepted. */
#include <stdint.h>
#include <stdlib.h>

#include "api/frames.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool is_inside(struct str part, struct str whole)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void compare(const json_t *message, const struct api_frame *frame)
{
    struct err err = {0};
    bool is_request = frame->kind == API_FRAME_REQUEST;
    expect(str_eq(json_str(json_object_get(message, "id")), frame->id));
    expect(str_eq(json_str(json_object_get(message, "type")),
                  is_request ? STR("request") : STR("cancel")));
    expect(json_object_size(message) == (is_request ? 3 : 2));
    if (is_request) {
        json_t *body = json_parse(frame->body, NULL, &err);
        expect(body != NULL && json_equal(body, json_object_get(message, "body")));
        json_decref(body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct str text = {(const char *)bytes, len};
    struct api_frame frame;
    struct err err = {0};
    bool ok = api_frame_read(text, &frame, &err);
    expect(is_inside(frame.id, text) && is_inside(frame.body, text));
    expect(ok || (err.code != ERR_NONE && err.code < ERR_COUNT));
    json_t *message = json_parse(text, NULL, &err);
    if (ok && message) {
        compare(message, &frame);
    }
    json_decref(message);
    return 0;
}
