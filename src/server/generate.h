/* The routes that generate: one handler for every dialect, which are tables of functions. */
#ifndef SERVER_GENERATE_H
#define SERVER_GENERATE_H

#include "server/routes.h"

enum server_step server_generate_chat(struct server_exchange *exchange);
enum server_step server_generate_completion(struct server_exchange *exchange);

#endif
