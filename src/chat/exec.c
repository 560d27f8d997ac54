/* Statements, by walking the tree; for loops are in loop.c, macros in macro.c. */
#include "chat/eval.h"

/* ---- output ---- */

static bool print(struct render *r, struct val v, struct builder *sink)
{
    struct txt *t;
    if (r->autoescape && !chat_escape(r, v, &v)) {
        return false;
    }
    if (!chat_to_text(r, v, &t) || !chat_build_text(sink, t, 0, t->len)) {
        return false;
    }
    if (sink->len > r->output_max) {
        return chat_fail(r, "the output is longer than %zu bytes", r->output_max);
    }
    return true;
}

/* The result of a filter or call block: as it is, which must be text. */
static bool print_raw(struct render *r, struct val v, struct builder *sink)
{
    if (v.kind != VAL_TEXT) {
        return chat_fail(r, "expected str instance, %s found", chat_type_name(v));
    }
    if (!chat_build_text(sink, v.text, 0, v.text->len)) {
        return false;
    }
    return sink->len <= r->output_max ||
           chat_fail(r, "the output is longer than %zu bytes", r->output_max);
}

static bool exec_output(struct render *r, struct activation *act, const struct node *n,
                        struct builder *sink)
{
    for (size_t i = 0; i < n->items.count; i++) {
        const struct node *item = n->items.items[i];
        struct val v;
        if (item->kind == NODE_DATA) {
            const struct txt *t = item->value.text;
            if (!chat_step(r, 1) || !chat_build_text(sink, t, 0, t->len)) {
                return false;
            }
            if (sink->len > r->output_max) {
                return chat_fail(r, "the output is longer than %zu bytes", r->output_max);
            }
            continue;
        }
        r->line = item->line;
        if (!chat_eval(r, act, item, &v) || !print(r, v, sink)) {
            return false;
        }
    }
    return true;
}

/* ---- statements ---- */

/* The body of a set or filter block, captured and filtered. */
static enum flow capture(struct render *r, struct activation *act, const struct node *n,
                         struct val *out)
{
    struct builder b = chat_builder(r);
    struct val saved = r->block_text;
    if (!chat_frame_enter(r, act, n->frame)) {
        return FLOW_ERROR;
    }
    enum flow flow = chat_exec(r, act, n->items, &b);
    if (flow != FLOW_NEXT) {
        return flow;
    }
    if (!chat_captured(r, &b, out)) {
        return FLOW_ERROR;
    }
    if (n->b) {
        r->block_text = *out;
        if (!chat_eval(r, act, n->b, out)) {
            return FLOW_ERROR;
        }
        r->block_text = saved;
    }
    return FLOW_NEXT;
}

static enum flow exec_capture(struct render *r, struct activation *act, const struct node *n,
                              struct builder *sink)
{
    struct val v;
    enum flow flow = capture(r, act, n, &v);
    if (flow != FLOW_NEXT) {
        return flow;
    }
    bool good = n->kind == NODE_SET_BLOCK ? chat_assign(r, act, n->a, v) : print_raw(r, v, sink);
    if (good) {
        chat_frame_leave(act, n->frame);
    }
    return good ? FLOW_NEXT : FLOW_ERROR;
}

static enum flow exec_with(struct render *r, struct activation *act, const struct node *n,
                           struct builder *sink)
{
    if (!chat_frame_enter(r, act, n->frame)) {
        return FLOW_ERROR;
    }
    for (size_t i = 0; i < n->a->items.count; i++) {
        struct val v;
        if (!chat_eval(r, act, n->b->items.items[i], &v) ||
            !chat_assign(r, act, n->a->items.items[i], v)) {
            return FLOW_ERROR;
        }
    }
    enum flow flow = chat_exec(r, act, n->items, sink);
    chat_frame_leave(act, n->frame);
    return flow;
}

static enum flow exec_autoescape(struct render *r, struct activation *act, const struct node *n,
                                 struct builder *sink)
{
    struct val v;
    bool saved = r->autoescape;
    if (!chat_frame_enter(r, act, n->frame) || !chat_eval(r, act, n->a, &v) ||
        !chat_truth(r, v, &r->autoescape)) {
        return FLOW_ERROR;
    }
    enum flow flow = chat_exec(r, act, n->items, sink);
    r->autoescape = saved;
    chat_frame_leave(act, n->frame);
    return flow;
}

