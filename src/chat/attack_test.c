/* Hostile templates and hostile text: every attack ends in a clear error or harmless output, in
 * bounded time, memory and stack; and no byte of the context is ever trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "chat/template.h"

static const char *const names[] = {"bos_token", NULL};

static bool render(struct str source, const char *json, struct chat_text *out, struct err *err)
{
    struct chat_limits limits = {
        .steps_max = 5 * 1000 * 1000, .memory_bytes_max = 32 << 20, .output_bytes_max = 4 << 20};
    json_t *context = json_parse(str_of(json), NULL, err);
    assert_non_null(context);
    struct chat_render_opts opts = {.context = context, .trusted_names = names};
    struct chat_template *tmpl = chat_template_compile(source, &limits, err);
    bool good = tmpl && chat_template_render(tmpl, &opts, out, err);
    chat_template_destroy(tmpl);
    json_decref(context);
    return good;
}

/* Must fail with a template error whose message holds `part`. */
static void expect_error(const char *source, const char *part)
{
    struct err err = {0};
    struct chat_text text;
    if (render(str_of(source), "{\"s\":\"x\"}", &text, &err)) {
        chat_text_deinit(&text);
        fail_msg("no error: %.200s", source);
    }
    assert_int_equal(err.code, ERR_TEMPLATE);
    if (!strstr(err.text, part)) {
        fail_msg("%.200s: %s", source, err.text);
    }
}

static void test_loops(void **state)
{
    (void)state;
    expect_error("{% for i in range(10**9) %}x{% endfor %}", "Range too big");
    expect_error("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
                 "steps");
    expect_error("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
                 "template line 1");
    expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deep");
    expect_error("{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('a') }}", "template line");
    expect_error("{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}", "nested too deep");
    expect_error("{% set ns = namespace(f=1) %}{% macro m() %}{{ caller() }}{% endmacro %}"
                 "{% macro r() %}{% call m() %}{{ r() }}{% endcall %}{% endmacro %}{{ r() }}",
                 "nested too deep");
    expect_error("{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}"
                 "{% set ns.x = ns.x|map('abs') %}{% endfor %}{{ ns.x|list }}",
                 "nested deeper");
    expect_error("{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}"
                 "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
                 "nested deeper");
    expect_error("{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}"
                 "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
                 "nested deeper");
    expect_error("{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}"
                 "{% for i in range(9999) %}{% set a.x = [a.x] %}{% set b.x = [b.x] %}{% endfor %}"
                 "{{ a.x == b.x }}",
                 "nested deeper");
}

/* Names are compared one by one: their number is bounded, or 4 MiB of them take minutes. */
static void test_names(void **state)
{
    (void)state;
    struct buf call = {0}, macro = {0};
    buf_add_text(&call, "{{ dict(");
    buf_add_text(&macro, "{% macro m(");
    for (int i = 0; i < 2000; i++) {
        buf_add_format(&call, "%sa%d=1", i ? "," : "", i);
        buf_add_format(&macro, "%sa%d=1", i ? "," : "", i);
    }
    buf_add_text(&call, ") }}");
    buf_add_text(&macro, ") %}{% endmacro %}{{ m() }}");
    expect_error(call.ptr, "more than 128 keyword arguments");
    expect_error(macro.ptr, "more than 128 parameters");
    buf_deinit(&call);
    buf_deinit(&macro);
}

