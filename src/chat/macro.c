/* Macros and call blocks: functions whose arguments land in cells, whose text is captured. */
#include <stdio.h>
#include <string.h>

#include "chat/eval.h"

static bool macro_keyword(struct call *rest, struct str name, struct val *out)
{
    for (size_t i = 0; i < rest->keyword_count; i++) {
        if (str_eq(rest->keywords[i].name, name)) {
            *out = rest->keywords[i].value;
            for (size_t j = i + 1; j < rest->keyword_count; j++) {
                rest->keywords[j - 1] = rest->keywords[j];
            }
            rest->keyword_count--;
            return true;
        }
    }
    return false;
}

/* Puts the arguments into the cells, as Macro.__call__ does; keywords used up leave `rest`. */
static bool macro_bind(struct render *r, const struct macro *macro, struct activation *act,
                       struct call *rest)
{
    const struct macro_info *m = macro->node->macro;
    char quoted[STR_QUOTE_MAX], name[STR_QUOTE_MAX];
    size_t given = rest->count < m->params.count ? rest->count : m->params.count;
    bool found_caller = given == m->params.count && m->explicit_caller;
    for (size_t i = 0; i < m->params.count; i++) {
        const struct node *param = m->params.items[i];
        struct val *to = chat_cell(act, param->ref);
        if (i < given) {
            *to = rest->args[i];
            continue;
        }
        macro_keyword(rest, param->name, to);
        found_caller |= str_eq(param->name, STR("caller"));
    }
    if (m->caller && !found_caller) {
        struct val *caller = chat_cell(act, m->caller_ref);
        if ((!macro_keyword(rest, STR("caller"), caller) || caller->kind == VAL_NONE) &&
            !chat_undefined_hint(r, "No caller defined", caller)) {
            return false;
        }
    }
    str_quote(name, macro->name.len ? macro->name : STR("None"));
    if (m->kwargs) {
        struct dict *d = chat_dict_new(r, rest->keyword_count);
        struct val key;
        for (size_t i = 0; d && i < rest->keyword_count; i++) {
            if (!chat_text_view(r, rest->keywords[i].name, true, &key) ||
                !chat_dict_set(r, d, key, rest->keywords[i].value)) {
                return false;
            }
        }
        if (!d) {
            return false;
        }
        *chat_cell(act, m->kwargs_ref) = val_dict(d);
    } else if (rest->keyword_count) {
        return chat_fail(r, "macro '%s' takes no keyword argument '%s'", name,
                         str_quote(quoted, rest->keywords[0].name));
    }
    if (m->varargs) {
        struct list *l = chat_list_new(r, rest->count - given);
        for (size_t i = given; l && i < rest->count; i++) {
            l->items[l->count++] = rest->args[i];
        }
        *chat_cell(act, m->varargs_ref) = val_tuple(l);
        return l != NULL;
    }
    if (rest->count > m->params.count) {
        return chat_fail(r, "macro '%s' takes not more than %zu argument(s)", name,
                         m->params.count);
    }
    return true;
}

static bool macro_defaults(struct render *r, const struct macro_info *m, struct activation *act)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const struct node *param = m->params.items[i];
        struct val v;
        if (!val_is_missing(*chat_cell(act, param->ref))) {
            continue;
        }
        if (i + m->defaults.count >= m->params.count) {
            if (!chat_eval(r, act, m->defaults.items[i + m->defaults.count - m->params.count],
                           &v)) {
                return false;
            }
        } else {
            char quoted[STR_QUOTE_MAX];
            char *hint = chat_alloc(r, STR_QUOTE_MAX + 64, 1);
            if (!hint) {
                return false;
            }
            snprintf(hint, STR_QUOTE_MAX + 64, "parameter '%s' was not provided",
                     str_quote(quoted, param->name));
            if (!chat_undefined_hint(r, hint, &v)) {
                return false;
            }
        }
        *chat_cell(act, param->ref) = v;
    }
    return true;
}

bool chat_macro_call(struct render *r, const struct macro *macro, struct call *call,
                     struct val *out)
{
    const struct macro_info *m = macro->node->macro;
    struct activation *act = chat_activation_new(r, m->func, macro->closure);
    struct call rest = *call;
    struct builder b = chat_builder(r);
    if (!act || !chat_eval_enter(r)) {
        return false;
    }
    if (rest.keyword_count) { /* used keywords are taken out of a copy */
        rest.keywords = chat_alloc(r, rest.keyword_count, sizeof(*rest.keywords));
        if (!rest.keywords) {
            return false;
        }
        memcpy(rest.keywords, call->keywords, rest.keyword_count * sizeof(*rest.keywords));
    }
    if (!macro_bind(r, macro, act, &rest) || !chat_frame_enter(r, act, &m->frame) ||
        !macro_defaults(r, m, act) || chat_exec(r, act, macro->node->items, &b) == FLOW_ERROR) {
        return false;
    }
    r->depth--;
    return chat_captured(r, &b, out);
}

bool chat_captured(struct render *r, struct builder *b, struct val *out)
{
    if (!chat_build_done(b, out)) {
        return false;
    }
    out->text->markup = r->autoescape;
    return true;
}

bool chat_macro_make(struct render *r, struct activation *act, const struct node *n,
                     struct val *out)
{
    struct macro *m = chat_alloc(r, 1, sizeof(*m));
    if (!m) {
        return false;
    }
    *m = (struct macro){.node = n, .closure = act, .name = n->name};
    *out = (struct val){.kind = VAL_MACRO, .macro = m};
    return true;
}

bool chat_exec_macro(struct render *r, struct activation *act, const struct node *n)
{
    struct val macro, name;
    if (!chat_macro_make(r, act, n, &macro)) {
        return false;
    }
    *chat_cell(act, n->ref) = macro;
    if (!n->top || !r->exported) {
        return true;
    }
    return chat_text_view(r, n->name, true, &name) && chat_dict_set(r, r->exported, name, macro);
}
