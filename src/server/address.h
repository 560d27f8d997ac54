/* Addresses: "127.0.0.1:8484", "[::1]:8484". Only IP literals and "localhost" are taken, so that
 * reading one never asks a resolver (hearth opens no connection by itself). */
#ifndef SERVER_ADDRESS_H
#define SERVER_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

struct server_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

enum { SERVER_ADDRESS_TEXT = 64 };

/* Host (IP literal, with or without brackets, or "localhost") and port. */
bool server_address_make(struct str host, uint16_t port, struct server_address *out);

/* "HOST:PORT"; ERR_USAGE. */
bool server_address_parse(struct str text, struct server_address *out, struct err *err);

bool server_address_is_loopback(const struct server_address *address);
bool server_address_is_any(const struct server_address *address); /* 0.0.0.0, :: */
uint16_t server_address_port(const struct server_address *address);

/* Same IP, ports aside; a v4-mapped v6 address equals its v4 form. */
bool server_address_same_ip(const struct server_address *a, const struct server_address *b);

/* "127.0.0.1:8484", "[::1]:8484" */
void server_address_format(const struct server_address *address, char out[SERVER_ADDRESS_TEXT]);

#endif
