/* Texts and token lists of a body: "text" | ["text", ...] | [1, 2, ...] | [[1, 2], ...]. */
#ifndef API_PROMPTS_H
#define API_PROMPTS_H

#include "api/fields.h"

/* Fills request->prompts; errors name the item. */
bool api_read_prompts(struct gen_request *request, const struct api_field *field,
                      const json_t *value, size_t count_max, struct err *err);

#endif
