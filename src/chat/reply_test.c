/* Replies of every family, taken apart and held to their grammars. What models write is copied from
 * their templates and model cards; walks of random tokens under the grammars give the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "chat/reply_parser.h"
#include "gguf/gguf.h"

static const char tools_json[] =
    "[{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":7},"
    "\"units\":{\"type\":\"string\",\"enum\":[\"metric\",\"imperial\"]},"
    "\"exact\":{\"type\":\"boolean\"},\"places\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\","
    "\"maxLength\":4},\"maxItems\":3}},\"required\":[\"city\",\"days\"],"
    "\"additionalProperties\":false}},"
    "{\"name\":\"stop\",\"parameters\":{\"type\":\"object\",\"properties\":{},"
    "\"additionalProperties\":false}},"
    "{\"name\":\"run.code\",\"custom\":true,\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"input\":{\"type\":\"string\"}},\"required\":[\"input\"],\"additionalProperties\":false}}]";

struct fixture {
    struct gguf *gguf;
    struct text *text;
    json_t *tools;
    struct arena arena;
};

static int open_fixture(void **state)
{
    static struct fixture f;
    struct err err = {0};
    f.gguf = gguf_open(MODEL_FILE, &err);
    f.text = f.gguf ? text_open(f.gguf, &err) : NULL;
    f.tools = json_parse(str_of(tools_json), NULL, &err);
    f.arena = arena_init(0);
    *state = &f;
    return f.text && f.tools ? 0 : -1;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    arena_deinit(&f->arena);
    json_decref(f->tools);
    text_close(f->text);
    gguf_close(f->gguf);
    return 0;
}

/* The words of formats that are control tokens in the vocabularies of their models. */
static const char *const control_words[] = {"<|channel|>",
                                            "<|message|>",
                                            "<|end|>",
                                            "<|start|>",
                                            "<|constrain|>",
                                            "[TOOL_CALLS]",
                                            "[ARGS]",
                                            "[CALL_ID]",
                                            "<|START_ACTION|>",
                                            "<|END_ACTION|>",
                                            "<|START_THINKING|>",
                                            "<|END_THINKING|>",
                                            "<|START_RESPONSE|>",
                                            "<|END_RESPONSE|>",
                                            "<|tool_call_start|>",
                                            "<|tool_call_end|>",
                                            "<|tool_call|>",
                                            "<|/tool_call|>",
                                            "<|tool_call_begin|>",
                                            "<|tool_call_end|>",
                                            "<|tool_calls_section_begin|>",
                                            "<|tool_calls_section_end|>",
                                            "<|tool_call_argument_begin|>",
                                            "[THINK]",
                                            "[/THINK]"};

enum { CONTROL_WORDS = sizeof control_words / sizeof *control_words };

static const struct chat_tool_format *format_named(const char *name)
{
    for (size_t i = 0; chat_tool_format_at(i); i++) {
        if (strcmp(chat_tool_format_at(i)->name, name) == 0) {
            return chat_tool_format_at(i);
        }
    }
    fail_msg("no format %s", name);
    return NULL;
}

/* Everything a reply hangs on, by hand. */
struct setting {
    struct chat_controls controls;
    struct chat_spelling spelling;
    struct chat_tool tools[3];
    struct str words[CONTROL_WORDS];
    bool ends[CONTROL_WORDS];
    struct chat_reply reply;
};

static void set_up(struct setting *s, struct fixture *f, const struct chat_tool_format *format,
                   const struct chat_think_format *think, bool has_controls)
{
    *s = (struct setting){0};
    for (size_t i = 0; i < CONTROL_WORDS; i++) {
        s->words[i] = str_of(control_words[i]);
    }
    s->controls = (struct chat_controls){
        .items = s->words, .ends = s->ends, .count = has_controls ? CONTROL_WORDS : 0};
    assert_true(chat_spelling_init(&s->spelling, format, think, &s->controls, &f->arena));
    for (size_t i = 0; i < 3; i++) {
        const json_t *tool = json_array_get(f->tools, i);
        s->tools[i] = (struct chat_tool){.name = json_str(json_object_get(tool, "name")),
                                         .parameters = json_object_get(tool, "parameters"),
                                         .is_custom = json_object_get(tool, "custom") != NULL,
                                         .is_strict = true};
    }
    s->reply = (struct chat_reply){.spelling = &s->spelling,
                                   .controls = &s->controls,
                                   .tools = s->tools,
                                   .tool_count = 3,
                                   .may_call = true,
                                   .many_calls = true,
                                   .thinking = think ? CHAT_MAY_THINK : CHAT_THINKS_NOT};
}

