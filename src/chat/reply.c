#include "chat/reply.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "chat/family.h"

/* ---- tools ---- */

static const json_t *inner_of(const json_t *tool, bool *is_custom)
{
    *is_custom = str_eq(json_str(json_object_get(tool, "type")), STR("custom"));
    return json_object_get(tool, *is_custom ? "custom" : "function");
}

static bool is_allowed(const json_t *allowed, struct str name)
{
    bool found = !allowed;
    for (size_t i = 0; i < json_array_size(allowed); i++) {
        found = found || str_eq(json_str(json_array_get(allowed, i)), name);
    }
    return found;
}

/* Arguments are an object whatever the schema says; without one there are none. Owned by the
 * caller. */
static json_t *parameters_of(const json_t *parameters)
{
    if (!json_is_object(parameters) || json_object_size(parameters) == 0) {
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties",
                         0);
    }
    if (str_eq(json_str(json_object_get(parameters, "type")), STR("object"))) {
        return json_incref((json_t *)(uintptr_t)parameters);
    }
    json_t *copy = json_copy((json_t *)(uintptr_t)parameters);
    json_object_set_new(copy, "type", json_string("object"));
    return copy;
}

/* The input of a custom tool as an argument: any text, or one that a regex matches. */
static json_t *custom_parameters(const json_t *custom, struct err *err)
{
    const json_t *format = json_object_get(custom, "format");
    const json_t *grammar = json_object_get(format, "grammar");
    const json_t *source = grammar ? grammar : format;
    json_t *input = json_pack("{s:s}", "type", "string");
    if (str_eq(json_str(json_object_get(format, "type")), STR("grammar"))) {
        const struct str syntax = json_str(json_object_get(source, "syntax"));
        if (!str_eq(syntax, STR("regex"))) {
            char quoted[STR_QUOTE_MAX];
            json_decref(input);
            err_set_param(err, ERR_UNSUPPORTED, "format",
                          "the grammar syntax '%s' of a custom tool is not supported, only 'regex'",
                          str_quote(quoted, syntax));
            return NULL;
        }
        const struct str regex = json_str(json_object_get(source, "definition"));
        json_object_set_new(input, "pattern",
                            json_sprintf("^(?:%.*s)$", (int)regex.len, regex.ptr ? regex.ptr : ""));
    }
    json_t *parameters = json_pack("{s:s, s:{s:o}, s:[s], s:b}", "type", "object", "properties",
                                   "input", input, "required", "input", "additionalProperties", 0);
    if (!parameters) {
        err_set_memory(err, 256);
    }
    return parameters;
}

static bool add_tool(struct chat_reply *reply, const json_t *tool, size_t index, struct err *err)
{
    bool is_custom;
    const json_t *inner = inner_of(tool, &is_custom);
    json_t *parameters = is_custom ? custom_parameters(inner, err)
                                   : parameters_of(json_object_get(inner, "parameters"));
    if (!parameters || json_array_append_new(reply->kept, parameters) != 0) {
        return is_custom && !parameters ? false : err_set_memory(err, sizeof *inner);
    }
    const struct str name = json_str(json_object_get(inner, "name"));
    reply->tools[reply->tool_count++] =
        (struct chat_tool){.name = {arena_copy(&reply->arena, name), name.len},
                           .parameters = parameters,
                           .index = index,
                           .is_custom = is_custom,
                           .is_strict = json_is_true(json_object_get(inner, "strict"))};
    return true;
}

static bool add_tools(struct chat_reply *reply, const struct chat_reply_request *request,
                      struct err *err)
{
    const size_t count = json_array_size(request->tools);
    if (count > CHAT_TOOLS_MAX) {
        return err_set_param(err, ERR_INVALID, "tools", "%zu tools, at most %d are allowed", count,
                             CHAT_TOOLS_MAX);
    }
    reply->tools = ARENA_ARRAY(&reply->arena, struct chat_tool, count);
    if (!reply->tools) {
        return err_set_memory(err, count * sizeof *reply->tools);
    }
    for (size_t i = 0; i < count && request->may_call; i++) {
        const json_t *tool = json_array_get(request->tools, i);
        bool is_custom;
        const struct str name = json_str(json_object_get(inner_of(tool, &is_custom), "name"));
        if (is_allowed(request->allowed, name) && !add_tool(reply, tool, i, err)) {
            return err_wrap_param(err, "tools[%zu]", i);
        }
    }
    reply->may_call = reply->tool_count > 0;
    reply->must_call = reply->may_call && request->must_call;
    return true;
}

