#include "server/metrics.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/os.h"
#include "server/routes.h"

void server_metrics_count(struct server_metrics *metrics, size_t route, int status)
{
    size_t row = route < SERVER_ROUTES_MAX ? route : SERVER_ROUTES_MAX;
    int class = status / 100;
    atomic_fetch_add(&metrics->requests[row][class > 0 && class < SERVER_CLASSES ? class : 0], 1);
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Label values escape backslash, quote and newline (exposition format). */
static void add_label(struct buf *out, struct str value)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"') {
            buf_add_char(out, '\\');
        }
        buf_add(out, c == '\n' ? STR("\\n") : str_slice(value, i, i + 1));
    }
    buf_add_char(out, '"');
}

static void add_requests(struct server_metrics *metrics, struct buf *out)
{
    static const char *const classes[SERVER_CLASSES] = {"left", "1xx", "2xx", "3xx", "4xx", "5xx"};
    head(out, "hearth_http_requests_total", "counter", "Requests by route and class of answer.");
    for (size_t i = 0; i <= SERVER_ROUTES_MAX; i++) {
        const char *pattern = i < SERVER_ROUTES_MAX ? server_routes[i].pattern : "none";
        for (int class = 0; class < SERVER_CLASSES; class ++) {
            uint64_t count = atomic_load(&metrics->requests[i][class]);
            if (count == 0) {
                continue;
            }
            buf_add_text(out, "hearth_http_requests_total{route=");
            add_label(out, str_of(pattern));
            buf_add_format(out, ",status=\"%s\"} %llu\n", classes[class],
                           (unsigned long long)count);
        }
        if (i < SERVER_ROUTES_MAX && !server_routes[i].pattern) {
            i = SERVER_ROUTES_MAX - 1; /* behind the last row only "none" is left */
        }
    }
}

/* ---- models ---- */

static const struct counter {
    const char *name, *type, *help;
    size_t offset;
    enum { COUNT_U64, COUNT_U32 } kind;
} counters[] = {
#define U64(name, type, help, field)                                                               \
    {                                                                                              \
        name, type, help, offsetof(struct engine_stats, field), COUNT_U64                          \
    }
#define U32(name, type, help, field)                                                               \
    {                                                                                              \
        name, type, help, offsetof(struct engine_stats, field), COUNT_U32                          \
    }
    U64("hearth_generations_total", "counter", "Accepted generations.", requests),
    U64("hearth_generations_stopped_total", "counter", "Ended by the model or a stop string.",
        finished_stop),
    U64("hearth_generations_length_total", "counter", "Ended by a token limit.", finished_length),
    U64("hearth_generations_cancelled_total", "counter", "Cancelled, mostly by clients that left.",
        cancelled),
    U64("hearth_generations_failed_total", "counter", "Ended by an error.", failed),
    U64("hearth_generations_rejected_total", "counter", "Refused because the queue was full.",
        rejected),
    U64("hearth_prompt_tokens_total", "counter", "Tokens of prompts that were computed.",
        prompt_tokens),
    U64("hearth_cached_tokens_total", "counter", "Tokens of prompts taken from the prefix cache.",
        cached_tokens),
    U64("hearth_completion_tokens_total", "counter", "Tokens generated.", completion_tokens),
    U64("hearth_preempted_total", "counter", "Pauses of sequences for others.", preempted),
    U64("hearth_drafted_tokens_total", "counter", "Tokens that were guessed.", drafted),
    U64("hearth_accepted_tokens_total", "counter", "Guesses that came true.", accepted),
    U64("hearth_steps_total", "counter", "Forward passes.", steps),
    U32("hearth_sequences_running", "gauge", "Sequences being generated.", running),
    U32("hearth_sequences_waiting", "gauge", "Sequences in the queue.", waiting),
    U32("hearth_kv_pages_used", "gauge", "Pages of the KV cache in use.", pages_used),
    U32("hearth_kv_pages_cached", "gauge", "Pages kept for prompts to come.", pages_cached),
    U32("hearth_kv_pages", "gauge", "Pages of the KV cache.", pages_total),
#undef U64
#undef U32
};

static const struct histogram {
    const char *name, *help;
    size_t offset;
} histograms[] = {
    {"hearth_time_to_first_token_seconds", "From submission to the first token.",
     offsetof(struct engine_stats, ttft)},
    {"hearth_inter_token_seconds", "Between tokens of a sequence.",
     offsetof(struct engine_stats, inter_token)},
    {"hearth_queue_wait_seconds", "From submission to admission.",
     offsetof(struct engine_stats, queue_wait)},
};

