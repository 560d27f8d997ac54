#include "toolkit/scenario.h"

#include <stdio.h>

#include "base/json.h"

enum { WORDS_MAX = 1 << 20, TOKENS_MAX = 1 << 24 };

void toolkit_scenario_init(struct toolkit_scenario *scenario)
{
    *scenario = (struct toolkit_scenario){
        .stages = {{.users = 1, .seconds = 10}},
        .stage_count = 1,
        .requests = {{.weight = 1, .words = 64, .max_tokens = 128, .fresh = true}},
        .request_count = 1,
        .weights = 1,
        .limits = {-1, -1, -1, -1}};
}

void toolkit_scenario_deinit(struct toolkit_scenario *scenario)
{
    json_decref(scenario->tree);
    scenario->tree = NULL;
}

/* ---- values ---- */

static bool wrong_type(const char *where, const char *key, const char *wanted, struct err *err)
{
    return err_set(err, ERR_TYPE, "%s%s must be %s", where, key, wanted);
}

static bool read_number(const char *where, const char *key, const json_t *value, double low,
                        double high, double *out, struct err *err)
{
    double number = json_number_value(value);
    if (!json_is_number(value)) {
        return wrong_type(where, key, "a number", err);
    }
    if (!(number >= low && number <= high)) {
        return err_set(err, ERR_INVALID, "%s%s must be between %g and %g", where, key, low, high);
    }
    *out = number;
    return true;
}

static bool read_count(const char *where, const char *key, const json_t *value, uint32_t low,
                       uint32_t high, uint32_t *out, struct err *err)
{
    double number = 0;
    if (!json_is_integer(value)) {
        return wrong_type(where, key, "an integer", err);
    }
    if (!read_number(where, key, value, low, high, &number, err)) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

static bool read_text(const char *where, const char *key, const json_t *value, struct str *out,
                      struct err *err)
{
    if (!json_is_string(value) || json_string_length(value) == 0) {
        return wrong_type(where, key, "a text that is not empty", err);
    }
    *out = json_str(value);
    return true;
}

static bool unknown(const char *where, const char *key, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_set(err, ERR_UNKNOWN, "%sthere is no key '%s'", where,
                   str_quote(quoted, str_of(key)));
}

/* ---- parts ---- */

typedef bool read_key(void *into, const char *where, const char *key, const json_t *value,
                      struct err *err);

static bool read_object(void *into, const char *where, json_t *object, read_key *read,
                        struct err *err)
{
    if (!json_is_object(object)) {
        return err_set(err, ERR_TYPE, "%sexpected an object", where);
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        if (!read(into, where, json_object_iter_key(it), json_object_iter_value(it), err)) {
            return false;
        }
    }
    return true;
}

static bool read_stage(void *into, const char *where, const char *key, const json_t *value,
                       struct err *err)
{
    struct toolkit_stage *stage = into;
    if (strcmp(key, "users") == 0) {
        return read_count(where, key, value, 1, TOOLKIT_USERS_MAX, &stage->users, err);
    }
    if (strcmp(key, "seconds") == 0) {
        return read_number(where, key, value, 0.1, 86400, &stage->seconds, err);
    }
    return unknown(where, key, err);
}

static bool read_request(void *into, const char *where, const char *key, const json_t *value,
                         struct err *err)
{
    struct toolkit_request *request = into;
    if (strcmp(key, "weight") == 0) {
        return read_count(where, key, value, 1, 1000000, &request->weight, err);
    }
    if (strcmp(key, "prompt") == 0) {
        return read_text(where, key, value, &request->prompt, err);
    }
    if (strcmp(key, "words") == 0) {
        return read_count(where, key, value, 1, WORDS_MAX, &request->words, err);
    }
    if (strcmp(key, "max_tokens") == 0) {
        return read_count(where, key, value, 1, TOKENS_MAX, &request->max_tokens, err);
    }
    if (strcmp(key, "fresh") == 0) {
        request->fresh = json_is_true(value);
        return json_is_boolean(value) || wrong_type(where, key, "true or false", err);
    }
    if (strcmp(key, "body") == 0) {
        request->body = value;
        return json_is_object(value) || wrong_type(where, key, "an object", err);
    }
    return unknown(where, key, err);
}

static bool read_limit(void *into, const char *where, const char *key, const json_t *value,
                       struct err *err)
{
    struct toolkit_limits *limits = into;
    double *slot = strcmp(key, "ttft_p99_ms") == 0         ? &limits->ttft_p99_ms
                   : strcmp(key, "gap_p99_ms") == 0        ? &limits->gap_p99_ms
                   : strcmp(key, "tokens_per_second") == 0 ? &limits->tokens_per_second
                   : strcmp(key, "errors_percent") == 0    ? &limits->errors_percent
                                                           : NULL;
    return slot ? read_number(where, key, value, 0, 1e9, slot, err) : unknown(where, key, err);
}

static bool read_stages(struct toolkit_scenario *scenario, const json_t *list, struct err *err)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > TOOLKIT_STAGES_MAX) {
        return err_set(err, ERR_INVALID, "stages must be a list of 1 to %d",
                       (int)TOOLKIT_STAGES_MAX);
    }
    scenario->stage_count = count;
    for (size_t i = 0; i < count; i++) {
        struct toolkit_stage *stage = &scenario->stages[i];
        char where[32];
        snprintf(where, sizeof where, "stages[%zu]: ", i);
        *stage = (struct toolkit_stage){0};
        if (!read_object(stage, where, json_array_get(list, i), read_stage, err)) {
            return false;
        }
        if (stage->users == 0 || stage->seconds <= 0) {
            return err_set(err, ERR_MISSING, "%susers and seconds are needed", where);
        }
    }
    return true;
}

