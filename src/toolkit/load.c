#include "toolkit/load.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "toolkit/sse.h"

enum {
    SAMPLES_MAX = 1 << 23,
    ERROR_BYTES_MAX = 4096, /* kept of an answer that is no stream */
    POLL_MS = 50,
    CONNECT_S = 10,
    STALL_S = 120,
};

struct samples {
    double *values;
    size_t count, cap;
};

struct load;

/* One user: a connection that is used again and again. */
struct user {
    struct load *load;
    CURL *easy;
    struct toolkit_sse sse;
    struct buf body, error;
    bool runs;
    bool is_stream; /* the answer's status is 200 */
    bool is_broken; /* an error came within the stream */
    int64_t sent_ns, heard_ns;
    uint64_t pieces, tokens;
    int64_t starts_ns;
};

struct load {
    const struct toolkit_load_params *params;
    CURLM *multi;
    struct curl_slist *headers;
    char *url;
    struct user *users;
    size_t user_count;
    uint64_t number; /* of requests so far */
    /* of the stage */
    struct samples ttft, gap, whole;
    uint64_t pieces, counted_pieces, counted_tokens;
    struct toolkit_stage_result *result;
    bool is_short; /* of memory */
};

static void add_sample(struct load *load, struct samples *samples, double value)
{
    if (samples->count == SAMPLES_MAX) {
        return;
    }
    if (samples->count == samples->cap) {
        size_t cap = samples->cap ? samples->cap * 2 : 1024;
        double *grown = mem_resize(samples->values, cap, sizeof *grown);
        if (!grown) {
            load->is_short = true;
            return;
        }
        samples->values = grown;
        samples->cap = cap;
    }
    samples->values[samples->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest value that at least `part` of all values do not exceed. */
static double quantile(const struct samples *samples, double part)
{
    size_t rank = (size_t)(part * (double)samples->count);
    return samples->values[size_min(rank, samples->count - 1)];
}

static struct toolkit_times times_of(struct samples *samples)
{
    struct toolkit_times times = {.count = samples->count};
    if (samples->count) {
        qsort(samples->values, samples->count, sizeof *samples->values, by_value);
        times.p50 = quantile(samples, 0.5);
        times.p90 = quantile(samples, 0.9);
        times.p99 = quantile(samples, 0.99);
        times.max = samples->values[samples->count - 1];
    }
    samples->count = 0;
    return times;
}

/* ---- what comes back ---- */

/* Some of the answer is in this chunk: text, reasoning, or a part of a call. */
static bool has_piece(const json_t *chunk)
{
    static const char *const names[] = {"content", "reasoning_content", "reasoning"};
    const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_string_length(json_object_get(delta, names[i])) > 0) {
            return true;
        }
    }
    return json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

static void note_piece(struct user *user)
{
    struct load *load = user->load;
    int64_t now = clock_now_ns();
    double ms = (double)(now - user->heard_ns) / 1e6;
    add_sample(load, user->pieces == 0 ? &load->ttft : &load->gap, ms);
    user->heard_ns = now;
    user->pieces++;
    load->pieces++;
}

static void on_event(void *arg, struct str data)
{
    struct user *user = arg;
    struct err ignored;
    if (str_eq(data, STR("[DONE]"))) {
        return;
    }
    json_t *chunk = json_parse(data, NULL, &ignored);
    const json_t *usage = json_object_get(chunk, "usage");
    if (!chunk || json_object_get(chunk, "error")) {
        user->is_broken = true;
        buf_add(&user->error, str_slice(data, 0, ERROR_BYTES_MAX));
    } else if (has_piece(chunk)) {
        note_piece(user);
    }
    if (json_is_object(usage)) {
        user->tokens = (uint64_t)json_integer_value(json_object_get(usage, "completion_tokens"));
    }
    json_decref(chunk);
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
    struct user *user = arg;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(user->easy, CURLINFO_RESPONSE_CODE, &status);
    user->is_stream = status == 200;
    if (!user->is_stream) {
        size_t room = ERROR_BYTES_MAX - size_min(user->error.len, ERROR_BYTES_MAX);
        buf_add(&user->error, (struct str){bytes, size_min(len, room)});
        return len;
    }
    return toolkit_sse_feed(&user->sse, (struct str){bytes, len}) ? len : 0;
}

/* ---- users ---- */

static bool send_request(struct load *load, struct user *user)
{
    if (!toolkit_scenario_body(load->params->scenario, load->number++, &user->body)) {
        load->is_short = true;
        return false;
    }
    toolkit_sse_reset(&user->sse);
    buf_clear(&user->error);
    user->pieces = user->tokens = 0;
    user->is_stream = user->is_broken = false;
    curl_easy_setopt(user->easy, CURLOPT_POSTFIELDS, user->body.ptr);
    curl_easy_setopt(user->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)user->body.len);
    user->sent_ns = user->heard_ns = clock_now_ns();
    user->runs = curl_multi_add_handle(load->multi, user->easy) == CURLM_OK;
    return user->runs;
}

