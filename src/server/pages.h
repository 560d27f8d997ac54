/* The routes that answer at once. */
#ifndef SERVER_PAGES_H
#define SERVER_PAGES_H

#include "server/routes.h"

enum server_step server_page_root(struct server_exchange *exchange);
enum server_step server_page_health(struct server_exchange *exchange);
enum server_step server_page_llama_health(struct server_exchange *exchange);
enum server_step server_page_ready(struct server_exchange *exchange);
enum server_step server_page_metrics(struct server_exchange *exchange);
enum server_step server_page_models(struct server_exchange *exchange);
enum server_step server_page_model(struct server_exchange *exchange);

#endif
