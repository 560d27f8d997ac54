/* TLS for the front: OpenSSL on a non-blocking socket, TLS 1.2 and 1.3, HTTP/1.1 by ALPN. */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct server_tls;      /* certificate and key; immutable, shared */
struct server_tls_conn; /* one connection */

/* PEM files: a certificate chain and its key. ERR_USAGE with OpenSSL's reason. */
struct server_tls *server_tls_create(const char *cert_path, const char *key_path, struct err *err);
void server_tls_destroy(struct server_tls *tls);

struct server_tls_conn *server_tls_accept(struct server_tls *tls, int fd);
void server_tls_close(struct server_tls_conn *conn); /* sends close_notify if it can; not the fd */

/* What a socket call would give: > 0 bytes, 0 the peer ended, -1 nothing now, -2 broken. The
 * handshake runs inside. After -1, *wants_write says that the socket must become writable. */
ssize_t server_tls_read(struct server_tls_conn *conn, void *out, size_t len, bool *wants_write);
ssize_t server_tls_write(struct server_tls_conn *conn, const void *bytes, size_t len,
                         bool *wants_write);

#endif
