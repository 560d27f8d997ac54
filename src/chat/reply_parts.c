#include "chat/reply_state.h"

#include <string.h>

#include "base/mem.h"

/* ---- parts ---- */

void chat_parts_clear(struct chat_parts *parts)
{
    buf_clear(&parts->bytes);
    parts->count = 0;
}

void chat_parts_deinit(struct chat_parts *parts)
{
    buf_deinit(&parts->bytes);
    mem_free(parts->items);
    *parts = (struct chat_parts){0};
}

static struct chat_part *add_part(struct chat_parts *parts, enum chat_part_kind kind)
{
    if (parts->count == parts->cap) {
        const size_t cap = parts->cap * 2 + 8;
        struct chat_part *grown = mem_resize(parts->items, cap, sizeof *grown);
        if (!grown) {
            parts->failed = true;
            return NULL;
        }
        parts->items = grown;
        parts->cap = cap;
    }
    struct chat_part *part = &parts->items[parts->count++];
    *part = (struct chat_part){.kind = kind, .at = parts->bytes.len};
    return part;
}

void chat_parser_give(struct chat_parser *p, enum chat_part_kind kind, struct str bytes)
{
    struct chat_parts *parts = p->out;
    if (bytes.len == 0) {
        return;
    }
    struct chat_part *part = parts->count ? &parts->items[parts->count - 1] : NULL;
    if (!part || part->kind != kind) {
        part = add_part(parts, kind);
    }
    if (part) {
        part->call = p->calls ? p->calls - 1 : 0;
        part->len += bytes.len;
    }
    buf_add(&parts->bytes, bytes);
    parts->failed = parts->failed || parts->bytes.failed;
}

void chat_parser_give_call(struct chat_parser *p)
{
    struct chat_part *part = add_part(p->out, CHAT_PART_CALL);
    if (part) {
        part->call = p->calls;
        part->tool = p->tool;
        memcpy(part->id, p->id, sizeof part->id);
    }
    p->calls++;
    p->is_told = true;
    p->has_raw = false;
    buf_clear(&p->raw);
}

void chat_parser_end_call(struct chat_parser *p)
{
    if (p->has_arguments) {
        chat_arguments_deinit(&p->arguments);
        p->has_arguments = false;
    }
    if (!p->is_told && p->late.len > 0) {
        chat_parser_give_call(p);
    }
    if (p->is_told) {
        chat_parser_give(p, CHAT_PART_ARGUMENTS, buf_view(&p->late));
        struct chat_part *part = add_part(p->out, CHAT_PART_CALL_END);
        if (part) {
            part->call = p->calls - 1;
        }
    }
    buf_clear(&p->late);
    p->is_told = false;
}

/* ---- held bytes ---- */

void chat_parser_hold(struct chat_parser *p, char c)
{
    buf_add_char(&p->held, c);
    p->failed = p->failed || p->held.failed;
}

size_t chat_count_space(struct str s)
{
    size_t count = 0;
    while (count < s.len && chat_is_space(s.ptr[count])) {
        count++;
    }
    return count;
}

/* Feeds held bytes to the state that is now. */
void chat_parser_give_back(struct chat_parser *p, struct buf *from)
{
    struct buf taken = *from;
    *from = (struct buf){0};
    for (size_t i = 0; i < taken.len; i++) {
        chat_parser_byte(p, taken.ptr[i]);
    }
    buf_deinit(&taken);
}

/* Bytes at the start of `held` that are a whole control token which nobody waits for. */
size_t chat_unknown_mark(struct str held)
{
    const char *end = held.len > 0 && held.ptr[0] == CONSTRAIN_MARK_BEGIN[0]
                          ? memchr(held.ptr, CONSTRAIN_MARK_END[0] & 0xFF, held.len)
                          : NULL;
    return end ? (size_t)(end - held.ptr) + 1 : 0;
}
