/* CPU time of everything between a socket and the engine, against an engine that replays events:
 *
 *     api_bench MODEL.gguf TEXT [TOKENS] [THREADS] [ROUNDS]
 *
 * Each thread takes ROUNDS chats of about TOKENS tokens (4096, 16 threads, 100 rounds) through
 * parse, template and tokenizer, then renders an answer of 256 tokens as server-sent events. Times
 * are CPU time of the thread, so that a busy machine does not count; each chat's text begins
 * elsewhere in TEXT, so that no two are alike. At last JSON of 1 MB is parsed and written. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/openai.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "route/local.h"

enum { MESSAGES = 20, ANSWER_TOKENS = 256, THREADS_MAX = 64, JSON_ROUNDS = 9 };

struct bench {
    struct route_local *local;
    struct str text;
    size_t chat_bytes; /* of text in one chat */
    int rounds;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    size_t first; /* where its first text begins */
    double *chat_ms, *token_us;
    size_t tokens;
    bool ok;
    struct err err;
};

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* TEXT from `from` on, over its end again from its beginning, cut to whole characters. */
static void add_text(const struct bench *bench, size_t from, size_t len, struct buf *out)
{
    struct buf piece = {0};
    while (piece.len < len && !piece.failed) {
        size_t at = (from + piece.len) % bench->text.len;
        buf_add(&piece, str_slice(bench->text, at, at + len - piece.len));
    }
    json_write_string(out, buf_view(&piece));
    buf_deinit(&piece);
}

static void make_body(const struct bench *bench, size_t from, struct buf *out)
{
    size_t len = bench->chat_bytes / MESSAGES;
    buf_clear(out);
    buf_add_text(out, "{\"model\":\"m\",\"stream\":true,\"messages\":[");
    for (int i = 0; i < MESSAGES; i++) {
        buf_add_format(out, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
                       i == MESSAGES - 1 || i % 2 == 0 ? "user" : "assistant");
        add_text(bench, from + (size_t)i * len, len, out);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "],\"temperature\":0.7,\"max_tokens\":256}");
}

static double replay(struct api_render *render, struct buf *out)
{
    static const char *const pieces[] = {" the", " hearth",     ".", " and",
                                         "ing",  " \"quoted\"", "\n"};
    double start = cpu_s();
    api_openai_chat.begin(render, out);
    for (int i = 0; i <= ANSWER_TOKENS; i++) {
        struct engine_token token = {0};
        struct engine_event event = {
            .kind = ENGINE_EVENT_TOKENS, .token_count = 1, .tokens = &token};
        struct gen_event told;
        if (i == ANSWER_TOKENS) {
            event = (struct engine_event){.kind = ENGINE_EVENT_DONE, .finish = ENGINE_STOP};
        } else {
            buf_add_text(&event.text, pieces[(size_t)i % (sizeof pieces / sizeof *pieces)]);
        }
        api_render_collect(render, 0, &event, &told);
        api_openai_chat.event(render, 0, &told, out);
        buf_deinit(&event.text);
    }
    api_openai_chat.end(render, out);
    return cpu_s() - start;
}

static bool one_chat(struct worker *worker, struct str body, double *chat_s, double *token_s)
{
    const struct bench *bench = worker->bench;
    struct gen_request request;
    struct api_render render = {0};
    struct buf out = {0};
    double start = cpu_s();
    bool ok = api_openai_chat.parse(&request, body, &worker->err) &&
              api_request_prepare(&request, bench->local, &worker->err) &&
              api_render_init(&render, &api_openai_chat, &request, route_local_text(bench->local),
                              request.model, STR("bench"), &worker->err);
    *chat_s = cpu_s() - start;
    if (ok) {
        worker->tokens = request.prompts[0].ids.count;
        *token_s = replay(&render, &out) / ANSWER_TOKENS;
    }
    buf_deinit(&out);
    api_render_deinit(&render);
    start = cpu_s();
    api_request_deinit(&request);
    *chat_s += cpu_s() - start;
    return ok;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct bench *bench = worker->bench;
    struct buf body = {0};
    worker->ok = true;
    for (int i = 0; worker->ok && i < bench->rounds; i++) {
        double chat_s = 0, token_s = 0;
        make_body(bench, worker->first + (size_t)i * 977, &body);
        worker->ok = one_chat(worker, buf_view(&body), &chat_s, &token_s);
        worker->chat_ms[i] = chat_s * 1e3;
        worker->token_us[i] = token_s * 1e6;
    }
    buf_deinit(&body);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *what, const char *unit, double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    printf("%-28s p50 %8.3f  p99 %8.3f  max %8.3f %s\n", what, values[count / 2],
           values[count * 99 / 100], values[count - 1], unit);
}

