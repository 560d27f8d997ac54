/* [ first, second, ... rest ] with what each position asks of its item. */
#include "constrain/schema.h"

#include <stdio.h>

/* The goal of position i; position SIZE_MAX is any behind the lists. */
static const struct constrain_expr *item(struct schema_compiler *c, const struct schema_spec *spec,
                                         size_t i)
{
    struct schema_at sets[SCHEMA_LAYERS_MAX];
    size_t count = 0;
    for (size_t k = 0; k < spec->array_count; k++) {
        const struct schema_layer *layer = &spec->arrays[k];
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        const json_t *one =
            i < json_array_size(layer->list) ? json_array_get(layer->list, i) : NULL;
        if (one) {
            sets[count++] = (struct schema_at){
                one, constrain_schema_path(c, layer->path, "prefixItems", index)};
        } else if (layer->rest) {
            sets[count++] = (struct schema_at){
                layer->rest, constrain_schema_path(c, layer->path, "items", NULL)};
        }
    }
    return constrain_schema_goal_ref(c, sets, count);
}

const struct constrain_expr *constrain_schema_array(struct schema_compiler *c,
                                                    const struct schema_spec *spec)
{
    struct constrain_build *b = c->b;
    const uint64_t min = spec->items_min, max = spec->items_max;
    const struct constrain_expr *comma = constrain_join(b, constrain_text(b, ","), c->json.gap);
    size_t listed = 0;
    if (min > max) {
        return constrain_never();
    }
    for (size_t k = 0; k < spec->array_count; k++) {
        const size_t count = json_array_size(spec->arrays[k].list);
        listed = count > listed ? count : listed;
    }
    listed = listed > max ? (size_t)max : listed;
    const struct constrain_expr *rest = item(c, spec, SIZE_MAX), *items;
    if (listed == 0) {
        const uint64_t more_max = max == EXPR_UNBOUNDED || max == 0 ? max : max - 1;
        items = max == 0 ? constrain_empty()
                         : constrain_join(b, rest,
                                          constrain_rep(b, constrain_join(b, comma, rest),
                                                        min > 0 ? min - 1 : 0, more_max));
    } else {
        /* from the last position to the first: what may follow behind i items */
        items = constrain_rep(b, constrain_join(b, comma, rest), min > listed ? min - listed : 0,
                              max == EXPR_UNBOUNDED ? max : max - listed);
        for (size_t i = listed; i-- > 0 && !b->failed;) {
            const struct constrain_expr *here = item(c, spec, i);
            items = i == 0 ? constrain_join(b, here, items) : constrain_join(b, comma, here, items);
            if (i > 0 && i >= min) {
                items = constrain_either(b, constrain_empty(), items);
            }
        }
    }
    if (min == 0) {
        items = constrain_either(b, constrain_empty(), items);
    }
    return constrain_join(b, constrain_text(b, "["), c->json.space, items, c->json.space,
                          constrain_text(b, "]"));
}
