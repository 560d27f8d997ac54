#include "server/websocket.h"

#include <openssl/evp.h>

#include "server/exchange.h"
#include "server/sessions.h"

enum { KEY_CHARS = 24, DIGEST_BYTES = 20 };

/* ---- pure ---- */

void server_websocket_accept(struct str key, char out[29])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
    char text[KEY_CHARS + sizeof guid];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    size_t key_len = key.len < KEY_CHARS ? key.len : KEY_CHARS;
    memcpy(text, key.ptr, key_len);
    memcpy(text + key_len, guid, sizeof guid - 1);
    if (EVP_Digest(text, key_len + sizeof guid - 1, digest, &len, EVP_sha1(), NULL) != 1) {
        memset(digest, 0, sizeof digest); /* cannot happen; the client would turn it down */
    }
    EVP_EncodeBlock((unsigned char *)out, digest, DIGEST_BYTES);
}

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-'             ? 62
           : c == '_'             ? 63
                                  : -1;
}

bool server_websocket_decode_key(struct str text, char *out, size_t cap)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t len = 0;
    out[0] = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = value_of(text.ptr[i]);
        if (value < 0) {
            out[0] = 0;
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count < 8) {
            continue;
        }
        bit_count -= 8;
        char c = (char)(bits >> bit_count & 0xff);
        if (c == 0 || len + 1 >= cap) {
            out[0] = 0;
            return false;
        }
        out[len++] = c;
    }
    out[len] = 0;
    return len > 0;
}

/* Is there this word in a header like "keep-alive, Upgrade"? */
static bool has_word(struct str list, struct str word)
{
    while (list.len) {
        if (str_eq_nocase(str_trim(str_cut(&list, ',')), word)) {
            return true;
        }
    }
    return false;
}

/* 16 bytes in base64, as the RFC asks. */
static bool is_client_key(struct str key)
{
    unsigned char bytes[KEY_CHARS];
    return key.len == KEY_CHARS && str_ends(key, STR("==")) &&
           EVP_DecodeBlock(bytes, (const unsigned char *)key.ptr, KEY_CHARS) == 18;
}

/* ---- the route ---- */

void server_websocket_key(struct server_exchange *exchange)
{
    struct str list = server_exchange_header(exchange, "Sec-WebSocket-Protocol");
    while (list.len) {
        struct str word = str_trim(str_cut(&list, ','));
        if (str_eat(&word, STR(SERVER_SOCKET_KEY))) {
            server_websocket_decode_key(word, exchange->socket_key, sizeof exchange->socket_key);
            return;
        }
    }
}

static bool check(const struct server_exchange *exchange, struct err *err)
{
    struct str protocols = server_exchange_header(exchange, "Sec-WebSocket-Protocol");
    if (!has_word(server_exchange_header(exchange, "Upgrade"), STR("websocket")) ||
        !has_word(server_exchange_header(exchange, "Connection"), STR("upgrade")) ||
        !str_eq(exchange->method, STR("GET"))) {
        return err_set(err, ERR_UPGRADE,
                       "this path speaks WebSocket: ask with a GET that upgrades");
    }
    if (!str_eq(server_exchange_header(exchange, "Sec-WebSocket-Version"), STR("13"))) {
        return err_set(err, ERR_UPGRADE, "the WebSocket version must be 13");
    }
    if (!is_client_key(server_exchange_header(exchange, "Sec-WebSocket-Key"))) {
        return err_set(err, ERR_INVALID, "the header Sec-WebSocket-Key is not 16 bytes in base64");
    }
    if (protocols.len && !has_word(protocols, STR(SERVER_SOCKET_PROTOCOL))) {
        return err_set(err, ERR_INVALID,
                       "the WebSocket protocol spoken here is " SERVER_SOCKET_PROTOCOL);
    }
    if (atomic_load(&exchange->server->draining)) {
        return err_set(err, ERR_BUSY, "the server is stopping");
    }
    return true;
}

enum server_step server_websocket(struct server_exchange *exchange)
{
    struct server_reply *reply = &exchange->reply;
    struct err failure;
    char accept[29];
    if (!check(exchange, &failure)) {
        server_exchange_fail(exchange, &failure);
        if (failure.code == ERR_UPGRADE) {
            server_reply_header(reply, "Upgrade", "websocket");
            server_reply_header(reply, "Sec-WebSocket-Version", "13");
        }
        return SERVER_STEP_REPLY;
    }
    server_websocket_accept(server_exchange_header(exchange, "Sec-WebSocket-Key"), accept);
    reply->status = 101;
    reply->upgrade = server_sessions_adopt;
    server_reply_header(reply, "Upgrade", "websocket");
    server_reply_header(reply, "Sec-WebSocket-Accept", "%s", accept);
    if (server_exchange_header(exchange, "Sec-WebSocket-Protocol").len) {
        server_reply_header(reply, "Sec-WebSocket-Protocol", SERVER_SOCKET_PROTOCOL);
    }
    return SERVER_STEP_REPLY;
}
