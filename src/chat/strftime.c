/* strftime_now: the directives of Python's datetime.strftime for a time without a zone, in the C
 * locale, with glibc's flags (- _ 0 ^ #) and widths. Written out because the format is hostile: the
 * C library would fill any width asked for. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "chat/interp.h"

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

struct field {
    char pad; /* '0', ' ' or 0: as the directive has it */
    bool upper, swap, bare;
    uint64_t width;
};

static bool put_text(struct builder *b, const struct field *f, const char *text, bool lower_on_swap)
{
    char copy[64];
    size_t n = 0;
    struct txt blank = {.ptr = f->pad == '0' ? "0" : " ", .len = 1};
    for (; text[n] && n + 1 < sizeof(copy); n++) {
        int c = (unsigned char)text[n];
        copy[n] = (char)(f->swap && lower_on_swap ? tolower(c)
                         : f->upper || f->swap    ? toupper(c)
                                                  : c);
    }
    uint64_t pad = f->width > n ? f->width - n : 0;
    return chat_build_fill(b, &blank, pad) && chat_build(b, (struct str){copy, n}, false);
}

static bool put_number(struct builder *b, const struct field *f, int64_t value, unsigned digits,
                       char pad)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    size_t n = strlen(text);
    pad = f->pad ? f->pad : pad;
    uint64_t width = f->width ? f->width : f->bare ? 0 : digits;
    struct txt blank = {.ptr = pad == ' ' ? " " : "0", .len = 1};
    return chat_build_fill(b, &blank, width > n ? width - n : 0) && chat_build_literal(b, text);
}

