/* The route table: every path that is answered, with its method, the role it asks for, the largest
 * body and its handler. Default deny: a row without a role is a fault that keeps the server from
 * starting. Patterns are literal, save that a part "{name}" takes one part of the path and a last
 * part "{name...}" takes the rest, '/' included; of rows that fit, the first one counts. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct server_exchange;

enum server_role {
    SERVER_ROLE_MISSING,  /* what a forgotten role is */
    SERVER_ROLE_PUBLIC,   /* no key */
    SERVER_ROLE_OPERATOR, /* a key; no pages of other origins */
    SERVER_ROLE_INFERENCE /* a key; pages of loopback origins are welcome */
};

/* What a handler says. It runs on libmicrohttpd's thread, must not block, and is called again
 * after server_exchange_wake. */
enum server_step {
    SERVER_STEP_WAIT,  /* not yet; somebody will call server_exchange_wake */
    SERVER_STEP_REPLY, /* exchange->reply is filled */
    SERVER_STEP_DROP   /* close the connection without an answer: the client is gone */
};

struct server_route {
    const char *method;
    const char *pattern;
    enum server_role role;
    size_t body_bytes_max; /* 0: a body is refused; SERVER_BODY_SETTING: the setting */
    enum server_step (*handle)(struct server_exchange *exchange);
    const char *summary;
};

#define SERVER_BODY_SETTING SIZE_MAX

enum { SERVER_PARTS_MAX = 2 }; /* "{...}" of one pattern */

/* Ends with a row without pattern. */
extern const struct server_route server_routes[];

/* False (ERR_INTERNAL) if a row lacks its role, method or handler. */
bool server_routes_check(const struct server_route *routes, struct err *err);

/* The row for a method and a decoded path. A path that a row spells out is no part in braces. HEAD
 * finds GET. `parts` is what each "{...}" took. NULL with ERR_NOT_FOUND, or with ERR_METHOD and the
 * methods there are in `allow` ("GET, HEAD, OPTIONS"). */
const struct server_route *server_routes_find(const struct server_route *routes, struct str method,
                                              struct str path, struct str parts[SERVER_PARTS_MAX],
                                              struct buf *allow, struct err *err);

/* Decodes a text of a request's target once: %XX becomes its byte. ERR_INVALID for a malformed
 * escape, a NUL or invalid UTF-8. */
bool server_text_decode(struct str raw, struct buf *out, struct err *err);

/* The same for its path, which must not have a part "." or ".." either. */
bool server_path_decode(struct str raw, struct buf *out, struct err *err);

#endif
