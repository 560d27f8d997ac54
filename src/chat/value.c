#include "chat/value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "base/utf8.h"
#include "chat/interp.h"
#include "chat/unicode.h"

/* Repr, comparison and JSON of nested data recurse; the C stack must hold this many levels. */
enum { DATA_DEPTH_MAX = 400 };

/* ---- errors and bounds ---- */

bool chat_fail(struct render *r, const char *format, ...)
{
    if (r->failed) {
        return false;
    }
    r->failed = true;
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return err_set(r->err, ERR_TEMPLATE, "template line %u: %s", r->line, text);
}

bool chat_fail_memory(struct render *r, uint64_t bytes)
{
    if (r->failed) {
        return false;
    }
    if (r->arena.used_total + r->block_bytes + bytes > r->memory_max) {
        return chat_fail(r, "the template needs more than %zu bytes of memory", r->memory_max);
    }
    r->failed = true;
    return err_set_memory(r->err, bytes);
}

bool chat_step(struct render *r, uint64_t count)
{
    r->steps += count;
    if (UNLIKELY(r->steps > r->steps_max)) {
        return chat_fail(r, "the template takes more than %llu steps",
                         (unsigned long long)r->steps_max);
    }
    return true;
}

bool chat_room(struct render *r, uint64_t bytes)
{
    if (bytes > r->memory_max || r->arena.used_total + r->block_bytes + bytes > r->memory_max) {
        return chat_fail(r, "the template needs more than %zu bytes of memory", r->memory_max);
    }
    return true;
}

void *chat_alloc(struct render *r, size_t count, size_t size)
{
    size_t bytes;
    if (!size_mul(count, size, &bytes)) {
        chat_fail_memory(r, SIZE_MAX);
        return NULL;
    }
    if (!chat_room(r, bytes)) {
        return NULL;
    }
    void *p = arena_alloc(&r->arena, count ? count : 1, size);
    if (!p) {
        chat_fail_memory(r, bytes);
    }
    return p;
}

bool chat_data_enter(struct render *r)
{
    if (r->data_depth >= DATA_DEPTH_MAX) {
        return chat_fail(r, "data nested deeper than %d levels", DATA_DEPTH_MAX);
    }
    r->data_depth++;
    return chat_step(r, 1);
}

/* ---- text ---- */

static struct txt *text_new(struct render *r, struct str s, bool trusted)
{
    struct txt *t = chat_alloc(r, 1, sizeof(*t));
    if (t) {
        *t = (struct txt){
            .ptr = s.ptr ? s.ptr : "", .len = s.len, .chars = SIZE_MAX, .trusted = trusted};
    }
    return t;
}

bool chat_text_view(struct render *r, struct str s, bool trusted, struct val *out)
{
    struct txt *t = text_new(r, s, trusted);
    if (!t) {
        return false;
    }
    *out = val_text(t);
    return true;
}

bool chat_text_copy(struct render *r, struct str s, bool trusted, struct val *out)
{
    char *p = chat_alloc(r, s.len + 1, 1);
    if (!p) {
        return false;
    }
    if (s.len) {
        memcpy(p, s.ptr, s.len);
    }
    return chat_text_view(r, (struct str){p, s.len}, trusted, out);
}

bool chat_text_slice(struct render *r, const struct txt *t, size_t from, size_t to, struct val *out)
{
    struct txt *s = text_new(r, (struct str){t->ptr + from, to - from}, t->trusted);
    if (!s) {
        return false;
    }
    s->mask = t->mask ? t->mask + from : NULL;
    s->markup = t->markup;
    *out = val_text(s);
    return true;
}

size_t chat_text_decode(struct str s, size_t at, uint32_t *code)
{
    unsigned char c = (unsigned char)s.ptr[at];
    if (c < 0x80) {
        *code = c;
        return 1;
    }
    size_t n = utf8_decode(s, at, code);
    if (n) {
        return n;
    }
    *code = 0x110000u + c;
    return 1;
}

size_t chat_text_chars(struct txt *t)
{
    if (t->chars == SIZE_MAX) {
        t->chars = utf8_count(chat_str(t));
    }
    return t->chars;
}

size_t chat_text_offset(struct txt *t, size_t index)
{
    if (chat_text_chars(t) == t->len) {
        return index;
    }
    if (index >= t->chars) {
        return t->len;
    }
    size_t at = 0;
    uint32_t code;
    while (index-- && at < t->len) {
        at += chat_text_decode(chat_str(t), at, &code);
    }
    return at;
}

/* ---- growing texts ---- */

