/* The routes of vectors and ranks. */
#ifndef SERVER_EMBED_H
#define SERVER_EMBED_H

#include "server/routes.h"

enum server_step server_openai_embeddings(struct server_exchange *exchange);
enum server_step server_rerank(struct server_exchange *exchange);
enum server_step server_llama_embedding(struct server_exchange *exchange);
enum server_step server_ollama_embed(struct server_exchange *exchange);
enum server_step server_ollama_embeddings(struct server_exchange *exchange);

#endif
