/* Which kernel the products with a type's weights take, as people read it: told from the kernel
 * table itself, so that it is what runs. */
#ifndef TENSOR_PATH_H
#define TENSOR_PATH_H

#include "tensor/kernels.h"

enum { KERNEL_PATH_MAX = 64 };

/* "integer kernel, avx512", "integer kernel via table, avx2", "float kernel, reference"; "no
 * kernel" for a type that cannot be multiplied with. */
void kernels_path(const struct kernels *k, enum dtype type, char out[KERNEL_PATH_MAX]);

#endif
