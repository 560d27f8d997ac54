/* How texts are written for a model that makes vectors or ranks of them: what stands before a query
 * or a passage, and how a query and a document become one text.
 *
 * What the file itself says comes first: ARCH.prompt.NAME (strings) and tokenizer.chat_template.
 * rerank. GGUF has no key for the prefixes of sentence-transformers' models, so those of well-known
 * models stand in a table, from their published cards; they are used only when a request names
 * one. */
#ifndef ROUTE_TEXTS_H
#define ROUTE_TEXTS_H

#include "base/buf.h"
#include "route/local.h"

/* The prefix of a name ("query", "document", "classification" ...; also under the names that other
 * APIs use: "search_query", "passage" ...). ERR_INVALID lists the names the model has. */
bool route_prompt_find(const struct route_local *local, struct str name, struct str *prefix,
                       struct err *err);

/* Prefix and text as the encoder reads them. */
bool route_text_encode(const struct route_local *local, struct str prefix, struct str text,
                       struct text_ids *out, struct err *err);

/* A query and a document as the model ranks them. */
bool route_pair_encode(const struct route_local *local, struct str query, struct str document,
                       struct text_ids *out, size_t *second_at, struct err *err);

/* True for a decoder that ranks by the logits of "yes" and "no" (Qwen3-Reranker), and which tokens
 * those are. A file with a class head of its own does not need them. */
bool route_ranks_by_words(const struct gguf *gguf, const struct text *text, int32_t tokens[2]);

#endif
