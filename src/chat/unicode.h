/* Characters as Python's str sees them: classes and full case mappings. Pure functions of a code
 * point; a byte that is no UTF-8 is passed as a code above 0x10FFFF and belongs to no class. */
#ifndef CHAT_UNICODE_H
#define CHAT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chat_char_range {
    uint32_t from, to;
};

struct chat_char_case {
    uint32_t code;
    uint32_t mapped[3]; /* ends at 0 */
};

extern const struct chat_char_range chat_digit_ranges[], chat_numeric_ranges[], chat_lower_ranges[],
    chat_upper_ranges[];
extern const size_t chat_digit_ranges_count, chat_numeric_ranges_count, chat_lower_ranges_count,
    chat_upper_ranges_count;
extern const struct chat_char_case chat_upper_cases[], chat_title_cases[], chat_lower_cases[];
extern const size_t chat_upper_cases_count, chat_title_cases_count, chat_lower_cases_count;

bool chat_char_is_space(uint32_t code);
bool chat_char_is_alpha(uint32_t code);
bool chat_char_is_decimal(uint32_t code);
bool chat_char_is_digit(uint32_t code);
bool chat_char_is_numeric(uint32_t code);
bool chat_char_is_alnum(uint32_t code);
bool chat_char_is_upper(uint32_t code);
bool chat_char_is_lower(uint32_t code);
bool chat_char_is_title(uint32_t code);
bool chat_char_is_printable(uint32_t code);
bool chat_char_is_word(uint32_t code);     /* \w of Python's re */
bool chat_char_is_line_end(uint32_t code); /* what str.splitlines splits at */
bool chat_char_is_name(uint32_t code, bool first);
bool chat_char_is_cased(uint32_t code);
bool chat_char_is_ignorable(uint32_t code); /* skipped when looking for a final sigma */

/* Write 1-3 codes and return how many. */
size_t chat_char_upper(uint32_t code, uint32_t out[3]);
size_t chat_char_lower(uint32_t code, uint32_t out[3]);
size_t chat_char_title(uint32_t code, uint32_t out[3]);
size_t chat_char_fold(uint32_t code, uint32_t out[3]);

#endif
