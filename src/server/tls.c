#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/mem.h"
#include "base/str.h"

struct server_tls {
    SSL_CTX *ctx;
};

struct server_tls_conn {
    SSL *ssl;
};

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char offered[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    /* A client that speaks only others (h2) goes on without ALPN and finds out by itself. */
    return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, offered,
                                 sizeof offered - 1, in, in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static bool tls_error(struct err *err, const char *what, const char *path)
{
    char quoted[STR_QUOTE_MAX], reason[256];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof reason);
    ERR_clear_error();
    return err_set(err, ERR_USAGE, "%s %s: %s", what, str_quote(quoted, str_of(path)), reason);
}

struct server_tls *server_tls_create(const char *cert_path, const char *key_path, struct err *err)
{
    struct server_tls *tls = MEM_NEW(struct server_tls);
    if (!tls || !(tls->ctx = SSL_CTX_new(TLS_server_method()))) {
        server_tls_destroy(tls);
        err_set_memory(err, sizeof *tls);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_RELEASE_BUFFERS);
    /* Renegotiation costs the server more than the client; a client that vanishes without
     * close_notify is a client that left. */
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_alpn_select_cb(tls->ctx, choose_protocol, NULL);
    bool ok = SSL_CTX_use_certificate_chain_file(tls->ctx, cert_path) == 1 ||
              tls_error(err, "cannot use the TLS certificate", cert_path);
    ok = ok && (SSL_CTX_use_PrivateKey_file(tls->ctx, key_path, SSL_FILETYPE_PEM) == 1 ||
                tls_error(err, "cannot use the TLS key", key_path));
    if (!ok) {
        server_tls_destroy(tls);
        return NULL;
    }
    return tls;
}

void server_tls_destroy(struct server_tls *tls)
{
    if (tls) {
        SSL_CTX_free(tls->ctx);
        mem_free(tls);
    }
}

struct server_tls_conn *server_tls_accept(struct server_tls *tls, int fd)
{
    struct server_tls_conn *conn = MEM_NEW(struct server_tls_conn);
    if (!conn || !(conn->ssl = SSL_new(tls->ctx)) || SSL_set_fd(conn->ssl, fd) != 1) {
        server_tls_close(conn);
        return NULL;
    }
    SSL_set_accept_state(conn->ssl);
    return conn;
}

void server_tls_close(struct server_tls_conn *conn)
{
    if (conn) {
        if (conn->ssl && SSL_is_init_finished(conn->ssl)) {
            SSL_shutdown(conn->ssl);
        }
        SSL_free(conn->ssl);
        ERR_clear_error();
        mem_free(conn);
    }
}

static ssize_t result_of(struct server_tls_conn *conn, int n, bool *wants_write)
{
    int why = SSL_get_error(conn->ssl, n);
    ERR_clear_error();
    *wants_write = why == SSL_ERROR_WANT_WRITE;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        return -1;
    }
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -2;
}

ssize_t server_tls_read(struct server_tls_conn *conn, void *out, size_t len, bool *wants_write)
{
    int n = SSL_read(conn->ssl, out, (int)len);
    return n > 0 ? n : result_of(conn, n, wants_write);
}

ssize_t server_tls_write(struct server_tls_conn *conn, const void *bytes, size_t len,
                         bool *wants_write)
{
    int n = SSL_write(conn->ssl, bytes, (int)len);
    return n > 0 ? n : result_of(conn, n, wants_write);
}
