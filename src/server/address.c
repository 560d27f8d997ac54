#include "server/address.h"

#include <arpa/inet.h>
#include <stdio.h>

bool server_address_make(struct str host, uint16_t port, struct server_address *out)
{
    char text[INET6_ADDRSTRLEN];
    *out = (struct server_address){0};
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = str_slice(host, 1, host.len - 1);
    }
    if (str_eq_nocase(host, STR("localhost"))) {
        host = STR("127.0.0.1");
    }
    if (host.len == 0 || host.len >= sizeof text) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = 0;
    if (strlen(text) != host.len) {
        return false;
    }
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        out->len = sizeof out->v4;
        return true;
    }
    *out = (struct server_address){0};
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        out->len = sizeof out->v6;
        return true;
    }
    return false;
}

bool server_address_parse(struct str text, struct server_address *out, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    size_t at = text.len; /* of the last colon */
    while (at > 0 && text.ptr[at - 1] != ':') {
        at--;
    }
    bool has_port = at > 0;
    struct str host = str_slice(text, 0, has_port ? at - 1 : 0);
    uint64_t port;
    bool bare_v6 = host.len && host.ptr[0] != '[' && memchr(host.ptr, ':', host.len);
    if (!has_port || bare_v6 || !str_to_u64(str_slice(text, at, text.len), &port) ||
        port > UINT16_MAX || !server_address_make(host, (uint16_t)port, out)) {
        return err_set(err, ERR_USAGE,
                       "\"%s\" is no address: write IP:PORT, such as 127.0.0.1:8484 or [::1]:8484",
                       str_quote(quoted, text));
    }
    return true;
}

/* The IPv4 address in host order, also of a v4-mapped one (::ffff:a.b.c.d). */
static bool v4_of(const struct server_address *address, uint32_t *out)
{
    if (address->any.sa_family == AF_INET) {
        *out = ntohl(address->v4.sin_addr.s_addr);
        return true;
    }
    if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
        const uint8_t *b = address->v6.sin6_addr.s6_addr + 12;
        *out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        return true;
    }
    return false;
}

bool server_address_is_loopback(const struct server_address *address)
{
    uint32_t v4;
    if (v4_of(address, &v4)) {
        return v4 >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

bool server_address_is_any(const struct server_address *address)
{
    uint32_t v4;
    if (v4_of(address, &v4)) {
        return v4 == 0;
    }
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

uint16_t server_address_port(const struct server_address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

bool server_address_same_ip(const struct server_address *a, const struct server_address *b)
{
    uint32_t a4 = 0, b4 = 0;
    bool a_is_4 = v4_of(a, &a4), b_is_4 = v4_of(b, &b4);
    if (a_is_4 || b_is_4) {
        return a_is_4 && b_is_4 && a4 == b4;
    }
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

void server_address_format(const struct server_address *address, char out[SERVER_ADDRESS_TEXT])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    bool is_4 = address->any.sa_family == AF_INET;
    inet_ntop(address->any.sa_family,
              is_4 ? (const void *)&address->v4.sin_addr : (const void *)&address->v6.sin6_addr, ip,
              sizeof ip);
    snprintf(out, SERVER_ADDRESS_TEXT, is_4 ? "%s:%u" : "[%s]:%u", ip,
             (unsigned)server_address_port(address));
}
