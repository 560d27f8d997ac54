/* The results of a load test as a table with bars for a terminal, as JSON, and as an SVG picture.
 */
#ifndef TOOLKIT_LOAD_PRINT_H
#define TOOLKIT_LOAD_PRINT_H

#include "base/buf.h"
#include "toolkit/load.h"

void toolkit_load_table(const struct toolkit_stage_result *results, size_t count, struct buf *out);

/* One object: {"stages":[...]}, milliseconds and seconds as the names say. */
void toolkit_load_json(const struct toolkit_stage_result *results, size_t count, struct buf *out);

/* Tokens per second, and p50 and p99 of the first token, against the number of users. */
void toolkit_load_svg(const struct toolkit_stage_result *results, size_t count, const char *title,
                      struct buf *out);

#endif
