#include "server/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "api/frames.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/poller.h"

enum { ENVELOPE_BYTES = 1 << 10 };

static int64_t ns_of(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

/* ---- sending ---- */

/* One message per line. */
static void send_lines(struct server_session *session, struct buf *lines)
{
    struct str rest = buf_view(lines);
    if (lines->failed) {
        server_socket_close(&session->socket, SERVER_SOCKET_FAULT, "there is no memory");
    }
    while (rest.len && !lines->failed) {
        server_socket_send(&session->socket, str_cut(&rest, '\n'));
    }
    buf_deinit(lines);
}

static void send_error(struct server_session *session, struct str id, const struct err *failure)
{
    struct buf line = {0};
    api_frame_error(id, failure, &line);
    send_lines(session, &line);
}

/* ---- requests ---- */

static void wake(void *arg)
{
    struct server_session_request *request = arg;
    atomic_store(&request->woken, true);
    request->session->wake(request->session);
}

static void log_request(const struct server_session_request *request, const struct err *failure)
{
    bool is_prepared = server_generation_stage(request->generation) != SERVER_GENERATION_PREPARING;
    const struct api_run *run = is_prepared ? server_generation_run(request->generation) : NULL;
    char model[STR_QUOTE_MAX], user[STR_QUOTE_MAX];
    struct log_field fields[16];
    size_t count = 0;
    int status = err_info(failure->code)->http_status;
    fields[count++] = (struct log_field)LOG_C("id", request->log_id);
    fields[count++] = (struct log_field)LOG_C("method", "WEBSOCKET");
    fields[count++] = (struct log_field)LOG_C("request", request->id);
    fields[count++] = (struct log_field)LOG_I("status", status);
    fields[count++] = (struct log_field)LOG_F(
        "ms", (double)((clock_now_ns() - request->started_ns) / 1000) / 1e3);
    if (failure->code != ERR_NONE) {
        fields[count++] = (struct log_field)LOG_C("error", err_info(failure->code)->name);
    }
    if (run && run->render.choices) {
        struct api_usage usage = api_render_usage(&run->render);
        str_quote(model, run->render.model);
        str_quote(user, str_slice(run->request.user, 0, 64));
        fields[count++] = (struct log_field)LOG_C("model", model);
        if (user[0]) {
            fields[count++] = (struct log_field)LOG_C("user", user);
        }
        fields[count++] = (struct log_field)LOG_I("prompt_tokens", usage.prompt_tokens);
        fields[count++] = (struct log_field)LOG_I("completion_tokens", usage.completion_tokens);
    }
    fields[count] = (struct log_field){.key = NULL};
    log_write(status >= 500 ? LOG_WARN : LOG_INFO, "request", fields);
}

/* Ends requests[index]; the others keep their order. */
static void end_request(struct server_session *session, size_t index, enum err_code code)
{
    struct server_session_request *request = session->requests[index];
    bool is_prepared = server_generation_stage(request->generation) != SERVER_GENERATION_PREPARING;
    struct err failure = {.code = code};
    if (is_prepared) {
        log_request(request, &failure);
    }
    server_generation_leave(request->generation);
    mem_free(request);
    session->request_count--;
    memmove(&session->requests[index], &session->requests[index + 1],
            (session->request_count - index) * sizeof session->requests[0]);
    session->asked_ns = clock_now_ns();
}

static size_t find_request(const struct server_session *session, struct str id)
{
    size_t i = 0;
    while (i < session->request_count && !str_eq(str_of(session->requests[i]->id), id)) {
        i++;
    }
    return i;
}

static bool may_start(const struct server_session *session, struct str id, struct err *err)
{
    if (find_request(session, id) < session->request_count) {
        return err_set_param(err, ERR_INVALID, "id", "a request with the id '%.*s' still runs",
                             STR_ARG(id));
    }
    if (atomic_load(&session->server->draining)) {
        return err_set(err, ERR_BUSY, "the server is stopping");
    }
    if (session->request_count == SERVER_SESSION_REQUESTS_MAX) {
        return err_set(err, ERR_BUSY, "%d requests run on this connection, more are not taken",
                       (int)SERVER_SESSION_REQUESTS_MAX);
    }
    return true;
}

/* Takes the text, of which `frame` is a view. */
static void start_request(struct server_session *session, const struct api_frame *frame,
                          struct buf *text)
{
    struct err failure = {0};
    struct server_session_request *request = NULL;
    char id[API_FRAME_ID_MAX + 1];
    snprintf(id, sizeof id, "%.*s", STR_ARG(frame->id));
    if (may_start(session, frame->id, &failure) &&
        !(request = MEM_NEW(struct server_session_request))) {
        err_set_memory(&failure, sizeof *request);
    }
    if (!request) {
        send_error(session, str_of(id), &failure);
        return;
    }
    request->session = session;
    request->started_ns = clock_now_ns();
    memcpy(request->id, id, sizeof request->id);
    snprintf(request->log_id, sizeof request->log_id, "%.50s-%u", session->exchange->id,
             ++session->number);
    struct server_generation_params params = {
        .server = session->server,
        .dialect = &api_frames_chat,
        .id = str_of(request->log_id),
        .tenant = {(const char *)session->tenant, session->tenant_len},
        .wake = wake,
        .arg = request};
    request->generation = server_generation_create(&params, text, &failure);
    if (!request->generation) {
        mem_free(request);
        send_error(session, str_of(id), &failure);
        return;
    }
    session->requests[session->request_count++] = request;
}

static void cancel_request(struct server_session *session, struct str id)
{
    struct buf line = {0};
    size_t index = find_request(session, id);
    if (index == session->request_count) {
        struct err failure;
        err_set_param(&failure, ERR_NOT_FOUND, "id", "no request with the id '%.*s' runs",
                      STR_ARG(id));
        send_error(session, id, &failure);
        return;
    }
    end_request(session, index, ERR_CANCELLED);
    api_frame_cancelled(id, &line);
    send_lines(session, &line);
}

static void on_message(void *arg, struct buf *text)
{
    struct server_session *session = arg;
    struct api_frame frame;
    struct err failure;
    session->asked_ns = clock_now_ns();
    if (!api_frame_read(buf_view(text), &frame, &failure)) {
        send_error(session, frame.id, &failure);
    } else if (frame.kind == API_FRAME_CANCEL) {
        cancel_request(session, frame.id);
    } else {
        start_request(session, &frame, text);
    }
}

/* ---- answers ---- */

/* What one request says now. WAIT, MORE, or END when it has said its last. */
static enum server_pull tell(struct server_session_request *request, struct buf *lines,
                             struct err *failure)
{
    struct server_generation *generation = request->generation;
    failure->code = ERR_NONE;
    switch (server_generation_stage(generation)) {
    case SERVER_GENERATION_PREPARING:
        return SERVER_PULL_WAIT;
    case SERVER_GENERATION_FAILED:
        *failure = *server_generation_failure(generation);
        api_frame_error(str_of(request->id), failure, lines);
        return SERVER_PULL_END;
    case SERVER_GENERATION_RUNNING:
        break;
    }
    if (server_generation_run(generation)->request.stream) {
        enum server_pull pulled = server_generation_pull(generation, lines, failure);
        return failure->code != ERR_NONE ? SERVER_PULL_END : pulled; /* its last frame says so */
    }
    switch (server_generation_whole(generation, lines, failure)) {
    case SERVER_PULL_WAIT:
        return SERVER_PULL_WAIT;
    case SERVER_PULL_BROKEN:
        api_frame_error(str_of(request->id), failure, lines);
        return SERVER_PULL_END;
    default:
        return SERVER_PULL_END;
    }
}

/* Requests take turns while the client keeps up. False when nothing is left to tell. */
static bool tell_some(struct server_session *session)
{
    size_t idle = 0;
    while (idle < session->request_count && !session->socket.ends) {
        size_t index = session->next_request % session->request_count;
        struct server_session_request *request = session->requests[index];
        struct buf lines = {0};
        struct err failure;
        if (server_socket_is_full(&session->socket)) {
            return true;
        }
        session->next_request = index + 1;
        if (!atomic_exchange(&request->woken, false)) {
            idle++;
            continue;
        }
        enum server_pull told = tell(request, &lines, &failure);
        if (told == SERVER_PULL_MORE) {
            atomic_store(&request->woken, true); /* there may be more: nobody wakes for that */
        }
        idle = told == SERVER_PULL_WAIT ? idle + 1 : 0;
        send_lines(session, &lines);
        if (told == SERVER_PULL_END) {
            end_request(session, index, failure.code);
            session->next_request = index;
        }
    }
    return false;
}

/* ---- the session ---- */

struct server_session *server_session_create(struct server_exchange *exchange, int fd,
                                             void (*wake_session)(struct server_session *session),
                                             struct server_sessions *owner)
{
    struct server_session *session = MEM_NEW(struct server_session);
    struct err failure;
    if (!session) {
        return NULL;
    }
    struct server_credentials given = server_exchange_credentials(exchange);
    session->server = exchange->server;
    session->exchange = exchange;
    session->wake = wake_session;
    session->owner = owner;
    session->tenant_len = server_access_tenant(exchange->server->access, given.authorization,
                                               given.api_key, session->tenant);
    session->asked_ns = clock_now_ns();
    session->socket = (struct server_socket){.server = exchange->server,
                                             .fd = fd,
                                             .bytes_max = exchange->server->params.body_bytes_max +
                                                          ENVELOPE_BYTES,
                                             .message = on_message,
                                             .arg = session};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (!server_socket_init(&session->socket, &failure)) {
        mem_free(session);
        return NULL;
    }
    return session;
}

void server_session_cancel(struct server_session *session)
{
    while (session->request_count) {
        end_request(session, session->request_count - 1, ERR_CANCELLED);
    }
}

void server_session_destroy(struct server_session *session)
{
    server_session_cancel(session);
    server_socket_deinit(&session->socket);
    server_exchange_closed(session->exchange);
    mem_free(session);
}

/* Nothing runs and nothing waits to be sent. */
static bool is_idle(const struct server_session *session)
{
    return session->request_count == 0 && !server_socket_wants_write(&session->socket);
}

/* Pings and closes by the clock; gives the time at which to ask again. */
static int64_t keep_time(struct server_session *session)
{
    const struct server_params *params = &session->server->params;
    struct server_socket *socket = &session->socket;
    int64_t now = clock_now_ns();
    int64_t ping_ns = socket->heard_ns + ns_of(params->idle_timeout_s / 2);
    int64_t silent_ns = socket->heard_ns + ns_of(params->idle_timeout_s);
    int64_t idle_ns = session->asked_ns + ns_of(params->socket_idle_timeout_s);
    if (now >= silent_ns) {
        server_socket_close(socket, SERVER_SOCKET_NO_PONG, "nothing was heard of the client");
    } else if (is_idle(session) && now >= idle_ns) {
        server_socket_close(socket, SERVER_SOCKET_IDLE, "nothing was asked for a long time");
    } else if (now >= ping_ns && session->pinged_ns < socket->heard_ns) {
        session->pinged_ns = now;
        server_socket_ping(socket);
    }
    int64_t next = now < ping_ns ? ping_ns : silent_ns;
    return session->request_count == 0 && idle_ns < next ? idle_ns : next;
}

bool server_session_run(struct server_session *session, unsigned what, int64_t *again)
{
    struct server_socket *socket = &session->socket;
    if (what & SERVER_IS_BROKEN) {
        return false;
    }
    if (what & SERVER_CAN_READ) {
        server_socket_read(socket);
    }
    *again = keep_time(session);
    bool is_cut;
    do {
        is_cut = tell_some(session);
        server_socket_write(socket);
        if (atomic_load(&session->server->draining) && is_idle(session)) {
            server_socket_close(socket, SERVER_SOCKET_STOPPING, "the server is stopping");
            server_socket_write(socket);
        }
    } while (is_cut && !server_socket_wants_write(socket) && !server_socket_is_over(socket));
    return !server_socket_is_over(socket);
}