static bool read_requests(struct toolkit_scenario *scenario, const json_t *list, struct err *err)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > TOOLKIT_REQUESTS_MAX) {
        return err_set(err, ERR_INVALID, "requests must be a list of 1 to %d",
                       (int)TOOLKIT_REQUESTS_MAX);
    }
    scenario->request_count = count;
    scenario->weights = 0;
    for (size_t i = 0; i < count; i++) {
        struct toolkit_request *request = &scenario->requests[i];
        char where[32];
        snprintf(where, sizeof where, "requests[%zu]: ", i);
        *request = (struct toolkit_request){.weight = 1};
        if (!read_object(request, where, json_array_get(list, i), read_request, err)) {
            return false;
        }
        if ((request->prompt.len == 0) == (request->words == 0)) {
            return err_set(err, ERR_MISSING, "%sprompt or words is needed, and not both", where);
        }
        scenario->weights += request->weight;
    }
    return true;
}

static bool read_top(void *into, const char *where, const char *key, const json_t *value,
                     struct err *err)
{
    struct toolkit_scenario *scenario = into;
    if (strcmp(key, "model") == 0) {
        return read_text(where, key, value, &scenario->model, err);
    }
    if (strcmp(key, "stages") == 0) {
        return read_stages(scenario, value, err);
    }
    if (strcmp(key, "ramp_seconds") == 0) {
        return read_number(where, key, value, 0, 86400, &scenario->ramp_seconds, err);
    }
    if (strcmp(key, "requests") == 0) {
        return read_requests(scenario, value, err);
    }
    if (strcmp(key, "limits") == 0) {
        return read_object(&scenario->limits, "limits: ", (json_t *)(uintptr_t)value, read_limit,
                           err);
    }
    return unknown(where, key, err);
}

bool toolkit_scenario_read(struct toolkit_scenario *scenario, json_t *tree, struct err *err)
{
    json_decref(scenario->tree);
    scenario->tree = tree;
    return read_object(scenario, "", tree, read_top, err);
}

/* ---- bodies ---- */

/* Which request comes as number `number`: weights in turn, spread by a fixed odd step. */
static const struct toolkit_request *choose(const struct toolkit_scenario *scenario,
                                            uint64_t number)
{
    uint64_t at = number * 2654435761u % scenario->weights;
    size_t i = 0;
    while (at >= scenario->requests[i].weight) {
        at -= scenario->requests[i].weight;
        i++;
    }
    return &scenario->requests[i];
}

static void add_words(uint32_t count, uint64_t number, struct buf *out)
{
    static const char *const words[] = {"river", "lamp", "winter", "garden", "music", "stone",
                                        "paper", "ship", "bread",  "wind",   "house", "light",
                                        "table", "road", "cloud",  "letter"};
    for (uint32_t i = 0; i < count; i++) {
        uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;
        buf_add_format(out, i ? " %s" : "%s", words[mixed >> 60]);
    }
}

bool toolkit_scenario_body(const struct toolkit_scenario *scenario, uint64_t number,
                           struct buf *out)
{
    const struct toolkit_request *request = choose(scenario, number);
    struct buf prompt = {0};
    if (request->fresh) {
        buf_add_format(&prompt, "%llu: ", (unsigned long long)number);
    }
    if (request->words) {
        add_words(request->words, request->fresh ? number : 0, &prompt);
    } else {
        buf_add(&prompt, request->prompt);
    }
    json_t *body = request->body ? json_copy((json_t *)(uintptr_t)request->body) : json_object();
    json_object_set_new(
        body, "model",
        json_stringn(scenario->model.ptr ? scenario->model.ptr : "", scenario->model.len));
    json_object_set_new(
        body, "messages",
        json_pack("[{ss ss%}]", "role", "user", "content", buf_view(&prompt).ptr, prompt.len));
    if (request->max_tokens) {
        json_object_set_new(body, "max_tokens", json_integer(request->max_tokens));
    }
    json_object_set_new(body, "stream", json_true());
    json_object_set_new(body, "stream_options", json_pack("{sb}", "include_usage", 1));
    buf_clear(out);
    json_write(out, body);
    bool ok = body && !prompt.failed && !out->failed;
    json_decref(body);
    buf_deinit(&prompt);
    return ok;
}
