/* Replies from arbitrary bytes: the first byte picks the family, the second where the text is cut.
 * Whole and in two pieces, and byte by byte, a reply must give the same parts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "chat/reply_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const controls[] = {"[TOOL_CALLS]", "[ARGS]",       "[CALL_ID]", "<|channel|>",
                                       "<|message|>",  "<|end|>",      "<|start|>", "<|constrain|>",
                                       "<|call|>",     "<|tool_call|>"};
enum { CONTROLS = sizeof controls / sizeof *controls };

static void check(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "reply_fuzz: %s\n", what);
        abort();
    }
}

/* Kinds and bytes in order; cuts leave no trace. */
static void note(const struct chat_parts *parts, int *last, struct buf *out)
{
    for (size_t i = 0; i < parts->count; i++) {
        const struct chat_part *part = &parts->items[i];
        const bool is_whole = part->kind == CHAT_PART_CALL || part->kind == CHAT_PART_CALL_END;
        if (is_whole || *last != (int)part->kind) {
            buf_add_format(out, "|%d:%u:%s|", (int)part->kind, part->call, part->id);
        }
        *last = is_whole ? -1 : (int)part->kind;
        buf_add(out, str_slice(buf_view(&parts->bytes), part->at, part->at + part->len));
    }
}

static void parse(const struct chat_reply *reply, struct str text, size_t step, struct buf *out)
{
    struct chat_parser *parser = chat_parser_create(reply);
    struct chat_parts parts = {0};
    int last = -1;
    check(parser != NULL, "no parser");
    for (size_t at = 0; at < text.len; at += step) {
        chat_parts_clear(&parts);
        chat_parser_feed(parser, str_slice(text, at, at + step), &parts);
        note(&parts, &last, out);
    }
    chat_parts_clear(&parts);
    chat_parser_end(parser, &parts);
    note(&parts, &last, out);
    check(!parts.failed && !out->failed, "memory");
    chat_parts_deinit(&parts);
    chat_parser_destroy(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct chat_think_format think = {"<think>", "</think>"};
    struct str words[CONTROLS];
    const bool ends[CONTROLS] = {[8] = true};
    size_t formats = 0;
    while (chat_tool_format_at(formats)) {
        formats++;
    }
    if (len < 2) {
        return 0;
    }
    for (size_t i = 0; i < CONTROLS; i++) {
        words[i] = str_of(controls[i]);
    }
    struct arena arena = arena_init(1 << 20);
    struct chat_controls known = {
        .items = words, .ends = (bool *)(uintptr_t)ends, .count = CONTROLS};
    struct chat_spelling spelling;
    check(chat_spelling_init(&spelling, chat_tool_format_at(bytes[0] % formats),
                             bytes[1] & 1 ? &think : NULL, &known, &arena),
          "spelling");
    json_t *parameters = json_pack("{s:s, s:{s:{s:s}, s:{s:s}}}", "type", "object", "properties",
                                   "a", "type", "string", "b", "type", "integer");
    struct chat_tool tools[] = {{.name = STR("f"), .parameters = parameters},
                                {.name = STR("g"), .parameters = parameters, .is_custom = true}};
    const struct chat_reply reply = {.spelling = &spelling,
                                     .controls = &known,
                                     .tools = tools,
                                     .tool_count = 2,
                                     .may_call = true,
                                     .thinking = (enum chat_thinking)(bytes[1] % 3)};
    const struct str text = {(const char *)bytes + 2, len - 2};
    struct buf whole = {0}, single = {0}, cut = {0};
    parse(&reply, text, text.len ? text.len : 1, &whole);
    parse(&reply, text, 1, &single);
    parse(&reply, text, 2u + (bytes[1] >> 2), &cut);
    check(str_eq(buf_view(&whole), buf_view(&single)), "byte by byte differs");
    check(str_eq(buf_view(&whole), buf_view(&cut)), "cut differs");
    buf_deinit(&whole);
    buf_deinit(&single);
    buf_deinit(&cut);
    json_decref(parameters);
    arena_deinit(&arena);
    return 0;
}
