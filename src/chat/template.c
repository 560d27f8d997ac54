/* The two steps of a template: compile once, render many times. */
#include "chat/template.h"

#include <string.h>

#include "base/mem.h"
#include "chat/ast.h"
#include "chat/interp.h"

struct chat_template {
    struct tree tree;
    struct chat_limits limits;
};

static struct chat_limits with_defaults(const struct chat_limits *limits)
{
    struct chat_limits l = limits ? *limits : (struct chat_limits){0};
    l.steps_max = l.steps_max ? l.steps_max : 50 * 1000 * 1000;
    l.output_bytes_max = l.output_bytes_max ? l.output_bytes_max : (size_t)64 << 20;
    l.memory_bytes_max = l.memory_bytes_max ? l.memory_bytes_max : (size_t)256 << 20;
    l.depth_max = l.depth_max ? l.depth_max : 200;
    l.source_bytes_max = l.source_bytes_max ? l.source_bytes_max : (size_t)4 << 20;
    return l;
}

struct chat_template *chat_template_compile(struct str source, const struct chat_limits *limits,
                                            struct err *err)
{
    struct chat_limits l = with_defaults(limits);
    if (source.len > l.source_bytes_max) {
        err_set(err, ERR_TEMPLATE, "the template has %zu bytes; at most %zu are taken", source.len,
                l.source_bytes_max);
        return NULL;
    }
    struct chat_template *t = MEM_NEW(struct chat_template);
    if (!t) {
        err_set_memory(err, sizeof(*t));
        return NULL;
    }
    t->limits = l;
    t->tree.arena = arena_init(l.memory_bytes_max);
    t->tree.depth_max = l.depth_max;
    if (!chat_parse(&t->tree, source, err)) {
        chat_template_destroy(t);
        return NULL;
    }
    return t;
}

void chat_template_destroy(struct chat_template *tmpl)
{
    if (!tmpl) {
        return;
    }
    arena_deinit(&tmpl->tree.arena);
    mem_free(tmpl);
}

void chat_text_deinit(struct chat_text *text)
{
    buf_deinit(&text->text);
    mem_free(text->trusted);
    *text = (struct chat_text){0};
}

static bool make_context(struct render *r)
{
    const struct chat_render_opts *opts = r->opts;
    struct val context;
    if (!json_is_object(opts->context)) {
        r->context = chat_dict_new(r, 0);
        return r->context != NULL;
    }
    if (!chat_from_json(r, opts->context, &context)) {
        return false;
    }
    r->context = context.dict;
    for (const char *const *name = opts->trusted_names; name && *name; name++) {
        struct val v;
        if (!chat_dict_get_str(r, r->context, str_of(*name), &v)) {
            return false;
        }
        if (v.kind == VAL_TEXT) {
            v.text->trusted = true;
        }
    }
    if (r->tree->block_count) {
        r->exported = chat_dict_new(r, 0);
    }
    return !r->failed;
}

/* Runs of trusted bytes; counts them when `out` is NULL. */
static size_t collect_spans(const unsigned char *mask, size_t len, bool trusted,
                            struct chat_span *out)
{
    size_t n = 0;
    if (!mask) {
        if (trusted && len && out) {
            out[0] = (struct chat_span){0, len};
        }
        return trusted && len;
    }
    for (size_t i = 0; i < len;) {
        size_t start = i;
        while (i < len && mask[i] == mask[start]) {
            i++;
        }
        if (mask[start]) {
            if (out) {
                out[n] = (struct chat_span){start, i};
            }
            n++;
        }
    }
    return n;
}

static bool take_output(struct builder *b, struct chat_text *out, struct err *err)
{
    const unsigned char *mask = b->masked ? b->block->mask : NULL;
    if (b->len) {
        buf_add(&out->text, (struct str){b->block->bytes, b->len});
    }
    size_t count = collect_spans(mask, b->len, b->trusted, NULL);
    out->trusted = MEM_ARRAY(struct chat_span, count);
    if (out->text.failed || !out->trusted) {
        return err_set_memory(err, b->len);
    }
    out->trusted_count = collect_spans(mask, b->len, b->trusted, out->trusted);
    return true;
}

static void free_blocks(struct render *r)
{
    while (r->blocks) {
        struct txt_block *next = r->blocks->next;
        mem_free(r->blocks->bytes);
        mem_free(r->blocks->mask);
        mem_free(r->blocks);
        r->blocks = next;
    }
}

bool chat_template_render(const struct chat_template *tmpl, const struct chat_render_opts *opts,
                          struct chat_text *out, struct err *err)
{
    struct render r = {.arena = arena_init(tmpl->limits.memory_bytes_max),
                       .memory_max = tmpl->limits.memory_bytes_max,
                       .output_max = tmpl->limits.output_bytes_max,
                       .depth_max = tmpl->limits.depth_max,
                       .steps_max = tmpl->limits.steps_max,
                       .line = 1,
                       .err = err,
                       .tree = &tmpl->tree,
                       .opts = opts};
    struct builder b = chat_builder(&r);
    *out = (struct chat_text){0};
    bool good = make_context(&r) && chat_run(&r, &b) && take_output(&b, out, err);
    if (!good) {
        chat_text_deinit(out);
    }
    free_blocks(&r);
    arena_deinit(&r.arena);
    return good;
}
