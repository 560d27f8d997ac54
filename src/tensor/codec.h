/* Element codecs: rows of any supported type to and from float. Exact arithmetic of the format's
 * definition (ggml-quants of llama.cpp), in plain C; not on the hot path. */
#ifndef TENSOR_CODEC_H
#define TENSOR_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/dtype.h"

float codec_f16_to_f32(uint16_t bits);
uint16_t codec_f32_to_f16(float value); /* round to nearest even; overflow to infinity */
float codec_bf16_to_f32(uint16_t bits);
uint16_t codec_f32_to_bf16(float value); /* round to nearest even; NaN stays NaN */

/* True for F32 F16 BF16 and all quantised types of dtype.h but Q2_0 and those of activations (Q8_1,
 * Q8_K). */
bool codec_can_decode(enum dtype type);
/* What `quantize` can write: all of those but NVFP4. */
bool codec_can_encode(enum dtype type);

/* n elements (a multiple of block_len) of one row; `bytes` need not be aligned. */
void codec_decode_row(enum dtype type, const void *bytes, float *out, size_t n);
void codec_encode_row(enum dtype type, const float *in, void *bytes, size_t n);

/* The same where an error of element i matters weights[i] times as much (an importance matrix);
 * NULL: all alike. F16, BF16 and Q8_0 do not look at them. */
void codec_encode_weighted(enum dtype type, const float *in, const float *weights, void *bytes,
                           size_t n);

#endif
