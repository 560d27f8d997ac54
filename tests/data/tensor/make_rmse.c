/* Makes rmse.txt: the error that ggml's reference quantisers leave on the rows of test_rows.h.
 *
 *     cc make_rmse.c -I src -I llama.cpp/ggml/include -L llama.cpp/build/bin -lggml-base -lm && ./a.out
 *
 * A line: type, kind of rows (0 normal, 1 heavy-tailed), importance (0 none, 1 that of test_rows.h), root
 * mean square error. Types that the reference refuses without importance have all ones as 0. */
#include <stdio.h>
#include <stdlib.h>

#include "ggml.h"
#include "tensor/test_rows.h"

static const enum ggml_type types[] = {
    GGML_TYPE_Q8_0,    GGML_TYPE_Q4_0,   GGML_TYPE_Q4_1,    GGML_TYPE_Q5_0,  GGML_TYPE_Q5_1,
    GGML_TYPE_Q2_K,    GGML_TYPE_Q3_K,   GGML_TYPE_Q4_K,    GGML_TYPE_Q5_K,  GGML_TYPE_Q6_K,
    GGML_TYPE_IQ4_NL,  GGML_TYPE_IQ4_XS, GGML_TYPE_MXFP4,   GGML_TYPE_Q1_0,  GGML_TYPE_TQ1_0,
    GGML_TYPE_TQ2_0,   GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S,  GGML_TYPE_IQ2_XXS,
    GGML_TYPE_IQ2_XS,  GGML_TYPE_IQ2_S,  GGML_TYPE_IQ1_S,   GGML_TYPE_IQ1_M};

int main(void)
{
    size_t n = (size_t)ROWS_COUNT * ROWS_LEN;
    float *x = malloc(n * 4), *back = malloc(n * 4);
    float importance[ROWS_LEN], ones[ROWS_LEN];
    unsigned char *out = malloc(n * 4);
    FILE *file = fopen("rmse.txt", "w");

    rows_importance(importance);
    for (size_t i = 0; i < ROWS_LEN; i++) {
        ones[i] = 1;
    }
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int kind = 0; kind < ROWS_KIND_COUNT; kind++) {
            for (int weighted = 0; weighted < 2; weighted++) {
                const float *w = weighted ? importance : NULL;
                rows_fill((enum rows_kind)kind, x);
                if (!w && ggml_quantize_requires_imatrix(types[t])) {
                    w = ones;
                } else if (!w && (types[t] == GGML_TYPE_IQ2_S || types[t] == GGML_TYPE_IQ1_M)) {
                    w = ones;
                }
                ggml_quantize_chunk(types[t], x, out, 0, ROWS_COUNT, ROWS_LEN, w);
                ggml_get_type_traits(types[t])->to_float(out, back, (int64_t)n);
                fprintf(file, "%s %d %d %.9g\n", ggml_type_name(types[t]), kind, weighted,
                        rows_error(x, back, weighted ? importance : NULL));
            }
        }
    }
    fclose(file);
    return 0;
}
