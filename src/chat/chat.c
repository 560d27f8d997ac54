/* From messages to token ids.
 *
 * Where the template comes from: --chat-template-file, else the model's own
 * (tokenizer.chat_template; with tools its variant tokenizer.chat_template.tool_use), else a
 * built-in one. A model's template that does not compile does not keep the model from loading: the
 * error is kept and returned by the first chat.
 *
 * Templates differ in what they make of tool calls (messages.h), so each is tried at open with a
 * small conversation in four ways, and the first that shows the call as it should is used from then
 * on. What it shows at all, tools, calls, results, is learnt the same way. */
#include "chat/chat.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "chat/messages.h"

enum { TEMPLATE_FILE_BYTES_MAX = 4 << 20 };

struct variant {
    struct chat_template *tmpl; /* NULL: see error */
    struct err error;
    struct chat_shape shape;
};

struct chat {
    const struct text *text;
    struct variant plain, tools; /* tools.tmpl NULL without such a variant */
    bool has_tools_variant;
    const char *origin;
    char *bos, *eos;
    struct chat_family family;
};

/* ChatML; adds no system prompt. */
static const char builtin_chatml[] =
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}";

/* For vocabularies without ChatML's tokens. */
static const char builtin_plain[] =
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- message.role | capitalize + ': ' + (message.content or '') + '\\n\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'Assistant:' }}{% endif %}";

static const char *const trusted_names[] = {"bos_token", "eos_token", NULL};

/* ---- rendering ---- */

static bool render(const struct variant *v, const json_t *context,
                   const struct chat_conversation *c, struct chat_text *out, struct err *err)
{
    struct chat_render_opts opts = {.context = context,
                                    .trusted_names = trusted_names,
                                    .trusted_roles = true,
                                    .verbatim = c->verbatim,
                                    .verbatim_count = c->verbatim_count};
    if (!v->tmpl) {
        *err = v->error;
        return false;
    }
    return chat_template_render(v->tmpl, &opts, out, err);
}

static json_t *make_context(const struct chat *chat, const struct chat_conversation *c, bool prompt)
{
    json_t *context = json_object();
    const bool good =
        context && json_object_set(context, "messages", c->messages) == 0 &&
        json_object_set_new(context, "tools", c->tools ? json_incref(c->tools) : json_null()) ==
            0 &&
        json_object_set_new(context, "documents", json_null()) == 0 &&
        json_object_set_new(context, "add_generation_prompt", json_boolean(prompt)) == 0 &&
        json_object_set_new(context, "bos_token", json_string(chat->bos)) == 0 &&
        json_object_set_new(context, "eos_token", json_string(chat->eos)) == 0;
    if (good) {
        return context;
    }
    json_decref(context);
    return NULL;
}

/* ---- what the template expects ---- */

static const char probe_messages[] =
    "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,"
    "\"tool_calls\":[{\"id\":\"call00001\",\"type\":\"function\",\"function\":{\"name\":"
    "\"probe\",\"arguments\":{\"hearth_probe\":\"x\"}}}]}]";
static const char probe_result[] = "[{\"role\":\"tool\",\"tool_call_id\":\"call00001\",\"name\":"
                                   "\"probe\",\"content\":\"hearth_result\"}]";
static const char probe_tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"probe\",\"description\":\"hearth_tool\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{},\"required\":[]}}}]";

/* Whether the rendered conversation holds `word` and nothing that shows a misunderstanding. */
static bool shows(const struct chat *chat, const struct variant *v, const json_t *messages,
                  const json_t *tools, struct str word)
{
    static const char *const wrong[] = {"{'hearth_probe'", "\\\"hearth_probe", "None"};
    struct err ignored;
    struct chat_text text;
    struct chat_conversation c;
    bool found = chat_conversation_init(&c, &chat->family, &v->shape, messages, tools, &ignored);
    json_t *context = make_context(chat, &c, false);
    found = found && context && render(v, context, &c, &text, &ignored);
    if (found) {
        const struct str s = buf_view(&text.text);
        found = str_find(s, word, 0) != SIZE_MAX;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            found = found && str_find(s, str_of(wrong[i]), 0) == SIZE_MAX;
        }
        chat_text_deinit(&text);
    }
    json_decref(context);
    chat_conversation_deinit(&c);
    return found;
}

