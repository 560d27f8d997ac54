/* LoRA adapters in requests, as llama-server has them: [{"id":0,"scale":0.5}]. An adapter that a
 * list does not name has the scale 0. */
#ifndef API_LORA_H
#define API_LORA_H

#include "api/call.h"
#include "api/fields.h"

/* The handler of "lora". */
bool api_apply_lora(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err);

/* GET /lora-adapters: those of the model, which is loaded; POST: the scales of requests that do not
 * say, from now on. */
api_call_fn api_lora_list, api_lora_set;

#endif
