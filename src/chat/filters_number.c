/* Filters that give numbers, or text from numbers: conversions, rounding, sizes. Python's integers
 * are unbounded; here a result beyond 64 bits is an error. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "chat/vocabulary.h"

static bool f_abs(struct render *r, struct val v, struct call *c, struct val *out)
{
    (void)c;
    if (v.kind == VAL_UNDEFINED || !val_is_number(v)) {
        return chat_fail(r, "bad operand type for abs(): '%s'", chat_type_name(v));
    }
    if (v.kind == VAL_FLOAT) {
        *out = val_float(fabs(v.real));
    } else if (val_as_int(v) < 0) {
        return chat_math(r, OP_SUB, val_int(0), v, out);
    } else {
        *out = val_int(val_as_int(v));
    }
    return true;
}

/* int() of a float; false with *valid set when Python raises a ValueError instead of overflowing */
static bool float_to_int(struct render *r, double f, int64_t *out, bool *valid)
{
    *valid = !isnan(f);
    if (isnan(f)) {
        return true;
    }
    if (isinf(f)) {
        return chat_fail(r, "cannot convert float infinity to integer");
    }
    if (fabs(f) >= 9.2e18) {
        return chat_fail(r, "an integer beyond 64 bits");
    }
    *out = (int64_t)f;
    return true;
}

static bool f_int(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t base = 10, number = 0;
    double f;
    bool valid = false;
    *out = val_is_missing(c->args[0]) ? val_int(0) : c->args[0];
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_int(v)) {
        *out = val_int(val_as_int(v));
        return true;
    }
    if (v.kind == VAL_FLOAT) {
        if (!float_to_int(r, v.real, &number, &valid)) {
            return false;
        }
    } else if (v.kind == VAL_TEXT) {
        if (!val_is_missing(c->args[1]) && !chat_arg_int(r, c->args[1], &base)) {
            return false;
        }
        bool good_base = base == 0 || (base >= 2 && base <= 36);
        if (good_base && !chat_int_parse(r, chat_str(v.text), (int)base, &number, &valid)) {
            return false;
        }
        if (!valid && chat_float_parse(chat_str(v.text), &f) &&
            !float_to_int(r, f, &number, &valid)) {
            return false;
        }
    }
    if (valid) {
        *out = val_int(number);
    }
    return true;
}

static bool f_float(struct render *r, struct val v, struct call *c, struct val *out)
{
    double f;
    *out = val_is_missing(c->args[0]) ? val_float(0) : c->args[0];
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_number(v)) {
        *out = val_float(val_as_float(v));
    } else if (v.kind == VAL_TEXT && chat_float_parse(chat_str(v.text), &f)) {
        *out = val_float(f);
    }
    return true;
}

/* Python's round(): half to even on the exact decimal value. */
static double round_to(double x, int64_t digits)
{
    char text[400];
    if (!isfinite(x) || digits > 323) {
        return x;
    }
    if (digits < -308) {
        return copysign(0, x);
    }
    if (digits >= 0) {
        snprintf(text, sizeof(text), "%.*f", (int)digits, x);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-digits), y = x / scale, z = round(y);
    if (fabs(y - z) == 0.5) {
        z = 2 * round(y / 2);
    }
    return z * scale;
}

static bool round_int(struct render *r, int64_t x, int64_t digits, struct val *out)
{
    if (digits >= 0) {
        *out = val_int(x);
        return true;
    }
    if (digits < -18) {
        *out = val_int(0);
        return true;
    }
    int64_t scale = 1;
    for (int64_t i = digits; i < 0; i++) {
        scale *= 10;
    }
    int64_t rest = ((x % scale) + scale) % scale, low = x - rest, half = scale / 2;
    bool up = rest > half || (rest == half && (low / scale) % 2 != 0);
    if (up && __builtin_add_overflow(low, scale, &low)) {
        return chat_fail(r, "an integer beyond 64 bits");
    }
    *out = val_int(low);
    return true;
}

static bool f_round(struct render *r, struct val v, struct call *c, struct val *out)
{
    int64_t digits = 0;
    struct txt *method = NULL;
    if (!val_is_missing(c->args[0]) && !chat_arg_int(r, c->args[0], &digits)) {
        return false;
    }
    if (!val_is_missing(c->args[1]) && c->args[1].kind == VAL_TEXT) {
        method = c->args[1].text;
    }
    bool common = val_is_missing(c->args[1]) || (method && str_eq(chat_str(method), STR("common")));
    bool ceiling = method && str_eq(chat_str(method), STR("ceil"));
    if (!common && !ceiling && !(method && str_eq(chat_str(method), STR("floor")))) {
        return chat_fail(r, "method must be common, ceil or floor");
    }
    if (v.kind == VAL_UNDEFINED && !common) {
        return chat_fail_undefined(r, v);
    }
    if (!val_is_number(v)) {
        return chat_fail(r, "type %s doesn't define __round__ method", chat_type_name(v));
    }
    if (common) {
        if (val_is_int(v)) {
            return round_int(r, val_as_int(v), digits, out);
        }
        *out = val_float(round_to(v.real, digits));
        return true;
    }
    /* func(value * 10**precision) / 10**precision, where a negative power is a float */
    struct val power, scaled;
    if (!chat_math(r, OP_POW, val_int(10), val_int(digits), &power) ||
        !chat_math(r, OP_MUL, v, power, &scaled)) {
        return false;
    }
    if (scaled.kind == VAL_FLOAT) {
        double whole = ceiling ? ceil(scaled.real) : floor(scaled.real);
        int64_t i = 0;
        bool valid;
        if (!float_to_int(r, whole, &i, &valid)) {
            return false;
        }
        if (!valid) {
            return chat_fail(r, "cannot convert float NaN to integer");
        }
        scaled = val_int(i);
    }
    return chat_math(r, OP_DIV, scaled, power, out);
}

static bool f_filesizeformat(struct render *r, struct val v, struct call *c, struct val *out)
{
    static const char *const prefixes[2][8] = {
        {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
        {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    struct builder b = chat_builder(r);
    double bytes;
    bool binary;
    if (v.kind == VAL_UNDEFINED) {
        return chat_fail_undefined(r, v);
    }
    if (val_is_number(v)) {
        bytes = val_as_float(v);
    } else if (v.kind != VAL_TEXT || !chat_float_parse(chat_str(v.text), &bytes)) {
        return chat_fail(r, "could not convert to float: '%s'", chat_type_name(v));
    }
    if (!chat_truth(r, c->args[0], &binary)) {
        return false;
    }
    double base = binary ? 1024 : 1000;
    if (bytes == 1) {
        return chat_text_view(r, STR("1 Byte"), false, out);
    }
    if (bytes < base) {
        if (!chat_build_format(&b, "%.0f Bytes", trunc(bytes))) {
            return false;
        }
        return chat_build_done(&b, out);
    }
    double unit = base;
    size_t i = 0;
    for (;; i++) {
        unit *= base;
        if (bytes < unit || i == 7) {
            break;
        }
    }
    return chat_build_format(&b, "%.1f %s", base * bytes / unit, prefixes[binary][i]) &&
           chat_build_done(&b, out);
}

const struct filter_def chat_filters_number[] = {
    {"abs", f_abs, ""},
    {"filesizeformat", f_filesizeformat, "binary="},
    {"float", f_float, "default="},
    {"int", f_int, "default=,base="},
    {"round", f_round, "precision=,method="},
    {NULL, NULL, NULL},
};
