#include "api/parts.h"

#include <stdio.h>
#include <string.h>

#include "api/render.h"
#include "base/mem.h"
#include "base/os.h"

bool api_parts_init(struct api_parts *parts, const struct gen_request *request)
{
    *parts = (struct api_parts){0};
    if (request->kind == GEN_CHAT && request->reply) {
        parts->parser = chat_parser_create(request->reply);
        return parts->parser != NULL;
    }
    return true;
}

void api_parts_deinit(struct api_parts *parts)
{
    chat_parser_destroy(parts->parser);
    chat_parts_deinit(&parts->told);
    mem_free(parts->tokens);
    mem_free(parts->pieces);
    *parts = (struct api_parts){0};
}

uint32_t api_parts_calls(const struct api_parts *parts)
{
    return parts->parser ? chat_parser_calls(parts->parser) : 0;
}

void api_parts_plain(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == CONSTRAIN_MARK_BEGIN[0]) {
            const char *end = memchr(text.ptr + i, CONSTRAIN_MARK_END[0] & 0xFF, text.len - i);
            i = end ? (size_t)(end - text.ptr) : text.len;
        } else {
            buf_add_char(out, text.ptr[i]);
        }
    }
}

/* ---- tokens ---- */

static bool keep_tokens(struct api_parts *parts, const struct engine_event *event)
{
    const size_t need = parts->token_count + event->token_count;
    if (need > parts->token_cap) {
        struct engine_token *grown = mem_resize(parts->tokens, need * 2, sizeof *grown);
        if (!grown) {
            return false;
        }
        parts->tokens = grown;
        parts->token_cap = need * 2;
    }
    if (event->token_count) {
        memcpy(parts->tokens + parts->token_count, event->tokens,
               event->token_count * sizeof *event->tokens);
    }
    parts->token_count = need;
    return true;
}

/* The last tokens whose texts make up the text that is told: those before them were markers. */
static void choose_tokens(struct api_parts *parts, const struct text *text, struct gen_event *out)
{
    size_t bytes = 0, held = 0, from = parts->token_count;
    for (size_t i = 0; i < parts->told.count; i++) {
        bytes += parts->told.items[i].kind == CHAT_PART_TEXT ? parts->told.items[i].len : 0;
    }
    while (parts->parser && from > 0 && held < bytes) {
        held += text_piece(text, parts->tokens[--from].chosen.id, false).len;
    }
    from = parts->parser ? from : 0;
    out->tokens = parts->token_count > from ? parts->tokens + from : NULL;
    out->token_count = parts->token_count - from;
}

/* ---- parts ---- */

static void add_text(struct chat_parts *told, struct str text)
{
    if (text.len == 0) {
        return;
    }
    if (told->count == 0) {
        struct chat_part *items = mem_resize(told->items, 1, sizeof *items);
        if (!items) {
            told->failed = true;
            return;
        }
        items[0] = (struct chat_part){.kind = CHAT_PART_TEXT};
        told->items = items;
        told->cap = told->count = 1;
    }
    told->items[0].len += text.len;
    buf_add(&told->bytes, text);
    told->failed = told->failed || told->bytes.failed;
}

/* As clients know them; nine letters and digits where the family has such. */
static struct str make_id(struct api_render *render)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const bool is_short = render->request->reply->spelling->format->has_short_ids;
    unsigned char random[24];
    char id[40];
    size_t len = is_short ? 0 : (size_t)snprintf(id, sizeof id, "call_");
    os_random(random, sizeof random);
    for (size_t i = 0; i < (is_short ? 9u : 24u); i++) {
        id[len++] = digits[random[i] % (sizeof digits - 1)];
    }
    return (struct str){arena_copy(&render->arena, (struct str){id, len}), len};
}

static struct gen_part piece_of(struct api_render *render, const struct chat_parts *told,
                                const struct chat_part *part)
{
    struct gen_part piece = {
        .kind = (enum gen_part_kind)part->kind,
        .call = part->call,
        .text = str_slice(buf_view(&told->bytes), part->at, part->at + part->len),
    };
    if (part->kind == CHAT_PART_CALL) {
        const struct str id = str_of(part->id);
        piece.id = id.len ? (struct str){arena_copy(&render->arena, id), id.len} : make_id(render);
        piece.name = part->tool->name;
        piece.is_custom = part->tool->is_custom;
        render->failed = render->failed || !piece.id.ptr;
    }
    return piece;
}

static bool make_pieces(struct api_parts *parts, struct api_render *render, struct gen_event *out)
{
    const struct chat_parts *told = &parts->told;
    if (told->count > parts->piece_cap) {
        struct gen_part *grown = mem_resize(parts->pieces, told->count, sizeof *grown);
        if (!grown) {
            return false;
        }
        parts->pieces = grown;
        parts->piece_cap = told->count;
    }
    for (size_t i = 0; i < told->count; i++) {
        parts->pieces[i] = piece_of(render, told, &told->items[i]);
    }
    out->parts = parts->pieces;
    out->part_count = told->count;
    return true;
}

static void begin_anew(struct api_parts *parts)
{
    /* Tokens of what is still held may become text. */
    const bool holds = parts->told.count == 0 && parts->parser &&
                       chat_parser_kind(parts->parser) == CHAT_PART_TEXT;
    parts->token_count = holds ? parts->token_count : 0;
    chat_parts_clear(&parts->told);
    parts->is_told = false;
}

bool api_parts_take(struct api_parts *parts, struct api_render *render,
                    const struct engine_event *event, struct gen_event *out)
{
    const bool is_done = event->kind == ENGINE_EVENT_DONE;
    *out = (struct gen_event){.is_prompt = event->is_prompt, .is_done = is_done};
    if (event->is_prompt) {
        out->tokens = event->tokens;
        out->token_count = event->tokens ? event->token_count : 0;
        return true;
    }
    if (parts->is_told) {
        begin_anew(parts);
    }
    if (!parts->parser) {
        add_text(&parts->told, buf_view(&event->text));
    } else {
        chat_parser_feed(parts->parser, buf_view(&event->text), &parts->told);
        if (is_done) {
            chat_parser_end(parts->parser, &parts->told);
        }
    }
    if (parts->told.failed || (event->tokens && !keep_tokens(parts, event))) {
        return false;
    }
    parts->is_told = true;
    choose_tokens(parts, render->text, out);
    return make_pieces(parts, render, out);
}
