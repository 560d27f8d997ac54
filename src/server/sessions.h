/* The WebSockets of /v1/chat/stream (api/frames.h) and the one thread that serves them all:
 *
 *     client == front == pair end == session ( requests: generation, generation, ... )
 *
 * A session reads messages, starts a generation for each request, and writes what they say as their
 * frames come. While more than SERVER_SOCKET_QUEUE bytes wait for a client nothing is taken from
 * its generations, whose own queues are bounded too; one that takes nothing for the write timeout
 * is cut by the front, and what it asked for is cancelled.
 *
 * A client that is silent for half the idle timeout gets a ping, and is cut when the idle timeout
 * is over; one that asks for nothing during the socket idle timeout is told to come back. */
#ifndef SERVER_SESSIONS_H
#define SERVER_SESSIONS_H

#include <stdbool.h>

#include "base/err.h"

struct server;
struct server_exchange;
struct server_sessions;

enum { SERVER_SESSION_REQUESTS_MAX = 64 };

struct server_sessions *server_sessions_create(struct server *server, struct err *err);

/* Takes an upgraded connection over; server_exchange_closed follows. Any thread. */
void server_sessions_adopt(struct server_exchange *exchange, int fd);

/* No further requests; a session closes when its last one has ended. */
void server_sessions_drain(struct server_sessions *sessions);

/* Closes all sessions; the exchanges end soon. */
void server_sessions_stop(struct server_sessions *sessions);

/* After stop. NULL is fine. */
void server_sessions_destroy(struct server_sessions *sessions);

#endif
