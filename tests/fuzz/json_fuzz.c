/* The JSON reader and writer. A text that parses must print to a text that parses to the same
 * value, and a string must survive being written as a literal. The first byte chooses the limits.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void round_trip(const json_t *value, int indent)
{
    struct buf out = {0};
    struct err err = {0};
    if (indent > 0) {
        json_write_indent(&out, value, indent);
    } else {
        json_write(&out, value);
    }
    expect(!out.failed);
    /* Reals are printed in their shortest form, so equality is exact. */
    json_t *again = json_parse(buf_view(&out), &(struct json_limits){.depth_max = 1024}, &err);
    expect(again != NULL && json_equal(value, again));
    json_decref(again);
    buf_deinit(&out);
}

static void literal(struct str text)
{
    struct buf out = {0};
    struct err err = {0};
    json_write_string(&out, text);
    json_t *value = json_parse(buf_view(&out), NULL, &err);
    expect(value != NULL && json_is_string(value));
    json_decref(value);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct str text = {.ptr = (const char *)bytes + 1, .len = len - 1};
    struct json_limits limits = {0};
    if (bytes[0] & 1) {
        limits = (struct json_limits){.depth_max = 4, .values_max = 16};
    }
    struct err err = {0};
    json_t *value = json_parse(text, &limits, &err);
    if (value != NULL) {
        round_trip(value, 0);
        round_trip(value, 2);
        json_decref(value);
    } else {
        expect(err.code == ERR_JSON || err.code == ERR_MEMORY);
    }
    literal(text);
    return 0;
}