static enum flow exec_if(struct render *r, struct activation *act, const struct node *n,
                         struct builder *sink)
{
    for (;;) {
        struct val v;
        bool truth;
        r->line = n->line;
        if (!chat_eval(r, act, n->a, &v) || !chat_truth(r, v, &truth) || !chat_step(r, 1)) {
            return FLOW_ERROR;
        }
        if (truth) {
            return chat_exec(r, act, n->items, sink);
        }
        const struct node *next = chat_elif(n);
        if (!next) {
            return chat_exec(r, act, n->other, sink);
        }
        n = next;
    }
}

static bool exec_call_block(struct render *r, struct activation *act, const struct node *n,
                            struct builder *sink)
{
    struct val caller, v;
    return chat_macro_make(r, act, n, &caller) && chat_eval_call(r, act, n->a, &caller, &v) &&
           print_raw(r, v, sink);
}

static bool exec_set(struct render *r, struct activation *act, const struct node *n)
{
    struct val v;
    if (n->a->kind == NODE_NSREF && chat_cell(act, n->a->a->ref)->kind != VAL_NAMESPACE) {
        return chat_fail(r, "cannot assign attribute on non-namespace object");
    }
    return chat_eval(r, act, n->b, &v) && chat_assign(r, act, n->a, v);
}

/* The context of a scoped block: the one around it, and over it the variables around it. */
static bool derive_context(struct render *r, struct activation *outer, const struct node *block,
                           struct dict **out)
{
    struct dict *from = outer->context;
    struct nodes names = block->a->items;
    struct val name;
    if (!(*out = chat_dict_new(r, names.count))) {
        return false;
    }
    for (size_t i = 0; from && i < from->count; i++) {
        if (!chat_dict_set(r, *out, from->entries[i].key, from->entries[i].value)) {
            return false;
        }
    }
    for (size_t i = 0; i < names.count; i++) {
        const struct val *v = chat_cell(outer, names.items[i]->ref);
        if (!val_is_missing(*v) && (!chat_text_view(r, names.items[i]->name, true, &name) ||
                                    !chat_dict_set(r, *out, name, *v))) {
            return false;
        }
    }
    return true;
}

bool chat_block_call(struct render *r, struct activation *outer, const struct node *block,
                     struct builder *out)
{
    struct activation *act = chat_activation_new(r, block->func, NULL);
    if (block->is_elif) {
        return chat_fail(r, "Required block not found");
    }
    if (act && outer) {
        act->context = outer->context;
        if (block->a && !derive_context(r, outer, block, &act->context)) {
            return false;
        }
    }
    if (!act || !chat_eval_enter(r) || !chat_frame_enter(r, act, block->frame) ||
        chat_exec(r, act, block->items, out) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return true;
}

static enum flow exec_one(struct render *r, struct activation *act, const struct node *n,
                          struct builder *sink)
{
    struct val v;
    r->line = n->line;
    switch (n->kind) {
    case NODE_OUTPUT:
        return exec_output(r, act, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_FOR:
        return chat_exec_for(r, act, n, sink);
    case NODE_IF:
        return exec_if(r, act, n, sink);
    case NODE_SET:
        return exec_set(r, act, n) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
        return exec_capture(r, act, n, sink);
    case NODE_WITH:
        return exec_with(r, act, n, sink);
    case NODE_AUTOESCAPE:
        return exec_autoescape(r, act, n, sink);
    case NODE_MACRO:
        return chat_exec_macro(r, act, n) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_CALL_BLOCK:
        return exec_call_block(r, act, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_BLOCK:
        return chat_block_call(r, act, n, sink) ? FLOW_NEXT : FLOW_ERROR;
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        if (chat_eval(r, act, n->a, &v)) {
            chat_fail(r, "no loader for this environment specified");
        }
        return FLOW_ERROR;
    }
}

enum flow chat_exec(struct render *r, struct activation *act, struct nodes body,
                    struct builder *sink)
{
    if (!chat_eval_enter(r)) {
        return FLOW_ERROR;
    }
    enum flow flow = FLOW_NEXT;
    for (size_t i = 0; i < body.count && flow == FLOW_NEXT; i++) {
        flow = chat_step(r, 1) ? exec_one(r, act, body.items[i], sink) : FLOW_ERROR;
    }
    r->depth--;
    return flow;
}

bool chat_run(struct render *r, struct builder *out)
{
    const struct tree *tree = r->tree;
    struct activation *act = chat_activation_new(r, tree->root, NULL);
    if (!act) {
        return false;
    }
    if (tree->uses_self) {
        *chat_cell(act, tree->self_ref) = (struct val){.kind = VAL_SELF};
    }
    return chat_frame_enter(r, act, &tree->frame) &&
           chat_exec(r, act, tree->body, out) != FLOW_ERROR;
}
