/* What `"%s" % x` (percent.c) and "{}".format(x) (format.c) share: numbers as text and padding
 * (numbers.c). Widths and precisions come from hostile templates: room is checked before it is
 * filled. */
#ifndef CHAT_FORMAT_H
#define CHAT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "chat/interp.h"

struct spec {
    uint32_t fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+' ' ' or 0 */
    bool alternate, zero;
    int64_t width;     /* 0: none */
    char grouping;     /* ',' '_' or 0 */
    int64_t precision; /* < 0: none */
    char type;
};

/* Digits of a magnitude in a base, at least `least` of them, grouped. */
bool chat_build_digits(struct builder *b, uint64_t value, unsigned base, bool upper, int64_t least,
                       char grouping);
/* Pads `sign prefix digits` (parts of body) to the width. `digits_at`: where '=' and zeros go. */
bool chat_build_padded(struct builder *b, const struct spec *s, struct txt *body, size_t digits_at,
                       char default_align);
bool chat_build_sign(struct builder *b, bool negative, char sign);
/* The digits of a double as C prints them, which is what Python prints for these types. */
bool chat_build_double(struct builder *b, double f, const struct spec *s, char type);

#endif