static struct txt_block *block_new(struct render *r, size_t cap)
{
    if (!chat_room(r, cap)) {
        return NULL;
    }
    struct txt_block *b = MEM_NEW(struct txt_block);
    char *bytes = b ? mem_alloc(cap, 1) : NULL;
    if (!bytes) {
        mem_free(b);
        chat_fail_memory(r, cap);
        return NULL;
    }
    b->bytes = bytes;
    b->cap = cap;
    b->next = r->blocks;
    if (r->blocks) {
        r->blocks->prev = b;
    }
    r->blocks = b;
    r->block_bytes += cap;
    return b;
}

/* Frees a block that no text refers to. */
static void block_drop(struct render *r, struct txt_block *b)
{
    if (b->prev) {
        b->prev->next = b->next;
    } else {
        r->blocks = b->next;
    }
    if (b->next) {
        b->next->prev = b->prev;
    }
    r->block_bytes -= b->mask ? 2 * b->cap : b->cap;
    mem_free(b->bytes);
    mem_free(b->mask);
    mem_free(b);
}

static bool block_grow(struct render *r, struct txt_block *b, size_t cap)
{
    size_t times = b->mask ? 2 : 1;
    if (cap <= b->cap) {
        return true;
    }
    if (!chat_room(r, (uint64_t)(cap - b->cap) * times)) {
        return false;
    }
    char *bytes = mem_resize(b->bytes, cap, 1);
    if (!bytes) {
        return chat_fail_memory(r, cap);
    }
    b->bytes = bytes;
    if (b->mask) {
        unsigned char *mask = mem_resize(b->mask, cap, 1);
        if (!mask) {
            return chat_fail_memory(r, cap);
        }
        b->mask = mask;
    }
    r->block_bytes += (cap - b->cap) * times;
    b->cap = cap;
    return true;
}

/* Gives the block a mask, its first `len` bytes being alike. */
static bool block_mask(struct render *r, struct txt_block *b, size_t len, bool trusted)
{
    if (b->mask) {
        return true;
    }
    if (!chat_room(r, b->cap)) {
        return false;
    }
    b->mask = mem_alloc(b->cap, 1);
    if (!b->mask) {
        return chat_fail_memory(r, b->cap);
    }
    r->block_bytes += b->cap;
    memset(b->mask, trusted, len);
    return true;
}

struct builder chat_builder(struct render *r)
{
    return (struct builder){.r = r};
}

static bool builder_reserve(struct builder *b, uint64_t extra)
{
    if (extra > b->r->memory_max || b->len + extra > b->r->memory_max) {
        return chat_room(b->r, UINT64_MAX);
    }
    if (!chat_step(b->r, extra / 16)) {
        return false;
    }
    size_t need = b->len + (size_t)extra;
    if (!b->block) {
        b->block = block_new(b->r, need < 64 ? 64 : need);
        return b->block != NULL;
    }
    if (need <= b->block->cap) {
        return true;
    }
    size_t cap = b->block->cap * 2;
    return block_grow(b->r, b->block, cap < need ? need : cap);
}

static bool builder_trust(struct builder *b, const unsigned char *mask, size_t n, bool trusted)
{
    if (!b->masked && !mask && (b->len == 0 || b->trusted == trusted)) {
        b->trusted = trusted;
        return true;
    }
    if (!b->masked) {
        if (!block_mask(b->r, b->block, b->len, b->trusted)) {
            return false;
        }
        b->masked = true;
    }
    if (mask) {
        memcpy(b->block->mask + b->len, mask, n);
    } else {
        memset(b->block->mask + b->len, trusted, n);
    }
    return true;
}

static bool build_bytes(struct builder *b, const char *p, const unsigned char *mask, size_t n,
                        bool trusted)
{
    if (!n) {
        return true;
    }
    if (!builder_reserve(b, n) || !builder_trust(b, mask, n, trusted)) {
        return false;
    }
    memcpy(b->block->bytes + b->len, p, n);
    b->len += n;
    return true;
}

bool chat_build(struct builder *b, struct str s, bool trusted)
{
    return build_bytes(b, s.ptr, NULL, s.len, trusted);
}

bool chat_build_text(struct builder *b, const struct txt *t, size_t from, size_t to)
{
    return build_bytes(b, t->ptr + from, t->mask ? t->mask + from : NULL, to - from, t->trusted);
}

