/* What is stored of responses: read, listed, deleted. */
#include "api/responses.h"
#include "base/json.h"

bool api_responses_call_get(struct api_call *call, struct err *err)
{
    static const char *const names[] = {"include", "stream", "starting_after",
                                        "include_obfuscation", NULL};
    struct store_object object;
    if (!api_call_check_queries(call, names, err) ||
        !api_call_get(call, STORE_RESPONSE, STR(""), call->ids[0], "response", false, &object,
                      err)) {
        return false;
    }
    buf_add(&call->out, object.body);
    return true;
}

bool api_responses_call_delete(struct api_call *call, struct err *err)
{
    return api_call_delete(call, STORE_RESPONSE, "response", "response", err);
}

bool api_responses_call_inputs(struct api_call *call, struct err *err)
{
    static const char *const others[] = {"include", NULL};
    struct store_object object;
    struct api_page page = {.query = {.kind = STORE_INPUT, .parent = call->ids[0]},
                            .others = others,
                            .limit_default = 20,
                            .limit_max = 100,
                            .newest_first = true};
    return api_call_get(call, STORE_RESPONSE, STR(""), call->ids[0], "response", false, &object,
                        err) &&
           api_call_page(call, &page, err);
}
