/* Makes decode.bin and encode.bin with ggml itself:
 *
 *     cc make_goldens.c -I llama.cpp/ggml/include -L llama.cpp/build/bin -lggml-base -lm && ./a.out
 *
 * decode.bin is a run of records: u32 type, u32 n, u32 bytes, the blocks, n floats that ggml
 * decodes them to. encode.bin: u32 type, u32 n, u32 bytes, n floats, the blocks that ggml's
 * reference quantiser makes of them. Little endian. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml.h"

static unsigned long long seed = 7;

static unsigned next_random(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed >> 32);
}

static float random_float(void)
{
    return (float)next_random() * 0x1p-31f - 1.0f;
}

static void put_header(FILE *file, enum ggml_type type, int n, size_t bytes)
{
    unsigned head[3] = {type, (unsigned)n, (unsigned)bytes};
    fwrite(head, 4, 3, file);
}

/* Random bytes are fine for all fields but the f16 scales, which would often be huge. */
static void fix_scales(enum ggml_type type, unsigned char *block)
{
    ggml_fp16_t a = ggml_fp32_to_fp16(random_float() * 0.05f);
    ggml_fp16_t b = ggml_fp32_to_fp16(random_float() * 0.2f);
    size_t at = type == GGML_TYPE_Q6_K   ? 208
                : type == GGML_TYPE_Q2_K ? 80
                : type == GGML_TYPE_Q3_K ? 108
                : type == GGML_TYPE_TQ1_0 ? 52
                : type == GGML_TYPE_TQ2_0 ? 64
                                         : 0;
    if (type == GGML_TYPE_MXFP4) {
        block[0] = (unsigned char)(100 + next_random() % 40);
        return;
    }
    if (type == GGML_TYPE_NVFP4) {
        return;
    }
    if (type == GGML_TYPE_IQ1_M) {
        for (int i = 0; i < 4; i++) {
            block[49 + 2 * i] = (unsigned char)((block[49 + 2 * i] & 15) | (a >> (4 * i) & 15) << 4);
        }
        return;
    }
    memcpy(block + at, &a, 2);
    if (type == GGML_TYPE_Q4_K || type == GGML_TYPE_Q5_K || type == GGML_TYPE_Q2_K ||
        type == GGML_TYPE_Q4_1 || type == GGML_TYPE_Q5_1) {
        memcpy(block + at + 2, &b, 2);
    }
}

static void make_decode(FILE *file, enum ggml_type type)
{
    int block = (int)ggml_blck_size(type), n = block == 256 ? 512 : 256;
    size_t bytes = ggml_row_size(type, n), step = ggml_type_size(type);
    unsigned char *in = malloc(bytes);
    float *out = malloc(4 * (size_t)n);

    for (size_t i = 0; i < bytes; i++) {
        in[i] = (unsigned char)next_random();
    }
    for (size_t at = 0; block > 1 && at < bytes; at += step) {
        fix_scales(type, in + at);
    }
    for (int i = 0; block == 1 && type != GGML_TYPE_F32 && i < 64; i++) {
        unsigned short subnormal = (unsigned short)(i * 16); /* and zero */
        memcpy(in + 2 * i, &subnormal, 2);
    }
    if (type == GGML_TYPE_F32) {
        memcpy(out, in, bytes);
    } else {
        ggml_get_type_traits(type)->to_float(in, out, n);
    }
    put_header(file, type, n, bytes);
    fwrite(in, 1, bytes, file);
    fwrite(out, 4, (size_t)n, file);
    free(in);
    free(out);
}

/* Plain values; a wide range; many halves (ties); zeros, plus and minus one, a few large ones. */
static float encode_value(int kind, int i)
{
    float value = random_float();

    switch (kind) {
    case 0:
        return value;
    case 1:
        return ldexpf(value, (int)(next_random() % 40) - 20);
    case 2:
        return (float)((int)(next_random() % 31) - 15) * 0.5f;
    default:
        return i < 64 ? 0 : i < 128 ? (i % 2 ? 1 : -1) : ldexpf(value, -(int)(next_random() % 30));
    }
}

static void make_encode(FILE *file, enum ggml_type type, int kind)
{
    enum { N = 256 };
    float in[N];
    unsigned char out[2 * N];

    for (int i = 0; i < N; i++) {
        in[i] = encode_value(kind, i);
    }
    size_t bytes = ggml_quantize_chunk(type, in, out, 0, 1, N, NULL);
    put_header(file, type, N, bytes);
    fwrite(in, 4, N, file);
    fwrite(out, 1, bytes, file);
}

int main(void)
{
    static const enum ggml_type decoded[] = {
        GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16,   GGML_TYPE_Q8_0,
        GGML_TYPE_Q4_0, GGML_TYPE_Q4_K,   GGML_TYPE_Q5_K,   GGML_TYPE_Q6_K,
        GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,   GGML_TYPE_Q5_1,   GGML_TYPE_Q2_K,
        GGML_TYPE_Q3_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_MXFP4,
        GGML_TYPE_NVFP4, GGML_TYPE_Q1_0, GGML_TYPE_TQ1_0, GGML_TYPE_TQ2_0,
        GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS,
        GGML_TYPE_IQ2_S, GGML_TYPE_IQ1_S, GGML_TYPE_IQ1_M};
    static const enum ggml_type encoded[] = {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                                             GGML_TYPE_Q4_0};
    FILE *file = fopen("decode.bin", "wb");

    for (size_t i = 0; i < sizeof decoded / sizeof decoded[0]; i++) {
        make_decode(file, decoded[i]);
    }
    fclose(file);
    file = fopen("encode.bin", "wb");
    for (int i = 0; i < 16; i++) {
        make_encode(file, encoded[i / 4], i % 4);
    }
    fclose(file);
    return 0;
}
