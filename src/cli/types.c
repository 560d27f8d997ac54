#include "cli/types.h"

#include "gguf/summary.h"
#include "tensor/path.h"

void cli_print_types(FILE *out, const struct gguf *gguf, const struct kernels *kernels)
{
    struct gguf_summary summary;
    char path[KERNEL_PATH_MAX];
    gguf_summarize(gguf, &summary);
    fprintf(out, "  types:");
    for (size_t i = 0; i < summary.type_count; i++) {
        enum dtype type = summary.types[i].type;
        kernels_path(kernels, type, path);
        fprintf(out, "%s %s %s", i ? ";" : "", dtype_info(type)->name, path);
    }
    fprintf(out, "\n");
}
