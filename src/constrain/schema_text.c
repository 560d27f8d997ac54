/* Strings: pattern, format and length meet as automata over the contents of a JSON string. */
#include "constrain/regex.h"
#include "constrain/schema.h"

#define DAY_31  "(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])"
#define DAY_30  "(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)"
#define DAY_28  "02-(?:0[1-9]|1\\d|2[0-8])"
#define LEAP    "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DATE    "(?:\\d{4}-(?:" DAY_31 "|" DAY_30 "|" DAY_28 ")|" LEAP "-02-29)"
#define CLOCK   "(?:[01]\\d|2[0-3]):[0-5]\\d"
#define TIME    CLOCK ":[0-5]\\d(?:\\.\\d{1,9})?(?:[Zz]|[+\\-]" CLOCK ")"
#define BYTE    "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4    "(?:" BYTE "\\.){3}" BYTE
#define H16     "[0-9A-Fa-f]{1,4}"
#define LS32    "(?:" H16 ":" H16 "|" IPV4 ")"
#define ATEXT   "[A-Za-z0-9!#$%&'*+/=?\\^_`{|}~\\-]"
#define LABEL   "[A-Za-z0-9](?:[A-Za-z0-9\\-]{0,61}[A-Za-z0-9])?"
#define ESCAPED "%[0-9A-Fa-f]{2}"
#define PCHAR   "(?:[A-Za-z0-9\\-._~!$&'()*+,;=:@]|" ESCAPED ")"
#define REGNAME "(?:[A-Za-z0-9\\-._~!$&'()*+,;=]|" ESCAPED ")"
#define HEX(n)  "[0-9A-Fa-f]{" #n "}"

/* RFC 3339 (without leap seconds), 4122, 5321 (dot-atom), 2673, 4291, 3986 */
static const struct {
    const char *name, *regex;
} formats[] = {
    {"date-time", DATE "[Tt]" TIME},
    {"date", DATE},
    {"time", TIME},
    {"uuid", HEX(8) "-" HEX(4) "-" HEX(4) "-" HEX(4) "-" HEX(12)},
    {"email", ATEXT "+(?:\\." ATEXT "+)*@(?:" LABEL "\\.)+" LABEL},
    {"ipv4", IPV4},
    {"ipv6", "(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32
             "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16
             ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32
             "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16
             "|(?:(?:" H16 ":){0,6}" H16 ")?::"},
    {"uri", "[A-Za-z][A-Za-z0-9+.\\-]*:(?://(?:(?:" REGNAME "|:)*@)?" REGNAME
            "*(?::\\d*)?(?:/" PCHAR "*)*|/(?:" PCHAR "+(?:/" PCHAR "*)*)?|" PCHAR "+(?:/" PCHAR
            "*)*)(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"},
};

static const struct constrain_dfa *compile(struct schema_compiler *c, struct str source,
                                           const char *path, bool is_search, bool in_json)
{
    struct buf text = {.limit = 1200};
    buf_add_format(&text, "schema, %s", path);
    const char *shown = text.failed ? NULL : arena_copy(c->b->arena, buf_view(&text));
    buf_deinit(&text);
    const struct constrain_regex opts = {.chars = in_json ? constrain_json_chars : constrain_chars,
                                         .is_search = is_search,
                                         .what = shown ? shown : "schema"};
    return constrain_dfa_of(c->b, constrain_regex_parse(c->b, source, &opts));
}

const struct constrain_dfa *constrain_schema_pattern(struct schema_compiler *c, struct str pattern,
                                                     const char *path, bool in_json)
{
    return compile(c, pattern, path, true, in_json);
}

const struct constrain_dfa *constrain_schema_format(struct schema_compiler *c, const char *name,
                                                    const char *path, bool in_json, bool *known)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *known = true;
            return compile(c, str_of(formats[i].regex), path, false, in_json);
        }
    }
    *known = false;
    return NULL;
}

const struct constrain_expr *constrain_schema_string(struct schema_compiler *c,
                                                     const struct schema_spec *spec)
{
    struct constrain_build *b = c->b;
    const struct constrain_expr *quote = constrain_text(b, "\"");
    const bool has_length = spec->length_min > 0 || spec->length_max != EXPR_UNBOUNDED;
    if (spec->length_min > spec->length_max) {
        return constrain_never();
    }
    if (!spec->contents) {
        return !has_length
                   ? c->json.string
                   : constrain_join(
                         b, quote,
                         constrain_rep(b, c->json.one, spec->length_min, spec->length_max), quote);
    }
    const struct constrain_dfa *contents = spec->contents;
    if (has_length) {
        const struct constrain_expr *length = constrain_rep(
            b, c->json.contents->kind == EXPR_REP ? c->json.contents->parts[0] : constrain_never(),
            spec->length_min, spec->length_max);
        contents = constrain_dfa_and(b, contents, constrain_dfa_of(b, length));
    }
    return constrain_leaf(
        b,
        constrain_dfa_of(
            b, constrain_join(b, quote, contents ? constrain_leaf(b, contents) : constrain_never(),
                              quote)));
}
