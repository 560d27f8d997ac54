/* Filling in the middle: a prompt with a suffix becomes tokens around the place where the answer
 * goes, by the control tokens that a model was trained with for that. */
#ifndef API_FILL_H
#define API_FILL_H

#include "api/request.h"
#include "base/err.h"
#include "gguf/gguf.h"
#include "text/text.h"

/* TEXT_NONE where the model lacks one. */
struct api_fill_tokens {
    text_id prefix, suffix, middle; /* around them */
    text_id repo, file;             /* of a repository's other files */
};

/* From the metadata, else by the names that are known. False without the first three. */
bool api_fill_find(const struct gguf *gguf, const struct text *text, struct api_fill_tokens *out);

/* prompt->text, ->suffix, ->begun and ->extra to prompt->ids. ERR_UNSUPPORTED with param "suffix"
 * for a model without such tokens. */
bool api_fill_encode(const struct gguf *gguf, const struct text *text, struct gen_prompt *prompt,
                     struct err *err);

#endif
