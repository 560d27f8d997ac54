/* Field tables: each endpoint lists the fields of its body as data (name, type, range, where it
 * goes), and one walker checks a body against it. So a field is either honoured, refused by name
 * with a reason, or unknown; there is no fourth state, and the compatibility page can be printed
 * from the same rows. null means "as if absent" for every optional field, as OpenAI has it. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/request.h"
#include "base/buf.h"
#include "base/err.h"

enum api_kind {
    API_BOOL,   /* to a bool */
    API_U32,    /* an integer in [min, max] to a uint32_t; larger than 2^32-1 is cut to it */
    API_F32,    /* a number in [min, max] to a float */
    API_TEXT,   /* a string to a struct str */
    API_CUSTOM, /* whatever `apply` takes */
    API_REFUSED /* documented by the dialect, not supported here */
};

struct api_field {
    const char *name;
    enum api_kind kind;
    size_t offset; /* in struct gen_request, for the first four kinds */
    double min, max;
    /* CUSTOM: reads the value; errors carry the field's name as param. */
    bool (*apply)(struct gen_request *request, const struct api_field *field, const json_t *value,
                  struct err *err);
    bool is_required;
    bool is_limited; /* only values that ask for what happens anyway pass, the others are refused */
    const char *note; /* REFUSED: why, or what to use instead; else what to know, for the docs */
};

/* Walks the keys of `body` over the rows of `tables` (NULL-terminated list of tables, each ended by
 * a row without name), then checks that required fields were there. Errors: ERR_UNKNOWN,
 * ERR_UNSUPPORTED, ERR_TYPE, ERR_INVALID, ERR_MISSING, each with the field as param. */
bool api_fields_apply(struct gen_request *request, const json_t *body,
                      const struct api_field *const *tables, struct err *err);

/* "got a string": what a value is, for type errors. */
const char *api_kind_of(const json_t *value);

bool api_unknown_error(const char *name, struct err *err);

/* What an error says, for shapes that have no place for the field: with its name before it, unless
 * the text has it. */
void api_error_text(const struct err *failure, struct buf *out);

bool api_type_error(const char *param, const char *wanted, const json_t *got, struct err *err);

/* The handler of max_tokens under all its names. */
bool api_apply_max_tokens(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err);

/* Handlers of fields that dialects share under their own names: a seed; a window in tokens, -1 the
 * whole context; mirostat, 0 or 2; stop strings. */
bool api_apply_seed(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err);
bool api_apply_window(struct gen_request *request, const struct api_field *field,
                      const json_t *value, struct err *err);
bool api_apply_mirostat(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err);
bool api_apply_stop(struct gen_request *request, const struct api_field *field, const json_t *value,
                    struct err *err);
bool api_apply_breakers(struct gen_request *request, const struct api_field *field,
                        const json_t *value, struct err *err);

/* Limits and delivery: what chat and text completions share. */
extern const struct api_field api_fields_shared[];

/* Sampling: OpenAI's names and llama-server's for the samplers that OpenAI lacks. */
extern const struct api_field api_fields_sampling[];

#endif
