/* Which kernel each type of a model takes, for banners: nothing falls back in silence. */
#ifndef CLI_TYPES_H
#define CLI_TYPES_H

#include <stdio.h>

#include "gguf/gguf.h"
#include "tensor/kernels.h"

/* "  types: Q4_K integer kernel, avx512; F32 float kernel, avx512" and a line feed. */
void cli_print_types(FILE *out, const struct gguf *gguf, const struct kernels *kernels);

#endif
