#include "chat/unicode.h"

#include <utf8proc.h>

static bool in_ranges(const struct chat_char_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (code > ranges[mid].to) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < count && code >= ranges[low].from;
}

static utf8proc_category_t category(uint32_t code)
{
    return code > 0x10FFFF ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)code);
}

bool chat_char_is_space(uint32_t code)
{
    if (code < 0x80) {
        return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20);
    }
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool chat_char_is_line_end(uint32_t code)
{
    return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

bool chat_char_is_alpha(uint32_t code)
{
    switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return false;
    }
}

bool chat_char_is_decimal(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_ND;
}

bool chat_char_is_digit(uint32_t code)
{
    return chat_char_is_decimal(code) ||
           in_ranges(chat_digit_ranges, chat_digit_ranges_count, code);
}

bool chat_char_is_numeric(uint32_t code)
{
    return chat_char_is_decimal(code) ||
           in_ranges(chat_numeric_ranges, chat_numeric_ranges_count, code);
}

bool chat_char_is_alnum(uint32_t code)
{
    return chat_char_is_alpha(code) || chat_char_is_numeric(code);
}

bool chat_char_is_upper(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LU ||
           in_ranges(chat_upper_ranges, chat_upper_ranges_count, code);
}

bool chat_char_is_lower(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LL ||
           in_ranges(chat_lower_ranges, chat_lower_ranges_count, code);
}

bool chat_char_is_title(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_LT;
}

bool chat_char_is_printable(uint32_t code)
{
    switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

bool chat_char_is_word(uint32_t code)
{
    return code == '_' || chat_char_is_alnum(code);
}

bool chat_char_is_name(uint32_t code, bool first)
{
    if (code == '_' || chat_char_is_alpha(code) || category(code) == UTF8PROC_CATEGORY_NL) {
        return true;
    }
    if (first) {
        return false;
    }
    switch (category(code)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return code == 0xB7;
    }
}

bool chat_char_is_cased(uint32_t code)
{
    return chat_char_is_upper(code) || chat_char_is_lower(code) || chat_char_is_title(code);
}

bool chat_char_is_ignorable(uint32_t code)
{
    switch (category(code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2019;
    }
}

static size_t map_case(const struct chat_char_case *cases, size_t count, uint32_t code,
                       utf8proc_int32_t (*simple)(utf8proc_int32_t), uint32_t out[3])
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (code > cases[mid].code) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < count && cases[low].code == code) {
        size_t n = 0;
        while (n < 3 && cases[low].mapped[n]) {
            out[n] = cases[low].mapped[n];
            n++;
        }
        return n;
    }
    out[0] = code > 0x10FFFF ? code : (uint32_t)simple((utf8proc_int32_t)code);
    return 1;
}

size_t chat_char_upper(uint32_t code, uint32_t out[3])
{
    return map_case(chat_upper_cases, chat_upper_cases_count, code, utf8proc_toupper, out);
}

size_t chat_char_lower(uint32_t code, uint32_t out[3])
{
    return map_case(chat_lower_cases, chat_lower_cases_count, code, utf8proc_tolower, out);
}

size_t chat_char_title(uint32_t code, uint32_t out[3])
{
    return map_case(chat_title_cases, chat_title_cases_count, code, utf8proc_totitle, out);
}

size_t chat_char_fold(uint32_t code, uint32_t out[3])
{
    utf8proc_int32_t folded[4];
    int last = 0;
    utf8proc_ssize_t n = code > 0x10FFFF ? 0
                                         : utf8proc_decompose_char((utf8proc_int32_t)code, folded,
                                                                   4, UTF8PROC_CASEFOLD, &last);
    if (n < 1 || n > 3) {
        out[0] = code;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        out[i] = (uint32_t)folded[i];
    }
    return (size_t)n;
}