/* Week of the year whose weeks start on `first` (0 Sunday, 1 Monday). */
static int week(const struct tm *t, int first)
{
    return (t->tm_yday + 7 - (t->tm_wday - first + 7) % 7) / 7;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* ISO 8601 week and the year it belongs to. */
static int iso_week(const struct tm *t, int64_t *year)
{
    int weekday = (t->tm_wday + 6) % 7; /* Monday 0 */
    int number = (t->tm_yday - weekday + 10) / 7;
    *year = t->tm_year + 1900;
    if (number < 1) {
        --*year;
        int yday = t->tm_yday + (is_leap(*year) ? 366 : 365);
        return (yday - weekday + 10) / 7;
    }
    int last = is_leap(*year) ? 366 : 365;
    if (number == 53 && t->tm_yday - weekday + 3 >= last) {
        ++*year;
        return 1;
    }
    return number;
}

static bool put(struct render *r, struct builder *b, const struct tm *t, int64_t clock_s,
                struct str format);

/* One case per conversion. NOLINT(readability-function-size) */
static bool put_one(struct render *r, struct builder *b, const struct tm *t, int64_t clock_s,
                    char c, const struct field *f, bool *known)
{
    int64_t year = t->tm_year + 1900, iso_year;
    int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12, iso = iso_week(t, &iso_year);
    char text[4];
    switch (c) {
    case 'a':
    case 'A':
        snprintf(text, sizeof(text), "%.3s", days[t->tm_wday]);
        return put_text(b, f, c == 'a' ? text : days[t->tm_wday], false);
    case 'b':
    case 'h':
    case 'B':
        snprintf(text, sizeof(text), "%.3s", months[t->tm_mon]);
        return put_text(b, f, c == 'B' ? months[t->tm_mon] : text, false);
    case 'p':
        return put_text(b, f, t->tm_hour < 12 ? "AM" : "PM", true);
    case 'P':
        return put_text(b, f, t->tm_hour < 12 ? "am" : "pm", false);
    case 'd':
        return put_number(b, f, t->tm_mday, 2, '0');
    case 'e':
        return put_number(b, f, t->tm_mday, 2, ' ');
    case 'm':
        return put_number(b, f, t->tm_mon + 1, 2, '0');
    case 'y':
        return put_number(b, f, year % 100, 2, '0');
    case 'Y':
        return put_number(b, f, year, 1, '0');
    case 'C':
        return put_number(b, f, year / 100, 2, '0');
    case 'H':
        return put_number(b, f, t->tm_hour, 2, '0');
    case 'k':
        return put_number(b, f, t->tm_hour, 2, ' ');
    case 'I':
        return put_number(b, f, hour12, 2, '0');
    case 'l':
        return put_number(b, f, hour12, 2, ' ');
    case 'M':
        return put_number(b, f, t->tm_min, 2, '0');
    case 'S':
        return put_number(b, f, t->tm_sec, 2, '0');
    case 'f':
        return put_number(b, f, 0, 6, '0');
    case 'j':
        return put_number(b, f, t->tm_yday + 1, 3, '0');
    case 'w':
        return put_number(b, f, t->tm_wday, 1, '0');
    case 'u':
        return put_number(b, f, t->tm_wday ? t->tm_wday : 7, 1, '0');
    case 'U':
        return put_number(b, f, week(t, 0), 2, '0');
    case 'W':
        return put_number(b, f, week(t, 1), 2, '0');
    case 'V':
        return put_number(b, f, iso, 2, '0');
    case 'G':
        return put_number(b, f, iso_year, 1, '0');
    case 'g':
        return put_number(b, f, iso_year % 100, 2, '0');
    case 's':
        return put_number(b, f, clock_s, 1, '0');
    case 'z': /* there is no zone */
    case 'Z':
        return true;
    case 'n':
        return chat_build_literal(b, "\n");
    case 't':
        return chat_build_literal(b, "\t");
    case '%':
        return chat_build_literal(b, "%");
    case 'c':
        return put(r, b, t, clock_s, STR("%a %b %e %H:%M:%S %Y"));
    case 'x':
    case 'D':
        return put(r, b, t, clock_s, STR("%m/%d/%y"));
    case 'X':
    case 'T':
        return put(r, b, t, clock_s, STR("%H:%M:%S"));
    case 'R':
        return put(r, b, t, clock_s, STR("%H:%M"));
    case 'r':
        return put(r, b, t, clock_s, STR("%I:%M:%S %p"));
    case 'F':
        return put(r, b, t, clock_s, STR("%Y-%m-%d"));
    default:
        *known = false;
        return true;
    }
}

static bool put(struct render *r, struct builder *b, const struct tm *t, int64_t clock_s,
                struct str format)
{
    for (size_t i = 0; i < format.len;) {
        size_t start = i;
        if (format.ptr[i] != '%') {
            while (i < format.len && format.ptr[i] != '%') {
                i++;
            }
            if (!chat_build(b, str_slice(format, start, i), false)) {
                return false;
            }
            continue;
        }
        struct field f = {0};
        for (i++; i < format.len && format.ptr[i] && strchr("-_0^#", format.ptr[i]); i++) {
            f.bare |= format.ptr[i] == '-';
            f.upper |= format.ptr[i] == '^';
            f.swap |= format.ptr[i] == '#';
            f.pad = format.ptr[i] == '_' ? ' ' : format.ptr[i] == '0' ? '0' : f.pad;
        }
        while (i < format.len && isdigit((unsigned char)format.ptr[i])) {
            f.width = f.width * 10 + (uint64_t)(format.ptr[i++] - '0');
            if (!chat_room(r, f.width)) {
                return false;
            }
        }
        if (i < format.len && (format.ptr[i] == 'E' || format.ptr[i] == 'O') &&
            i + 1 < format.len) {
            i++;
        }
        bool known = i < format.len;
        if (!chat_step(r, 1) || (known && !put_one(r, b, t, clock_s, format.ptr[i], &f, &known))) {
            return false;
        }
        i += i < format.len;
        if (!known && !chat_build(b, str_slice(format, start, i), false)) {
            return false;
        }
    }
    return true;
}

bool chat_strftime(struct render *r, struct str format, struct val *out)
{
    struct builder b = chat_builder(r);
    struct tm t;
    int64_t clock_s = r->opts->has_clock ? r->opts->clock_s : clock_wall_s();
    time_t seconds = (time_t)clock_s;
    /* a given clock is already what the wall shows */
    if (!(r->opts->has_clock ? gmtime_r(&seconds, &t) : localtime_r(&seconds, &t)) ||
        t.tm_year + 1900 < 1 || t.tm_year + 1900 > 9999) {
        return chat_fail(r, "the clock is outside the years 1 to 9999");
    }
    return put(r, &b, &t, clock_s, format) && chat_build_done(&b, out);
}
