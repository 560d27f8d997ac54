#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tensor/path.h"

static void expect(const struct kernels *k, enum dtype type, const char *wanted)
{
    char text[KERNEL_PATH_MAX];
    kernels_path(k, type, text);
    assert_string_equal(text, wanted);
}

static void the_reference_says_so(void **state)
{
    const struct kernels *k = kernels_get(CPU_REFERENCE);
    (void)state;
    expect(k, DTYPE_Q4_K, "integer kernel, reference");
    expect(k, DTYPE_IQ3_S, "integer kernel via table, reference");
    expect(k, DTYPE_F16, "float kernel, reference");
    expect(k, DTYPE_I32, "no kernel");
}

static void a_level_tells_its_own(void **state)
{
    const struct kernels *k = kernels_get(cpu_level_detect());
    char wanted[KERNEL_PATH_MAX];
    (void)state;
    snprintf(wanted, sizeof wanted, "integer kernel, %s", cpu_level_name(k->level));
    expect(k, DTYPE_Q4_K, wanted);
    snprintf(wanted, sizeof wanted, "float kernel, %s", cpu_level_name(k->level));
    expect(k, DTYPE_F32, wanted);
}

/* A table that lacks a kernel of its own falls back, and not in silence. */
static void a_fallback_is_told(void **state)
{
    struct kernels k = *kernels_get(cpu_level_detect());
    (void)state;
    k.panel[DTYPE_Q4_K] = kernels_get(CPU_REFERENCE)->panel[DTYPE_Q4_K];
    expect(&k, DTYPE_Q4_K, "integer kernel, reference");
    memset(&k.panel[DTYPE_Q6_K], 0, sizeof k.panel[DTYPE_Q6_K]);
    expect(&k, DTYPE_Q6_K, "no kernel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_says_so),
        cmocka_unit_test(a_level_tells_its_own),
        cmocka_unit_test(a_fallback_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