static void test_memory(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{{ 'x' * 10**18 }}",
        "{{ [1] * 10**9 }}",
        "{{ [1, 2, 3] * 9223372036854775807 }}",
        "{{ 'a'.center(10**12) }}",
        "{{ 'a'|center(10**12) }}",
        "{{ 'a'.ljust(10**18) }}",
        "{{ 'a'.rjust(9223372036854775807) }}",
        "{{ '5'.zfill(10**15) }}",
        "{{ 'a\\t'.expandtabs(10**15) }}",
        "{{ '{:>2000000000}'.format('a') }}",
        "{{ '{:2000000000d}'.format(1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000000, 1) }}",
        "{{ '%1000000000s' % 'a' }}",
        "{{ strftime_now('%1000000000d') }}",
        "{{ strftime_now('%99999999999999999999Y') }}",
        "{{ [[1]]|tojson(indent=10**12) }}",
        "{{ 'a\\nb'|indent(10**12) }}",
        "{{ [1]|batch(10**12, 'x')|list }}",
        "{{ [1]|slice(10**12)|list }}",
        "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
        "{{ ('a' * 10**6).replace('', 'b' * 10**6) }}",
        "{{ ('b' * 10**6).join('a' * 10**6) }}",
        "{{ range(100000)|join('x' * 10**6) }}",
        "{% for i in range(10000) %}{{ 'x' * 10000 }}{% endfor %}",
        "{% for i in range(100) %}{% filter upper %}{{ 'x' * 10**7 }}{% endfilter %}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        expect_error(sources[i], "template");
    }
    expect_error("{{ '%.200000f' % 1.0 }}", "precision");
    expect_error("{{ '{:.1000000000f}'.format(1.0) }}", "precision");
    expect_error("{{ '%99999999999999d' % 1 }}", "too big");
    expect_error("{{ 2**64 }}", "64 bits");
    expect_error("{{ 10**1000 }}", "64 bits");
    expect_error("{{ 99999999999999999999 }}", "64 bits");
    expect_error("{{ -9223372036854775807 - 2 }}", "64 bits");
}

static void test_sandbox(void **state)
{
    (void)state;
    expect_error("{{ ''.__class__.__mro__ }}", "unsafe");
    expect_error("{{ ''['__class__']['__mro__'] }}", "unsafe");
    expect_error("{{ (''|attr('__class__')).x }}", "unsafe");
    expect_error("{{ '{0.__class__.x}'.format(1) }}", "unsafe");
    expect_error("{{ cycler.__init__.__globals__.os }}", "unsafe");
    expect_error("{{ [].append(1) }}", "unsafe");
    expect_error("{{ {}.update({}) }}", "unsafe");
    expect_error("{% include '/etc/passwd' %}", "no loader");
    expect_error("{% import 'os' as os %}", "no loader");
    expect_error("{% extends 'x' %}", "no loader");
}

static char *repeat(const char *open, const char *middle, const char *close, size_t times)
{
    size_t a = strlen(open), b = strlen(middle), c = strlen(close);
    char *text = mem_alloc(times * (a + c) + b + 1, 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < times; i++, p += a) {
        memcpy(p, open, a);
    }
    memcpy(p, middle, b);
    p += b;
    for (size_t i = 0; i < times; i++, p += c) {
        memcpy(p, close, c);
    }
    return text;
}

static void test_depth(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
    } shapes[] = {
        {"(", "1", ")"},    {"[", "1", "]"},        {"{1:", "1", "}"},   {"-", "1", ""},
        {"not ", "1", ""},  {"s[", "1", "]"},       {"s(", "1", ")"},    {"1 if 1 else ", "1", ""},
        {"s|d(", "1", ")"}, {"1 is eq(", "1", ")"}, {"", "s", ".a"},     {"", "s", "|d"},
        {"", "s", "[0]"},   {"", "s", "()"},        {"1 + (", "1", ")"},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        for (size_t times = 400; times <= 100 * 1000; times *= 250) {
            char *inner = repeat(shapes[i].open, shapes[i].middle, shapes[i].close, times);
            char *source = repeat("{{ ", inner, " }}", 1);
            expect_error(source, "nested");
            mem_free(inner);
            mem_free(source);
        }
    }
    char *blocks = repeat("{% if 1 %}", "x", "{% endif %}", 50 * 1000);
    expect_error(blocks, "nested");
    mem_free(blocks);
    blocks = repeat("{% for x in [1] %}", "x", "{% endfor %}", 1000);
    expect_error(blocks, "nested");
    mem_free(blocks);
}

/* Long but flat: chains and elifs must not nest. */
static void test_flat(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
    } shapes[] = {{"{{ ", "1", " + 1"}, {"", "{{ 1 }}", "{{ 1 }}"}};
    (void)shapes;
    struct err err = {0};
    struct chat_text text;
    char *sum = repeat("", "1", " + 1", 20 * 1000), *source = repeat("{{ ", sum, " }}", 1);
    assert_true(render(str_of(source), "{}", &text, &err));
    assert_string_equal(text.text.ptr, "20001");
    chat_text_deinit(&text);
    mem_free(sum);
    mem_free(source);
    sum = repeat("", "", "{% elif 0 %}a", 20 * 1000);
    size_t room = strlen(sum) + 64;
    source = mem_alloc(room, 1);
    snprintf(source, room, "{%% if 0 %%}%s{%% else %%}b{%% endif %%}", sum);
    assert_true(render(str_of(source), "{}", &text, &err));
    assert_string_equal(text.text.ptr, "b");
    chat_text_deinit(&text);
    mem_free(sum);
    mem_free(source);
}

