#include "tensor/kernels.h"

#include <pthread.h>

/* KERNELS_X86 and KERNELS_ARM are set by meson.build when the files of these sets are built. */
#ifndef KERNELS_X86
#define KERNELS_X86 0
#endif
#ifndef KERNELS_ARM
#define KERNELS_ARM 0
#endif

static struct kernels table[CPU_LEVEL_COUNT]; /* written once, under table_once */
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

/* `level` is one that this machine has. */
static void fill(struct kernels *k, enum cpu_level level)
{
    k->level = level;
    kernels_init_reference(k);
#if KERNELS_ARM
    if (level < CPU_NEON) {
        return;
    }
    kernels_init_neon(k);
#elif KERNELS_X86
    if (level < CPU_AVX2) {
        return;
    }
    kernels_init_avx2(k);
    if (level < CPU_AVX512) {
        return;
    }
    kernels_init_avx512(k);
#endif
}

/* The next lower level of this architecture where the asked one is not to be had. */
static enum cpu_level usable(enum cpu_level asked, enum cpu_level best)
{
    if (best == CPU_NEON || asked == CPU_NEON) {
        return asked == best ? best : CPU_REFERENCE;
    }
    return asked < best ? asked : best;
}

static void fill_all(void)
{
    enum cpu_level best = cpu_level_detect();

    for (int level = 0; level < CPU_LEVEL_COUNT; level++) {
        fill(&table[level], usable((enum cpu_level)level, best));
    }
}

const struct kernels *kernels_get(enum cpu_level level)
{
    pthread_once(&table_once, fill_all);
    return &table[level];
}
