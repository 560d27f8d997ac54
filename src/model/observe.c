#include "model/observe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/instance.h"

/* A matrix and the tensor whose first rows it is; later rows of a tensor (keys behind queries) have
 * the same input and would count twice. */
struct named {
    const struct matrix *matrix;
    struct str name;
    size_t plane, planes;
};

struct model_names {
    struct named *items; /* by address of the matrix */
    size_t count;
    char *text; /* owned: all names */
};

static int compare(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct named *)a)->matrix;
    uintptr_t y = (uintptr_t)((const struct named *)b)->matrix;
    return x < y ? -1 : x > y;
}

struct model_names *model_names_create(const struct layout *layout)
{
    struct model_names *names = MEM_NEW(struct model_names);
    size_t bytes = 0;

    for (size_t i = 0; i < layout->item_count; i++) {
        bytes += layout->items[i].tensor->name.len;
    }
    if (names) {
        names->items = MEM_ARRAY(struct named, layout->item_count + 1);
        names->text = mem_alloc(bytes + 1, 1);
    }
    if (!names || !names->items || !names->text) {
        model_names_destroy(names);
        return NULL;
    }
    char *at = names->text;
    for (size_t i = 0; i < layout->item_count; i++) {
        const struct weight_item *item = &layout->items[i];
        const struct gguf_tensor *tensor = item->tensor;
        if (item->kind != WEIGHT_MATRIX || item->row % tensor->dims[1] != 0) {
            continue;
        }
        memcpy(at, tensor->name.ptr, tensor->name.len);
        names->items[names->count++] = (struct named){
            .matrix = item->slot,
            .name = {at, tensor->name.len},
            .plane = (size_t)(item->row / tensor->dims[1]),
            .planes = (size_t)(tensor->dims[2] * tensor->dims[3]),
        };
        at += tensor->name.len;
    }
    qsort(names->items, names->count, sizeof *names->items, compare);
    return names;
}

void model_names_destroy(struct model_names *names)
{
    if (names) {
        mem_free(names->items);
        mem_free(names->text);
    }
    mem_free(names);
}

void model_observe(const struct model_names *names, const struct model_observer *observer,
                   const struct matrix *w, const float *x, size_t rows, size_t cols)
{
    const struct named key = {.matrix = w};
    const struct named *found =
        bsearch(&key, names->items, names->count, sizeof *names->items, compare);

    if (found) {
        const struct model_product_seen seen = {.name = found->name,
                                                .plane = found->plane,
                                                .planes = found->planes,
                                                .x = x,
                                                .rows = rows,
                                                .cols = cols};
        observer->product(observer->arg, &seen);
    }
}

void model_each_product(const struct model *model,
                        void (*fn)(void *arg, const struct model_product_seen *seen), void *arg)
{
    for (size_t i = 0; model->names && i < model->names->count; i++) {
        const struct named *named = &model->names->items[i];
        const struct model_product_seen seen = {.name = named->name,
                                                .plane = named->plane,
                                                .planes = named->planes,
                                                .cols = named->matrix->cols};
        fn(arg, &seen);
    }
}
