/* The routes of OpenAI's API that are more than chat: each is a dialect or a call. */
#include "api/openai.h"
#include "api/files.h"
#include "api/responses.h"
#include "server/calls.h"
#include "server/generate.h"

#define GENERATION(handler, dialect)                                                               \
    enum server_step handler(struct server_exchange *exchange)                                     \
    {                                                                                              \
        return server_generate(exchange, &(dialect));                                              \
    }
#define CALL(handler, function)                                                                    \
    enum server_step handler(struct server_exchange *exchange)                                     \
    {                                                                                              \
        return server_call(exchange, function);                                                    \
    }

CALL(server_chats_list, api_openai_stored_list)
CALL(server_chats_get, api_openai_stored_get)
CALL(server_chats_update, api_openai_stored_update)
CALL(server_chats_delete, api_openai_stored_delete)
CALL(server_chats_messages, api_openai_stored_messages)

CALL(server_files_create, api_files_create)
CALL(server_files_list, api_files_list)
CALL(server_files_get, api_files_get)
CALL(server_files_content, api_files_content)
CALL(server_files_delete, api_files_delete)
CALL(server_batches_list, api_batches_list)
CALL(server_batches_get, api_batches_get)

GENERATION(server_responses_create, api_responses)
GENERATION(server_responses_count, api_responses_count)
CALL(server_responses_inputs, api_responses_call_inputs)

CALL(server_conversations_create, api_conversations_create)
CALL(server_conversations_get, api_conversations_get)
CALL(server_conversations_update, api_conversations_update)
CALL(server_conversations_delete, api_conversations_delete)
CALL(server_conversations_items, api_conversations_items)
CALL(server_conversations_add, api_conversations_add)
CALL(server_conversations_item, api_conversations_item)
CALL(server_conversations_remove, api_conversations_remove)