static void probe(const struct chat *chat, struct variant *v)
{
    struct err ignored;
    json_t *messages = json_parse(str_of(probe_messages), NULL, &ignored);
    json_t *result = json_parse(str_of(probe_result), NULL, &ignored);
    json_t *tools = json_parse(str_of(probe_tools), NULL, &ignored);
    json_t *question = json_array();
    v->shape = (struct chat_shape){.shows_tools = true, .shows_calls = true, .shows_results = true};
    if (!v->tmpl || !messages || !tools || !result || !question) {
        goto done;
    }
    json_array_append(question, json_array_get(messages, 0));
    v->shape.shows_tools = shows(chat, v, question, tools, STR("hearth_tool"));
    bool shows_calls = false;
    for (unsigned way = 0; way < 4 && !shows_calls; way++) {
        v->shape.arguments_text = way & 1;
        v->shape.content_empty = way & 2;
        shows_calls = shows(chat, v, messages, tools, STR("hearth_probe"));
    }
    if (!shows_calls) {
        v->shape.arguments_text = v->shape.content_empty = false;
    }
    v->shape.shows_calls = shows_calls;
    json_array_extend(messages, result);
    v->shape.shows_results = shows(chat, v, messages, tools, STR("hearth_result"));
done:
    json_decref(messages);
    json_decref(result);
    json_decref(tools);
    json_decref(question);
}

/* ---- opening ---- */

static char *token_text(const struct text *text, text_id id)
{
    struct str s = id == TEXT_NONE ? STR("") : text_raw(text, id);
    return mem_copy(s.ptr ? s.ptr : "", s.len);
}

static bool compile(struct variant *v, struct str source)
{
    v->tmpl = chat_template_compile(source, NULL, &v->error);
    if (!v->tmpl) {
        err_wrap(&v->error, "the model's chat template");
    }
    return v->tmpl || v->error.code == ERR_TEMPLATE;
}

static bool compile_file(struct chat *chat, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    size_t len;
    char *bytes = os_file_slurp(path, TEMPLATE_FILE_BYTES_MAX, &len, err);
    if (!bytes) {
        return err_wrap(err, "chat template");
    }
    chat->plain.tmpl = chat_template_compile((struct str){bytes, len}, NULL, err);
    bool ok = chat->plain.tmpl != NULL;
    if (ok && !chat_family_init(&chat->family, (struct str){bytes, len}, chat->text, err)) {
        mem_free(bytes);
        return false;
    }
    mem_free(bytes);
    chat->origin = "file";
    return ok || err_wrap(err, "chat template %s", str_quote(quoted, str_of(path)));
}

static bool find_template(const struct gguf *gguf, const char *key, struct str *out, bool *found,
                          struct err *err)
{
    return *found || gguf_get_str(gguf, str_of(key), out, found, err);
}

static bool has_token(const struct gguf *gguf, struct str token)
{
    const struct gguf_entry *e = gguf_find(gguf, STR("tokenizer.ggml.tokens"));
    if (!e || e->value.kind != GGUF_ARRAY || e->value.item_kind != GGUF_STRING) {
        return false;
    }
    for (uint64_t i = 0; i < e->value.count; i++) {
        if (str_eq(e->value.texts[i], token)) {
            return true;
        }
    }
    return false;
}

/* Models with several templates list them in tokenizer.chat_templates and store each under
 * tokenizer.chat_template.NAME. */