/* Parts as one line: T(text) R(reasoning) C(name#id arguments) */
struct shown {
    struct buf line;
    enum chat_part_kind last;
    bool is_open;
};

static void show(struct shown *s, const struct chat_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        const struct chat_part *part = &parts->items[i];
        const bool goes_on = s->is_open && part->kind == s->last;
        if (!goes_on && s->is_open && part->kind != CHAT_PART_ARGUMENTS &&
            part->kind != CHAT_PART_CALL_END) {
            buf_add_char(&s->line, ')');
        }
        s->is_open = true;
        if (part->kind == CHAT_PART_CALL) {
            buf_add_format(&s->line, "C%u(%.*s%s%s ", part->call, STR_ARG(part->tool->name),
                           part->id[0] ? "#" : "", part->id);
        } else if (part->kind == CHAT_PART_CALL_END) {
            buf_add_char(&s->line, ')');
            s->is_open = false;
        } else {
            if (!goes_on && part->kind != CHAT_PART_ARGUMENTS) {
                buf_add_text(&s->line, part->kind == CHAT_PART_TEXT ? "T(" : "R(");
            }
            buf_add(&s->line, str_slice(buf_view(&parts->bytes), part->at, part->at + part->len));
        }
        s->last = part->kind;
    }
}

/* The text in pieces: cut at `a` and `b`, or byte by byte when a is SIZE_MAX. */
static char *parse(const struct chat_reply *reply, struct str text, size_t a, size_t b)
{
    struct chat_parser *parser = chat_parser_create(reply);
    struct chat_parts parts = {0};
    struct shown shown = {0};
    assert_non_null(parser);
    for (size_t at = 0; at < text.len;) {
        size_t to = a == SIZE_MAX ? at + 1 : at < a ? a : at < b ? b : text.len;
        to = to > text.len ? text.len : to;
        chat_parts_clear(&parts);
        chat_parser_feed(parser, str_slice(text, at, to), &parts);
        show(&shown, &parts);
        at = to;
    }
    chat_parts_clear(&parts);
    chat_parser_end(parser, &parts);
    show(&shown, &parts);
    if (shown.is_open) {
        buf_add_char(&shown.line, ')');
    }
    assert_false(parts.failed || shown.line.failed);
    chat_parts_deinit(&parts);
    chat_parser_destroy(parser);
    buf_add_text(&shown.line, "");
    return shown.line.ptr;
}

static void expect(const struct chat_reply *reply, struct str text, const char *wanted)
{
    char *whole = parse(reply, text, text.len, text.len);
    if (strcmp(whole, wanted) != 0) {
        fail_msg("%s: %.*s\n  gives  %s\n  wanted %s", reply->spelling->format->name, STR_ARG(text),
                 whole, wanted);
    }
    for (size_t a = 0; a <= text.len; a++) {
        char *cut = parse(reply, text, a == 0 ? SIZE_MAX : a, a + 1 + a % 7);
        if (strcmp(cut, wanted) != 0) {
            fail_msg("%s cut at %zu: %.*s\n  gives  %s\n  wanted %s", reply->spelling->format->name,
                     a, STR_ARG(text), cut, wanted);
        }
        mem_free(cut);
    }
    mem_free(whole);
}

