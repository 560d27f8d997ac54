/* Who may ask: API keys, the Host header, the Origin of a browser. Pure functions over strings;
 * immutable after server_access_create. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "server/address.h"

struct server_access;

struct server_access_params {
    const struct str *keys;
    size_t key_count;          /* 0: everybody who passes Host and Origin may ask */
    const struct str *origins; /* beyond loopback: "https://app.example"; "*" is any */
    size_t origin_count;
    const struct str *hosts; /* beyond what the addresses imply: "llm.example" */
    size_t host_count;
    const struct server_address *listens;
    size_t listen_count;
};

/* Keeps SHA-256 digests of the keys, never the keys. Copies everything. */
struct server_access *server_access_create(const struct server_access_params *params,
                                           struct err *err);
void server_access_destroy(struct server_access *access);

bool server_access_has_keys(const struct server_access *access);

/* Values of the headers Authorization and x-api-key, empty if absent. Takes the same time whichever
 * key matches or none does. ERR_AUTH. */
bool server_access_key(const struct server_access *access, struct str authorization,
                       struct str api_key, struct err *err);

/* Tells tenants apart: the digest of the key that a welcome request came with. Gives its length, 0
 * when the server has no keys. */
enum { SERVER_TENANT_BYTES = 32 };
size_t server_access_tenant(const struct server_access *access, struct str authorization,
                            struct str api_key, unsigned char out[SERVER_TENANT_BYTES]);

/* Against DNS rebinding: a name that the server was not told about is no name for it, whatever it
 * is bound to. Loopback names always are; on a bind to a certain address that address; on a bind to
 * all addresses any IP literal (rebinding needs a name). ERR_FORBIDDEN. */
bool server_access_host(const struct server_access *access, struct str host, struct err *err);

/* A browser's Origin: loopback pages (any port) where `loopback_is_welcome`, the server's own pages
 * (the origin's host is `host`), and what was configured; "null" and "file://" only if configured.
 * ERR_FORBIDDEN. */
bool server_access_origin(const struct server_access *access, struct str origin, struct str host,
                          bool loopback_is_welcome, struct err *err);

#endif