static bool run_chats(struct bench *bench, size_t thread_count, struct err *err)
{
    size_t count = thread_count * (size_t)bench->rounds;
    double *chats = MEM_ARRAY(double, count), *tokens = MEM_ARRAY(double, count);
    struct worker workers[THREADS_MAX] = {0};
    bool ok = chats && tokens;
    for (size_t i = 0; ok && i < thread_count; i++) {
        workers[i] = (struct worker){.bench = bench,
                                     .first = i * 100003,
                                     .chat_ms = chats + i * (size_t)bench->rounds,
                                     .token_us = tokens + i * (size_t)bench->rounds};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; ok && i < thread_count; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (size_t i = 0; ok && i < thread_count; i++) {
        ok = workers[i].ok;
        *err = workers[i].err;
    }
    if (ok) {
        printf("%zu threads, chats of %zu tokens, %zu bytes of text\n", thread_count,
               workers[0].tokens, bench->chat_bytes);
        print_row("parse, template, tokenise", "ms", chats, count);
        print_row("render one token", "us", tokens, count);
    }
    mem_free(chats);
    mem_free(tokens);
    return ok;
}

/* Bytes of text for a chat of so many tokens: found by trying, for texts differ along the way. */
static bool fit(struct bench *bench, size_t tokens, struct err *err)
{
    struct worker worker = {.bench = bench};
    struct buf body = {0};
    double unused[2];
    bool ok = true;
    bench->chat_bytes = tokens * 3;
    for (int i = 0; ok && i < 6; i++) {
        make_body(bench, 0, &body);
        ok = one_chat(&worker, buf_view(&body), &unused[0], &unused[1]);
        bench->chat_bytes = ok ? bench->chat_bytes * tokens / worker.tokens : 0;
    }
    *err = worker.err;
    buf_deinit(&body);
    return ok;
}

static bool run_json(const struct bench *bench, struct err *err)
{
    struct bench large = *bench;
    struct buf body = {0}, out = {0};
    double parse_s = 1e9, write_s = 1e9;
    large.chat_bytes = 1000000;
    make_body(&large, 0, &body);
    for (int i = 0; i < JSON_ROUNDS; i++) {
        double start = cpu_s();
        json_t *value = json_parse(buf_view(&body), NULL, err);
        double parsed = cpu_s();
        if (!value) {
            return false;
        }
        buf_clear(&out);
        json_write(&out, value);
        double written = cpu_s();
        json_decref(value);
        parse_s = parsed - start < parse_s ? parsed - start : parse_s;
        write_s = written - parsed < write_s ? written - parsed : write_s;
    }
    double mb = (double)body.len / 1e6;
    printf("JSON of %.2f MB: parse %.0f MB/s, write %.0f MB/s, both %.0f MB/s\n", mb, mb / parse_s,
           mb / write_s, mb / (parse_s + write_s));
    buf_deinit(&body);
    buf_deinit(&out);
    return true;
}

int main(int argc, char **argv)
{
    struct bench bench = {.rounds = argc > 5 ? atoi(argv[5]) : 100};
    size_t tokens = argc > 3 ? (size_t)atoi(argv[3]) : 4096;
    size_t thread_count = argc > 4 ? (size_t)atoi(argv[4]) : 16;
    struct err err = {0};
    if (argc < 3 || bench.rounds < 1 || tokens < 100 || thread_count < 1 ||
        thread_count > THREADS_MAX) {
        fprintf(stderr, "usage: api_bench MODEL.gguf TEXT [TOKENS] [THREADS] [ROUNDS]\n");
        return 2;
    }
    struct route_local_params params = route_local_params_default();
    params.path = argv[1];
    char *file = os_file_slurp(argv[2], 64 << 20, &bench.text.len, &err);
    bench.text.ptr = file;
    bench.local = file ? route_local_open(&params, NULL, NULL, &err) : NULL;
    bool ok = bench.local && fit(&bench, tokens, &err) && run_chats(&bench, thread_count, &err) &&
              run_json(&bench, &err);
    if (!ok) {
        fprintf(stderr, "api_bench: %s\n", err.text);
    }
    route_local_close(bench.local);
    mem_free(file);
    return ok ? 0 : 1;
}
