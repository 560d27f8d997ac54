/* For loops. A loop draws its items one by one from an iterator and looks one ahead only when the
 * body asks (loop.last, loop.nextitem), as Jinja2's LoopContext does; loop.length of something
 * without a length draws all. */
#include <string.h>

#include "chat/eval.h"

/* ---- the loop variable ---- */

static bool loop_next(struct render *r, struct loop *loop, struct val *out, bool *more)
{
    if (!val_is_missing(loop->after)) {
        *out = loop->after;
        loop->after = val_missing();
        *more = true;
    } else if (!chat_next(r, loop->iter, out, more)) {
        return false;
    }
    if (*more) {
        loop->index0++;
        loop->before = loop->current;
        loop->current = *out;
    }
    return true;
}

static bool loop_peek(struct render *r, struct loop *loop)
{
    bool more;
    if (!val_is_missing(loop->after)) {
        return true;
    }
    if (!chat_next(r, loop->iter, &loop->after, &more)) {
        return false;
    }
    if (!more) {
        loop->after = val_missing();
    }
    return true;
}

static bool loop_length(struct render *r, struct loop *loop)
{
    if (loop->length >= 0) {
        return true;
    }
    if (chat_has_length(loop->iterable)) {
        return chat_length(r, loop->iterable, &loop->length);
    }
    struct list *rest;
    struct val v = {.kind = VAL_ITER, .iter = loop->iter};
    if (!chat_to_list(r, v, &rest) || !chat_iter(r, val_list(rest), &loop->iter)) {
        return false;
    }
    loop->length = (int64_t)rest->count + loop->index0 + 1 + !val_is_missing(loop->after);
    return true;
}

bool chat_loop_attr(struct render *r, struct loop *loop, struct str name, struct val *out)
{
    *out = val_missing();
    if (str_eq(name, STR("index0"))) {
        *out = val_int(loop->index0);
    } else if (str_eq(name, STR("index"))) {
        *out = val_int(loop->index0 + 1);
    } else if (str_eq(name, STR("first"))) {
        *out = val_bool(loop->index0 == 0);
    } else if (str_eq(name, STR("last"))) {
        if (!loop_peek(r, loop)) {
            return false;
        }
        *out = val_bool(val_is_missing(loop->after));
    } else if (str_eq(name, STR("length"))) {
        if (!loop_length(r, loop)) {
            return false;
        }
        *out = val_int(loop->length);
    } else if (str_eq(name, STR("revindex")) || str_eq(name, STR("revindex0"))) {
        if (!loop_length(r, loop)) {
            return false;
        }
        *out = val_int(loop->length - loop->index0 - (name.len == 9));
    } else if (str_eq(name, STR("depth0"))) {
        *out = val_int(loop->depth0);
    } else if (str_eq(name, STR("depth"))) {
        *out = val_int(loop->depth0 + 1);
    } else if (str_eq(name, STR("previtem"))) {
        if (loop->index0 == 0) {
            return chat_undefined_hint(r, "there is no previous item", out);
        }
        *out = loop->before;
    } else if (str_eq(name, STR("nextitem"))) {
        if (!loop_peek(r, loop)) {
            return false;
        }
        if (val_is_missing(loop->after)) {
            return chat_undefined_hint(r, "there is no next item", out);
        }
        *out = loop->after;
    }
    return true;
}

bool chat_loop_method(struct render *r, struct loop *loop, const char *name, struct call *call,
                      struct val *out)
{
    if (call->keyword_count) {
        return chat_fail(r, "%s() takes no keyword arguments", name);
    }
    if (strcmp(name, "cycle") == 0) {
        if (!call->count) {
            return chat_fail(r, "no items for cycling given");
        }
        *out = call->args[(uint64_t)loop->index0 % call->count];
        return true;
    }
    bool same = loop->changed && loop->changed->count == call->count;
    for (size_t i = 0; same && i < call->count; i++) {
        if (!chat_equal(r, loop->changed->items[i], call->args[i], &same)) {
            return false;
        }
    }
    if (!same) {
        loop->changed = chat_list_new(r, call->count);
        if (!loop->changed) {
            return false;
        }
        for (size_t i = 0; i < call->count; i++) {
            loop->changed->items[loop->changed->count++] = call->args[i];
        }
    }
    *out = val_bool(!same);
    return true;
}

