/* The Anthropic dialect: messages and count_tokens. Shapes, event order and error types follow the
 * public API reference (platform.claude.com/docs/en/api/messages). */
#ifndef API_ANTHROPIC_H
#define API_ANTHROPIC_H

#include <stdbool.h>

#include "api/fields.h"
#include "api/render.h"
#include "base/buf.h"
#include "base/err.h"

extern const struct api_dialect api_anthropic_messages;

/* Its requests are dry: nothing is generated, the answer is the number of prompt tokens. */
extern const struct api_dialect api_anthropic_count;

/* {"type":"error","error":{"type":...,"message":...},"request_id":...} */
void api_anthropic_error(const struct err *failure, struct str request_id, struct buf *out);

/* The HTTP status of a failure where it differs from err_info's: 529 instead of 503. */
int api_anthropic_status(const struct err *failure);

/* The value of the header anthropic-version, empty if absent. */
bool api_anthropic_version(struct str version, struct err *err);

/* ---- pieces ---- */

/* The handlers of "messages" and "system"; both add to request->messages, where the system prompt
 * comes first. Call api_anthropic_finish_messages when all fields were read. */
bool api_anthropic_apply_messages(struct gen_request *request, const struct api_field *field,
                                  const json_t *value, struct err *err);
bool api_anthropic_apply_system(struct gen_request *request, const struct api_field *field,
                                const json_t *value, struct err *err);
bool api_anthropic_finish_messages(struct gen_request *request, struct err *err);

/* {"type":"ephemeral","ttl":"5m"|"1h"} or null: a hint, checked. */
bool api_anthropic_cache_control(const json_t *value, struct err *err);

/* Fields of a text block, for the compatibility page. */
extern const struct api_field api_anthropic_block_fields[];

#endif