static void note_error(struct load *load, const struct user *user, CURLcode code)
{
    char quoted[STR_QUOTE_MAX];
    long status = 0;
    struct toolkit_stage_result *result = load->result;
    if (result->first_error[0]) {
        return;
    }
    curl_easy_getinfo(user->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        snprintf(result->first_error, sizeof result->first_error, "%s", curl_easy_strerror(code));
    } else {
        snprintf(result->first_error, sizeof result->first_error, "status %ld: %s", status,
                 str_quote(quoted, buf_view(&user->error)));
    }
}

static void end_request(struct load *load, struct user *user, CURLcode code)
{
    struct toolkit_stage_result *result = load->result;
    user->runs = false;
    curl_multi_remove_handle(load->multi, user->easy);
    if (code != CURLE_OK || !user->is_stream || user->is_broken) {
        result->failed++;
        note_error(load, user, code);
        return;
    }
    result->completed++;
    add_sample(load, &load->whole, (double)(clock_now_ns() - user->sent_ns) / 1e6);
    if (user->tokens) {
        load->counted_pieces += user->pieces;
        load->counted_tokens += user->tokens;
    }
}

static bool open_user(struct load *load, struct user *user)
{
    *user = (struct user){.load = load, .easy = curl_easy_init()};
    if (!user->easy) {
        return false;
    }
    user->sse.event = on_event;
    user->sse.arg = user;
    curl_easy_setopt(user->easy, CURLOPT_URL, load->url);
    curl_easy_setopt(user->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(user->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(user->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(user->easy, CURLOPT_HTTPHEADER, load->headers);
    curl_easy_setopt(user->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(user->easy, CURLOPT_WRITEDATA, user);
    curl_easy_setopt(user->easy, CURLOPT_PRIVATE, user);
    curl_easy_setopt(user->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(user->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(user->easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    return true;
}

/* ---- stages ---- */

static void take_ended(struct load *load)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(load->multi, &left)) != NULL) {
        struct user *user = NULL;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user) == CURLE_OK) {
            end_request(load, user, message->data.result);
        }
    }
}

/* A user whose last request failed at once waits a little before the next one. */
static void start_idle(struct load *load, size_t users, int64_t now)
{
    for (size_t i = 0; i < users && !load->is_short; i++) {
        struct user *user = &load->users[i];
        if (!user->runs && now >= user->starts_ns) {
            user->starts_ns = now + (user->is_stream ? 0 : (int64_t)POLL_MS * 1000000);
            send_request(load, user);
        }
    }
}

static void cut_all(struct load *load)
{
    for (size_t i = 0; i < load->user_count; i++) {
        if (load->users[i].runs) {
            curl_multi_remove_handle(load->multi, load->users[i].easy);
            load->users[i].runs = false;
            load->result->cut++;
        }
    }
}

static void sum_up(struct load *load, double seconds)
{
    struct toolkit_stage_result *result = load->result;
    double per_piece =
        load->counted_pieces ? (double)load->counted_tokens / (double)load->counted_pieces : 1;
    result->seconds = seconds;
    result->ttft = times_of(&load->ttft);
    result->gap = times_of(&load->gap);
    result->whole = times_of(&load->whole);
    result->tokens_per_second = (double)load->pieces * per_piece / seconds;
    result->requests_per_second = (double)result->completed / seconds;
    load->pieces = load->counted_pieces = load->counted_tokens = 0;
}

/* False when the caller ends the test. */
static bool run_stage(struct load *load, size_t index)
{
    const struct toolkit_scenario *scenario = load->params->scenario;
    const struct toolkit_stage *stage = &scenario->stages[index];
    int64_t start = clock_now_ns(), now = start;
    int64_t end = start + (int64_t)(stage->seconds * 1e9);
    bool goes_on = true;
    load->result->users = stage->users;
    for (size_t i = 0; i < stage->users; i++) {
        load->users[i].starts_ns =
            start + (int64_t)(scenario->ramp_seconds * 1e9 * (double)i / stage->users);
        load->users[i].is_stream = true;
    }
    while (now < end && goes_on && !load->is_short) {
        int running;
        start_idle(load, stage->users, now);
        curl_multi_perform(load->multi, &running);
        take_ended(load);
        curl_multi_poll(load->multi, NULL, 0, running ? POLL_MS : 1, NULL);
        now = clock_now_ns();
        goes_on = !load->params->progress ||
                  load->params->progress(load->params->arg, index,
                                         (double)(now - start) / (double)(end - start));
    }
    cut_all(load);
    sum_up(load, (double)(now - start) / 1e9);
    return goes_on;
}

/* ---- life ---- */

static bool open_load(struct load *load, struct err *err)
{
    const struct toolkit_load_params *params = load->params;
    struct str base = str_of(params->url);
    struct buf url = {0}, authorization = {0};
    while (str_ends(base, STR("/"))) {
        base.len--;
    }
    buf_add(&url, base);
    buf_add_text(&url, str_ends(base, STR("/v1")) ? "/chat/completions" : "/v1/chat/completions");
    load->url = buf_take(&url, NULL);
    load->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (params->key && load->headers) {
        buf_add_format(&authorization, "Authorization: Bearer %s", params->key);
        load->headers = curl_slist_append(load->headers, authorization.ptr);
        buf_deinit(&authorization);
    }
    for (size_t i = 0; i < params->scenario->stage_count; i++) {
        load->user_count = size_max(load->user_count, params->scenario->stages[i].users);
    }
    load->multi = curl_multi_init();
    load->users = MEM_ARRAY(struct user, load->user_count);
    bool ok = load->url && load->headers && load->multi && load->users;
    for (size_t i = 0; ok && i < load->user_count; i++) {
        ok = open_user(load, &load->users[i]);
    }
    return ok || err_set_memory(err, load->user_count * sizeof *load->users);
}

static void close_load(struct load *load)
{
    for (size_t i = 0; load->users && i < load->user_count; i++) {
        curl_easy_cleanup(load->users[i].easy);
        toolkit_sse_deinit(&load->users[i].sse);
        buf_deinit(&load->users[i].body);
        buf_deinit(&load->users[i].error);
    }
    curl_multi_cleanup(load->multi);
    curl_slist_free_all(load->headers);
    mem_free(load->users);
    mem_free(load->url);
    mem_free(load->ttft.values);
    mem_free(load->gap.values);
    mem_free(load->whole.values);
}

bool toolkit_load_run(const struct toolkit_load_params *params,
                      struct toolkit_stage_result *results, size_t *count, struct err *err)
{
    struct load load = {.params = params};
    *count = 0;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    }
    bool ok = open_load(&load, err);
    for (bool goes_on = ok; goes_on && *count < params->scenario->stage_count; (*count)++) {
        load.result = &results[*count];
        *load.result = (struct toolkit_stage_result){0};
        goes_on = run_stage(&load, *count);
    }
    if (ok && load.is_short) {
        ok = err_set_memory(err, SAMPLES_MAX);
    }
    close_load(&load);
    curl_global_cleanup();
    return ok;
}

bool toolkit_load_exceeds(const struct toolkit_limits *limits,
                          const struct toolkit_stage_result *results, size_t count, char out[256])
{
    double rate = 0;
    uint64_t all = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct toolkit_stage_result *result = &results[i];
        rate = result->tokens_per_second > rate ? result->tokens_per_second : rate;
        all += result->completed + result->failed;
        failed += result->failed;
        if (limits->ttft_p99_ms >= 0 && result->ttft.p99 > limits->ttft_p99_ms) {
            snprintf(out, 256, "%u users: p99 of the first token %.1f ms, the limit is %.1f",
                     result->users, result->ttft.p99, limits->ttft_p99_ms);
            return true;
        }
        if (limits->gap_p99_ms >= 0 && result->gap.p99 > limits->gap_p99_ms) {
            snprintf(out, 256, "%u users: p99 between tokens %.1f ms, the limit is %.1f",
                     result->users, result->gap.p99, limits->gap_p99_ms);
            return true;
        }
    }
    if (limits->tokens_per_second >= 0 && rate < limits->tokens_per_second) {
        snprintf(out, 256, "%.1f tokens/s at best, at least %.1f were wanted", rate,
                 limits->tokens_per_second);
        return true;
    }
    double percent = all ? 100.0 * (double)failed / (double)all : 100;
    if (limits->errors_percent >= 0 && percent > limits->errors_percent) {
        snprintf(out, 256, "%.2f %% of the requests failed, the limit is %.2f", percent,
                 limits->errors_percent);
        return true;
    }
    return false;
}