bool chat_source_find(const struct gguf *gguf, bool with_tools, struct chat_source *out,
                      struct err *err)
{
    bool found = false;
    *out = (struct chat_source){.origin = "model"};
    if (with_tools) {
        if (!find_template(gguf, "tokenizer.chat_template.tool_use", &out->text, &found, err)) {
            return false;
        }
        out->is_tools_variant = found;
    }
    if (!find_template(gguf, "tokenizer.chat_template", &out->text, &found, err) ||
        !find_template(gguf, "tokenizer.chat_template.default", &out->text, &found, err) ||
        !find_template(gguf, "tokenizer.chat_template.tool_use", &out->text, &found, err)) {
        return false;
    }
    if (!found) {
        bool chatml = has_token(gguf, STR("<|im_start|>")) && has_token(gguf, STR("<|im_end|>"));
        out->origin = "built-in";
        out->text = str_of(chatml ? builtin_chatml : builtin_plain);
    }
    return true;
}

/* A template that does not compile is kept as an error; only lack of memory fails. */
static bool compile_found(struct chat *chat, const struct gguf *gguf, struct err *err)
{
    struct chat_source plain, tools;
    if (!chat_source_find(gguf, false, &plain, err) || !chat_source_find(gguf, true, &tools, err)) {
        return false;
    }
    chat->origin = plain.origin;
    chat->has_tools_variant = tools.is_tools_variant;
    if (!compile(&chat->plain, plain.text)) {
        *err = chat->plain.error;
        return false;
    }
    if (tools.is_tools_variant && !compile(&chat->tools, tools.text)) {
        *err = chat->tools.error;
        return false;
    }
    return chat_family_init(&chat->family, tools.text, chat->text, err);
}

struct chat *chat_open(const struct chat_params *params, struct err *err)
{
    struct chat *chat = MEM_NEW(struct chat);
    if (!chat) {
        err_set_memory(err, sizeof(*chat));
        return NULL;
    }
    chat->text = params->text;
    chat->bos = token_text(params->text, text_bos(params->text));
    chat->eos = token_text(params->text, text_eos(params->text));
    bool good = chat->bos && chat->eos;
    if (!good) {
        err_set_memory(err, 64);
    } else if (params->template_text.len) {
        chat->plain.tmpl = chat_template_compile(params->template_text, NULL, err);
        chat->origin = "text";
        good = chat->plain.tmpl &&
               chat_family_init(&chat->family, params->template_text, chat->text, err);
    } else if (params->template_file) {
        good = compile_file(chat, params->template_file, err);
    } else {
        good = compile_found(chat, params->gguf, err);
    }
    if (!good) {
        chat_close(chat);
        return NULL;
    }
    probe(chat, &chat->plain);
    probe(chat, &chat->tools);
    return chat;
}

void chat_close(struct chat *chat)
{
    if (!chat) {
        return;
    }
    chat_template_destroy(chat->plain.tmpl);
    chat_template_destroy(chat->tools.tmpl);
    chat_family_deinit(&chat->family);
    mem_free(chat->bos);
    mem_free(chat->eos);
    mem_free(chat);
}

struct chat_family *chat_family_of(const struct chat *chat)
{
    return (struct chat_family *)(uintptr_t)&chat->family; /* it has a lock of its own */
}

bool chat_is_harmony(const struct chat *chat)
{
    return chat->family.spelling.format->is_harmony;
}

const char *chat_template_origin(const struct chat *chat)
{
    return chat->origin;
}

/* ---- encoding ---- */

static bool merge_kwargs(json_t *context, const json_t *kwargs, struct err *err)
{
    static const char *const reserved[] = {
        "messages", "tools", "bos_token", "eos_token", "add_generation_prompt", NULL};
    const char *key;
    json_t *value;
    if (!kwargs || json_is_null(kwargs)) {
        return true;
    }
    if (!json_is_object(kwargs)) {
        return err_set_param(err, ERR_TYPE, "chat_template_kwargs", "must be an object");
    }
    json_object_foreach((json_t *)(uintptr_t)kwargs, key, value)
    {
        for (size_t i = 0; reserved[i]; i++) {
            if (strcmp(key, reserved[i]) == 0) {
                char param[64];
                snprintf(param, sizeof param, "chat_template_kwargs.%s", reserved[i]);
                return err_set_param(err, ERR_INVALID, param,
                                     "\"%s\" is set by the server and cannot be replaced", key);
            }
        }
        if (json_object_set(context, key, value) != 0) {
            return err_set_memory(err, 64);
        }
    }
    return true;
}

