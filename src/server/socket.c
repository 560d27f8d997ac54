#include "server/socket.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server/exchange.h"

#ifndef MSG_NOSIGNAL /* macOS; SIGPIPE is ignored by main as well */
#define MSG_NOSIGNAL 0
#endif

enum {
    TURN_BYTES = 256 << 10, /* read at once, so that connections take turns */
    QUEUED_MESSAGES_MAX = 4096,
};

static void drop_text(struct server_socket *socket)
{
    server_exchange_free_body(socket->server, &socket->text);
}

/* ---- what libwslay calls ---- */

static ssize_t on_recv(wslay_event_context_ptr events, uint8_t *bytes, size_t len, int flags,
                       void *arg)
{
    struct server_socket *socket = arg;
    (void)flags;
    bool waits = socket->ends || socket->turn_bytes >= TURN_BYTES || server_socket_is_full(socket);
    ssize_t n = waits ? -1 : recv(socket->fd, bytes, len, 0);
    if (n > 0) {
        socket->turn_bytes += (size_t)n;
        socket->heard_ns = clock_now_ns();
        return n;
    }
    if (waits || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))) {
        wslay_event_set_error(events, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    socket->is_broken = true; /* the end of input without a close frame, or a reset */
    wslay_event_set_error(events, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr events, const uint8_t *bytes, size_t len, int flags,
                       void *arg)
{
    struct server_socket *socket = arg;
    (void)flags;
    ssize_t n = send(socket->fd, bytes, len, MSG_NOSIGNAL);
    if (n >= 0) {
        return n;
    }
    bool waits = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    socket->is_broken = socket->is_broken || !waits;
    wslay_event_set_error(events, waits ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void on_frame(wslay_event_context_ptr events,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *arg)
{
    struct server_socket *socket = arg;
    (void)events;
    socket->is_control = wslay_is_ctrl_frame(frame->opcode);
    if (socket->is_control || socket->ends) {
        return;
    }
    if (frame->opcode == WSLAY_BINARY_FRAME) {
        server_socket_close(socket, SERVER_SOCKET_BINARY, "messages are text");
    } else if (frame->payload_length > socket->bytes_max - socket->text.len) {
        server_socket_close(socket, SERVER_SOCKET_TOO_BIG, "the message is too large");
    }
}

static void on_chunk(wslay_event_context_ptr events,
                     const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *arg)
{
    struct server_socket *socket = arg;
    struct server *server = socket->server;
    (void)events;
    if (socket->is_control || socket->ends) {
        return;
    }
    size_t before = socket->text.len;
    size_t held = atomic_load(&server->bodies_bytes);
    if (held + chunk->data_length > server->params.bodies_bytes_max) {
        server_socket_close(socket, SERVER_SOCKET_BUSY, "too much is being received; try again");
        return;
    }
    buf_add(&socket->text, (struct str){(const char *)chunk->data, chunk->data_length});
    atomic_fetch_add(&server->bodies_bytes, socket->text.len - before);
    if (socket->text.failed) {
        server_socket_close(socket, SERVER_SOCKET_BUSY, "there is no memory for the message");
    }
}

static void on_message(wslay_event_context_ptr events,
                       const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
    struct server_socket *socket = arg;
    (void)events;
    if (message->opcode == WSLAY_CONNECTION_CLOSE) {
        socket->ends = true; /* libwslay answers it */
        drop_text(socket);
    } else if (message->opcode == WSLAY_TEXT_FRAME && !socket->ends) {
        socket->message(socket->arg, &socket->text);
        drop_text(socket);
    }
}

/* ---- the socket ---- */

bool server_socket_init(struct server_socket *socket, struct err *err)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_msg_recv_callback = on_message,
    };
    if (wslay_event_context_server_init(&socket->events, &callbacks, socket) != 0) {
        socket->events = NULL;
        return err_set_memory(err, sizeof *socket);
    }
    wslay_event_config_set_no_buffering(socket->events, 1); /* on_chunk collects, and counts */
    wslay_event_config_set_max_recv_msg_length(socket->events, UINT64_MAX >> 1);
    socket->heard_ns = clock_now_ns();
    return true;
}

void server_socket_deinit(struct server_socket *socket)
{
    drop_text(socket);
    if (socket->events) {
        wslay_event_context_free(socket->events);
        socket->events = NULL;
    }
}

void server_socket_read(struct server_socket *socket)
{
    socket->turn_bytes = 0;
    if (!socket->is_broken && !socket->ends) {
        wslay_event_recv(socket->events); /* what fails shows in the next line, or in is_broken */
    }
    /* A fault of the protocol: libwslay has queued a close frame and reads no more. */
    if (!wslay_event_get_read_enabled(socket->events)) {
        socket->ends = true;
        drop_text(socket);
    }
}

void server_socket_write(struct server_socket *socket)
{
    if (!socket->is_broken && wslay_event_want_write(socket->events) &&
        wslay_event_send(socket->events) != 0) {
        socket->is_broken = true;
    }
}

static void queue(struct server_socket *socket, uint8_t opcode, struct str text)
{
    struct wslay_event_msg message = {
        .opcode = opcode, .msg = (const uint8_t *)text.ptr, .msg_length = text.len};
    if (socket->ends || socket->is_broken) {
        return;
    }
    if (wslay_event_queue_msg(socket->events, &message) != 0) {
        socket->is_broken = true; /* no memory: a message must not be missing among others */
    }
}

void server_socket_send(struct server_socket *socket, struct str text)
{
    queue(socket, WSLAY_TEXT_FRAME, text);
}

void server_socket_ping(struct server_socket *socket)
{
    queue(socket, WSLAY_PING, (struct str){0});
}

void server_socket_close(struct server_socket *socket, uint16_t code, const char *reason)
{
    if (socket->ends) {
        return;
    }
    socket->ends = true;
    drop_text(socket);
    if (wslay_event_queue_close(socket->events, code, (const uint8_t *)reason, strlen(reason)) !=
        0) {
        socket->is_broken = true;
    }
}

bool server_socket_is_full(const struct server_socket *socket)
{
    return wslay_event_get_queued_msg_length(socket->events) > SERVER_SOCKET_QUEUE ||
           wslay_event_get_queued_msg_count(socket->events) > QUEUED_MESSAGES_MAX;
}

bool server_socket_wants_write(const struct server_socket *socket)
{
    return !socket->is_broken && wslay_event_want_write(socket->events);
}

bool server_socket_is_over(const struct server_socket *socket)
{
    return socket->is_broken || (socket->ends && !wslay_event_want_write(socket->events));
}
