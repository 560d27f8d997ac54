/* POST /api/show: what is known of one model, loaded or not. */
#include <stdio.h>

#include "api/ollama.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"

enum { TEMPLATE_BYTES_MAX = 4 << 20 };

/* What is shown: the entry, its file's metadata, and the template that a chat would use. */
struct shown {
    struct route_entry entry;
    struct gguf *own; /* NULL when the loaded model has it open */
    const struct gguf *gguf;
    char *file; /* bytes of --chat-template-file */
    struct str template_text;
};

static void add_item(const struct gguf_value *value, uint64_t index, struct buf *out)
{
    char number[32];
    if (value->item_kind == GGUF_STRING) {
        json_write_string(out, value->texts[index]);
    } else if (value->item_kind == GGUF_F32 || value->item_kind == GGUF_F64) {
        json_format_double(gguf_item_f64(value, index), number);
        buf_add_text(out, number);
    } else if (value->item_kind == GGUF_BOOL) {
        buf_add_text(out, gguf_item_i64(value, index) ? "true" : "false");
    } else {
        buf_add_format(out, "%lld", (long long)gguf_item_i64(value, index));
    }
}

/* Lists (of a whole vocabulary, mostly) only on demand. */
static void add_value(const struct gguf_value *value, bool verbose, struct buf *out)
{
    char number[32];
    switch (value->kind) {
    case GGUF_STRING:
        json_write_string(out, value->text);
        break;
    case GGUF_ARRAY:
        if (!verbose) {
            buf_add_text(out, "null");
            break;
        }
        buf_add_char(out, '[');
        for (uint64_t i = 0; i < value->count; i++) {
            buf_add_text(out, i ? "," : "");
            add_item(value, i, out);
        }
        buf_add_char(out, ']');
        break;
    case GGUF_F32:
    case GGUF_F64:
        json_format_double(value->f64, number);
        buf_add_text(out, number);
        break;
    case GGUF_BOOL:
        buf_add_text(out, value->u64 ? "true" : "false");
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        buf_add_format(out, "%llu", (unsigned long long)value->u64);
        break;
    default:
        buf_add_format(out, "%lld", (long long)value->i64);
    }
}

static void add_model_info(const struct gguf *gguf, bool verbose, struct buf *out)
{
    struct route_facts facts;
    route_facts_of(gguf, &facts);
    buf_add_format(out, ",\"model_info\":{\"general.parameter_count\":%llu",
                   (unsigned long long)facts.parameter_count);
    for (size_t i = 0; i < gguf->entry_count; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        if (str_starts(entry->key, STR("tokenizer.chat_template")) ||
            str_eq(entry->key, STR("general.parameter_count"))) {
            continue;
        }
        buf_add_char(out, ',');
        json_write_string(out, entry->key);
        buf_add_char(out, ':');
        add_value(&entry->value, verbose, out);
    }
    buf_add_char(out, '}');
}

static bool find_template(struct shown *shown, struct err *err)
{
    const struct route_definition *definition = shown->entry.definition;
    const char *file = shown->entry.template_file;
    struct chat_source source;
    size_t len = 0;
    if (definition && definition->template_text.len) {
        shown->template_text = definition->template_text;
        return true;
    }
    if (file) {
        shown->file = os_file_slurp(file, TEMPLATE_BYTES_MAX, &len, err);
        shown->template_text = (struct str){shown->file, len};
        return shown->file != NULL;
    }
    if (!chat_source_find(shown->gguf, false, &source, err)) {
        return false;
    }
    shown->template_text = source.text;
    return true;
}

static bool has_token(const struct gguf *gguf, const char *key)
{
    return gguf_find(gguf, str_of(key)) != NULL;
}

static bool mentions(struct str text, const char *word)
{
    return str_find(text, str_of(word), 0) != SIZE_MAX;
}

