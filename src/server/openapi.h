/* GET /openapi.json: an OpenAPI 3.1 document of every route, written from the route table and from
 * the field tables that the parsers walk; and GET /docs, a page of the binary's own that shows it.
 */
#ifndef SERVER_OPENAPI_H
#define SERVER_OPENAPI_H

#include <jansson.h>

#include "server/routes.h"

enum server_step server_openapi(struct server_exchange *exchange);

enum server_step server_docs_page(struct server_exchange *exchange);
enum server_step server_docs_script(struct server_exchange *exchange);
enum server_step server_docs_style(struct server_exchange *exchange);

/* The document as a new reference; NULL when memory is short. */
json_t *server_openapi_document(const struct server_route *routes);

#endif
