/* The guard: reads the bytes of a client and passes on only requests whose framing every parser
 * reads in the same way (RFC 9112, strictly). libmicrohttpd behind it accepts bare line feeds, NUL
 * in header values, `Name :`, two Content-Lengths, Content-Length beside Transfer-Encoding and
 * unknown codings; here each of these is refused, and chunked bodies are written anew.
 *
 * A refused head is replaced by a request for SERVER_GUARD_PATH, a refused body ends early: so the
 * answer takes its turn behind those of earlier requests of the connection, and has an id and a log
 * line like any other. All further bytes are dropped.
 *
 * Pure: no sockets, no clock. One guard per connection. */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define SERVER_GUARD_PATH "/.refused"

enum {
    SERVER_HEAD_BYTES_MAX = 32 << 10,
    SERVER_TARGET_BYTES_MAX = 8 << 10,
    SERVER_HEADERS_MAX = 100,
};

enum server_guard_phase {
    SERVER_GUARD_IDLE, /* between requests */
    SERVER_GUARD_HEAD, /* in a request line or header */
    SERVER_GUARD_BODY,
    SERVER_GUARD_REFUSED
};

struct server_guard {
    enum server_guard_state {
        GUARD_IN_HEAD,
        GUARD_IN_LENGTH,     /* a body of `left` more bytes */
        GUARD_IN_CHUNK_SIZE, /* the line before a chunk */
        GUARD_IN_CHUNK,      /* `left` more bytes of a chunk */
        GUARD_IN_CHUNK_END,  /* the line end behind a chunk */
        GUARD_IN_TRAILER,
        GUARD_IN_REFUSAL
    } state,
        refused_in;
    bool is_announced; /* the refusal has been written to the output */
    struct buf line;   /* the head, or a line, collected so far */
    uint64_t left;
    size_t trailer_bytes;
    uint32_t requests; /* passed on, refusals included; the last one is what was refused */
    int status;        /* of the refusal; 0: none */
    const char *reason;
};

/* All-zero is a fresh guard. */
void server_guard_deinit(struct server_guard *guard);

/* Consumes all of `bytes` and appends what may be passed on to `out`. */
void server_guard_feed(struct server_guard *guard, struct str bytes, struct buf *out);

enum server_guard_phase server_guard_phase(const struct server_guard *guard);

#endif