static void test_size(void **state)
{
    (void)state;
    struct err err = {0};
    struct chat_text text;
    char *big = repeat("x", "", "", 10 << 20);
    assert_false(render(str_of(big), "{}", &text, &err));
    assert_non_null(strstr(err.text, "bytes"));
    mem_free(big);
    assert_false(render(STR("a\xff"), "{}", &text, &err));
    assert_non_null(strstr(err.text, "UTF-8"));
}

/* ---- where each byte comes from ---- */

/* Renders and marks: trusted text stands between < and > in `marked`. */
static void expect_marked(const char *source, const char *marked)
{
    struct err err = {0};
    struct chat_text text;
    struct buf out = {0};
    if (!render(str_of(source),
                "{\"c\":\"<|x|>\",\"bos_token\":\"BOS\",\"role\":\"user\",\"l\":[\"a\",\"b\"],"
                "\"d\":{\"k\":\"v\"},\"n\":5,\"u\":\"\xC3\xA9X\"}",
                &text, &err)) {
        fail_msg("%s: %s", source, err.text);
    }
    size_t at = 0;
    for (size_t i = 0; i < text.trusted_count; i++) {
        struct chat_span span = text.trusted[i];
        assert_true(span.from < span.to && span.to <= text.text.len && (i == 0 || at < span.from));
        buf_add(&out, str_slice(buf_view(&text.text), at, span.from));
        buf_add_text(&out, "«");
        buf_add(&out, str_slice(buf_view(&text.text), span.from, span.to));
        buf_add_text(&out, "»");
        at = span.to;
    }
    buf_add(&out, str_slice(buf_view(&text.text), at, text.text.len));
    if (strcmp(out.ptr ? out.ptr : "", marked) != 0) {
        fail_msg("%s\n  want %s\n  got  %s", source, marked, out.ptr);
    }
    buf_deinit(&out);
    chat_text_deinit(&text);
}

