#include "chat/tool_format.h"

#include <string.h>

#include "base/buf.h"
#include "constrain/constrain.h"

/* The order matters where hints of one family also stand in templates of another. */
static const struct chat_tool_format formats[] = {
    {.name = "harmony", .hints = {"<|channel|>", "<|message|>"}, .is_harmony = true},
    {.name = "qwen3-coder",
     .hints = {"<function=", "<parameter="},
     .trigger = "<tool_call>",
     .call = "<tool_call>\n<function=%n>\n%x</function>\n</tool_call>",
     .between = "\n",
     .param = "<parameter=%k>\n%v\n</parameter>\n"},
    {.name = "functionary-v3.1",
     .hints = {"<function=", "</function>"},
     .trigger = "<function=",
     .call = "<function=%n>%a</function>"},
    {.name = "functionary-v3.2",
     .hints = {">>>all", "'>>>'"},
     .trigger = ">>>",
     .call = "%n\n%a",
     .between = ">>>",
     .text_open = "all\n",
     .text_name = "all"},
    {.name = "glm",
     .hints = {"<arg_key>", "<arg_value>"},
     .trigger = "<tool_call>",
     .call = "<tool_call>%n\n%x</tool_call>",
     .between = "\n",
     .param = "<arg_key>%k</arg_key>\n<arg_value>%v</arg_value>\n"},
    {.name = "minimax",
     .hints = {"<minimax:tool_call>", "<invoke name="},
     .trigger = "<minimax:tool_call>",
     .open = "<minimax:tool_call>\n",
     .call = "<invoke name=\"%n\">\n%x</invoke>\n",
     .close = "</minimax:tool_call>",
     .param = "<parameter name=\"%k\">%v</parameter>\n"},
    {.name = "kimi",
     .hints = {"<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"},
     .trigger = "<|tool_calls_section_begin|>",
     .open = "<|tool_calls_section_begin|>",
     .call = "<|tool_call_begin|>functions.%n:%d<|tool_call_argument_begin|>%a<|tool_call_end|>",
     .close = "<|tool_calls_section_end|>"},
    {.name = "deepseek-v3",
     .hints = {"<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"},
     .trigger = "<｜tool▁calls▁begin｜>",
     .open = "<｜tool▁calls▁begin｜>",
     .call = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>%n\n```json\n%a\n```<｜tool▁call▁end｜>",
     .between = "\n",
     .close = "<｜tool▁calls▁end｜>"},
    {.name = "deepseek-v3.1",
     .hints = {"<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"},
     .trigger = "<｜tool▁calls▁begin｜>",
     .open = "<｜tool▁calls▁begin｜>",
     .call = "<｜tool▁call▁begin｜>%n<｜tool▁sep｜>%a<｜tool▁call▁end｜>",
     .close = "<｜tool▁calls▁end｜>"},
    {.name = "mistral-v11",
     .hints = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"},
     .trigger = "[TOOL_CALLS]",
     .call = "[TOOL_CALLS]%n[CALL_ID]%i[ARGS]%a",
     .has_short_ids = true},
    {.name = "mistral-v13",
     .hints = {"[TOOL_CALLS]", "[ARGS]"},
     .trigger = "[TOOL_CALLS]",
     .call = "[TOOL_CALLS]%n[ARGS]%a",
     .has_short_ids = true},
    {.name = "mistral",
     .hints = {"[TOOL_CALLS]"},
     .trigger = "[TOOL_CALLS]",
     .open = "[TOOL_CALLS][",
     .call = "{\"name\": \"%n\", \"arguments\": %a, \"id\": \"%i\"}",
     .between = ", ",
     .close = "]",
     .has_short_ids = true},
    {.name = "command-r",
     .hints = {"<|START_ACTION|>", "<|END_ACTION|>"},
     .trigger = "<|START_ACTION|>",
     .open = "<|START_ACTION|>[\n    ",
     .call = "{\"tool_call_id\": \"%d\", \"tool_name\": \"%n\", \"parameters\": %a}",
     .between = ",\n    ",
     .close = "\n]<|END_ACTION|>",
     .text_open = "<|START_RESPONSE|>",
     .text_close = "<|END_RESPONSE|>"},
    {.name = "granite",
     .hints = {"<|tool_call|>", "<|start_of_role|>"},
     .trigger = "<|tool_call|>",
     .open = "<|tool_call|>[",
     .call = "{\"name\": \"%n\", \"arguments\": %a}",
     .between = ", ",
     .close = "]"},
    {.name = "phi-4-mini",
     .hints = {"<|tool_call|>"},
     .trigger = "<|tool_call|>",
     .open = "<|tool_call|>[",
     .call = "{\"name\": \"%n\", \"arguments\": %a}",
     .between = ", ",
     .close = "]<|/tool_call|>"},
    {.name = "lfm2",
     .hints = {"<|tool_list_start|>"},
     .trigger = "<|tool_call_start|>",
     .open = "<|tool_call_start|>[",
     .call = "%n(%p)",
     .between = ", ",
     .close = "]<|tool_call_end|>"},
    {.name = "hermes",
     .hints = {"<tool_call>", "</tool_call>"},
     .not_hint = "<|tool_call>",
     .trigger = "<tool_call>",
     .call = "<tool_call>\n{\"name\": \"%n\", \"arguments\": %a}\n</tool_call>",
     .between = "\n"},
    {.name = "llama-pythonic",
     .hints = {"func_name1(params_name1=params_value1"},
     .open = "[",
     .call = "%n(%p)",
     .between = ", ",
     .close = "]"},
    {.name = "llama-json",
     .hints = {"\"parameters\": dictionary of argument name"},
     .call = "{\"name\": \"%n\", \"parameters\": %a}",
     .between = "; "},
    {.name = "llama-json",
     .hints = {"\"parameters\": '", "<|start_header_id|>"},
     .call = "{\"name\": \"%n\", \"parameters\": %a}",
     .between = "; "},
    {.name = "generic",
     .trigger = "<tool_call>",
     .call = "<tool_call>\n{\"name\": \"%n\", \"arguments\": %a}\n</tool_call>",
     .between = "\n"},
};