bool chat_build_fill(struct builder *b, const struct txt *t, uint64_t times)
{
    uint64_t bytes;
    if (!size_mul_u64(t->len, times, &bytes)) {
        bytes = UINT64_MAX;
    }
    if (!builder_reserve(b, bytes)) {
        return false;
    }
    for (uint64_t i = 0; i < times && t->len; i++) {
        if (!chat_build_text(b, t, 0, t->len)) {
            return false;
        }
    }
    return true;
}

bool chat_build_char(struct builder *b, uint32_t code, bool trusted)
{
    char bytes[4];
    size_t n;
    if (code >= 0x110000) { /* a byte that is no UTF-8 stays what it is */
        bytes[0] = (char)(code - 0x110000);
        n = 1;
    } else {
        n = utf8_encode(code, bytes);
    }
    return build_bytes(b, bytes, NULL, n, trusted);
}

bool chat_build_format(struct builder *b, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return chat_build(b, str_slice(str_of(text), 0, n < 0 ? 0 : (size_t)n), false);
}

bool chat_build_done(struct builder *b, struct val *out)
{
    struct render *r = b->r;
    if (!b->block) {
        return chat_text_view(r, STR(""), true, out);
    }
    struct txt_block *block = b->block;
    struct str s = {block->bytes, b->len};
    enum { COPY_MAX = 4096 }; /* short texts move to the arena, long ones keep their block */
    if (b->len <= COPY_MAX) {
        if (!chat_text_copy(r, s, b->trusted, out)) {
            return false;
        }
        if (b->masked) {
            unsigned char *mask = chat_alloc(r, b->len, 1);
            if (!mask) {
                return false;
            }
            memcpy(mask, block->mask, b->len);
            out->text->mask = mask;
        }
        block_drop(r, block);
    } else {
        block->used = b->len;
        if (!chat_text_view(r, s, b->trusted, out)) {
            return false;
        }
        out->text->mask = b->masked ? block->mask : NULL;
        out->text->tail = block;
    }
    *b = chat_builder(r);
    return true;
}

/* `a ~ b`. A text that was itself made by appending has room behind it: appending again writes
 * there and shares the bytes, so that building a text piece by piece is linear. */
bool chat_text_concat(struct render *r, const struct txt *a, const struct txt *b, struct val *out)
{
    if (!chat_step(r, 1 + b->len / 16)) {
        return false;
    }
    uint64_t total = (uint64_t)a->len + b->len;
    struct txt_block *block = a->tail;
    bool in_place = block && block->used == a->len && a->ptr == block->bytes &&
                    block->cap - block->used >= b->len;
    if (!in_place) {
        if (total > r->memory_max) {
            return chat_room(r, UINT64_MAX);
        }
        struct builder build = chat_builder(r);
        uint64_t extra = total < 1024 ? 0 : total / 4;
        if (!builder_reserve(&build, total + extra) || !chat_build_text(&build, a, 0, a->len) ||
            !chat_build_text(&build, b, 0, b->len)) {
            return false;
        }
        return chat_build_done(&build, out);
    }
    struct builder build = {
        .r = r, .block = block, .len = a->len, .trusted = a->trusted, .masked = a->mask != NULL};
    if (!chat_build_text(&build, b, 0, b->len)) {
        return false;
    }
    block->used = build.len;
    if (!chat_text_view(r, (struct str){block->bytes, build.len}, build.trusted, out)) {
        return false;
    }
    out->text->mask = build.masked ? block->mask : NULL;
    out->text->tail = block;
    return true;
}

/* ---- lists ---- */

struct list *chat_list_new(struct render *r, size_t cap)
{
    struct list *l = chat_alloc(r, 1, sizeof(*l));
    if (!l) {
        return NULL;
    }
    l->items = chat_alloc(r, cap, sizeof(*l->items));
    l->cap = cap;
    return l->items ? l : NULL;
}

bool chat_list_add(struct render *r, struct list *l, struct val v)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        struct val *items = chat_alloc(r, cap, sizeof(*items));
        if (!items) {
            return false;
        }
        if (l->count) {
            memcpy(items, l->items, l->count * sizeof(*items));
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->count++] = v;
    return true;
}

bool chat_list_load(struct render *r, struct list *l)
{
    if (!l->json) {
        return true;
    }
    const json_t *json = l->json;
    size_t count = json_array_size(json);
    if (!chat_step(r, count)) {
        return false;
    }
    struct val *items = chat_alloc(r, count, sizeof(*items));
    if (!items) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!chat_from_json(r, json_array_get(json, i), &items[i])) {
            return false;
        }
    }
    l->items = items;
    l->count = l->cap = count;
    l->json = NULL;
    return true;
}

/* ---- dictionaries ---- */

