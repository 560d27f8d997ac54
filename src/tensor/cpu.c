#include "tensor/cpu.h"

#include <string.h>

#ifndef KERNELS_X86
#define KERNELS_X86 0
#endif
#ifndef KERNELS_ARM
#define KERNELS_ARM 0
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static const char *const level_name[CPU_LEVEL_COUNT] = {
    [CPU_REFERENCE] = "reference",
    [CPU_AVX2] = "avx2",
    [CPU_AVX512] = "avx512",
    [CPU_NEON] = "neon",
};

const char *cpu_level_name(enum cpu_level level)
{
    return level_name[level];
}

bool cpu_level_parse(struct str name, enum cpu_level *out)
{
    for (int i = 0; i < CPU_LEVEL_COUNT; i++) {
        if (str_eq(name, str_of(level_name[i]))) {
            *out = (enum cpu_level)i;
            return true;
        }
    }
    return false;
}

/* Words of `cpuid` and of XCR0, in the order of feature[] below. */
enum word { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX, LEAF7_1_EAX, WORD_COUNT };

/* Register state that the operating system must save before a feature may be used. */
enum state { STATE_SSE, STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 };

struct feature {
    const char *name;
    enum word word;
    unsigned bit;
    unsigned state; /* bits of XCR0 */
};

#if defined(__x86_64__)
/* Intel SDM volume 2A, CPUID; volume 1, section 13.3. */
static const struct feature x86_feature[] = {
    {"sse4.2", LEAF1_ECX, 20, STATE_SSE},
    {"avx", LEAF1_ECX, 28, STATE_AVX},
    {"f16c", LEAF1_ECX, 29, STATE_AVX},
    {"fma", LEAF1_ECX, 12, STATE_AVX},
    {"avx2", LEAF7_EBX, 5, STATE_AVX},
    {"avxvnni", LEAF7_1_EAX, 4, STATE_AVX},
    {"avx512f", LEAF7_EBX, 16, STATE_AVX512},
    {"avx512dq", LEAF7_EBX, 17, STATE_AVX512},
    {"avx512bw", LEAF7_EBX, 30, STATE_AVX512},
    {"avx512vl", LEAF7_EBX, 31, STATE_AVX512},
    {"avx512vbmi", LEAF7_ECX, 1, STATE_AVX512},
    {"avx512vnni", LEAF7_ECX, 11, STATE_AVX512},
    {"avx512bf16", LEAF7_1_EAX, 5, STATE_AVX512},
    {"amxint8", LEAF7_EDX, 25, STATE_AMX},
};

static void read_words(unsigned word[WORD_COUNT], unsigned long long *state)
{
    unsigned a, b, c, d;

    memset(word, 0, WORD_COUNT * sizeof *word);
    *state = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return;
    }
    word[LEAF1_ECX] = c;
    if (c & 1u << 27) { /* OSXSAVE: xgetbv exists */
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        *state = (unsigned long long)high << 32 | low;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        word[LEAF7_EBX] = b;
        word[LEAF7_ECX] = c;
        word[LEAF7_EDX] = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
            word[LEAF7_1_EAX] = a;
        }
    }
}

static bool has(const struct feature *f, const unsigned *word, unsigned long long state)
{
    return (word[f->word] >> f->bit & 1) != 0 && (state & f->state) == f->state;
}

/* All of the names, separated by blanks, are there. */
static bool has_all(const char *names)
{
    unsigned word[WORD_COUNT];
    unsigned long long state;
    struct str rest = str_of(names);

    read_words(word, &state);
    while (rest.len > 0) {
        struct str name = str_cut(&rest, ' ');
        bool found = false;
        for (size_t i = 0; i < sizeof x86_feature / sizeof x86_feature[0]; i++) {
            const struct feature *f = &x86_feature[i];
            found = found || (str_eq(name, str_of(f->name)) && has(f, word, state));
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

enum cpu_level cpu_level_detect(void)
{
    if (!KERNELS_X86 || !has_all("avx2 fma f16c")) {
        return CPU_REFERENCE;
    }
    if (!has_all("avx512f avx512bw avx512vl avx512dq avx512vnni")) {
        return CPU_AVX2;
    }
    return CPU_AVX512;
}

void cpu_feature_text(char out[256])
{
    unsigned word[WORD_COUNT];
    unsigned long long state;
    size_t len = 0;

    read_words(word, &state);
    for (size_t i = 0; i < sizeof x86_feature / sizeof x86_feature[0]; i++) {
        size_t name_len = strlen(x86_feature[i].name);
        if (has(&x86_feature[i], word, state) && len + name_len + 2 < 256) {
            out[len] = ' ';
            memcpy(out + len + (len > 0), x86_feature[i].name, name_len);
            len += name_len + (len > 0);
        }
    }
    out[len] = '\0';
}

#elif defined(__aarch64__)

/* Apple's processors have all had the dot product since 2018; Linux tells in the hardware
 * capabilities (asm/hwcap.h: ASIMDDP is bit 20, ASIMDHP bit 10). */
static bool has_dotprod(void)
{
#if defined(__linux__)
    unsigned long caps = getauxval(AT_HWCAP);
    return (caps >> 20 & 1) != 0 && (caps >> 10 & 1) != 0;
#else
    return true;
#endif
}

enum cpu_level cpu_level_detect(void)
{
    return KERNELS_ARM && has_dotprod() ? CPU_NEON : CPU_REFERENCE;
}

void cpu_feature_text(char out[256])
{
    const char *text = has_dotprod() ? "neon dotprod fp16" : "neon";
    memcpy(out, text, strlen(text) + 1);
}

#else

enum cpu_level cpu_level_detect(void)
{
    return CPU_REFERENCE;
}

void cpu_feature_text(char out[256])
{
    out[0] = '\0';
}

#endif