enum { FORMAT_COUNT = sizeof formats / sizeof *formats };

static bool has(struct str source, const char *hint)
{
    return str_find(source, str_of(hint), 0) != SIZE_MAX;
}

const struct chat_tool_format *chat_tool_format_find(struct str source)
{
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        bool fits = !formats[i].not_hint || !has(source, formats[i].not_hint);
        for (size_t k = 0; k < 3 && formats[i].hints[k]; k++) {
            fits = fits && has(source, formats[i].hints[k]);
        }
        if (fits) {
            return &formats[i];
        }
    }
    return &formats[FORMAT_COUNT - 1];
}

const struct chat_tool_format *chat_tool_format_at(size_t index)
{
    return index < FORMAT_COUNT ? &formats[index] : NULL;
}

static const struct chat_think_format thinks[] = {
    {"<think>", "</think>"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"[THINK]", "[/THINK]"},
    {"<seed:think>", "</seed:think>"},
};

const struct chat_think_format *chat_think_format_find(struct str source)
{
    for (size_t i = 0; i < sizeof thinks / sizeof *thinks; i++) {
        if (has(source, thinks[i].close)) {
            return &thinks[i];
        }
    }
    return NULL;
}

/* ---- for one vocabulary ---- */

bool chat_controls_init(struct chat_controls *controls, const struct text *text,
                        struct arena *arena)
{
    const size_t vocab = text_vocab_count(text);
    size_t count = 0;
    for (size_t id = 0; id < vocab; id++) {
        count += text_kind_of(text, (text_id)id) == TEXT_CONTROL;
    }
    controls->items = ARENA_ARRAY(arena, struct str, count);
    controls->ends = ARENA_ARRAY(arena, bool, count);
    if (!controls->items || !controls->ends) {
        return false;
    }
    for (size_t id = 0; id < vocab; id++) {
        const struct str raw = text_raw(text, (text_id)id);
        if (text_kind_of(text, (text_id)id) == TEXT_CONTROL && raw.len > 0) {
            controls->ends[controls->count] = text_is_end(text, (text_id)id);
            controls->items[controls->count++] = raw;
        }
    }
    return true;
}