/* Special tokens are parsed only where the template itself wrote them. */
static bool tokenize(const struct chat *chat, const struct chat_text *text, struct text_ids *out,
                     struct err *err)
{
    struct text_span *spans = MEM_ARRAY(struct text_span, text->trusted_count);
    struct text_ids ids = {0};
    if (!spans) {
        return err_set_memory(err, text->trusted_count * sizeof(*spans));
    }
    for (size_t i = 0; i < text->trusted_count; i++) {
        spans[i] = (struct text_span){text->trusted[i].from, text->trusted[i].to};
    }
    /* no add_special: an end token asked for by the metadata must not close the prompt */
    struct text_encode_opts opts = {.special_spans = spans,
                                    .special_span_count = text->trusted_count};
    bool good = text_encode(chat->text, buf_view(&text->text), &opts, &ids, err);
    mem_free(spans);
    text_id bos = text_bos(chat->text);
    if (good && text_adds_bos(chat->text) && bos != TEXT_NONE &&
        (ids.count == 0 || ids.ids[0] != bos)) {
        good = text_ids_add(out, bos) || err_set_memory(err, sizeof(bos));
    }
    for (size_t i = 0; good && i < ids.count; i++) {
        good = text_ids_add(out, ids.ids[i]) || err_set_memory(err, ids.count * sizeof(bos));
    }
    text_ids_deinit(&ids);
    return good;
}

/* Cuts the text behind the last message's content. That is where the text of others ends: what
 * follows was written by the template. Templates may have trimmed the content. */
static bool cut_behind_final(const json_t *messages, struct chat_text *text, struct err *err)
{
    size_t count = json_array_size(messages);
    struct str whole = buf_view(&text->text), content = {0};
    if (count > 0) {
        content = json_str(json_object_get(json_array_get(messages, count - 1), "content"));
    }
    if (text->trusted_count > 0 && text->trusted[text->trusted_count - 1].to == whole.len) {
        whole.len = text->trusted[--text->trusted_count].from;
    }
    bool is_there = content.len > 0 && str_ends(whole, content);
    content = str_trim(content);
    if (!is_there && (content.len == 0 || !str_ends(whole, content))) {
        return err_set(err, ERR_TEMPLATE,
                       "the model's chat template does not end with the last message as it is, so "
                       "the answer cannot continue it");
    }
    text->text.len = whole.len;
    text->text.ptr[whole.len] = 0;
    return true;
}

bool chat_encode(const struct chat *chat, const struct chat_request *request, struct text_ids *out,
                 struct buf *rendered, struct err *err)
{
    bool with_tools = json_array_size(request->tools) > 0 && chat->has_tools_variant;
    const struct variant *v = with_tools ? &chat->tools : &chat->plain;
    struct chat_text text = {0};
    struct chat_conversation c;
    bool good = chat_conversation_init(&c, &chat->family, &v->shape, request->messages,
                                       request->tools, err);
    json_t *context =
        make_context(chat, &c, request->add_generation_prompt && !request->continues_final);
    good = good && (context || err_set_memory(err, 1024)) &&
           merge_kwargs(context, request->kwargs, err) && render(v, context, &c, &text, err);
    json_decref(context);
    chat_conversation_deinit(&c);
    good = good && (!request->continues_final || cut_behind_final(request->messages, &text, err));
    if (good && rendered) {
        buf_add(rendered, buf_view(&text.text));
    }
    good = good && tokenize(chat, &text, out, err);
    chat_text_deinit(&text);
    return good;
}
