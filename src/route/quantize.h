/* A model's file written again in other types, while others are served: with all cores, but at low
 * priority. */
#ifndef ROUTE_QUANTIZE_H
#define ROUTE_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "gguf/mix.h"

struct route_quantize {
    const struct gguf_mix_target *target;
    void (*progress)(void *arg, uint64_t done, uint64_t all); /* bytes of the input */
    bool (*is_cancelled)(void *arg);
    void *arg;
};

/* From the file `in` to the file `out`, with the errors of model_quantize. The calling thread keeps
 * the low priority. */
bool route_quantize(const char *in, const char *out, const struct route_quantize *how,
                    struct err *err);

#endif