bool chat_hash(struct render *r, struct val v, uint64_t *out)
{
    switch (v.kind) {
    case VAL_NONE:
    case VAL_UNDEFINED:
        *out = 0x9e3779b97f4a7c15u + v.kind;
        return true;
    case VAL_BOOL:
    case VAL_INT:
        *out = (uint64_t)val_as_int(v) * 0x9e3779b97f4a7c15u;
        return true;
    case VAL_FLOAT:
        if (v.real == floor(v.real) && fabs(v.real) < 9e18) {
            *out = (uint64_t)(int64_t)v.real * 0x9e3779b97f4a7c15u;
        } else {
            uint64_t bits;
            memcpy(&bits, &v.real, sizeof(bits));
            *out = bits * 0x9e3779b97f4a7c15u;
        }
        return true;
    case VAL_TEXT:
        *out = str_hash(chat_str(v.text));
        return chat_step(r, v.text->len / 64);
    case VAL_TUPLE: {
        uint64_t h = 0x345678;
        if (!chat_list_load(r, v.list) || !chat_data_enter(r)) {
            return false;
        }
        for (size_t i = 0; i < v.list->count; i++) {
            uint64_t item;
            if (!chat_hash(r, v.list->items[i], &item)) {
                return false;
            }
            h = (h ^ item) * 0x9e3779b97f4a7c15u + i;
        }
        r->data_depth--;
        *out = h;
        return true;
    }
    case VAL_LIST:
    case VAL_DICT:
    case VAL_SLICE:
        return chat_fail(r, "unhashable type: '%s'", chat_type_name(v));
    default: { /* by identity */
        uint64_t bits = (uint64_t)(uintptr_t)v.list;
        *out = bits * 0x9e3779b97f4a7c15u;
        return true;
    }
    }
}

struct dict *chat_dict_new(struct render *r, size_t cap)
{
    struct dict *d = chat_alloc(r, 1, sizeof(*d));
    if (!d) {
        return NULL;
    }
    d->entries = chat_alloc(r, cap, sizeof(*d->entries));
    d->cap = cap;
    return d->entries ? d : NULL;
}

static bool dict_reindex(struct render *r, struct dict *d)
{
    size_t cap = 32;
    while (cap < d->count * 2 + 2) {
        cap *= 2;
    }
    d->index = chat_alloc(r, cap, sizeof(*d->index));
    if (!d->index) {
        return false;
    }
    d->index_cap = cap;
    for (size_t i = 0; i < d->count; i++) {
        size_t at = (d->entries[i].hash ^ d->entries[i].hash >> 32) & (cap - 1);
        while (d->index[at]) {
            at = (at + 1) & (cap - 1);
        }
        d->index[at] = (uint32_t)(i + 1);
    }
    return true;
}

static bool dict_find(struct render *r, struct dict *d, struct val key, uint64_t hash,
                      struct dict_entry **out)
{
    *out = NULL;
    bool same;
    if (!d->index) {
        for (size_t i = 0; i < d->count; i++) {
            if (d->entries[i].hash != hash) {
                continue;
            }
            if (!chat_equal(r, d->entries[i].key, key, &same)) {
                return false;
            }
            if (same) {
                *out = &d->entries[i];
                return true;
            }
        }
        return true;
    }
    size_t at = (hash ^ hash >> 32) & (d->index_cap - 1);
    for (; d->index[at]; at = (at + 1) & (d->index_cap - 1)) {
        struct dict_entry *e = &d->entries[d->index[at] - 1];
        if (!chat_step(r, 1)) { /* keys made to collide cost steps */
            return false;
        }
        if (e->hash != hash) {
            continue;
        }
        if (!chat_equal(r, e->key, key, &same)) {
            return false;
        }
        if (same) {
            *out = e;
            return true;
        }
    }
    return true;
}

static bool dict_append(struct render *r, struct dict *d, struct val key, uint64_t hash,
                        struct val value)
{
    if (d->count >= UINT32_MAX / 4) {
        return chat_fail(r, "a dict with too many keys");
    }
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        struct dict_entry *entries = chat_alloc(r, cap, sizeof(*entries));
        if (!entries) {
            return false;
        }
        if (d->count) {
            memcpy(entries, d->entries, d->count * sizeof(*entries));
        }
        d->entries = entries;
        d->cap = cap;
    }
    d->entries[d->count++] = (struct dict_entry){.key = key, .value = value, .hash = hash};
    if (d->count > 8 && (!d->index || d->count * 2 > d->index_cap)) {
        return dict_reindex(r, d);
    }
    if (d->index) {
        size_t at = (hash ^ hash >> 32) & (d->index_cap - 1);
        while (d->index[at]) {
            at = (at + 1) & (d->index_cap - 1);
        }
        d->index[at] = (uint32_t)d->count;
    }
    return true;
}

