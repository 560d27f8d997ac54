/* Chat templates: compiles and renders the input with tight bounds on a fixed conversation. The
 * trusted spans must lie in the output, in order and apart. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "chat/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char context_text[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"be <b>good</b>\"},{\"role\":\"user\","
    "\"content\":\"na\\u00efve \\ud83e\\udd99 'q' \\\"w\\\"\\n\\ttab\"},{\"role\":\"assistant\","
    "\"content\":null,\"tool_calls\":[{\"id\":\"call00001\",\"function\":{\"name\":\"f\","
    "\"arguments\":{\"x\":[1,2.5,true,null]}}}]}],\"tools\":[{\"type\":\"function\"}],"
    "\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_generation_prompt\":true,\"n\":-7,"
    "\"f\":1.5,\"e\":{},\"l\":[3,1,2]}";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    static json_t *context;
    struct chat_limits limits = {.steps_max = 200 * 1000,
                                 .output_bytes_max = 256 << 10,
                                 .memory_bytes_max = 8 << 20,
                                 .depth_max = 100,
                                 .source_bytes_max = 64 << 10};
    struct err err = {0};
    struct chat_text text;
    if (!context) {
        context = json_parse(str_of(context_text), NULL, &err);
    }
    struct chat_template *tmpl =
        chat_template_compile((struct str){(const char *)bytes, len}, &limits, &err);
    struct chat_render_opts opts = {.context = context,
                                    .trusted_names = trusted,
                                    .trusted_roles = true,
                                    .has_clock = true,
                                    .clock_s = 1753531200};
    if (tmpl && chat_template_render(tmpl, &opts, &text, &err)) {
        size_t at = 0;
        for (size_t i = 0; i < text.trusted_count; i++) {
            if (text.trusted[i].from >= text.trusted[i].to || text.trusted[i].to > text.text.len ||
                (i > 0 && text.trusted[i].from <= at)) {
                abort();
            }
            at = text.trusted[i].to;
        }
        chat_text_deinit(&text);
    } else if (err.code == ERR_NONE) {
        abort();
    }
    chat_template_destroy(tmpl);
    return 0;
}