/* The longest control token at the start of `s`; SIZE_MAX: none. */
static size_t control_at(const struct chat_controls *controls, struct str s)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < controls->count; i++) {
        if (str_starts(s, controls->items[i]) &&
            (found == SIZE_MAX || controls->items[i].len > controls->items[found].len)) {
            found = i;
        }
    }
    return found;
}

bool chat_spell(const struct chat_controls *controls, struct str s, struct arena *arena,
                struct str *out)
{
    struct buf b = {0};
    for (size_t i = 0; i < s.len;) {
        const size_t control = control_at(controls, str_slice(s, i, s.len));
        if (control == SIZE_MAX) {
            buf_add_char(&b, s.ptr[i++]);
            continue;
        }
        if (!controls->ends[control]) {
            buf_add_text(&b, CONSTRAIN_MARK_BEGIN);
            buf_add(&b, controls->items[control]);
            buf_add_text(&b, CONSTRAIN_MARK_END);
        }
        i += controls->items[control].len;
    }
    *out = (struct str){arena_copy(arena, buf_view(&b)), b.len};
    const bool ok = !b.failed && out->ptr;
    buf_deinit(&b);
    return ok;
}

/* Cuts a pattern at its letters. */
static bool cut(const struct chat_controls *controls, const char *pattern, struct arena *arena,
                struct chat_piece *pieces, size_t *count)
{
    struct str rest = str_of(pattern);
    while (rest.len > 0 && *count < CHAT_PIECES_MAX) {
        struct chat_piece *piece = &pieces[(*count)++];
        const size_t at = str_find(rest, STR("%"), 0);
        if (at == 0) {
            *piece = (struct chat_piece){.kind = rest.ptr[1]};
            rest = str_slice(rest, 2, rest.len);
            continue;
        }
        const size_t len = at == SIZE_MAX ? rest.len : at;
        if (!chat_spell(controls, str_slice(rest, 0, len), arena, &piece->text)) {
            return false;
        }
        *count -= piece->text.len == 0; /* nothing but an end */
        rest = str_slice(rest, len, rest.len);
    }
    return true;
}

bool chat_spelling_init(struct chat_spelling *s, const struct chat_tool_format *f,
                        const struct chat_think_format *think, const struct chat_controls *controls,
                        struct arena *arena)
{
    *s = (struct chat_spelling){.format = f};
    const struct {
        const char *from;
        struct str *to;
    } words[] = {
        {f->trigger, &s->trigger},
        {f->open, &s->open},
        {f->between, &s->between},
        {f->close, &s->close},
        {f->text_open, &s->text_open},
        {f->text_close, &s->text_close},
        {f->text_name, &s->text_name},
        {think ? think->open : NULL, &s->think_open},
        {think ? think->close : NULL, &s->think_close},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!chat_spell(controls, str_of(words[i].from), arena, words[i].to)) {
            return false;
        }
    }
    if (f->is_harmony &&
        (!chat_spell(controls, STR("<|channel|>analysis<|message|>"), arena, &s->think_open) ||
         !chat_spell(controls, STR("<|end|>"), arena, &s->think_close))) {
        return false;
    }
    struct chat_piece param[CHAT_PIECES_MAX];
    size_t param_count = 0;
    if ((f->call && !cut(controls, f->call, arena, s->call, &s->call_count)) ||
        (f->param && !cut(controls, f->param, arena, param, &param_count))) {
        return false;
    }
    for (size_t i = 0; i < 3 && param_count == 5; i++) {
        s->param[i] = param[2 * i].text;
    }
    return true;
}
