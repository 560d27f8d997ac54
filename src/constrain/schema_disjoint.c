/* Whether two schemas can be told apart: then oneOf is anyOf. Each is collected into a spec without
 * its open anyOf and oneOf, which only narrow it further; when these wider sets have nothing in
 * common, neither have the schemas. "Yes" is a proof, "no" only means that none was found. */
#include "base/mem.h"
#include "constrain/schema.h"

enum { DISJOINT_DEPTH_MAX = 8 };

static bool values_apart(struct schema_compiler *c, const json_t *values, struct schema_at x,
                         struct schema_at y)
{
    bool apart = true;
    for (size_t i = 0; i < json_array_size(values) && apart; i++) {
        const json_t *value = json_array_get(values, i);
        apart = !constrain_schema_value_valid(c, x, value) ||
                !constrain_schema_value_valid(c, y, value);
    }
    return apart;
}

static bool bounds_apart(const struct schema_spec *x, const struct schema_spec *y)
{
    if (!x->max.is_set || !y->min.is_set) {
        return false;
    }
    const int order = constrain_bound_compare(&x->max, &y->min);
    return order < 0 || (order == 0 && (x->max.is_exclusive || y->min.is_exclusive));
}

static bool strings_apart(struct schema_compiler *c, const struct schema_spec *x,
                          const struct schema_spec *y)
{
    if (x->length_max < y->length_min || y->length_max < x->length_min) {
        return true;
    }
    if (!x->contents || !y->contents) {
        return false;
    }
    const struct constrain_dfa *both = constrain_dfa_and(c->b, x->contents, y->contents);
    return both && both->state_count == 0;
}

static bool is_required(const struct schema_spec *spec, const char *name)
{
    for (size_t k = 0; k < spec->required_count; k++) {
        for (size_t i = 0; i < json_array_size(spec->required[k]); i++) {
            if (strcmp(json_string_value(json_array_get(spec->required[k], i)), name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool is_forbidden(const struct schema_spec *spec, const char *name)
{
    for (size_t k = 0; k < spec->object_count; k++) {
        const struct schema_layer *layer = &spec->objects[k];
        const json_t *one = json_object_get(layer->list, name);
        if (json_is_false(one) || (!one && !layer->patterns && json_is_false(layer->rest))) {
            return true;
        }
    }
    return false;
}

/* Some member that both need cannot be the same, or one needs what the other forbids. */
static bool objects_apart(struct schema_compiler *c, const struct schema_spec *x,
                          const struct schema_spec *y, int depth)
{
    for (size_t k = 0; k < x->required_count; k++) {
        for (size_t i = 0; i < json_array_size(x->required[k]); i++) {
            const char *name = json_string_value(json_array_get(x->required[k], i));
            if (is_forbidden(y, name)) {
                return true;
            }
            if (!is_required(y, name) || depth >= DISJOINT_DEPTH_MAX) {
                continue;
            }
            for (size_t a = 0; a < x->object_count; a++) {
                for (size_t b = 0; b < y->object_count; b++) {
                    const struct schema_at p = {json_object_get(x->objects[a].list, name),
                                                x->objects[a].path};
                    const struct schema_at q = {json_object_get(y->objects[b].list, name),
                                                y->objects[b].path};
                    if (p.schema && q.schema && constrain_schema_disjoint(c, p, q)) {
                        return true;
                    }
                }
            }
        }
    }
    return false;
}

static bool specs_apart(struct schema_compiler *c, const struct schema_spec *x,
                        const struct schema_spec *y, int depth)
{
    const unsigned common = x->types & y->types;
    return !(common & (SCHEMA_NULL | SCHEMA_BOOLEAN)) &&
           (!(common & (SCHEMA_INTEGER | SCHEMA_FRACTION)) || bounds_apart(x, y) ||
            bounds_apart(y, x)) &&
           (!(common & SCHEMA_STRING) || strings_apart(c, x, y)) &&
           (!(common & SCHEMA_ARRAY) || x->items_max < y->items_min ||
            y->items_max < x->items_min) &&
           (!(common & SCHEMA_OBJECT) || objects_apart(c, x, y, depth) ||
            objects_apart(c, y, x, depth));
}

bool constrain_schema_disjoint(struct schema_compiler *c, struct schema_at x, struct schema_at y)
{
    const int depth = c->disjoint_depth;
    struct schema_spec *specs = MEM_ARRAY(struct schema_spec, 2);
    bool apart = false;
    if (!specs) {
        constrain_fail_memory(c->b);
        return false;
    }
    c->disjoint_depth++;
    constrain_schema_spec_init(&specs[0], x.path);
    constrain_schema_spec_init(&specs[1], y.path);
    if (constrain_schema_collect(c, x, &specs[0]) && constrain_schema_collect(c, y, &specs[1])) {
        if (specs[0].values || specs[1].values) {
            apart = values_apart(c, specs[0].values ? specs[0].values : specs[1].values, x, y);
        } else {
            apart = specs_apart(c, &specs[0], &specs[1], depth);
        }
    }
    c->disjoint_depth--;
    mem_free(specs);
    return apart;
}
