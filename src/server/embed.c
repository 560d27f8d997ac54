/* Vectors and ranks for a connection, and the threads of it:
 *
 *     libmicrohttpd   start; later, woken, the answer; at last leave
 *     worker          advance: parse and ask | submit | answer, each when its time has come
 *     registry        the model is loaded: kick
 *     encoder         the texts are through: kick
 *
 * kick runs advance on a worker, once at a time and again if something came meanwhile. Whatever is
 * long (a body of megabytes, a million numbers to write) is done there, also the end of what a
 * client left behind, which may wait for a batch. */
#include "server/embed.h"

#include "api/embedding.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/exchange.h"

enum { LARGE_BYTES = 1 << 20 }; /* a body or an answer whose heap is worth giving back */

struct embedding {
    struct server *server;
    const struct api_embedding_dialect *dialect;
    struct server_job job;
    struct buf body;
    bool is_large;

    /* the worker's, until it is done */
    struct api_embedding run;
    enum { PARSING, LOADING, RUNNING } stage;
    struct err failure;
    struct buf answer;

    pthread_mutex_t lock;             /* guards what follows */
    struct server_exchange *exchange; /* NULL: the client left */
    bool is_working, comes_again;     /* a job is queued or runs; something happened meanwhile */
    bool is_done;
};

static void destroy(struct embedding *e)
{
    api_embedding_close(&e->run);
    server_exchange_free_body(e->server, &e->body);
    buf_deinit(&e->answer);
    if (e->is_large) {
        os_memory_trim();
    }
    pthread_mutex_destroy(&e->lock);
    mem_free(e);
}

/* Lock held. */
static void start_work(struct embedding *e)
{
    e->comes_again = e->is_working;
    if (!e->is_working) {
        e->is_working = true;
        server_workers_add(e->server->workers, &e->job);
    }
}

/* Any thread. */
static void kick(void *arg)
{
    struct embedding *e = arg;
    pthread_mutex_lock(&e->lock);
    if (e->exchange && !e->is_done) {
        start_work(e);
    }
    pthread_mutex_unlock(&e->lock);
}

/* ---- worker ---- */

/* True when there is an answer or a failure. */
static bool advance(struct embedding *e)
{
    if (e->stage == PARSING) {
        bool ok = api_embedding_parse(&e->run, e->dialect, buf_view(&e->body), &e->failure);
        server_exchange_free_body(e->server, &e->body);
        if (!ok || !api_embedding_ask(&e->run, e->server->registry, kick, e, &e->failure)) {
            return true;
        }
        e->stage = LOADING;
    }
    if (e->stage == LOADING) {
        enum route_use_state state = route_use_poll(e->run.use, NULL, &e->failure);
        if (state == ROUTE_USE_WAITING) {
            return false;
        }
        if (state == ROUTE_USE_FAILED || !api_embedding_submit(&e->run, kick, e, &e->failure)) {
            return true;
        }
        e->stage = RUNNING;
    }
    if (!api_embedding_is_done(&e->run)) {
        return false;
    }
    api_embedding_answer(&e->run, &e->answer, &e->failure);
    e->is_large |= e->answer.len > LARGE_BYTES;
    return true;
}

static void work(void *arg)
{
    struct embedding *e = arg;
    bool is_left, goes_on = true;
    while (goes_on) {
        pthread_mutex_lock(&e->lock);
        e->comes_again = false;
        is_left = !e->exchange;
        pthread_mutex_unlock(&e->lock);
        bool is_done = !is_left && !e->is_done && advance(e);
        pthread_mutex_lock(&e->lock);
        e->is_done |= is_done;
        is_left = !e->exchange;
        goes_on = e->comes_again && !is_left && !e->is_done;
        e->is_working = goes_on || is_left;
        if (e->is_done && !is_left) {
            server_exchange_wake(e->exchange);
        }
        pthread_mutex_unlock(&e->lock);
    }
    if (is_left) {
        destroy(e);
    }
}

/* ---- libmicrohttpd's thread ---- */

static void release(struct server_exchange *exchange)
{
    struct embedding *e = exchange->state;
    exchange->state = NULL;
    if (!e) {
        return;
    }
    pthread_mutex_lock(&e->lock);
    e->exchange = NULL;
    if (!e->is_working) { /* else the worker sees it at its next step */
        start_work(e);
    }
    pthread_mutex_unlock(&e->lock);
}

static enum server_step start(struct server_exchange *exchange,
                              const struct api_embedding_dialect *dialect)
{
    struct embedding *e = MEM_NEW(struct embedding);
    struct err failure;
    if (!e) {
        err_set_memory(&failure, sizeof *e);
        return server_exchange_fail(exchange, &failure);
    }
    pthread_mutex_init(&e->lock, NULL);
    e->server = exchange->server;
    e->dialect = dialect;
    e->exchange = exchange;
    e->body = exchange->body;
    e->is_large = exchange->body.len > LARGE_BYTES;
    exchange->body = (struct buf){0};
    e->job = (struct server_job){.run = work, .arg = e};
    exchange->state = e;
    exchange->release = release;
    kick(e);
    return server_conn_watch(exchange->conn, exchange) ? SERVER_STEP_WAIT : SERVER_STEP_DROP;
}

static enum server_step embed(struct server_exchange *exchange,
                              const struct api_embedding_dialect *dialect)
{
    struct embedding *e = exchange->state;
    if (!e) {
        return start(exchange, dialect);
    }
    pthread_mutex_lock(&e->lock);
    bool is_done = e->is_done;
    pthread_mutex_unlock(&e->lock);
    if (!is_done) {
        return SERVER_STEP_WAIT;
    }
    str_quote(exchange->model, e->run.request.model);
    str_quote(exchange->user, str_slice(e->run.request.user, 0, 64));
    if (e->failure.code != ERR_NONE) {
        return server_exchange_fail(exchange, &e->failure);
    }
    exchange->prompt_tokens = e->run.tokens;
    exchange->has_usage = true;
    exchange->reply.body = e->answer;
    e->answer = (struct buf){0};
    exchange->reply.status = 200;
    exchange->reply.content_type = "application/json";
    return SERVER_STEP_REPLY;
}

enum server_step server_openai_embeddings(struct server_exchange *exchange)
{
    return embed(exchange, &api_openai_embeddings);
}

enum server_step server_rerank(struct server_exchange *exchange)
{
    return embed(exchange, &api_rerank);
}

enum server_step server_llama_embedding(struct server_exchange *exchange)
{
    return embed(exchange, &api_llama_embedding);
}

enum server_step server_ollama_embed(struct server_exchange *exchange)
{
    return embed(exchange, &api_ollama_embed);
}

enum server_step server_ollama_embeddings(struct server_exchange *exchange)
{
    return embed(exchange, &api_ollama_embeddings);
}
