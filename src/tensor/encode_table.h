/* The values of IQ4_NL and IQ4_XS, ascending. */
#ifndef TENSOR_ENCODE_TABLE_H
#define TENSOR_ENCODE_TABLE_H

#include <stdint.h>

static const int8_t encode_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};

#endif
