/* The routes of api/call.h: each is answered by a function on a worker's thread. */
#ifndef SERVER_CALLS_H
#define SERVER_CALLS_H

#include "api/call.h"
#include "server/routes.h"

/* The handler of a row: runs `fn` on a worker and answers with what it wrote. */
enum server_step server_call(struct server_exchange *exchange, api_call_fn *fn);

enum server_step server_chats_list(struct server_exchange *exchange);
enum server_step server_chats_get(struct server_exchange *exchange);
enum server_step server_chats_update(struct server_exchange *exchange);
enum server_step server_chats_delete(struct server_exchange *exchange);
enum server_step server_chats_messages(struct server_exchange *exchange);
enum server_step server_files_create(struct server_exchange *exchange);
enum server_step server_files_list(struct server_exchange *exchange);
enum server_step server_files_get(struct server_exchange *exchange);
enum server_step server_files_content(struct server_exchange *exchange);
enum server_step server_files_delete(struct server_exchange *exchange);
enum server_step server_batches_list(struct server_exchange *exchange);
enum server_step server_batches_get(struct server_exchange *exchange);
enum server_step server_responses_create(struct server_exchange *exchange);
enum server_step server_responses_count(struct server_exchange *exchange);
enum server_step server_responses_inputs(struct server_exchange *exchange);
enum server_step server_conversations_create(struct server_exchange *exchange);
enum server_step server_conversations_get(struct server_exchange *exchange);
enum server_step server_conversations_update(struct server_exchange *exchange);
enum server_step server_conversations_delete(struct server_exchange *exchange);
enum server_step server_conversations_items(struct server_exchange *exchange);
enum server_step server_conversations_add(struct server_exchange *exchange);
enum server_step server_conversations_item(struct server_exchange *exchange);
enum server_step server_conversations_remove(struct server_exchange *exchange);

#endif
