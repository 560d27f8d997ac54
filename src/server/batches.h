/* Batches are worked off one after the other by a thread of their own, some lines at a time in the
 * engine's batch lane, so that they get what others leave. Each answered line is on the disk before
 * the next takes its place: after a restart a batch goes on where it was.
 *
 *     validating -> in_progress -> finalizing -> completed
 *          failed       cancelling -> cancelled | expired */
#ifndef SERVER_BATCHES_H
#define SERVER_BATCHES_H

#include "api/call.h"
#include "server/exchange.h"

struct server_batches;

/* Starts the thread, which looks for batches that are open. Without a store there is none. */
struct server_batches *server_batches_create(struct server *server, struct err *err);

/* Gives up what is being answered, ends the thread, frees. NULL is fine. */
void server_batches_destroy(struct server_batches *batches);

/* POST /v1/batches and /v1/batches/{id}/cancel. */
enum server_step server_batch_create(struct server_exchange *exchange);
enum server_step server_batch_cancel(struct server_exchange *exchange);

#endif
