/* The front ends as parts of a larger compilation. Failure is in the build. */
#ifndef CONSTRAIN_FRONT_H
#define CONSTRAIN_FRONT_H

#include "constrain/constrain.h"
#include "constrain/expr.h"
#include "constrain/json_text.h"

/* The rules of a grammar; an expression for its `root`. */
const struct constrain_expr *constrain_gbnf_expr(struct constrain_build *b, struct str source);

const struct constrain_expr *constrain_regex_expr(struct constrain_build *b, struct str source);

/* A value of part->schema; references are looked up in part->root. */
const struct constrain_expr *constrain_schema_expr(struct constrain_build *b,
                                                   const struct constrain_json *json,
                                                   const struct constrain_part *part);

#endif
