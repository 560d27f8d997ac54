/* GET /v1/chat/stream: the handshake of RFC 6455 on a request that was admitted like any other
 * (Host, Origin, key). What is then said on the connection is sessions.h's.
 *
 * Pages cannot set headers for a WebSocket. They send the key as a further protocol,
 *
 *     new WebSocket(url, ["hearth.chat.v1", "hearth.key." + base64url(KEY)])
 *
 * of which the server chooses the first; base64url without padding, because a protocol's name has
 * few characters. A client that names no protocol gets none. */
#ifndef SERVER_WEBSOCKET_H
#define SERVER_WEBSOCKET_H

#include "base/str.h"
#include "server/routes.h"

#define SERVER_SOCKET_PROTOCOL "hearth.chat.v1"
#define SERVER_SOCKET_KEY      "hearth.key."

enum server_step server_websocket(struct server_exchange *exchange);

/* Notes a key that came as a protocol in exchange->socket_key. */
void server_websocket_key(struct server_exchange *exchange);

/* Pure, for tests. The answer to a Sec-WebSocket-Key: 28 characters and NUL. */
void server_websocket_accept(struct str key, char out[29]);

/* base64url without padding; false if it is none, holds a NUL or does not fit. */
bool server_websocket_decode_key(struct str text, char *out, size_t cap);

#endif
