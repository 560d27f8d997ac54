/* The tables of filters and methods, one per topic; filters.c and methods.c search them. Each ends
 * with a row whose name is NULL. */
#ifndef CHAT_VOCABULARY_H
#define CHAT_VOCABULARY_H

#include "chat/interp.h"

extern const struct filter_def chat_filters_text[];
extern const struct filter_def chat_filters_number[];
extern const struct filter_def chat_filters_list[];
extern const struct filter_def chat_filters_lazy[]; /* generators there, iterators here */

extern const struct method_def chat_methods_text[];
extern const struct method_def chat_methods_split[];

/* An argument that may be left out or None: *out stays. */
static inline bool chat_arg_int_optional(struct render *r, struct val v, int64_t *out)
{
    return !val_is_given(v) || chat_arg_int(r, v, out);
}

#endif
