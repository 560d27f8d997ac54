/* Responses that are generated whether somebody waits for them or not. A generation whose request
 * is detached gets another owner than its exchange: a background, which a worker's thread drives on
 * and which any number of exchanges may read, from the beginning or from where they broke off. It
 * is known by tenant and id until what it said is on the disk.
 *
 * Lock order: the list, then a background; what is below generation.h comes after. */
#ifndef SERVER_BACKGROUND_H
#define SERVER_BACKGROUND_H

#include "api/call.h"
#include "server/exchange.h"
#include "server/generation.h"
#include "server/routes.h"

struct server_backgrounds;

struct server_backgrounds *server_backgrounds_create(struct server *server, struct err *err);

/* Nothing is driven on any more; what runs stays until destroy. */
void server_backgrounds_stop(struct server_backgrounds *all);

/* What still ran has failed, and the store says so. After the workers have ended. NULL is fine. */
void server_backgrounds_destroy(struct server_backgrounds *all);

/* The exchange's generation runs and is detached: takes it over and answers the exchange, with the
 * queued response or as a reader of its events. */
enum server_step server_background_adopt(struct server_exchange *exchange);

/* GET /v1/responses/{id}, also with stream=true; cancel; DELETE. */
enum server_step server_responses_get(struct server_exchange *exchange);
enum server_step server_responses_cancel(struct server_exchange *exchange);
enum server_step server_responses_delete(struct server_exchange *exchange);

#endif
