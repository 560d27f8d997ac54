/* Variables: the cells of a function's call, what they start as when a frame is entered, and
 * assignment to names, namespaces and tuples. ast.h explains functions, frames and cells. */
#include "chat/eval.h"

/* Each level of depth costs at most about 1 KiB of C stack (2 KiB under ASan). */
enum { EVAL_DEPTH_FACTOR = 8 };

bool chat_eval_enter(struct render *r)
{
    if (r->depth >= r->depth_max * EVAL_DEPTH_FACTOR) {
        return chat_fail(r, "calls and expressions nested too deep");
    }
    r->depth++;
    return chat_step(r, 1);
}

struct activation *chat_activation_new(struct render *r, const struct func *func,
                                       struct activation *parent)
{
    struct activation *a = chat_alloc(r, 1, sizeof(*a) + func->cell_count * sizeof(a->cells[0]));
    if (a) {
        a->parent = parent; /* zeroed: every cell is VAL_MISSING */
        a->context = parent ? parent->context : NULL;
    }
    return a;
}

static bool resolve(struct render *r, const struct activation *act, struct str name,
                    struct val *out)
{
    *out = val_missing();
    if (act->context && !chat_dict_get_str(r, act->context, name, out)) {
        return false;
    }
    if (val_is_missing(*out) && r->exported && !chat_dict_get_str(r, r->exported, name, out)) {
        return false;
    }
    if (val_is_missing(*out) && !chat_dict_get_str(r, r->context, name, out)) {
        return false;
    }
    if (val_is_missing(*out)) {
        const struct func_def *f = chat_func_find(name);
        if (f) {
            *out = (struct val){.kind = VAL_FUNC, .func = f};
        }
    }
    return true;
}

bool chat_frame_enter(struct render *r, struct activation *act, const struct frame *frame)
{
    for (size_t i = 0; i < frame->load_count; i++) {
        const struct load *l = &frame->loads[i];
        if (l->kind == LOAD_RESOLVE) {
            if (!resolve(r, act, l->name, &act->cells[l->cell])) {
                return false;
            }
        } else if (l->kind == LOAD_ALIAS) {
            act->cells[l->cell] = *chat_cell(act, l->alias);
        } else if (l->kind == LOAD_UNDEFINED) {
            act->cells[l->cell] = val_missing();
        }
    }
    return chat_step(r, frame->load_count);
}

void chat_frame_leave(struct activation *act, const struct frame *frame)
{
    for (size_t i = 0; i < frame->load_count; i++) {
        act->cells[frame->loads[i].cell] = val_missing();
    }
}

bool chat_assign(struct render *r, struct activation *act, const struct node *target, struct val v)
{
    if (target->kind == NODE_NAME) {
        *chat_cell(act, target->ref) = v;
        if (!target->top || !r->exported) {
            return true;
        }
        struct val name;
        return chat_text_view(r, target->name, true, &name) &&
               chat_dict_set(r, r->exported, name, v);
    }
    if (target->kind == NODE_NSREF) {
        struct val *ns = chat_cell(act, target->a->ref), name;
        if (ns->kind != VAL_NAMESPACE) {
            return chat_fail(r, "cannot assign attribute on non-namespace object");
        }
        return chat_text_view(r, target->name, true, &name) && chat_dict_set(r, ns->dict, name, v);
    }
    size_t want = target->items.count, got = 0;
    struct iter *it;
    if (!chat_is_iterable(v)) {
        return chat_fail(r, "cannot unpack non-iterable %s object", chat_type_name(v));
    }
    if (!chat_iter(r, v, &it)) {
        return false;
    }
    for (;; got++) {
        struct val item;
        bool more;
        if (!chat_next(r, it, &item, &more)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (got == want) {
            return chat_fail(r, "too many values to unpack (expected %zu)", want);
        }
        if (!chat_assign(r, act, target->items.items[got], item)) {
            return false;
        }
    }
    if (got < want) {
        return chat_fail(r, "not enough values to unpack (expected %zu, got %zu)", want, got);
    }
    return true;
}