/* What the template gives room for, and the vocabulary has tokens for. */
static void add_capabilities(const struct shown *shown, struct buf *out)
{
    struct route_facts facts;
    struct str text = shown->template_text;
    struct chat_source tools;
    struct err ignored;
    route_facts_of(shown->gguf, &facts);
    bool has_tools =
        mentions(text, "tools") ||
        (chat_source_find(shown->gguf, true, &tools, &ignored) && tools.is_tools_variant);
    buf_add_text(out, facts.is_encoder ? "[\"embedding\"" : "[\"completion\"");
    if (!facts.is_encoder && has_tools) {
        buf_add_text(out, ",\"tools\"");
    }
    if (has_token(shown->gguf, "tokenizer.ggml.fim_pre_token_id") ||
        has_token(shown->gguf, "tokenizer.ggml.prefix_token_id")) {
        buf_add_text(out, ",\"insert\"");
    }
    if (mentions(text, "enable_thinking") || mentions(text, "<think>") ||
        mentions(text, "reasoning_content")) {
        buf_add_text(out, ",\"thinking\"");
    }
    buf_add_char(out, ']');
}

/* One line of "parameters" and of the Modelfile per value: lists give several. */
static void add_parameter_lines(const struct route_definition *definition, const char *prefix,
                                struct buf *out)
{
    json_t *object = definition ? (json_t *)(uintptr_t)definition->parameters : NULL;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const json_t *value = json_object_iter_value(it);
        size_t count = json_is_array(value) ? json_array_size(value) : 1;
        for (size_t i = 0; i < count; i++) {
            buf_add_format(out, "%s%s%-*s ", out->len ? "\n" : "", prefix, *prefix ? 0 : 30,
                           json_object_iter_key(it));
            json_write(out, json_is_array(value) ? json_array_get(value, i) : value);
        }
    }
}

/* Text of several lines stands between three quotes. */
static void add_quoted(const char *word, struct str text, struct buf *out)
{
    bool is_plain = !memchr(text.ptr, '\n', text.len) && !memchr(text.ptr, '"', text.len);
    buf_add_format(out, "\n%s %s", word, is_plain ? "" : "\"\"\"");
    buf_add(out, text);
    buf_add_text(out, is_plain ? "" : "\"\"\"");
}

static void add_modelfile(const struct shown *shown, struct buf *out)
{
    const struct route_definition *definition = shown->entry.definition;
    struct buf text = {0};
    buf_add_text(&text, "FROM ");
    buf_add_text(&text, shown->entry.path);
    if (definition && definition->template_text.len) {
        add_quoted("TEMPLATE", definition->template_text, &text);
    }
    if (definition && definition->system.len) {
        add_quoted("SYSTEM", definition->system, &text);
    }
    add_parameter_lines(definition, "PARAMETER ", &text);
    for (size_t i = 0; definition && i < json_array_size(definition->messages); i++) {
        const json_t *message = json_array_get(definition->messages, i);
        buf_add_text(&text, "\nMESSAGE ");
        buf_add(&text, json_str(json_object_get(message, "role")));
        buf_add_char(&text, ' ');
        buf_add(&text, json_str(json_object_get(message, "content")));
    }
    buf_add_char(&text, '\n');
    json_write_string(out, buf_view(&text));
    out->failed = out->failed || text.failed;
    buf_deinit(&text);
}

/* Those of the definition, else what the file says. */
static void add_license(const struct shown *shown, struct buf *out)
{
    const struct route_definition *definition = shown->entry.definition;
    struct str license = {0};
    if (!definition || !definition->license) {
        gguf_get_str(shown->gguf, STR("general.license"), &license, NULL, NULL);
        json_write_string(out, license);
        return;
    }
    struct buf all = {0};
    for (size_t i = 0; i < json_array_size(definition->license); i++) {
        buf_add_text(&all, i ? "\n" : "");
        buf_add(&all, json_str(json_array_get(definition->license, i)));
    }
    json_write_string(out, buf_view(&all));
    out->failed = out->failed || all.failed;
    buf_deinit(&all);
}