static const struct sample {
    const char *format, *text, *wanted;
} samples[] = {
    {"hermes", "Hello <there>.\n", "T(Hello <there>.\n)"},
    {"hermes",
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich {\\\"\", "
     "\"days\": 2}}\n</tool_call>",
     "C0(get_weather {\"city\": \"Zürich {\\\"\", \"days\": 2})"},
    {"hermes",
     "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>\n"
     "<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>",
     "T(Let me look.)C0(get_weather {})C1(stop {})"},
    {"hermes", "a <tool_call> b", "T(a <tool_call> b)"},
    {"hermes", "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
     "T(<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>)"},
    {"hermes", "<tool_call>\n{\"name\": \"stop\", \"arguments\": {\"a\"", "C0(stop {\"a\")"},
    {"hermes",
     "<tool_call>\n{\"name\": \"run.code\", \"arguments\": {\"input\": \"a\\n\\u00e9"
     "\\ud83d\\ude00\\\"\"}}\n</tool_call>",
     "C0(run.code a\né😀\")"},
    {"qwen3-coder",
     "I check.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\n\nYork\n"
     "</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n"
     "<parameter=places>\n[\"a\"]\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n"
     "<function=stop>\n</function>\n</tool_call>",
     "T(I check.)C0(get_weather {\"city\": \"New\\n\\nYork\", \"days\": 3, \"exact\": true, "
     "\"places\": [\"a\"]})C1(stop {})"},
    {"functionary-v3.1",
     "<function=get_weather>{\"city\": \"a\", \"days\": 1}</function><function=stop>{}</function>",
     "C0(get_weather {\"city\": \"a\", \"days\": 1})C1(stop {})"},
    {"functionary-v3.2", "all\nHello >> you", "T(Hello >> you)"},
    {"functionary-v3.2", "all\nI call.>>>stop\n{}>>>get_weather\n{\"city\": \"a\", \"days\": 1}",
     "T(I call.)C0(stop {})C1(get_weather {\"city\": \"a\", \"days\": 1})"},
    {"functionary-v3.2", "stop\n{}", "C0(stop {})"},
    {"glm",
     "\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
     "C0(get_weather {\"city\": \"Bern\", \"days\": 2})"},
    {"minimax",
     "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Ulm</parameter>"
     "\n<parameter name=\"days\">1</parameter>\n</invoke>\n<invoke name=\"stop\">\n</invoke>\n"
     "</minimax:tool_call>",
     "C0(get_weather {\"city\": \"Ulm\", \"days\": 1})C1(stop {})"},
    {"kimi",
     "Yes.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     "<|tool_call_argument_begin|>{\"city\": \"a\", \"days\": 1}<|tool_call_end|>"
     "<|tool_call_begin|>functions.stop:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
     "<|tool_calls_section_end|>",
     "T(Yes.)C0(get_weather {\"city\": \"a\", \"days\": 1})C1(stop {})"},
    {"deepseek-v3",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     "{\"city\": \"a\", \"days\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
     "<｜tool▁sep｜>stop\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "C0(get_weather {\"city\": \"a\", \"days\": 1})C1(stop {})"},
    {"deepseek-v3.1",
     "So.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"a\", "
     "\"days\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "T(So.)C0(get_weather {\"city\": \"a\", \"days\": 1})"},
    {"mistral-v11", "[TOOL_CALLS]get_weather[CALL_ID]abcDEF123[ARGS]{\"city\": \"a\", \"days\": 1}",
     "C0(get_weather#abcDEF123 {\"city\": \"a\", \"days\": 1})"},
    {"mistral-v13", "Hm [TOOL_CALLS]stop[ARGS]{}[TOOL_CALLS]stop[ARGS]{}",
     "T(Hm)C0(stop {})C1(stop {})"},
    {"mistral",
     "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\", \"days\": 1}, "
     "\"id\": \"abcDEF123\"}, {\"name\": \"stop\", \"arguments\": {}, \"id\": \"000000001\"}]",
     "C0(get_weather#abcDEF123 {\"city\": \"a\", \"days\": 1})C1(stop#000000001 {})"},
    {"command-r", "<|START_RESPONSE|>Hi.<|END_RESPONSE|>", "T(Hi.)"},
    {"command-r",
     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"get_weather\", "
     "\"parameters\": {\"city\": \"a\", \"days\": 1}},\n    {\"tool_call_id\": \"1\", "
     "\"tool_name\": \"stop\", \"parameters\": {}}\n]<|END_ACTION|>",
     "C0(get_weather {\"city\": \"a\", \"days\": 1})C1(stop {})"},
    {"granite", "<|tool_call|>[{\"name\": \"stop\", \"arguments\": {}}]", "C0(stop {})"},
    {"phi-4-mini", "<|tool_call|>[{\"name\": \"stop\", \"arguments\": {}}]<|/tool_call|>",
     "C0(stop {})"},
    {"lfm2",
     "<|tool_call_start|>[get_weather(city='it\\'s \"x\"', days=2, exact=True, places=['a', "
     "\"b\\n\"]), stop()]<|tool_call_end|>Done",
     "C0(get_weather {\"city\": \"it's \\\"x\\\"\", \"days\": 2, \"exact\": true, \"places\": "
     "[\"a\", \"b\\n\"]})C1(stop {})T(Done)"},
    {"llama-pythonic", "[get_weather(city=\"a\", days=1), stop()]",
     "C0(get_weather {\"city\": \"a\", \"days\": 1})C1(stop {})"},
    {"llama-pythonic", "[1, 2] is a list", "T([1, 2] is a list)"},
    {"llama-json", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"a\", \"days\": 1}}",
     "C0(get_weather {\"city\": \"a\", \"days\": 1})"},
    {"llama-json", "{\"name\": \"Ann\", \"age\": 3}", "T({\"name\": \"Ann\", \"age\": 3})"},
    {"llama-json", "I {\"name\": \"stop\", \"parameters\": {}}",
     "T(I {\"name\": \"stop\", \"parameters\": {}})"},
};

static void what_models_write_is_understood(void **state)
{
    struct fixture *f = *state;
    struct setting s;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        for (int controls = 0; controls < 2; controls++) {
            struct str text;
            set_up(&s, f, format_named(samples[i].format), NULL, controls);
            assert_true(chat_spell(&s.controls, str_of(samples[i].text), &f->arena, &text));
            expect(&s.reply, text, samples[i].wanted);
        }
    }
}

/* Each format has at least one sample above. */
static void every_format_has_a_sample(void **state)
{
    (void)state;
    for (size_t i = 0; chat_tool_format_at(i); i++) {
        const char *name = chat_tool_format_at(i)->name;
        bool found = strcmp(name, "generic") == 0 || strcmp(name, "harmony") == 0;
        for (size_t k = 0; k < sizeof samples / sizeof *samples; k++) {
            found = found || strcmp(samples[k].format, name) == 0;
        }
        if (!found) {
            fail_msg("%s", name);
        }
    }
}

static void harmony_is_understood(void **state)
{
    struct fixture *f = *state;
    static const char *const cases[][2] = {
        {"<|channel|>analysis<|message|>I think.<|end|><|start|>assistant<|channel|>final"
         "<|message|>Hello.",
         "R(I think.)T(Hello.)"},
        {"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": "
         "\"a\", \"days\": 1}",
         "C0(get_weather {\"city\": \"a\", \"days\": 1})"},
        {"<|channel|>analysis<|message|>Now.<|end|><|start|>assistant<|channel|>commentary"
         "<|message|>I call.<|end|><|start|>assistant to=functions.stop<|channel|>commentary json"
         "<|message|>{}",
         "R(Now.)T(I call.)C0(stop {})"},
        {"plain", "T(plain)"},
    };
    struct setting s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text;
        set_up(&s, f, format_named("harmony"), NULL, true);
        s.reply.thinking = CHAT_MAY_THINK;
        assert_true(chat_spell(&s.controls, str_of(cases[i][0]), &f->arena, &text));
        expect(&s.reply, text, cases[i][1]);
    }
}

static void reasoning_is_told_apart(void **state)
{
    struct fixture *f = *state;
    static const struct chat_think_format think = {"<think>", "</think>"};
    static const struct {
        enum chat_thinking thinking;
        const char *text, *wanted;
    } cases[] = {
        {CHAT_MAY_THINK, "<think>\nOne < two\n\nthree\n</think>\n\nFour.\n",
         "R(One < two\n\nthree)T(Four.\n)"},
        {CHAT_MAY_THINK, "No <think> here", "T(No <think> here)"},
        {CHAT_MAY_THINK, "\n\n<think></think>\n\nFour", "T(Four)"},
        {CHAT_MAY_THINK, "<think>cut off  ", "R(cut off)"},
        {CHAT_IS_THINKING, "One.\n</think>\n\nFour", "R(One.)T(Four)"},
        {CHAT_IS_THINKING, "\n</thin", "R(\n</thin)"},
        {CHAT_THINKS_NOT, "<think>a", "T(<think>a)"},
        {CHAT_IS_THINKING,
         "So.</think>\n<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n"
         "</tool_call>",
         "R(So.)C0(stop {})"},
    };
    struct setting s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(&s, f, format_named("hermes"), &think, false);
        s.reply.thinking = cases[i].thinking;
        expect(&s.reply, str_of(cases[i].text), cases[i].wanted);
    }
}

/* ---- grammars ---- */

static uint64_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* A token of the mask, with a liking for those that end something once the text is long. */
static text_id pick(const struct text *text, const uint32_t *bits, size_t count, size_t allowed,
                    bool hurries)
{
    text_id found = TEXT_NONE;
    for (int try = 0; try < (hurries ? 200 : 1); try++) {
        size_t skip = random_u32() % allowed;
        for (size_t id = 0; id < count; id++) {
            if (bits[id / 32] >> (id % 32) & 1 && skip-- == 0) {
                found = (text_id)id;
                break;
            }
        }
        const struct str piece = text_piece(text, found, false);
        if (text_is_end(text, found) ||
            (piece.len > 0 && strchr("\"}])<[>{", piece.ptr[0]) != NULL)) {
            break;
        }
    }
    return found;
}

static bool walk(struct fixture *f, struct constrain_grammar *grammar,
                 const struct constrain_vocab *vocab, struct buf *out)
{
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    uint32_t *bits = MEM_ARRAY(uint32_t, constrain_vocab_words(vocab));
    bool ended = false;
    assert_true(run && bits);
    for (size_t n = 0; n < 800 && !ended; n++) {
        const size_t allowed = constrain_mask(run, bits);
        if (allowed == 0) {
            fail_msg("a dead end behind %.*s", STR_ARG(buf_view(out)));
        }
        const text_id id = pick(f->text, bits, text_vocab_count(f->text), allowed, n > 20);
        assert_true(constrain_accept(run, id));
        ended = text_is_end(f->text, id);
        if (!ended) {
            buf_add(out, text_piece(f->text, id, false));
        }
    }
    mem_free(bits);
    constrain_run_destroy(run);
    return ended;
}

/* Whether the arguments are valid, by the schema compiler's automaton over their bytes. */
static void check_arguments(const struct chat_tool *tool, struct str arguments, struct str reply)
{
    struct err err = {0};
    struct constrain_vocab *none = constrain_vocab_of(NULL, NULL, 0, &err);
    struct constrain_grammar *grammar = constrain_compile_schema(tool->parameters, true, &err);
    struct constrain_run *run = constrain_run_create(grammar, none, &err);
    json_t *value = json_parse(arguments, NULL, &err);
    if (!value || !constrain_accept_bytes(run, arguments) || !constrain_can_end(run)) {
        fail_msg("%.*s\n  of %.*s: %s", STR_ARG(arguments), STR_ARG(reply), err.text);
    }
    json_decref(value);
    constrain_run_destroy(run);
    constrain_grammar_unref(grammar);
    constrain_vocab_destroy(none);
}

static size_t check_reply(const struct chat_reply *reply, struct str text, bool ended)
{
    struct chat_parser *parser = chat_parser_create(reply);
    struct chat_parts parts = {0};
    struct buf arguments = {0};
    const struct chat_tool *tool = NULL;
    size_t calls = 0;
    chat_parser_feed(parser, text, &parts);
    chat_parser_end(parser, &parts);
    for (size_t i = 0; i < parts.count; i++) {
        const struct chat_part *part = &parts.items[i];
        const struct str bytes = str_slice(buf_view(&parts.bytes), part->at, part->at + part->len);
        if (part->kind == CHAT_PART_CALL) {
            tool = part->tool;
            buf_clear(&arguments);
            calls++;
        } else if (part->kind == CHAT_PART_ARGUMENTS) {
            buf_add(&arguments, bytes);
        } else if (part->kind == CHAT_PART_CALL_END && !tool->is_custom && ended) {
            check_arguments(tool, buf_view(&arguments), text);
        } else if (part->kind == CHAT_PART_TEXT && reply->must_call && ended &&
                   !str_eq(str_trim(bytes), (struct str){0})) {
            fail_msg("text where a call must be: %.*s in %.*s", STR_ARG(bytes), STR_ARG(text));
        }
    }
    buf_deinit(&arguments);
    chat_parts_deinit(&parts);
    chat_parser_destroy(parser);
    return calls;
}

/* Random tokens under the grammar of each format: calls where they must be, and arguments that are
 * valid. */
static void random_replies_hold(void **state)
{
    struct fixture *f = *state;
    static const struct chat_think_format think = {"<think>", "</think>"};
    struct err err = {0};
    struct constrain_vocab *vocab = constrain_vocab_create(f->text, &err);
    struct setting s;
    for (size_t i = 0; chat_tool_format_at(i); i++) {
        size_t calls = 0;
        for (int must = 0; must < 2; must++) {
            set_up(&s, f, chat_tool_format_at(i), i % 2 ? &think : NULL, false);
            s.reply.must_call = must;
            struct constrain_grammar *grammar = chat_reply_compile(&s.reply, &err);
            if (!grammar) {
                fail_msg("%s: %s", chat_tool_format_at(i)->name, err.text);
            }
            for (int round = 0; round < (must ? 8 : 3); round++) {
                struct buf text = {0};
                const bool ended = walk(f, grammar, vocab, &text);
                const size_t here = s.spelling.format->is_harmony
                                        ? (size_t)must /* its words are control tokens elsewhere */
                                        : check_reply(&s.reply, buf_view(&text), ended);
                if (must && ended && here == 0) {
                    fail_msg("%s: no call in %zu %.*s", chat_tool_format_at(i)->name, text.len,
                             STR_ARG(buf_view(&text)));
                }
                calls += here;
                buf_deinit(&text);
            }
            constrain_grammar_unref(grammar);
        }
        if (calls == 0) {
            fail_msg("%s: %zu calls", chat_tool_format_at(i)->name, calls);
        }
    }
    constrain_vocab_destroy(vocab);
}

/* ---- attacks ---- */

/* Text that looks like a control token of the format is text. */
static void letters_are_no_control_tokens(void **state)
{
    struct fixture *f = *state;
    struct setting s;
    set_up(&s, f, format_named("mistral-v13"), NULL, true);
    expect(&s.reply, STR("[TOOL_CALLS]stop[ARGS]{}"), "T([TOOL_CALLS]stop[ARGS]{})");
    expect(&s.reply,
           STR("a\xff<|other|>\xfe"
               "b"),
           "T(ab)");
    set_up(&s, f, format_named("harmony"), NULL, true);
    expect(&s.reply, STR("<|channel|>analysis<|message|>x"), "T(<|channel|>analysis<|message|>x)");
}

static void hostile_replies_end(void **state)
{
    struct fixture *f = *state;
    struct setting s;
    for (size_t i = 0; chat_tool_format_at(i); i++) {
        static const char *const pieces[] = {"<tool_call>",
                                             "{\"name\": \"",
                                             "stop",
                                             "\"",
                                             "\", \"arguments\": ",
                                             "{",
                                             "}",
                                             "[",
                                             "(",
                                             ")",
                                             "=",
                                             ",",
                                             "</tool_call>",
                                             "\xff[TOOL_CALLS]\xfe",
                                             "\xff",
                                             "\xfe",
                                             "<function=",
                                             ">",
                                             "<parameter=",
                                             "</parameter>",
                                             ">>>",
                                             "<think>",
                                             "</think>",
                                             "\n",
                                             " ",
                                             "\\",
                                             "'",
                                             "<｜tool▁calls▁begin｜>",
                                             "get_weather",
                                             "\"id\": \"",
                                             "<arg_key>",
                                             "</arg_key>",
                                             "\xff<|message|>\xfe",
                                             "\xff<|channel|>\xfe",
                                             "to=functions.stop",
                                             "all\n"};
        set_up(&s, f, chat_tool_format_at(i), NULL, i % 2);
        for (int round = 0; round < 200; round++) {
            struct buf text = {0};
            for (uint32_t n = random_u32() % 40; n > 0; n--) {
                buf_add_text(&text, pieces[random_u32() % (sizeof pieces / sizeof *pieces)]);
            }
            char *whole = parse(&s.reply, buf_view(&text), text.len, text.len);
            char *cut = parse(&s.reply, buf_view(&text), SIZE_MAX, 0);
            if (strcmp(whole, cut) != 0) {
                fail_msg("%s: %.*s\n  %s\n  %s", chat_tool_format_at(i)->name,
                         STR_ARG(buf_view(&text)), whole, cut);
            }
            mem_free(whole);
            mem_free(cut);
            buf_deinit(&text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_models_write_is_understood),
        cmocka_unit_test(every_format_has_a_sample),
        cmocka_unit_test(harmony_is_understood),
        cmocka_unit_test(reasoning_is_told_apart),
        cmocka_unit_test(random_replies_hold),
        cmocka_unit_test(letters_are_no_control_tokens),
        cmocka_unit_test(hostile_replies_end),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