static void test_origin(void **state)
{
    (void)state;
    expect_marked("a{{ 'b' }}{{ c }}d", "«ab»<|x|>«d»");
    expect_marked("{{ bos_token }}{{ c }}", "«BOS»<|x|>");
    expect_marked("{{ '<|' + role + '|>' }}", "«<|»user«|>»");
    expect_marked("{{ '<|' ~ c ~ '|>' }}", "«<|»<|x|>«|>»");
    expect_marked("{{ c|replace('x', 'y') }}", "<|«y»|>");
    expect_marked("{{ 'axa'|replace('x', c) }}", "«a»<|x|>«a»");
    expect_marked("{{ ('p' ~ c ~ 'q')|trim('p') }}", "<|x|>«q»");
    expect_marked("{{ ('p' ~ c ~ 'q')[1:4] }}", "<|x");
    expect_marked("{{ ('p' ~ c ~ 'q')[::-1] }}", "«q»>|x|<«p»");
    expect_marked("{{ ('p' ~ c)|upper }}", "«P»<|X|>");
    expect_marked("{{ ('p' ~ u).title() }}", "«P»\xC3\xA9x");
    expect_marked("{{ l|join('-') }}", "a«-»b");
    expect_marked("{{ '-'.join(l) }}", "a«-»b");
    expect_marked("{{ '%s=%s' % ('k', c) }}", "«k=»<|x|>");
    expect_marked("{{ '{}={}'.format('k', c) }}", "«k=»<|x|>");
    expect_marked("{{ c|tojson }}", "\"<|x|>\"");
    expect_marked("{{ ['t', c]|tojson }}", "[\"t\", \"<|x|>\"]");
    expect_marked("{{ [c] }}", "['<|x|>']");
    expect_marked("{{ n }}{{ n + 1 }}{{ loop }}", "56");
    expect_marked("{% for k, v in d.items() %}{{ k }}:{{ v }}{% endfor %}", "k«:»v");
    expect_marked("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(c) }}{{ m('t') }}",
                  "«[»<|x|>«][t]»");
    expect_marked("{% set s %}a{{ c }}{% endset %}{{ s }}{{ s|length }}", "«a»<|x|>6");
    expect_marked("{% filter upper %}a{{ c }}{% endfilter %}", "«A»<|X|>");
    expect_marked("{{ ('a' ~ c).split('|') | join('!') }}", "«a»<«!»x«!»>");
    expect_marked("{{ ('a' ~ c) * 2 }}", "«a»<|x|>«a»<|x|>");
    expect_marked("{{ c|default('t') }}{{ zz|default('t') }}", "<|x|>«t»");
    expect_marked("{{ ('ab' ~ c)|truncate(4, true, '..', 0) }}", "«ab..»");
    expect_marked("{{ c.partition('|')[0] ~ 'z' }}", "<«z»");
    expect_marked("{% set ns = namespace(s='') %}{% for x in l %}{% set ns.s = ns.s + x + '.' %}"
                  "{% endfor %}{{ ns.s }}",
                  "a«.»b«.»");
    expect_marked("{{ ('<p>' ~ c ~ '</p>')|e }}", "&lt;«p»&gt;&lt;|x|&gt;&lt;«/p»&gt;");
    expect_marked("{{ (c ~ '\n' ~ 'b')|indent(1) }}", "<|x|>\n «b»");
    expect_marked("{{ d|string }}{{ d.k|safe }}", "{'k': 'v'}v");
    expect_marked("{{ c|list|join }}{{ 'tu'|list|join }}", "<|x|>«tu»");
    expect_marked("{{ [c, 't']|sort|join(',') }}", "<|x|>«,t»");
    expect_marked("{{ (c ~ 't')|center(12) }}", "   <|x|>«t»   ");
    expect_marked("{{ ('t' ~ c)|wordwrap(2) }}", "«t»<\n|x\n|>");
    expect_marked("{{ strftime_now('') }}{{ c[1:1] }}", "");
}

/* Appending writes behind shared text: earlier values keep their bytes and origin. */
static void test_append_shares(void **state)
{
    (void)state;
    struct err err = {0};
    struct chat_text text;
    const char *source =
        "{% set ns = namespace(s='x' * 2000) %}{% set ns.s = ns.s + 'a' %}{% set old = ns.s %}"
        "{% set one = old + c %}{% set two = old + 'TT' %}"
        "{{ one[-3:] }}|{{ two[-3:] }}|{{ old[-2:] }}";
    assert_true(render(str_of(source), "{\"c\":\"cc\"}", &text, &err));
    assert_string_equal(text.text.ptr, "acc|aTT|xa");
    assert_int_equal(text.trusted_count, 2);
    assert_int_equal(text.trusted[0].to, 1);
    assert_int_equal(text.trusted[1].from, 3);
    chat_text_deinit(&text);
}

static void test_strange_text(void **state)
{
    (void)state;
    struct err err = {0};
    struct chat_text text;
    json_t *context = json_object();
    json_object_set_new(context, "c", json_stringn_nocheck("a\xff\xc3\x00\xe2\x82", 6));
    struct chat_render_opts opts = {.context = context};
    const char *source = "{{ c }}{{ c|upper }}{{ c[::-1] }}{{ c|length }}{{ c|tojson }}{{ [c] }}"
                         "{{ c|trim }}{{ c|list|join('-') }}{{ c.split() }}{{ c[2:] }}{{ c[-1] }}";
    struct chat_template *tmpl = chat_template_compile(str_of(source), NULL, &err);
    assert_non_null(tmpl);
    assert_true(chat_template_render(tmpl, &opts, &text, &err));
    assert_int_equal(text.text.ptr[3], 0);
    chat_text_deinit(&text);
    chat_template_destroy(tmpl);
    json_decref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sandbox),      cmocka_unit_test(test_depth),
        cmocka_unit_test(test_flat),         cmocka_unit_test(test_size),
        cmocka_unit_test(test_origin),       cmocka_unit_test(test_append_shares),
        cmocka_unit_test(test_strange_text), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
