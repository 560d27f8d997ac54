#include "server/access.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/arena.h"
#include "base/mem.h"

enum { DIGEST_BYTES = 32 };

struct server_access {
    struct arena arena;
    unsigned char (*digests)[DIGEST_BYTES];
    size_t key_count;
    struct str *origins, *hosts;
    size_t origin_count, host_count;
    struct server_address *listens;
    size_t listen_count;
};

static void digest(struct str key, unsigned char out[DIGEST_BYTES])
{
    unsigned len = 0;
    if (EVP_Digest(key.ptr ? key.ptr : "", key.len, out, &len, EVP_sha256(), NULL) != 1 ||
        len != DIGEST_BYTES) {
        memset(out, 0, DIGEST_BYTES); /* cannot happen with OpenSSL 3; equal to no key's digest */
    }
}

static struct str *copy_list(struct arena *arena, const struct str *list, size_t count)
{
    struct str *copy = ARENA_ARRAY(arena, struct str, count);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = (struct str){arena_copy(arena, list[i]), list[i].len};
        if (!copy[i].ptr) {
            return NULL;
        }
    }
    return copy;
}

struct server_access *server_access_create(const struct server_access_params *params,
                                           struct err *err)
{
    struct server_access *access = MEM_NEW(struct server_access);
    if (!access) {
        err_set_memory(err, sizeof *access);
        return NULL;
    }
    access->arena = arena_init(0);
    access->digests = arena_alloc(&access->arena, params->key_count, DIGEST_BYTES);
    access->origins = copy_list(&access->arena, params->origins, params->origin_count);
    access->hosts = copy_list(&access->arena, params->hosts, params->host_count);
    access->listens = ARENA_ARRAY(&access->arena, struct server_address, params->listen_count);
    if (!access->digests || !access->origins || !access->hosts || !access->listens) {
        server_access_destroy(access);
        err_set_memory(err, params->key_count * DIGEST_BYTES);
        return NULL;
    }
    for (size_t i = 0; i < params->key_count; i++) {
        digest(params->keys[i], access->digests[i]);
    }
    if (params->listen_count) {
        memcpy(access->listens, params->listens, params->listen_count * sizeof *params->listens);
    }
    access->key_count = params->key_count;
    access->origin_count = params->origin_count;
    access->host_count = params->host_count;
    access->listen_count = params->listen_count;
    return access;
}

void server_access_destroy(struct server_access *access)
{
    if (access) {
        arena_deinit(&access->arena);
        mem_free(access);
    }
}

bool server_access_has_keys(const struct server_access *access)
{
    return access->key_count > 0;
}

/* ---- keys ---- */

/* Digests hide length and content of the keys from the comparison's timing; every key is compared,
 * so that the place of a match does not show either. */
static bool is_key(const struct server_access *access, struct str given)
{
    unsigned char got[DIGEST_BYTES];
    int matches = 0;
    digest(given, got);
    for (size_t i = 0; i < access->key_count; i++) {
        matches |= CRYPTO_memcmp(got, access->digests[i], DIGEST_BYTES) == 0;
    }
    return matches && given.len > 0;
}

static struct str bearer_of(struct str authorization)
{
    struct str bearer = authorization;
    struct str scheme = str_cut(&bearer, ' ');
    return str_eq_nocase(scheme, STR("bearer")) ? str_trim(bearer) : (struct str){0};
}

bool server_access_key(const struct server_access *access, struct str authorization,
                       struct str api_key, struct err *err)
{
    if (access->key_count == 0) {
        return true;
    }
    struct str bearer = bearer_of(authorization);
    bool by_bearer = is_key(access, bearer), by_header = is_key(access, api_key);
    if (by_bearer || by_header) {
        return true;
    }
    bool has_any = authorization.len > 0 || api_key.len > 0;
    return err_set(err, ERR_AUTH,
                   has_any ? "the API key is wrong"
                           : "an API key is needed: send the header Authorization: Bearer KEY or "
                             "x-api-key: KEY");
}

size_t server_access_tenant(const struct server_access *access, struct str authorization,
                            struct str api_key, unsigned char out[SERVER_TENANT_BYTES])
{
    struct str bearer = bearer_of(authorization);
    if (access->key_count == 0) {
        return 0;
    }
    digest(is_key(access, bearer) ? bearer : api_key, out);
    return SERVER_TENANT_BYTES;
}

/* ---- hosts ---- */

/* "name:port" -> "name", "[::1]:port" -> "[::1]"; false if it is neither. */
static bool host_part(struct str authority, struct str *host)
{
    uint64_t port;
    size_t end = authority.len;
    const char *bracket = authority.len ? memchr(authority.ptr, ']', authority.len) : NULL;
    size_t from = bracket ? (size_t)(bracket - authority.ptr) : 0;
    size_t colon = str_find(authority, STR(":"), from);
    if (colon != SIZE_MAX) {
        struct str digits = str_slice(authority, colon + 1, authority.len);
        if (digits.len > 0 && (!str_to_u64(digits, &port) || port > UINT16_MAX)) {
            return false;
        }
        end = colon;
    }
    *host = str_slice(authority, 0, end);
    return host->len > 0 && (bracket != NULL) == (host->ptr[0] == '[') &&
           (!bracket || from == end - 1);
}

static bool is_loopback_name(struct str host)
{
    struct server_address address;
    return str_eq_nocase(host, STR("localhost")) ||
           (server_address_make(host, 0, &address) && server_address_is_loopback(&address));
}

bool server_access_host(const struct server_access *access, struct str host, struct err *err)
{
    struct str name;
    struct server_address address;
    char quoted[STR_QUOTE_MAX];
    if (!host_part(host, &name)) {
        return err_set(err, ERR_FORBIDDEN, "the Host header '%s' is malformed",
                       str_quote(quoted, host));
    }
    if (is_loopback_name(name)) {
        return true;
    }
    for (size_t i = 0; i < access->host_count; i++) {
        if (str_eq_nocase(access->hosts[i], name)) {
            return true;
        }
    }
    bool is_literal = server_address_make(name, 0, &address);
    for (size_t i = 0; is_literal && i < access->listen_count; i++) {
        if (server_address_is_any(&access->listens[i]) ||
            server_address_same_ip(&access->listens[i], &address)) {
            return true;
        }
    }
    return err_set(err, ERR_FORBIDDEN,
                   "the host '%s' is not a name of this server; allow it with --allowed-host",
                   str_quote(quoted, name));
}

/* ---- origins ---- */

bool server_access_origin(const struct server_access *access, struct str origin, struct str host,
                          bool loopback_is_welcome, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    for (size_t i = 0; i < access->origin_count; i++) {
        if (str_eq(access->origins[i], STR("*")) || str_eq_nocase(access->origins[i], origin)) {
            return true;
        }
    }
    struct str authority = origin, name;
    bool is_web = str_eat(&authority, STR("http://")) || str_eat(&authority, STR("https://"));
    if (is_web && host_part(authority, &name)) {
        bool is_own = host.len > 0 && str_eq_nocase(authority, host);
        if (is_own || (loopback_is_welcome && is_loopback_name(name))) {
            return true;
        }
    }
    return err_set(err, ERR_FORBIDDEN,
                   "pages of the origin '%s' may not ask; allow it with --allowed-origin",
                   str_quote(quoted, origin));
}