static void write_shown(const struct shown *shown, bool verbose, struct buf *out)
{
    const struct route_definition *definition = shown->entry.definition;
    struct buf parameters = {0};
    buf_add_text(out, "{\"license\":");
    add_license(shown, out);
    buf_add_text(out, ",\"modelfile\":");
    add_modelfile(shown, out);
    add_parameter_lines(definition, "", &parameters);
    buf_add_text(out, ",\"parameters\":");
    json_write_string(out, buf_view(&parameters));
    out->failed = out->failed || parameters.failed;
    buf_deinit(&parameters);
    buf_add_text(out, ",\"system\":");
    json_write_string(out, definition ? definition->system : (struct str){0});
    buf_add_text(out, ",\"template\":");
    json_write_string(out, shown->template_text);
    if (definition && definition->messages) {
        buf_add_text(out, ",\"messages\":");
        json_write(out, definition->messages);
    }
    buf_add_char(out, ',');
    api_ollama_details(&shown->entry, out);
    add_model_info(shown->gguf, verbose, out);
    buf_add_text(out, ",\"capabilities\":");
    add_capabilities(shown, out);
    buf_add_text(out, ",\"modified_at\":");
    api_ollama_time(shown->entry.created_s, out);
    buf_add_char(out, '}');
}

/* ---- the body ---- */

static bool apply_verbose(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    return json_is_boolean(value) || api_type_error(field->name, "a boolean", value, err);
}

static bool apply_nothing(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    (void)request;
    bool is_empty = (json_is_string(value) && json_string_length(value) == 0) ||
                    (json_is_object(value) && json_object_size(value) == 0);
    return is_empty || err_set_param(err, ERR_UNSUPPORTED, field->name, "'%s' is not supported: %s",
                                     field->name, field->note);
}

#define SLOT(member) offsetof(struct gen_request, member)

static const struct api_field show_fields[] = {
    {.name = "model", .kind = API_TEXT, .offset = SLOT(model)},
    {.name = "name", .kind = API_TEXT, .offset = SLOT(model), .note = "the older word for 'model'"},
    {.name = "verbose",
     .kind = API_CUSTOM,
     .apply = apply_verbose,
     .note = "also the lists of the metadata"},
    {.name = "system",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {.name = "template",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {.name = "options",
     .kind = API_CUSTOM,
     .apply = apply_nothing,
     .is_limited = true,
     .note = "what is shown is the model as it is"},
    {0},
};

const struct api_field *const api_ollama_show_tables[] = {show_fields, NULL};

static bool show(struct route_registry *registry, const struct gen_request *request,
                 struct buf *out, struct err *err)
{
    struct shown shown = {0};
    if (!route_registry_find(registry, request->model, true, &shown.entry, err)) {
        return false;
    }
    if (!shown.entry.local) {
        shown.own = gguf_open(shown.entry.path, err);
    }
    shown.gguf = shown.entry.local ? route_local_gguf(shown.entry.local) : shown.own;
    bool ok = shown.gguf && find_template(&shown, err);
    if (ok) {
        write_shown(&shown, json_is_true(json_object_get(request->body, "verbose")), out);
    }
    mem_free(shown.file);
    gguf_close(shown.own);
    route_entry_deinit(&shown.entry);
    return ok;
}

bool api_ollama_show(struct api_call *call, struct err *err)
{
    struct gen_request request;
    api_request_init(&request, GEN_CHAT);
    bool ok = api_request_read(&request, call->body, err) &&
              api_fields_apply(&request, request.body, api_ollama_show_tables, err);
    if (ok && request.model.len == 0) {
        ok = err_set_param(err, ERR_MISSING, "model", "missing required parameter: 'model'");
    }
    ok = ok && show(call->registry, &request, &call->out, err);
    api_request_deinit(&request);
    return ok;
}
