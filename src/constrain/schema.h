/* JSON Schema -> rules. Shared by schema*.c.
 *
 * A goal is a set of subschemas that hold at the same place; it becomes one rule. The root is a
 * goal, so is each property, each item. Goals are known by their set, so recursion through $ref
 * ends in a reference to a rule that is there already.
 *
 * The schemas of a goal are collected into a spec: the intersection of all their keywords, type by
 * type. anyOf and oneOf multiply: one spec for each combination of branches (disjunctive normal
 * form); the rule is the alternation of the specs. */
#ifndef CONSTRAIN_SCHEMA_H
#define CONSTRAIN_SCHEMA_H

#include "constrain/constrain.h"
#include "constrain/dfa.h"
#include "constrain/expr.h"
#include "constrain/json_text.h"

enum {
    SCHEMA_LAYERS_MAX = 32,        /* schemas with object or array keywords at one place */
    SCHEMA_BRANCHES_MAX = 32,      /* anyOf and oneOf at one place */
    SCHEMA_SPECS_MAX = 4096,       /* combinations of their branches */
    SCHEMA_SETS_MAX = 64,          /* schemas at one place */
    SCHEMA_PREFIX_MAX = 256,       /* prefixItems */
    SCHEMA_PROPERTIES_MAX = 20000, /* of one object */
    SCHEMA_PATTERNS_MAX = 6,       /* patternProperties at one place: 2^6 kinds of keys */
    SCHEMA_ENUM_MAX = 100000,      /* values of one enum */
    SCHEMA_ENUM_BYTES_MAX = 1 << 20,
    SCHEMA_VISITS_MAX = 500000 /* subschemas looked at, each as often as it is */
};

enum schema_type {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_FRACTION = 4, /* numbers that are not whole */
    SCHEMA_INTEGER = 8,
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
    SCHEMA_ALL = 127
};

struct schema_at {
    const json_t *schema;
    const char *path; /* JSON pointer, for messages */
};

struct schema_layer {
    const json_t *list; /* prefixItems, or properties */
    const json_t *rest; /* items, or additionalProperties */
    const json_t *patterns;
    const json_t *names; /* propertyNames */
    const char *path;
};

struct schema_spec {
    unsigned types;
    const json_t *values; /* the shortest enum; all of them are checked */
    struct constrain_bound min, max;
    uint64_t multiple; /* 0: none */
    uint64_t length_min, length_max;
    const struct constrain_dfa *contents; /* patterns and formats; NULL: any */
    struct schema_layer arrays[SCHEMA_LAYERS_MAX], objects[SCHEMA_LAYERS_MAX];
    size_t array_count, object_count;
    uint64_t items_min, items_max;
    const json_t *required[SCHEMA_LAYERS_MAX];
    size_t required_count;
    struct schema_at branches[SCHEMA_BRANCHES_MAX]; /* arrays of schemas still to be chosen from */
    size_t branch_count;
    const char *path; /* of the first schema */
};

struct schema_goal {
    struct schema_at *sets;
    size_t count;
    uint32_t rule;
};

struct schema_compiler {
    struct constrain_build *b;
    struct constrain_json json;
    const json_t *root;
    json_t *json_lists; /* keeps the lists made for `const` */
    bool strict;
    struct schema_goal *goals;
    size_t goal_count, goal_cap;
    uint32_t *table; /* hash of goals: index + 1 */
    size_t table_size;
    size_t spec_count;                      /* of the current goal */
    const json_t *known_list, *known_value; /* an enum and a value that is in it */
    int depth, disjoint_depth;
    long visits;
};

/* schema.c */
const struct constrain_expr *constrain_schema_goal_ref(struct schema_compiler *c,
                                                       const struct schema_at *sets, size_t count);
const char *constrain_schema_path(struct schema_compiler *c, const char *base, const char *keyword,
                                  const char *name);
const char *constrain_schema_shown(const char *path); /* "/" for the root */

/* Fails with "schema, PATH: WHAT"; false. */
bool constrain_schema_refuse(struct schema_compiler *c, enum err_code code, const char *path,
                             const char *what);

/* schema_ref.c: what $ref names, and its path; NULL after a failure */
const json_t *constrain_schema_resolve(struct schema_compiler *c, const struct schema_at *at,
                                       const char **path);

/* schema_collect.c: the keywords of a schema; its anyOf and oneOf stay open in spec->branches */
bool constrain_schema_collect_branches(struct schema_compiler *c, const struct schema_at *at,
                                       const char *name, struct schema_spec *spec);
bool constrain_schema_collect(struct schema_compiler *c, struct schema_at at,
                              struct schema_spec *spec);
void constrain_schema_spec_init(struct schema_spec *spec, const char *path);

/* schema_text.c: strings */
const struct constrain_dfa *constrain_schema_pattern(struct schema_compiler *c, struct str pattern,
                                                     const char *path, bool in_json);
const struct constrain_dfa *constrain_schema_format(struct schema_compiler *c, const char *name,
                                                    const char *path, bool in_json, bool *known);
const struct constrain_expr *constrain_schema_string(struct schema_compiler *c,
                                                     const struct schema_spec *spec);

/* schema_object.c, schema_array.c */
const struct constrain_expr *constrain_schema_object(struct schema_compiler *c,
                                                     const struct schema_spec *spec);
const struct constrain_expr *constrain_schema_array(struct schema_compiler *c,
                                                    const struct schema_spec *spec);

/* schema_value.c: whether a value is valid; by the schema, not by the automaton */
bool constrain_schema_value_valid(struct schema_compiler *c, struct schema_at at,
                                  const json_t *value);

/* schema_disjoint.c: true only when no value can be valid for both */
bool constrain_schema_disjoint(struct schema_compiler *c, struct schema_at x, struct schema_at y);

#endif
