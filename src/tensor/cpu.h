/* What the processor can do, found once at run time. Levels are ordered; a level includes those
 * below it on its architecture. `HEARTH_CPU_LEVEL` / `--cpu-level` lowers it, never raises it. */
#ifndef TENSOR_CPU_H
#define TENSOR_CPU_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

enum cpu_level {
    CPU_REFERENCE, /* plain C, every machine */
    CPU_AVX2,      /* x86-64: AVX2, FMA, F16C */
    CPU_AVX512,    /* x86-64: AVX-512 F BW VL DQ and VNNI */
    CPU_NEON,      /* aarch64: NEON with dot product (ARMv8.2 dotprod) */
    CPU_LEVEL_COUNT
};

const char *cpu_level_name(enum cpu_level level); /* "reference", "avx2", "avx512", "neon" */
bool cpu_level_parse(struct str name, enum cpu_level *out);

/* Highest level of this machine that this binary has kernels for (the OS saves the registers). */
enum cpu_level cpu_level_detect(void);

/* "sse4.2 avx2 fma f16c avx512f avx512vnni avx512bf16 ..." for doctor. */
void cpu_feature_text(char out[256]);

#endif