/* ---- running ---- */

/* Whether the `if` of a for loop keeps an item. */
bool chat_loop_filter(struct render *r, struct iter *it, struct val item, bool *keep)
{
    const struct for_info *f = it->node->loop;
    struct activation *act = it->activation;
    struct val test;
    return chat_assign(r, act, f->test_target, item) && chat_eval(r, act, f->test, &test) &&
           chat_truth(r, test, keep);
}

static bool loop_open(struct render *r, struct activation *outer, const struct node *n,
                      struct val iterable, int64_t depth0, struct loop *loop)
{
    const struct for_info *f = n->loop;
    *loop = (struct loop){.index0 = -1,
                          .length = -1,
                          .depth0 = depth0,
                          .iterable = iterable,
                          .node = f->recursive ? n : NULL,
                          .closure = outer};
    if (!chat_iter(r, iterable, &loop->iter)) {
        return false;
    }
    if (!f->test) {
        return true;
    }
    struct iter *filtered = chat_iter_new(r, ITER_FILTERED, "generator");
    struct activation *act = chat_activation_new(r, f->test_func, outer);
    if (!filtered || !act || !chat_frame_enter(r, act, &f->test_frame)) {
        return false;
    }
    filtered->inner = loop->iter;
    filtered->node = n;
    filtered->activation = act;
    loop->iter = filtered;
    loop->iterable = (struct val){.kind = VAL_ITER, .iter = filtered};
    return true;
}

/* `act` holds the loop's variables, `outer` those around it (the same unless it is recursive). */
static enum flow run_loop(struct render *r, struct activation *act, struct activation *outer,
                          const struct node *n, struct val iterable, int64_t depth0,
                          struct builder *sink)
{
    const struct for_info *f = n->loop;
    struct loop *loop = chat_alloc(r, 1, sizeof(*loop));
    bool ran = false;
    if (!loop || !loop_open(r, outer, n, iterable, depth0, loop)) {
        return FLOW_ERROR;
    }
    if (f->extended) {
        *chat_cell(act, f->loop_ref) = val_missing();
    }
    for (;;) {
        struct val item;
        bool more;
        if (!loop_next(r, loop, &item, &more)) {
            return FLOW_ERROR;
        }
        if (!more) {
            break;
        }
        if (!chat_assign(r, act, f->target, item)) {
            return FLOW_ERROR;
        }
        if (f->extended) {
            *chat_cell(act, f->loop_ref) = (struct val){.kind = VAL_LOOP, .loop = loop};
        }
        if (!chat_frame_enter(r, act, &f->frame)) {
            return FLOW_ERROR;
        }
        enum flow flow = chat_exec(r, act, f->body, sink);
        if (flow == FLOW_ERROR) {
            return flow;
        }
        ran |= flow == FLOW_NEXT; /* Jinja2 notes it at the end of the body only */
        if (flow == FLOW_BREAK) {
            break;
        }
    }
    chat_frame_leave(act, &f->frame);
    if (ran || !f->other.count) {
        return FLOW_NEXT;
    }
    if (!chat_frame_enter(r, act, &f->other_frame)) {
        return FLOW_ERROR;
    }
    enum flow flow = chat_exec(r, act, f->other, sink);
    chat_frame_leave(act, &f->other_frame);
    return flow;
}

bool chat_loop_call(struct render *r, struct loop *loop, struct val iterable, struct val *out)
{
    if (!loop->node) {
        return chat_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    }
    struct builder b = chat_builder(r);
    struct activation *act = chat_activation_new(r, loop->node->loop->func, loop->closure);
    if (!act || !chat_eval_enter(r) ||
        run_loop(r, act, loop->closure, loop->node, iterable, loop->depth0 + 1, &b) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return chat_captured(r, &b, out);
}

enum flow chat_exec_for(struct render *r, struct activation *act, const struct node *n,
                        struct builder *sink)
{
    struct val iterable;
    if (!chat_eval(r, act, n->loop->iter, &iterable)) {
        return FLOW_ERROR;
    }
    r->line = n->line;
    if (!n->loop->recursive) {
        return run_loop(r, act, act, n, iterable, 0, sink);
    }
    struct activation *inner = chat_activation_new(r, n->loop->func, act);
    return inner ? run_loop(r, inner, act, n, iterable, 0, sink) : FLOW_ERROR;
}
