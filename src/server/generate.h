/* The routes that generate: one handler for every dialect, which are tables of functions. */
#ifndef SERVER_GENERATE_H
#define SERVER_GENERATE_H

#include "api/render.h"
#include "server/routes.h"

/* Parses the body in the dialect, runs the request, and answers in the dialect. */
enum server_step server_generate(struct server_exchange *exchange,
                                 const struct api_dialect *dialect);

enum server_step server_generate_chat(struct server_exchange *exchange);
enum server_step server_generate_completion(struct server_exchange *exchange);

#endif
