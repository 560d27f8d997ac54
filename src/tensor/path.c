#include "tensor/path.h"

#include <stdio.h>

#include "tensor/panel.h"

/* A level that has no function of its own for a type has that of a lower one. */
static enum cpu_level level_of(const struct kernels *k, enum dtype type)
{
    panel_tile_fn *tile = k->panel[type].few[1];
    for (int level = 0; level < CPU_LEVEL_COUNT; level++) {
        const struct kernels *lower = kernels_get((enum cpu_level)level);
        if (lower->panel[type].few[1] == tile) {
            return lower->level;
        }
    }
    return k->level;
}

void kernels_path(const struct kernels *k, enum dtype type, char out[KERNEL_PATH_MAX])
{
    const struct panel_format format = panel_format(type);
    if ((unsigned)type >= KERNELS_TYPE_COUNT || !k->panel[type].few[1]) {
        snprintf(out, KERNEL_PATH_MAX, "no kernel");
        return;
    }
    snprintf(out, KERNEL_PATH_MAX, "%s kernel%s, %s",
             format.scale == SCALE_NONE ? "float" : "integer",
             format.values == VALUES_PLAIN ? "" : " via table", cpu_level_name(level_of(k, type)));
}