/* Roles are a closed set of words; where asked for they count as the template's own text. */
static bool is_known_role(struct str s)
{
    static const char *const roles[] = {"system",    "user",     "assistant", "tool",
                                        "developer", "function", "ipython",   NULL};
    for (size_t i = 0; roles[i]; i++) {
        if (str_eq(s, str_of(roles[i]))) {
            return true;
        }
    }
    return false;
}

bool chat_dict_load(struct render *r, struct dict *d)
{
    if (!d->json) {
        return true;
    }
    const json_t *json = d->json;
    d->json = NULL;
    size_t count = json_object_size(json);
    if (!chat_step(r, count)) {
        return false;
    }
    d->entries = chat_alloc(r, count, sizeof(*d->entries));
    if (!d->entries) {
        return false;
    }
    d->cap = count;
    void *it = json_object_iter((json_t *)(uintptr_t)json);
    for (; it; it = json_object_iter_next((json_t *)(uintptr_t)json, it)) {
        struct str name = {json_object_iter_key(it), json_object_iter_key_len(it)};
        struct val key, value;
        if (!chat_text_view(r, name, false, &key) ||
            !chat_from_json(r, json_object_iter_value(it), &value)) {
            return false;
        }
        if (r->opts->trusted_roles && value.kind == VAL_TEXT && str_eq(name, STR("role")) &&
            is_known_role(chat_str(value.text))) {
            value.text->trusted = true;
        }
        if (!dict_append(r, d, key, str_hash(name), value)) {
            return false;
        }
    }
    return true;
}

bool chat_dict_set(struct render *r, struct dict *d, struct val key, struct val value)
{
    uint64_t hash = 0;
    struct dict_entry *e;
    if (!chat_dict_load(r, d) || !chat_hash(r, key, &hash) || !dict_find(r, d, key, hash, &e)) {
        return false;
    }
    d->verbatim = (struct str){0};
    if (e) {
        e->value = value;
        return true;
    }
    return dict_append(r, d, key, hash, value);
}

bool chat_dict_get(struct render *r, struct dict *d, struct val key, struct val *out)
{
    uint64_t hash = 0;
    struct dict_entry *e;
    if (!chat_dict_load(r, d) || !chat_hash(r, key, &hash) || !dict_find(r, d, key, hash, &e)) {
        return false;
    }
    *out = e ? e->value : val_missing();
    return true;
}

bool chat_dict_get_str(struct render *r, struct dict *d, struct str key, struct val *out)
{
    struct txt t = {.ptr = key.ptr, .len = key.len, .chars = SIZE_MAX};
    return chat_dict_get(r, d, val_text(&t), out);
}

static const struct chat_verbatim *find_verbatim(const struct render *r, const json_t *json)
{
    size_t from = 0, to = r->opts->verbatim_count;
    while (from < to) {
        const size_t mid = (from + to) / 2;
        const uintptr_t here = (uintptr_t)r->opts->verbatim[mid].value;
        if (here == (uintptr_t)json) {
            return &r->opts->verbatim[mid];
        }
        if (here < (uintptr_t)json) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return NULL;
}

bool chat_from_json(struct render *r, const json_t *json, struct val *out)
{
    const struct chat_verbatim *known = r->opts->verbatim_count ? find_verbatim(r, json) : NULL;
    switch (json_typeof(json)) {
    case JSON_OBJECT: {
        struct dict *d = chat_alloc(r, 1, sizeof(*d));
        if (!d) {
            return false;
        }
        d->json = json;
        d->verbatim = known ? known->text : (struct str){0};
        *out = val_dict(d);
        return true;
    }
    case JSON_ARRAY: {
        struct list *l = chat_alloc(r, 1, sizeof(*l));
        if (!l) {
            return false;
        }
        l->json = json;
        *out = val_list(l);
        return true;
    }
    case JSON_STRING:
        if (!chat_text_view(r, json_str(json), false, out)) {
            return false;
        }
        if (known) {
            out->text->mask = known->mask;
        }
        return true;
    case JSON_INTEGER:
        *out = val_int(json_integer_value(json));
        return true;
    case JSON_REAL:
        *out = val_float(json_real_value(json));
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = val_bool(json_is_true(json));
        return true;
    default:
        *out = val_none();
        return true;
    }
}
