/* GBNF, regex, hostile sources, masks against the machine, steps back, memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "constrain/constrain.h"

enum { BYTES = 256, SECONDS_MAX = 30 };

static struct constrain_vocab *vocab;

static int open_vocab(void **state)
{
    static char bytes[BYTES];
    struct str pieces[BYTES + 1] = {{0}};
    bool ends[BYTES + 1] = {false};
    (void)state;
    for (int i = 0; i < BYTES; i++) {
        bytes[i] = (char)i;
        pieces[i] = (struct str){.ptr = &bytes[i], .len = 1};
    }
    ends[BYTES] = true;
    vocab = constrain_vocab_of(pieces, ends, BYTES + 1, NULL);
    return vocab == NULL;
}

static int close_vocab(void **state)
{
    (void)state;
    constrain_vocab_destroy(vocab);
    return 0;
}

enum source { SCHEMA, LENIENT, GBNF, REGEX };

static struct constrain_grammar *compile(enum source kind, struct str source, struct err *err)
{
    if (kind == GBNF) {
        return constrain_compile_gbnf(source, err);
    }
    if (kind == REGEX) {
        return constrain_compile_regex(source, err);
    }
    const struct json_limits limits = {.depth_max = 1000};
    json_t *schema = json_parse(source, &limits, err);
    assert_non_null(schema);
    struct constrain_grammar *grammar = constrain_compile_schema(schema, kind == SCHEMA, err);
    json_decref(schema);
    return grammar;
}

static bool matches(struct constrain_grammar *grammar, const char *text)
{
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    const bool ok = constrain_accept_bytes(run, str_of(text)) && constrain_can_end(run);
    constrain_run_destroy(run);
    return ok;
}

/* `texts` end with NULL: first those that match, behind an empty pointer those that do not. */
static void check(enum source kind, const char *source, const char *const *good,
                  const char *const *bad)
{
    struct err err = {0};
    struct constrain_grammar *grammar = compile(kind, str_of(source), &err);
    if (!grammar) {
        fail_msg("%s: %s", source, err.text);
    }
    for (; *good; good++) {
        if (!matches(grammar, *good)) {
            fail_msg("%s refuses %s", source, *good);
        }
    }
    for (; *bad; bad++) {
        if (matches(grammar, *bad)) {
            fail_msg("%s takes %s", source, *bad);
        }
    }
    constrain_grammar_unref(grammar);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING   ((const char *const[]){NULL})

/* Must be refused, soon, with these words. */
static void refuses(enum source kind, struct str source, const char *words)
{
    struct err err = {0};
    const int64_t start = clock_now_ns();
    struct constrain_grammar *grammar = compile(kind, source, &err);
    assert_null(grammar);
    if (!strstr(err.text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    }
    assert_true(clock_now_ns() - start < SECONDS_MAX * 1000000000LL);
}

static void gbnf_is_read(void **state)
{
    (void)state;
    check(GBNF, "root ::= \"a\" root | \"b\" [0-9]{2,3}  # twice", LIST("b12", "aab123"),
          LIST("", "b1", "b1234", "a"));
    check(GBNF, "root ::= (\"- \" item)+\nitem ::= [^\\n]+ \"\\n\"\n", LIST("- x\n", "- a\n- é\n"),
          LIST("- \n", "-x\n", "- x"));
    check(GBNF, "root ::= \"x\" (\n  \"a\"\n | \"b\"\n)?\n", LIST("x", "xa", "xb"), LIST("xab"));
    check(GBNF, "root ::= a |\n  b\na ::= \"\\x41\"\nb ::= [\\u3041-\\u3096] \"\\U0001F600\"\n",
          LIST("A", "あ😀"), LIST("あ", "B"));
    check(GBNF, "root ::= .{2}", LIST("ab", "é😀"), LIST("a", "abc"));
    check(GBNF, "root ::= \"a\"{2} \"b\"{1,} \"c\"{,2}", LIST("aab", "aabbcc"),
          LIST("aa", "aabccc"));
    check(GBNF, "root ::= x*\nx ::= \"a\"? \"b\"?", LIST("", "a", "ba", "abab"), LIST("c"));
    check(GBNF, "root ::= \"(\" root \")\" | \"\"", LIST("", "()", "((()))"), LIST("(", "(()"));
    refuses(GBNF, STR("rot ::= \"a\""), "root is not defined");
    refuses(GBNF, STR("root ::= foo"), "foo is not defined");
    refuses(GBNF, STR("root ::= \"a"), "line 1");
    refuses(GBNF, STR("root ::= \"a\"\n\nroot ::= \"b\""), "line 3: a rule is defined twice");
    refuses(GBNF, STR("root ::= \"a\"{3,2}"), "bad count");
    refuses(GBNF, STR("root ::= <think>"), "token terminals");
    refuses(GBNF, STR(""), "not defined");
}

static void regexes_are_read(void **state)
{
    (void)state;
    check(REGEX, "(?:ab|c)+?d{0,2}", LIST("ab", "cabd", "cdd"), LIST("", "d", "abddd"));
    check(REGEX, "^\\d{3}-[\\w.]+$", LIST("123-a.b"), LIST("12-a", "123-"));
    check(REGEX, "[^\\s\\d]\\x41\\u{1F600}\\t", LIST("éA😀\t"), LIST("1A😀\t"));
    check(REGEX, "(?!foo)\\w{3}", LIST("bar", "fob"), LIST("foo", "ba"));
    check(REGEX, "(?=.*\\d)[a-z\\d]{2,4}", LIST("a1", "1aaa"), LIST("aa", "a1aaa"));
    check(REGEX, "", LIST(""), LIST("a"));
    check(REGEX, "[ab]{0,10000000}c", LIST("abc", "c"), LIST("ab"));
    refuses(REGEX, STR("a^b"), "never be satisfied");
    refuses(REGEX, STR("(x$y|a^)z"), "never be satisfied");
    refuses(REGEX, STR("^a{0,10000000}$"), "regex: a regular part is too large");
    refuses(REGEX, STR("(a"), "without its )");
    refuses(REGEX, STR("a)"), "without its (");
    refuses(REGEX, STR("*a"), "quantifier");
    refuses(REGEX, STR("(a)\\1"), "back references");
    refuses(REGEX, STR("\\bfoo"), "not supported");
    refuses(REGEX, STR("[z-a]"), "backwards");
}

static void schemas_say_what_is_wrong(void **state)
{
    (void)state;
    refuses(SCHEMA, STR("{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}"), "minItems is above");
    refuses(SCHEMA, STR("{\"properties\":{\"a\":{\"minLength\":3,\"maxLength\":2}}}"),
            "/properties/a");
    refuses(SCHEMA, STR("{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}"), "no number lies");
    refuses(SCHEMA, STR("{\"type\":\"integer\",\"enum\":[\"a\"]}"), "never be satisfied");
    refuses(SCHEMA, STR("{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}"),
            "never be satisfied");
    refuses(SCHEMA,
            STR("{\"type\":\"object\",\"required\":[\"b\"],\"additionalProperties\":false}"),
            "never be satisfied");
    refuses(
        SCHEMA,
        STR("{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}"),
        "never be satisfied");
    refuses(SCHEMA, STR("{\"$ref\":\"#\"}"), "form a circle");
    refuses(SCHEMA, STR("{\"anyOf\":[{\"$ref\":\"#\"}]}"), "");
    refuses(SCHEMA, STR("{\"$ref\":\"http://127.0.0.1/x.json\"}"), "are not fetched");
    refuses(SCHEMA, STR("{\"$ref\":\"#/$defs/none\"}"), "does not exist");
    refuses(SCHEMA, STR("{\"type\":\"strnig\"}"), "none of the types");
    refuses(SCHEMA, STR("{\"not\":{}}"), "keyword not is not supported");
    refuses(SCHEMA, STR("{\"type\":\"array\",\"uniqueItems\":true}"), "uniqueItems");
    refuses(SCHEMA, STR("{\"type\":\"string\",\"format\":\"hostname\"}"), "hostname");
    refuses(SCHEMA, STR("{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}"), "oneOf");
    check(LENIENT, "{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"type\":\"null\"}}",
          LIST("[null,null]"), LIST("[1]"));
    check(LENIENT, "{\"type\":\"string\",\"format\":\"hostname\"}", LIST("\"a b\""), LIST("1"));
}

static void numbers_keep_their_bounds(void **state)
{
    (void)state;
    check(SCHEMA,
          "{\"type\":\"integer\",\"minimum\":-9007199254740991,\"maximum\":9007199254740991}",
          LIST("9007199254740991", "-9007199254740991", "0", "10"),
          LIST("9007199254740992", "-9007199254740992", "-0", "00", "1.0"));
    check(SCHEMA, "{\"type\":\"integer\",\"minimum\":17,\"maximum\":324}",
          LIST("17", "99", "100", "324", "299"), LIST("16", "325", "1000", "7"));
    check(SCHEMA, "{\"type\":\"number\",\"minimum\":-2.5,\"exclusiveMaximum\":0.25}",
          LIST("-2.5", "-2.49", "0", "0.24", "0.2499", "-0.1", "-2", "0.2"),
          LIST("-2.51", "0.25", "0.250", "1", "-3", "0.3"));
    check(SCHEMA, "{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1}",
          LIST("0.0001", "1", "1.0", "0.5"), LIST("0", "0.0", "1.01", "-1", "1.0001"));
    check(SCHEMA, "{\"type\":\"integer\",\"multipleOf\":7}", LIST("0", "7", "-14", "1001"),
          LIST("1", "8", "-13"));
    check(SCHEMA, "{\"type\":\"integer\",\"multipleOf\":15,\"minimum\":20,\"maximum\":100}",
          LIST("30", "90"), LIST("15", "105", "31"));
}

static void strings_count_characters(void **state)
{
    (void)state;
    check(SCHEMA, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
          LIST("\"ab\"", "\"é😀x\"", "\"\\n\\u00e9\"", "\"\\ud83d\\ude00a\""),
          LIST("\"a\"", "\"abcd\"", "\"\\ud83d\"", "\"\\x\"", "\"a\n\""));
    check(SCHEMA, "{\"type\":\"string\",\"pattern\":\"^[a-z\\\"]+$\",\"maxLength\":3}",
          LIST("\"ab\"", "\"\\\"a\""), LIST("\"\"", "\"abcd\"", "\"A\""));
    check(SCHEMA, "{\"type\":\"string\",\"format\":\"date\"}",
          LIST("\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\""),
          LIST("\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"2024-04-31\""));
    check(SCHEMA, "{\"type\":\"string\",\"format\":\"ipv6\"}",
          LIST("\"::\"", "\"::1\"", "\"1:2:3:4:5:6:7:8\"", "\"::ffff:127.0.0.1\""),
          LIST("\"1::2::3\"", "\"12345::\"", "\"1:2:3:4:5:6:7\""));
}

/* Group D of the attacks: each is refused or compiled, soon and in bounded memory. */
static void hostile_sources_are_bounded(void **state)
{
    (void)state;
    struct buf source = {0};
    refuses(GBNF, STR("root ::= root \"a\" | \"b\""), "left-recursive");
    refuses(GBNF, STR("root ::= e root \"a\" | \"b\"\ne ::= \"\" | \"x\""), "left-recursive");
    refuses(GBNF, STR("root ::= a\na ::= b\nb ::= \"x\"* a | \"c\""), "left-recursive");
    refuses(GBNF, STR("root ::= \"a\" root"), "never be satisfied");
    check(GBNF, "root ::= \"a\"{0,1000000000}", LIST("", "aaa"), LIST("b"));
    check(GBNF, "root ::= ((((\"a\"{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}", LIST("a", "aaaa"),
          LIST("", "b"));
    check(GBNF, "root ::= (((\"\" | \"\") | x)* y)*\nx ::= \"\" | \"\"\ny ::= \"b\" | \"\"",
          LIST("", "bb"), LIST("a"));
    check(REGEX, "(a+)+(a*)*(a|aa)+b", LIST("aaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
          LIST("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"));
    refuses(SCHEMA, STR("{\"type\":\"string\",\"pattern\":\"^[ab]*a[ab]{20}$\"}"),
            "a regular part is too large");
    refuses(REGEX,
            STR("x?a|b-*?[^\\s!]{2,5}(;!foo) *?[^\\s!]{1,55}(;!foo) *[^x]{1,300}[^y]{1,300}$"),
            "too large");
    buf_add_text(&source, "{\"enum\":[");
    for (int i = 0; i < 1000000; i++) {
        buf_add_format(&source, "%s%d", i ? "," : "", i);
    }
    buf_add_text(&source, "]}");
    refuses(SCHEMA, buf_view(&source), "enum");
    buf_clear(&source);
    for (int i = 0; i < 900; i++) {
        buf_add_text(&source, "{\"items\":");
    }
    buf_add_text(&source, "{}");
    for (int i = 0; i < 900; i++) {
        buf_add_text(&source, "}");
    }
    refuses(SCHEMA, buf_view(&source), "128 levels");
    buf_clear(&source);
    buf_add_text(&source, "root ::= \"a\" r0\n");
    for (int i = 0; i < 20000; i++) {
        buf_add_format(&source, "r%d ::= \"x\" r%d r%d | \"y\"\n", i, i + 1, i + 1);
    }
    buf_add_text(&source, "r20000 ::= \"z\"\n");
    check(GBNF, buf_view(&source).ptr, LIST("ay", "axyy"), LIST("a"));
    buf_clear(&source);
    for (int i = 0; i < 5000; i++) {
        buf_add_char(&source, '(');
    }
    refuses(REGEX, buf_view(&source), "too deep");
    buf_clear(&source);
    buf_add_text(&source, "{\"$defs\":{\"d30\":{}");
    for (int i = 0; i < 30; i++) {
        buf_add_format(
            &source, ",\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]}",
            i, i + 1, i + 1);
    }
    buf_add_text(&source, "},\"$ref\":\"#/$defs/d0\"}");
    refuses(SCHEMA, buf_view(&source), "too entangled");
    buf_deinit(&source);
}

static void states_can_be_restored(void **state)
{
    (void)state;
    struct constrain_grammar *grammar =
        compile(SCHEMA,
                STR("{\"type\":\"object\",\"properties\":{\"name\":{\"enum\":[\"x\",\"y\"]}},"
                    "\"required\":[\"name\"],\"additionalProperties\":false}"),
                NULL);
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    struct buf forced = {0};
    assert_true(constrain_accept_bytes(run, STR("{\"")));
    constrain_forced(run, 100, &forced);
    assert_true(str_eq(buf_view(&forced), STR("name\":")));
    const struct constrain_state before = constrain_save(run);
    assert_false(constrain_accept(run, 'q'));
    assert_int_equal(constrain_save(run).id, before.id);
    assert_true(constrain_accept_bytes(run, STR("name\":\"x\"}")));
    assert_true(constrain_can_end(run) && constrain_must_end(run));
    assert_true(constrain_accept(run, BYTES));
    uint32_t bits[9];
    assert_int_equal(constrain_mask(run, bits), 1);
    assert_int_equal(bits[8], 1);
    constrain_restore(run, before);
    assert_false(constrain_can_end(run) || constrain_accept(run, BYTES));
    assert_true(constrain_accept_bytes(run, STR("name\": \"y\"\n}")));
    assert_false(constrain_accept(run, -1) || constrain_accept(run, BYTES + 1));
    buf_deinit(&forced);
    constrain_run_destroy(run);
    constrain_grammar_unref(grammar);
}

/* Each failing allocation on the way is an error or a dead end, and nothing leaks. */
static void memory_may_run_out(void **state)
{
    (void)state;
    json_t *schema = json_loads("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\","
                                "\"pattern\":\"^[a-z]+$\"},\"b\":{\"type\":\"array\",\"items\":{"
                                "\"type\":\"integer\",\"minimum\":3}}}}",
                                0, NULL);
    bool worked = false;
    for (long n = 0; n < 4000 && !worked; n++) {
        struct err err = {0};
        uint32_t bits[9];
        mem_fail_after(n);
        struct constrain_grammar *grammar = constrain_compile_schema(schema, true, &err);
        struct constrain_run *run = grammar ? constrain_run_create(grammar, vocab, &err) : NULL;
        if (run) {
            worked = constrain_mask(run, bits) > 0 &&
                     constrain_accept_bytes(run, STR("{\"a\":\"b\",\"b\":[3]}")) &&
                     constrain_can_end(run);
        } else {
            assert_int_not_equal(err.code, ERR_NONE);
        }
        mem_fail_after(-1);
        constrain_run_destroy(run);
        constrain_grammar_unref(grammar);
    }
    assert_true(worked);
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gbnf_is_read),
        cmocka_unit_test(regexes_are_read),
        cmocka_unit_test(schemas_say_what_is_wrong),
        cmocka_unit_test(numbers_keep_their_bounds),
        cmocka_unit_test(strings_count_characters),
        cmocka_unit_test(hostile_sources_are_bounded),
        cmocka_unit_test(states_can_be_restored),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("constrain", tests, open_vocab, close_vocab);
}
