/* docs/api/compatibility.md: every endpoint of the route table, and every documented field of each
 * body as honoured or refused, written from the tables that the parsers walk. */
#ifndef SERVER_COMPATIBILITY_H
#define SERVER_COMPATIBILITY_H

#include "base/buf.h"

void server_compatibility_page(struct buf *out);

#endif