const struct chat_tool *chat_reply_tool(const struct chat_reply *reply, struct str name)
{
    for (size_t i = 0; i < reply->tool_count; i++) {
        if (str_eq(reply->tools[i].name, name)) {
            return &reply->tools[i];
        }
    }
    return NULL;
}

bool chat_is_bare(const json_t *schema)
{
    static const char *const others[] = {"$ref", "anyOf", "oneOf", "allOf", "not", "if"};
    bool is_bare = str_eq(json_str(json_object_get(schema, "type")), STR("string"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        is_bare = is_bare && !json_object_get(schema, others[i]);
    }
    return is_bare;
}

/* ---- reasoning ---- */

static bool ends_with(struct str text, struct str word)
{
    return word.len > 0 && str_ends(str_trim(text), str_trim(word));
}

/* What the prompt's end says. It is plain text: control tokens stand there without marks. */
static enum chat_thinking find_thinking(const struct chat_family *family, struct str prompt_end)
{
    if (family->spelling.format->is_harmony) {
        return CHAT_MAY_THINK;
    }
    if (!family->think) {
        return CHAT_THINKS_NOT;
    }
    return ends_with(prompt_end, str_of(family->think->open))    ? CHAT_IS_THINKING
           : ends_with(prompt_end, str_of(family->think->close)) ? CHAT_THINKS_NOT
                                                                 : CHAT_MAY_THINK;
}

static bool encode_close(struct chat_reply *reply, const struct chat_family *family,
                         struct err *err)
{
    struct buf close = {0};
    const struct text_encode_opts opts = {.parse_special = true};
    if (family->spelling.format->is_harmony) {
        buf_add_text(&close, "<|end|><|start|>assistant");
    } else if (family->think) {
        buf_add_format(&close, "\n%s\n\n", family->think->close);
    }
    bool ok =
        !close.failed && text_encode(family->text, buf_view(&close), &opts, &reply->close_ids, err);
    buf_deinit(&close);
    return ok || err_set_memory(err, 64);
}

/* A grammar that does not compile: which tool's fault it is, if one's. False. */
static bool blame_tool(const struct chat_reply *reply, struct err *err)
{
    for (size_t i = 0; i < reply->tool_count && err->code != ERR_MEMORY; i++) {
        const struct chat_tool *tool = &reply->tools[i];
        struct err own = {0};
        struct constrain_grammar *grammar =
            constrain_compile_schema(tool->parameters, tool->is_strict, &own);
        if (!grammar) {
            *err = own;
            err_wrap_param(err, "tools[%zu].function.parameters", tool->index);
            return false;
        }
        constrain_grammar_unref(grammar);
    }
    return false;
}

/* ---- all ---- */

struct chat_reply *chat_reply_create(const struct chat *chat,
                                     const struct chat_reply_request *request, struct err *err)
{
    struct chat_family *family = chat_family_of(chat);
    struct chat_reply *reply = MEM_NEW(struct chat_reply);
    if (!reply) {
        err_set_memory(err, sizeof *reply);
        return NULL;
    }
    *reply = (struct chat_reply){.spelling = &family->spelling,
                                 .controls = &family->controls,
                                 .arena = arena_init(64 << 20),
                                 .kept = json_array(),
                                 .many_calls = request->many_calls,
                                 .answer = request->answer,
                                 .schema = request->schema,
                                 .is_strict = request->is_strict,
                                 .source = request->source};
    bool ok = (reply->kept != NULL || err_set_memory(err, 64)) && add_tools(reply, request, err) &&
              encode_close(reply, family, err);
    if (ok) {
        reply->thinking = find_thinking(family, request->prompt_end);
        if (request->no_reasoning && !family->spelling.format->is_harmony) {
            reply->closes_prompt = reply->thinking == CHAT_IS_THINKING;
            reply->thinking = CHAT_THINKS_NOT;
        }
    }
    if (ok && (reply->may_call || reply->answer != CHAT_TEXT)) {
        reply->grammar = chat_family_grammar(family, reply, err);
        ok = reply->grammar || blame_tool(reply, err);
    }
    if (!ok) {
        chat_reply_destroy(reply);
        return NULL;
    }
    return reply;
}

void chat_reply_destroy(struct chat_reply *reply)
{
    if (!reply) {
        return;
    }
    constrain_grammar_unref(reply->grammar);
    text_ids_deinit(&reply->close_ids);
    json_decref(reply->kept);
    arena_deinit(&reply->arena);
    mem_free(reply);
}
