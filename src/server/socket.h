/* One WebSocket on a descriptor: text messages in, text messages out (RFC 6455 by libwslay). Owned
 * by one thread, never waits.
 *
 * Bounds: a message has at most `bytes_max`, and all bytes that are being received count in the
 * server's budget. What waits to be sent grows by at most one message beyond SERVER_SOCKET_QUEUE
 * (the caller looks before it sends); pings are answered only while less than that waits. Invalid
 * UTF-8, binary messages, unmasked frames, extensions and broken fragments close the connection
 * with their code. No compression: what is sent is small, and compressing secrets beside chosen
 * text tells their length. */
#ifndef SERVER_SOCKET_H
#define SERVER_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct server;

enum {
    SERVER_SOCKET_QUEUE = 256 << 10,
    SERVER_SOCKET_NO_PONG = 1001, /* close codes that RFC 6455 or IANA's registry gives a meaning */
    SERVER_SOCKET_IDLE = 1000,
    SERVER_SOCKET_STOPPING = 1001,
    SERVER_SOCKET_BINARY = 1003,
    SERVER_SOCKET_TOO_BIG = 1009,
    SERVER_SOCKET_FAULT = 1011,
    SERVER_SOCKET_BUSY = 1013,
};

struct server_socket {
    struct server *server;
    int fd;
    size_t bytes_max;
    /* A whole text message; may take its bytes, which count in the server's budget. */
    void (*message)(void *arg, struct buf *text);
    void *arg;

    wslay_event_context_ptr events;
    struct buf text;      /* of the message being received */
    size_t turn_bytes;    /* read in this turn */
    bool is_control;      /* the frame being received is no part of a message */
    bool is_broken, ends; /* ends: a close frame is on its way or was sent */
    int64_t heard_ns;     /* last bytes of the client */
};

/* `server`, `fd`, `bytes_max`, `message` and `arg` are set. */
bool server_socket_init(struct server_socket *socket, struct err *err);
void server_socket_deinit(struct server_socket *socket);

/* Reads what is there, up to a turn's worth. */
void server_socket_read(struct server_socket *socket);

/* Writes what can be written. */
void server_socket_write(struct server_socket *socket);

void server_socket_send(struct server_socket *socket, struct str text);
void server_socket_ping(struct server_socket *socket);

/* Says why and ends; messages of the client are no longer read. libwslay sends a close frame before
 * all messages that wait: where those matter, write them first. */
void server_socket_close(struct server_socket *socket, uint16_t code, const char *reason);

bool server_socket_is_full(const struct server_socket *socket);
bool server_socket_wants_write(const struct server_socket *socket);

/* Broken, or both said what they had to: the descriptor may be closed. */
bool server_socket_is_over(const struct server_socket *socket);

#endif