static void add_histogram(const char *name, struct str model,
                          const struct engine_histogram *histogram, struct buf *out)
{
    uint64_t sum = 0;
    char number[32];
    for (int i = 0; i <= ENGINE_BUCKETS; i++) {
        sum += histogram->counts[i];
        buf_add_format(out, "%s_bucket{model=", name);
        add_label(out, model);
        if (i < ENGINE_BUCKETS) {
            snprintf(number, sizeof number, "%g", engine_bucket_s[i]);
        } else {
            snprintf(number, sizeof number, "+Inf");
        }
        buf_add_format(out, ",le=\"%s\"} %llu\n", number, (unsigned long long)sum);
    }
    json_format_double(histogram->sum, number);
    buf_add_format(out, "%s_sum{model=", name);
    add_label(out, model);
    buf_add_format(out, "} %s\n%s_count{model=", number, name);
    add_label(out, model);
    buf_add_format(out, "} %llu\n", (unsigned long long)sum);
}

/* Of the names of one loaded model the first stands for it. */
static bool is_shown(const struct route_list *list, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (list->entries[i].local == list->entries[index].local) {
            return false;
        }
    }
    const struct route_local *local = list->entries[index].local;
    return local && route_local_engine(local);
}

/* Models one after the other within each metric: a metric's lines must stand together. */
static void add_models(struct route_registry *registry, struct buf *out)
{
    struct route_list list;
    struct err ignored;
    struct engine_stats stats;
    if (!route_registry_list(registry, &list, &ignored)) {
        out->failed = true;
        return;
    }
    for (size_t c = 0; c < sizeof counters / sizeof *counters; c++) {
        head(out, counters[c].name, counters[c].type, counters[c].help);
        for (size_t i = 0; i < list.count; i++) {
            if (!is_shown(&list, i)) {
                continue;
            }
            engine_stats_read(route_local_engine(list.entries[i].local), &stats);
            const char *field = (const char *)&stats + counters[c].offset;
            buf_add_format(out, "%s{model=", counters[c].name);
            add_label(out, list.entries[i].id);
            buf_add_format(out, "} %llu\n",
                           counters[c].kind == COUNT_U64
                               ? (unsigned long long)*(const uint64_t *)field
                               : (unsigned long long)*(const uint32_t *)field);
        }
    }
    for (size_t h = 0; h < sizeof histograms / sizeof *histograms; h++) {
        head(out, histograms[h].name, "histogram", histograms[h].help);
        for (size_t i = 0; i < list.count; i++) {
            if (is_shown(&list, i)) {
                engine_stats_read(route_local_engine(list.entries[i].local), &stats);
                add_histogram(histograms[h].name, list.entries[i].id,
                              (const void *)((const char *)&stats + histograms[h].offset), out);
            }
        }
    }
    route_list_deinit(&list);
}

static void gauge(struct buf *out, const char *name, const char *help, double value)
{
    char number[32];
    head(out, name, "gauge", help);
    json_format_double(value, number);
    buf_add_format(out, "%s %s\n", name, number);
}

void server_metrics_write(struct server_metrics *metrics, struct route_registry *registry,
                          struct server_front *front, struct buf *out)
{
    struct server_front_stats stats;
    server_front_stats(front, &stats);
    head(out, "hearth_build_info", "gauge", "The version that runs.");
    buf_add_text(out, "hearth_build_info{version=\"" HEARTH_VERSION "\"} 1\n");
    add_requests(metrics, out);
    gauge(out, "hearth_http_requests_active", "Requests being answered.",
          (double)atomic_load(&metrics->active));
    head(out, "hearth_http_connections_total", "counter", "Connections accepted and refused.");
    buf_add_format(out,
                   "hearth_http_connections_total{result=\"accepted\"} %llu\n"
                   "hearth_http_connections_total{result=\"refused\"} %llu\n",
                   (unsigned long long)stats.accepted, (unsigned long long)stats.refused);
    gauge(out, "hearth_http_connections_open", "Connections now.", (double)stats.open);
    gauge(out, "hearth_uptime_seconds", "Since the server started.",
          (double)(clock_now_ns() - metrics->started_ns) / 1e9);
    gauge(out, "hearth_resident_bytes", "Resident memory of the process.", (double)os_memory_rss());
    gauge(out, "hearth_descriptors_open", "Open file descriptors.", (double)os_fd_count());
    add_models(registry, out);
}
